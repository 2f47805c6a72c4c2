"""Hygiene of the repository: no machine paths, no package hosts, no large files, one exact lock."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILE_BYTES_MAX = 200_000
LARGE_ALLOWED = ("results/published/", "results/baselines/")
TEXT_SUFFIXES = {".py", ".md", ".toml", ".yaml", ".yml", ".json", ".csv", ".txt", ".lock", ".cfg",
                 ".html", ".j2", ".css", ".ini", ".sh", ""}  # fmt: skip
# Letters in brackets, so that this line does not hold what it forbids.
MACHINE_PATH = re.compile(r"/(?:hom[e]|roo[t]|User[s]|wor[k])/\w")


def committed() -> list[str]:
    """Files under version control; without a repository, every file outside build folders."""
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listing.returncode == 0 and listing.stdout:
        names = listing.stdout.rstrip("\0").split("\0")
        return [name for name in names if (ROOT / name).is_file()]
    return [
        path.relative_to(ROOT).as_posix()
        for path in ROOT.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
    ]


FILES = committed()
TEXTS = [name for name in FILES if Path(name).suffix in TEXT_SUFFIXES]


def test_there_is_something_to_check() -> None:
    assert {"pyproject.toml", "Makefile", ".ci/run"} <= set(FILES)
    assert len(TEXTS) > 20


def test_no_absolute_path_of_a_machine() -> None:
    found = [
        f"{name}:{number}: {line.strip()[:120]}"
        for name in TEXTS
        for number, line in enumerate(lines(name), start=1)
        if MACHINE_PATH.search(line)
    ]
    assert not found


@pytest.mark.parametrize("folder", ["home", "root", "Users", "work"])
def test_the_path_pattern_bites(folder: str) -> None:
    assert MACHINE_PATH.search(f"see /{folder}/someone")
    assert not MACHINE_PATH.search(f"docs/{folder}work/someone")


def test_no_large_file() -> None:
    large = [
        name
        for name in FILES
        if (ROOT / name).stat().st_size > FILE_BYTES_MAX and not name.startswith(LARGE_ALLOWED)
    ]
    assert not large


def test_the_lock_is_exact_and_names_no_host() -> None:
    pins = {}
    for line in lines("requirements.lock"):
        pin = re.fullmatch(r"([a-z0-9-]+)==[0-9][\w.]*(?: ; (?!.*://).+)?", line)
        assert pin, line
        pins[pin[1]] = line
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["report"],
        *project["project"]["optional-dependencies"]["parquet"],
        *(
            requirement
            for group in ("test", "lint", "build")
            for requirement in project["dependency-groups"][group]
        ),
    ]
    names = {re.split(r"[<>=\[; ]", requirement)[0].lower() for requirement in wanted}
    assert names <= set(pins)


def test_ci_runs_what_a_developer_runs() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "exec make test" in script.read_text(encoding="utf-8")


def test_the_documented_interpreter_is_the_declared_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["requires-python"] == ">=3.11"
    assert project["project"]["scripts"] == {"kubesim": "sim.cli.main:main"}


def lines(name: str) -> list[str]:
    return (ROOT / name).read_text(encoding="utf-8").splitlines()
