"""The machine a run takes place on: memory, and the identity of the code that runs."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import resource
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

_CGROUP_LIMIT: Final = Path("/sys/fs/cgroup/memory.max")
_STATM: Final = Path("/proc/self/statm")
MEMORY_SHARE_MAX: Final = 0.9
"""Share of the machine's memory that a run may use unless told otherwise."""


def memory_bytes() -> int:
    """Return the memory that this process may use at most: the machine's or its cgroup's."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(OSError, ValueError):  # no cgroup, or no limit in it
        total = min(total, int(_CGROUP_LIMIT.read_text(encoding="ascii")))
    return total


def memory_limit_bytes(asked: int | None) -> int:
    """Return the bound on the memory of a run."""
    return asked if asked is not None else int(memory_bytes() * MEMORY_SHARE_MAX)


def peak_memory_bytes() -> int:
    """Return the largest resident set of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def memory_in_use_bytes() -> int:
    """Return the resident set of this process now; its peak where the system does not tell."""
    try:
        pages = int(_STATM.read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return peak_memory_bytes()
    return pages * os.sysconf("SC_PAGE_SIZE")


def cpu_seconds() -> float:
    """Return the CPU time of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


@cache
def code_digest() -> str:
    """Return the SHA-256 over this program's sources: a change repeats finished runs."""
    root = Path(__file__).resolve().parent.parent
    state = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        if path.suffix in {".py", ".csv", ".json", ".yaml"} and path.is_file():
            state.update(path.relative_to(root).as_posix().encode())
            state.update(path.read_bytes())
    return state.hexdigest()


@cache
def code_commit() -> dict[str, Any]:
    """Return the commit of the checkout the code runs from, if it is one."""
    root = Path(__file__).resolve().parent.parent.parent
    if not (root / ".git").exists():
        return {"commit": None, "dirty": None}
    try:
        commit = _git(root, "rev-parse", "HEAD")
        dirty = bool(_git(root, "status", "--porcelain", "--untracked-files=no", "--", "sim"))
    except (OSError, subprocess.SubprocessError):
        return {"commit": None, "dirty": None}
    return {"commit": commit, "dirty": dirty}


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=root, capture_output=True, text=True, timeout=5, check=True
    )
    return done.stdout.strip()


def versions() -> dict[str, str]:
    """Return the versions that may influence the bytes of results."""
    found = {"python": platform.python_version()}
    for name in ("numpy", "simpy", "scipy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def platform_name() -> str:
    """Return operating system and architecture."""
    return f"{platform.system()} {platform.machine()}"
