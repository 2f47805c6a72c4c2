"""Latency of the links between machines: one message, one draw.

A link has a shortest one-way time and a lognormal excess above it; loopback costs nothing here
because its cost is CPU, which the processes at both ends pay.
**Source:** per field of `LinkParams` and per row of `LINKS`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from librt.strings import read_f64_le
from mypy_extensions import i64

from sim.engine.streams import Stream, packed_draws

_BLOCK_COUNT: Final = 2048
"""Few links draw, and often: their blocks are larger than those of a `Stream`."""
_BLOCK_BYTES: Final = 8 * _BLOCK_COUNT


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkParams:
    """One-way latency of a link."""

    name: str = field(default="loopback", metadata={"source": "name of the row in LINKS"})
    base_seconds: float = field(
        default=0.0,
        metadata={
            "source": "measured: etcd_put_closed.csv runs on loopback, whose cost is in the CPU"
            " terms of the two ends"
        },
    )
    excess_median_seconds: float = field(default=0.0, metadata={"source": "as base_seconds"})
    excess_sigma_ratio: float = field(
        default=0.0, metadata={"source": "assumed: spread of the logarithm of the excess"}
    )


LINKS: dict[str, LinkParams] = {
    row.name: row
    for row in (
        LinkParams(),
        # assumed: 10-25 Gbit/s Ethernet in one rack, kernel TCP, one way
        LinkParams(
            name="same_rack",
            base_seconds=40e-6,
            excess_median_seconds=15e-6,
            excess_sigma_ratio=0.8,
        ),
        # assumed: machines of one availability zone, round trip about 0.2-0.3 ms
        LinkParams(
            name="same_zone",
            base_seconds=100e-6,
            excess_median_seconds=25e-6,
            excess_sigma_ratio=0.8,
        ),
        # assumed: zones of one region, round trip about 1 ms
        LinkParams(
            name="cross_zone",
            base_seconds=400e-6,
            excess_median_seconds=80e-6,
            excess_sigma_ratio=0.7,
        ),
        # assumed: regions of one continent, round trip about 30 ms
        LinkParams(
            name="cross_region",
            base_seconds=14e-3,
            excess_median_seconds=0.8e-3,
            excess_sigma_ratio=0.7,
        ),
    )
}
"""Links by name; every figure is assumed (a typical machine room of that extent)."""


class LinkLaw:
    """Draws one-way latencies of one link from one stream."""

    __slots__ = ("_base", "_block", "_excess", "_place", "_sigma", "_stream", "params")

    def __init__(self, params: LinkParams, stream: Stream) -> None:
        self.params = params
        self._stream = stream
        self._base = params.base_seconds
        self._excess = params.excess_median_seconds
        self._sigma = params.excess_sigma_ratio
        self._block = b""
        self._place: i64 = _BLOCK_BYTES
        """How many bytes of the block of latencies have been used."""

    @property
    def free(self) -> bool:
        """Whether messages arrive in the instant in which they are sent."""
        return self._base == 0.0 and self._excess == 0.0

    def sample_seconds(self) -> float:
        """Return the latency of one message."""
        place = self._place
        if place == _BLOCK_BYTES:
            self._block = self._draw()
            place = 0
        self._place = place + 8
        return read_f64_le(self._block, place)

    def _draw(self) -> bytes:
        draws = self._stream.generator("latency").standard_normal(_BLOCK_COUNT)
        draws *= self._sigma
        np.exp(draws, out=draws)
        draws *= self._excess
        draws += self._base
        return packed_draws(draws)

    def mean_seconds(self) -> float:
        """Return the mean of the law: base + median · exp(σ²/2) (lognormal mean)."""
        return self._base + self._excess * math.exp(0.5 * self._sigma**2)


def delayed(params: LinkParams, extra_seconds: float) -> LinkParams:
    """Return the same link with a longer one-way time (a fault, a tunnel)."""
    return replace(params, base_seconds=params.base_seconds + extra_seconds)
