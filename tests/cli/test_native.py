"""Compiled modules are the same modules: same bytes, used only if made from these sources."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sim import native
from sim.base.exit_codes import ExitCode

MAIN = "from sim.cli.main import main; main()"
EXPERIMENT = "experiments/quickstart.yaml"
SMALLER = ("cluster.nodes.pools.0.count=12", "workload.0.count=3", "workload.0.replicas=8")


def run(repository: Path, out: Path, native_variable: str) -> dict[str, bytes]:
    """Run a small experiment in a process of its own; return the bytes of its files."""
    settings = [item for setting in SMALLER for item in ("--set", setting)]
    done = subprocess.run(
        [sys.executable, "-c", MAIN, "run", EXPERIMENT, *settings, "--out", str(out)],
        cwd=repository,
        env={**os.environ, native.VARIABLE: native_variable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == ExitCode.OK, done.stderr
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name not in {"manifest.json", "report.html"}
    }


def test_compiled_and_interpreted_runs_give_the_same_bytes(
    repository_dir: Path, tmp_path: Path
) -> None:
    if not native.is_usable():
        pytest.skip("nothing is compiled from these sources: make native")
    compiled = run(repository_dir, tmp_path / "compiled", "1")
    interpreted = run(repository_dir, tmp_path / "interpreted", "0")
    assert len(compiled) > 10
    assert compiled == interpreted


def test_a_build_of_other_sources_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = tmp_path / "manifest.json"
    monkeypatch.setattr(native, "MANIFEST", manifest)
    assert not native.is_usable()
    manifest.write_text(json.dumps({"digest": "of other sources", "modules": []}))
    assert not native.is_usable()
    manifest.write_text('{"digest": ')  # a build was interrupted
    assert not native.is_usable()
    manifest.write_text(json.dumps({"digest": native.digest(), "modules": []}))
    assert native.is_usable()


def test_every_module_named_is_there() -> None:
    assert [name for name in native.MODULES if not native.source(name).is_file()] == []
    assert len(set(native.MODULES)) == len(native.MODULES)
