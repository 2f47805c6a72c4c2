"""Writing that never leaves half a file or half a run directory behind."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import Any, Final

from sim.base.errors import Problem, UserError

_PUBLISH_TRIES: Final = 5


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file with LF line ends under a temporary name, then rename it."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, then rename it. Raises UserError E042."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> UserError:
    """Return the error for a place that cannot be written."""
    reason = error.strerror or type(error).__name__
    return UserError(Problem(code="E042", message=f"cannot write: {reason}", file=str(path)))


def json_text(value: Any) -> str:
    """Return indented JSON in the order given, with a line end; non-finite floats are refused."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def staging_folder(final: Path) -> Path:
    """Make and return an empty folder beside ``final`` in which to build it. Raises UserError."""
    staging = final.with_name(f".{final.name}.partial-{os.getpid()}")
    try:
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
    except OSError as error:
        raise cannot_write(final, error) from error
    return staging


def check_writable(folder: Path) -> None:
    """Make a folder and see that files can be made in it: before hours of work, not after.

    Raises:
        UserError: E042, it cannot be made or written.
    """
    probe = folder / f".probe-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise cannot_write(folder, error) from error


def publish_folder(staging: Path, final: Path) -> None:
    """Give a finished folder its name, replacing what had it. Raises UserError.

    Two processes may publish the same run at once: the later one replaces the earlier.
    """
    for attempt in range(_PUBLISH_TRIES):
        old = final.with_name(f".{final.name}.old-{os.getpid()}")
        try:
            if final.exists():
                final.replace(old)
            staging.replace(final)
        except OSError as error:
            shutil.rmtree(old, ignore_errors=True)
            if attempt < _PUBLISH_TRIES - 1 and staging.is_dir():
                continue
            raise cannot_write(final, error) from error
        shutil.rmtree(old, ignore_errors=True)
        return
