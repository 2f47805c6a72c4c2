"""What every test may ask for: measured data, benchmark sizes, Hypothesis profiles."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings

T = TypeVar("T")

ROOT = Path(__file__).resolve().parent.parent
MEASURED_DATA_VARIABLE = "KUBESIM_MEASURED_DATA"

settings.register_profile(
    "normal",
    derandomize=True,
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("long", parent=settings.get_profile("normal"), max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "normal"))


def find_shared() -> Path | None:
    """The folder of measured data: $KUBESIM_MEASURED_DATA, or ``shared`` beside the checkout."""
    given = os.environ.get(MEASURED_DATA_VARIABLE)
    for candidate in [Path(given)] if given else [ROOT.parent / "shared"]:
        if (candidate / "groundtruth").is_dir():
            return candidate
    return None


def pytest_report_header(config: pytest.Config) -> str:
    found = find_shared()
    if found is None:
        return f"measured data: ABSENT, its tests are skipped (set ${MEASURED_DATA_VARIABLE})"
    return "measured data: found"


@pytest.fixture(scope="session")
def repository_dir() -> Path:
    """The root of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of measured data beside the checkout, or a loud skip."""
    found = find_shared()
    if found is None:
        pytest.skip(f"measured data beside the checkout is absent; set ${MEASURED_DATA_VARIABLE}")
    return found


@pytest.fixture(scope="session")
def bench_size(pytestconfig: pytest.Config) -> Callable[[T, T], T]:
    """``bench_size(tiny, full)``: the full size under --benchmark-only, else the tiny one."""
    measuring = bool(pytestconfig.getoption("benchmark_only", default=False))

    def pick(tiny: T, full: T) -> T:
        return full if measuring else tiny

    return pick
