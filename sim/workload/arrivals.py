"""When things are submitted: rate shapes, evenly spaced or as a Poisson process.

A shape is an intensity λ(t) in arrivals per second with integral Λ(t). The n-th evenly spaced
arrival is at Λ⁻¹(n); a Poisson process has its arrivals at Λ⁻¹(E₁ + … + Eₙ), with unit
exponential Eᵢ.
**Source:** the time-change theorem for Poisson processes (e.g. Daley and Vere-Jones, 7.4).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import cos, inf, isclose, pi, sin, sqrt
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Interval

from sim.engine.streams import Stream

_NEWTON_STEP_COUNT_MAX = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How fast something is submitted."""

    per_second: Annotated[float, Ge(0)] = 0.0
    """Rate at the start; 0 means no schedule: as fast as ``parallelism`` allows."""
    arrivals: Literal["uniform", "poisson"] = "uniform"
    """uniform: evenly spaced. poisson: independent of each other."""
    shape: Literal["constant", "ramp", "step", "sine"] = "constant"
    """How the rate changes with time."""
    end_per_second: Annotated[float, Ge(0)] = 0.0
    """ramp: rate at the end of overSeconds, kept from then on."""
    over_seconds: Annotated[float, Gt(0)] = 60.0
    """ramp: duration of the change. step: time between two steps. sine: period."""
    step_per_second: float = 0.0
    """step: what the rate grows by at every step (never below 0)."""
    amplitude_ratio: Annotated[float, Interval(ge=0, le=1)] = 0.5
    """sine: swing around the mean rate, relative to it."""

    def intensity(self, time_seconds: float) -> float:
        """Return λ(t), per second, with t counted from the start."""
        base = self.per_second
        if self.shape == "ramp":
            share = min(1.0, time_seconds / self.over_seconds)
            return base + (self.end_per_second - base) * share
        if self.shape == "step":
            return max(0.0, base + self.step_per_second * (time_seconds // self.over_seconds))
        if self.shape == "sine":
            phase = 2.0 * pi * time_seconds / self.over_seconds
            return base * (1.0 + self.amplitude_ratio * sin(phase))
        return base

    def advance(self, time_seconds: float, amount: float) -> float:
        """Return the time at which Λ has grown by ``amount`` since ``time_seconds``.

        Infinity if it never does.
        """
        if self.shape == "constant":
            return time_seconds + amount / self.per_second if self.per_second > 0.0 else inf
        if self.shape == "ramp":
            return self._advance_ramp(time_seconds, amount)
        if self.shape == "step":
            return self._advance_step(time_seconds, amount)
        return self._advance_sine(time_seconds, amount)

    def _advance_ramp(self, start: float, amount: float) -> float:
        end = self.over_seconds
        slope = (self.end_per_second - self.per_second) / end
        if start < end:
            rate = self.per_second + slope * start
            left = end - start
            whole = rate * left + slope * left * left / 2.0
            if amount <= whole:
                if isclose(slope, 0.0, abs_tol=1e-12):
                    return start + amount / rate
                return start + (sqrt(max(0.0, rate * rate + 2.0 * slope * amount)) - rate) / slope
            amount -= whole
            start = end
        return start + amount / self.end_per_second if self.end_per_second > 0.0 else inf

    def _advance_step(self, start: float, amount: float) -> float:
        index = int(start // self.over_seconds)
        while True:
            rate = max(0.0, self.per_second + self.step_per_second * index)
            end = (index + 1) * self.over_seconds
            whole = rate * (end - start)
            if amount <= whole and rate > 0.0:
                return start + amount / rate
            if rate <= 0.0 and self.step_per_second <= 0.0:
                return inf
            amount -= whole
            start = end
            index += 1

    def _advance_sine(self, start: float, amount: float) -> float:
        base = self.per_second
        if base <= 0.0:
            return inf
        omega = 2.0 * pi / self.over_seconds
        swing = self.amplitude_ratio / omega

        def grown(time: float) -> float:
            return base * (time - start - swing * (cos(omega * time) - cos(omega * start)))

        low, high = start, start + amount / base + 2.0 * swing + 1e-9
        time = start + amount / base
        for _ in range(_NEWTON_STEP_COUNT_MAX):
            error = grown(time) - amount
            if abs(error) < 1e-9:
                break
            if error > 0.0:
                high = time
            else:
                low = time
            slope = self.intensity(time)
            guess = time - error / slope if slope > 1e-12 else inf
            time = guess if low < guess < high else (low + high) / 2.0
        return time

    def times(self, stream: Stream) -> Iterator[float]:
        """Yield arrival times, seconds from the start; the first evenly spaced one is at 0."""
        poisson = self.arrivals == "poisson"
        time = 0.0
        if not poisson:
            yield 0.0
        while True:
            time = self.advance(time, stream.exponential(1.0) if poisson else 1.0)
            if time == inf:
                return
            yield time
