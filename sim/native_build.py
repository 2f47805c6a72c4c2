"""Compile the hottest modules: ``python -m sim.native_build``.

Needs a C compiler and mypyc (with mypy, in the development dependencies). Without them it says so
and leaves everything as it is; nothing else depends on it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES

from sim import native

_OPTIMIZATION_LEVEL = "3"
_WORK = native.ROOT / "build" / "native-work"
_COMPILER_FLAGS = "-g0"
_WHOLE_FLAGS = "-flto=auto -fno-semantic-interposition -fno-plt"
"""Optimization over all modules at once: 4 % faster runs, where compiler and linker know it."""


def build() -> None:
    """Compile `native.MODULES` into `native.FOLDER`, in place of what is there.

    Raises:
        ImportError: mypyc or setuptools is missing.
        Exception: whatever the compiler has to say.
    """
    from mypyc.build import mypycify
    from setuptools import Distribution
    from setuptools.command.build_ext import build_ext

    shutil.rmtree(native.FOLDER, ignore_errors=True)
    whole = _WHOLE_FLAGS if "--whole" in sys.argv else ""
    for variable, flags in (("CFLAGS", f"{_COMPILER_FLAGS} {whole}"), ("LDFLAGS", whole)):
        os.environ[variable] = f"{os.environ.get(variable, '')} {flags}".strip()
    extensions = mypycify(
        [
            "--config-file", str(native.ROOT / "pyproject.toml"),
            "--cache-dir", str(_WORK / "types"),
            *(str(native.source(module).relative_to(native.ROOT)) for module in native.MODULES),
        ],
        opt_level=_OPTIMIZATION_LEVEL,
        debug_level="0",
        multi_file=True,
        target_dir=str(_WORK),
    )  # fmt: skip
    command = build_ext(Distribution({"name": "kubesim-native", "ext_modules": extensions}))
    command.build_lib = str(native.FOLDER)
    command.build_temp = str(_WORK / "objects")
    command.ensure_finalized()
    command.run()
    _write_manifest()


def _write_manifest() -> None:
    suffix = EXTENSION_SUFFIXES[0]
    # The code is in one file at the top; each module has a small one that hands it out by name.
    made = {
        path.relative_to(native.FOLDER).as_posix().removesuffix(suffix).replace("/", ".")
        for path in native.FOLDER.rglob(f"*{suffix}")
    }
    content = {"digest": native.digest(), "modules": sorted(made)}
    native.MANIFEST.write_text(json.dumps(content, indent=1), encoding="utf-8")


def main() -> int:
    """Build in a process of its own, whose talk is shown only if it fails."""
    if "--here" in sys.argv:
        build()
        return 0
    if native.is_usable():
        return 0
    if shutil.which(os.environ.get("CC", "cc")) is None:
        print("no C compiler: the simulator runs interpreted, about half as fast")
        return 0
    native.MANIFEST.unlink(missing_ok=True)
    print(f"compiling {len(native.MODULES)} modules, once; this takes a minute or two", flush=True)
    said = _attempt("--whole")
    if said:  # what an earlier build left there may be in the way, or the flags
        shutil.rmtree(_WORK, ignore_errors=True)
        said = _attempt()
    if said:
        _WORK.mkdir(parents=True, exist_ok=True)
        log = _WORK / "log.txt"
        log.write_text(said, encoding="utf-8")
        place = log.relative_to(native.ROOT)
        print(f"compiling failed ({place}): the simulator runs interpreted, slower")
    return 0


def _attempt(*options: str) -> str:
    """Build in another process; return what it said if it failed."""
    done = subprocess.run(
        [sys.executable, "-m", "sim.native_build", "--here", *options],
        cwd=native.ROOT,
        env={**os.environ, native.VARIABLE: "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr if done.returncode else ""


if __name__ == "__main__":
    sys.exit(main())
