"""The search behind every simulated fit: Gauss-Newton on logarithms, with standard errors.

Parameters stay positive because their logarithms are varied; parameters that one set of
measurements can only tell together are scaled together. A soft-L1 loss keeps single disturbed rows
from pulling, and a weak prior keeps a parameter where it was if the data do not speak of it.

**Source:** Gauss-Newton with a trust region as SciPy has it (``least_squares``); standard errors
from the Jacobian at the solution, s² (JᵀJ)⁻¹ with s² the mean square of the residuals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from sim.costs.profile import Profile, parameters
from sim.experiment.calibrate_types import Fitted

PRIOR_WEIGHT = 0.3
"""A parameter that moves by a factor of e costs as much as one value that is 30 % off."""
STEP_RATIO = 0.25
"""Change of a parameter for a difference quotient: large, because the runs are noisy."""
LOSS_SCALE = 0.25
RANGE_LOG = 3.0
"""A parameter moves by at most a factor of e³ in one calibration."""
ERROR_MAX = 3.0
_TELL_EVERY = 10
_SHIFT = 10.0
"""SciPy's difference step is relative to the value: logarithms of factors, around zero, are moved
to where a relative step is an absolute one."""

FloatArray = npt.NDArray[np.float64]
Residuals = Callable[[Mapping[str, float]], FloatArray]
"""Weighted logarithms of predicted over measured for parameter values by name: (n,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """Values by name, how far they can be trusted, and how well they predict."""

    values: dict[str, float]
    errors: dict[str, float]
    """Standard error of the logarithm: about the relative standard error."""
    good_before: float
    """Share of weighted logarithms within a factor of 1.25 before the fit."""
    good_after: float

    def fitted(self, names: Sequence[str], source: str, rows: str) -> list[Fitted]:
        """Return the parameters among ``names`` with what they were fitted from."""
        quality = (
            f"{rows}; {self.good_before:.0%} of values within 0.80-1.25 before,"
            f" {self.good_after:.0%} after"
        )
        return [
            Fitted(
                name=name, value=self.values[name], source=source, quality=quality,
                tolerance_ratio=two_errors(self.errors[name]),
            )
            for name in names
        ]  # fmt: skip


def two_errors(error_log: float) -> float:
    """Return the relative deviation that two standard errors of a logarithm stand for."""
    return math.exp(2.0 * min(error_log, ERROR_MAX)) - 1.0


def fit_logarithms(
    groups: Sequence[Sequence[str]],
    start: Mapping[str, float],
    residuals: Residuals,
    *,
    iteration_count: int,
    progress: Callable[[str], None] = lambda _: None,
) -> Solution:
    """Fit one factor per group of parameters.

    Args:
        groups: names that are scaled together; most groups have one.
        start: values by name, positive.
        residuals: of the values they are given.
        iteration_count: Gauss-Newton steps at most.
        progress: told now and then how far it is.
    """
    zero = np.zeros(len(groups))

    def values_of(point: FloatArray) -> dict[str, float]:
        factors = np.exp(point).tolist()
        return {
            name: start[name] * factor
            for group, factor in zip(groups, factors, strict=True)
            for name in group
        }

    seen: dict[tuple[float, ...], FloatArray] = {}

    def compared(point: FloatArray) -> FloatArray:
        key = tuple(point.tolist())
        if key not in seen:  # a simulation takes seconds, and the search asks twice
            seen[key] = residuals(values_of(point))
            if len(seen) % _TELL_EVERY == 0:
                progress(f"  {len(seen)} times all rows")
        return seen[key]

    def error(point: FloatArray) -> FloatArray:
        return np.concatenate([compared(point), PRIOR_WEIGHT * point])

    def good(point: FloatArray) -> float:
        return float(np.mean(np.abs(compared(point)) < math.log(1.25)))

    before = good(zero)

    def shifted_error(shifted: FloatArray) -> FloatArray:
        return error(shifted - _SHIFT)

    solution = least_squares(
        shifted_error,
        zero + _SHIFT,
        diff_step=zero + STEP_RATIO / _SHIFT,
        max_nfev=iteration_count + 1,
        loss="soft_l1",
        f_scale=LOSS_SCALE,
        bounds=(zero + _SHIFT - RANGE_LOG, zero + _SHIFT + RANGE_LOG),
    )
    point = solution.x - _SHIFT
    values = values_of(point)
    sigmas = standard_errors(np.asarray(solution.jac), solution.fun)
    errors = {
        name: float(sigma) for group, sigma in zip(groups, sigmas, strict=True) for name in group
    }
    return Solution(
        values=values, errors=errors, good_before=before, good_after=good(point)
    )


def standard_errors(jacobian: FloatArray, residuals: FloatArray) -> FloatArray:
    """Return the standard error of each parameter: (p,), from (m, p) and (m,)."""
    freedom = max(1, residuals.size - jacobian.shape[1])
    scatter = float(residuals @ residuals) / freedom
    covariance = scatter * np.linalg.pinv(jacobian.T @ jacobian)
    return np.sqrt(np.maximum(np.diag(covariance), 0.0))


def values_in(profile: Profile, names: Sequence[str]) -> dict[str, float]:
    """Return values of a profile by dotted name."""
    known = {name: value for name, value, _ in parameters(profile)}
    return {name: float(known[name]) for name in names}
