"""How much of a run's beginning to leave out: MSER-5 truncation and its diagnosis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

BATCH_SIZE: Final = 5
"""Observations averaged before the rule looks at them: the 5 of MSER-5."""


@dataclass(frozen=True, slots=True)
class Truncation:
    """Leave out the first ``index`` observations.

    ``is_reliable`` is false when the rule wants to cut at the end of what it may cut: the run was
    too short to settle, and its steady state is unknown.
    """

    index: int
    statistic: float
    is_reliable: bool


def mser5(values: npt.ArrayLike) -> Truncation:
    """The truncation point that minimises the standard error of what remains.

    values : (n,) float, equally spaced in time or in count. Averages of five are formed; among
    the first half of the k averages, d is chosen to minimise
    Σ_{i>d}(y_i - ȳ_d)² / (k-d)², and 5·d observations are left out.

    **Source:** White, Cobb and Spratt 2000, "A comparison of five steady-state truncation
    heuristics for simulation" (MSER-5); the half-way limit from White 1997.

    Raises:
        ValueError: fewer than ten observations, or a NaN.
    """
    data = np.asarray(values, dtype=np.float64)
    count = data.size // BATCH_SIZE
    if data.ndim != 1 or count < 2 or np.isnan(data).any():
        raise ValueError(f"at least {2 * BATCH_SIZE} observations without NaN are needed")
    batches = data[: count * BATCH_SIZE].reshape(count, BATCH_SIZE).mean(axis=1)
    batches = batches - batches.mean()  # keeps the sums of squares accurate
    left = np.arange(count, 0, -1, dtype=np.float64)
    sums = np.cumsum(batches[::-1])[::-1]
    squares = np.cumsum(batches[::-1] ** 2)[::-1]
    statistic = np.maximum(squares - sums**2 / left, 0.0) / left**2
    allowed = count // 2 + 1
    best = int(np.argmin(statistic[:allowed]))
    return Truncation(best * BATCH_SIZE, float(statistic[best]), best < allowed - 1)
