"""Which points of a parameter space to simulate: grid, Latin hypercube, Sobol' sequence.

Axes are named by the dotted path of the setting they vary; a point is one value per axis, in the
order of the axes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Point = dict[str, Any]


@dataclass(frozen=True, slots=True)
class AxisRange:
    """A continuous axis from ``low`` to ``high``; evenly in the logarithm, or whole, if asked."""

    low: float
    high: float
    is_log: bool = False
    is_whole: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high or not math.isfinite(self.high - self.low):
            raise ValueError(f"an axis runs from a lower to a higher value, not {self}")
        if self.is_log and self.low <= 0:
            raise ValueError(f"a logarithmic axis is positive, not {self}")

    def values(self, unit: npt.NDArray[np.float64]) -> list[float] | list[int]:
        """Values for positions 0…1. unit : (n,) float64, read only."""
        if self.is_whole:
            low, high = math.ceil(self.low), math.floor(self.high)
            top = high + 1
            raw = self._between(unit, low, top)
            return [min(high, int(value)) for value in np.floor(raw)]
        return [float(value) for value in self._between(unit, self.low, self.high)]

    def _between(
        self, unit: npt.NDArray[np.float64], low: float, high: float
    ) -> npt.NDArray[np.float64]:
        if self.is_log:
            return np.asarray(low * np.exp(unit * math.log(high / low)), dtype=np.float64)
        return low + unit * (high - low)


def grid(axes: Mapping[str, Sequence[Any]]) -> list[Point]:
    """Every combination; the last axis varies fastest. No axes give one empty point.

    Raises:
        ValueError: an axis without values.
    """
    for name, values in axes.items():
        if not values:
            raise ValueError(f"the axis {name} has no values")
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def latin_hypercube(
    axes: Mapping[str, AxisRange], count: int, rng: np.random.Generator
) -> list[Point]:
    """``count`` points, one in each of ``count`` equal strata of every axis.

    **Source:** McKay, Beckman and Conover 1979; scipy.stats.qmc.LatinHypercube.

    Raises:
        ValueError: no axis, or fewer than one point.
    """
    _check(axes, count)
    from scipy.stats import qmc

    return _points(axes, qmc.LatinHypercube(d=len(axes), rng=rng).random(count))


def sobol(axes: Mapping[str, AxisRange], count: int, rng: np.random.Generator) -> list[Point]:
    """``count`` points of a scrambled Sobol' sequence; the count is a power of two.

    **Source:** Sobol' 1967, Owen 1998 (scrambling); scipy.stats.qmc.Sobol.

    Raises:
        ValueError: no axis, or a count that is not a power of two.
    """
    _check(axes, count)
    if count & (count - 1):
        raise ValueError(f"a Sobol' design has a power of two points, not {count}")
    from scipy.stats import qmc

    return _points(axes, qmc.Sobol(d=len(axes), rng=rng).random(count))


def _check(axes: Mapping[str, AxisRange], count: int) -> None:
    if not axes or count < 1:
        raise ValueError("a design needs at least one axis and one point")


def _points(axes: Mapping[str, AxisRange], unit: npt.NDArray[np.float64]) -> list[Point]:
    columns = [axis.values(unit[:, i]) for i, axis in enumerate(axes.values())]
    return [dict(zip(axes, row, strict=True)) for row in zip(*columns, strict=True)]
