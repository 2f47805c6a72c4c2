"""How long an fdatasync takes, as a distribution over one disk.

The law is ``median · shape(u) · (1 + s · others in flight) + bytes / rate``: the shape is a
quantile function relative to the median. A disk that has rested starts slowly; a fixed delay can
be added (throttled volume, injected fault).
**Source:** per row of `DISKS`; the measured one from `groundtruth/etcd_disk_fdatasync.csv`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
from librt.strings import read_f64_le
from mypy_extensions import i64

from sim.base.errors import Problem, UserError
from sim.engine.streams import Stream, packed_draws

_TABLE_COUNT: Final = 4096
_BLOCK_COUNT: Final = 2048
"""Few disks draw, and often: their blocks are larger than those of a `Stream`."""
_BLOCK_BYTES: Final = 8 * _BLOCK_COUNT

_MEASURED_SHAPE: tuple[tuple[float, float], ...] = (
    (0.0, 0.62),
    (0.01, 0.68),
    (0.05, 0.74),
    (0.10, 0.78),
    (0.20, 0.85),
    (0.30, 0.89),
    (0.40, 0.94),
    (0.50, 1.0),
    (0.60, 1.06),
    (0.70, 1.16),
    (0.80, 1.31),
    (0.90, 1.47),
    (0.95, 1.60),
    (0.98, 1.80),
    (0.99, 2.05),
    (0.995, 2.6),
    (0.999, 8.0),
    (1.0, 30.0),
)
"""Median over the disk rows of etcd_disk_fdatasync.csv (preallocated) of quantile / q50."""


def lognormal_shape(p99_ratio: float) -> tuple[tuple[float, float], ...]:
    """Return the quantiles of a lognormal with median 1 whose 99th percentile is ``p99_ratio``."""
    sigma = np.log(p99_ratio) / 2.3263478740408408
    points = (
        (0.0, -3.5),
        (0.01, -2.3263),
        (0.05, -1.6449),
        (0.1, -1.2816),
        (0.25, -0.6745),
        (0.5, 0.0),
        (0.75, 0.6745),
        (0.9, 1.2816),
        (0.95, 1.6449),
        (0.99, 2.3263),
        (0.999, 3.0902),
        (0.9999, 3.719),
        (1.0, 4.2),
    )
    return tuple((probability, float(np.exp(sigma * z))) for probability, z in points)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskParams:
    """One disk, as fdatasync sees it."""

    name: str = field(default="measured", metadata={"source": "name of the row in DISKS"})
    sync_median_seconds: float = field(
        default=142e-6,
        metadata={"source": "measured: etcd_disk_fdatasync.csv, q50 of preallocated files"},
    )
    bytes_per_second: float = field(
        default=1400000000.0,
        metadata={
            "source": "measured: etcd_put_closed.csv, growth of wal_fsync_p50_ms with value_bytes"
        },
    )
    shape: tuple[tuple[float, float], ...] = field(
        default=_MEASURED_SHAPE,
        metadata={"source": "measured: etcd_disk_fdatasync.csv, quantiles over q50"},
    )
    """(probability, duration / median), ascending in both."""
    delay_seconds: float = field(
        default=0.0, metadata={"source": "none: a delay that the user or a fault adds"}
    )
    sharing_ratio: float = field(
        default=0.361,
        metadata={
            "source": "measured: etcd_put_closed.csv, wal_fsync_p50_ms of 3 members on one"
            " disk against 1 member"
        },
    )
    """How much each other sync in flight lengthens one."""
    rest_seconds: float = field(
        default=112e-6,
        metadata={"source": "measured: etcd_disk_fdatasync.csv, rows at 200/s against closed loop"},
    )
    """Extra duration after a long rest (halted virtual CPU, idle queue); reached asymptotically."""
    timer_excess_seconds: float = field(
        default=1.66e-3,
        metadata={"source": "measured: etcd_put_closed.csv, wal_fsync_p50_ms - fsync_delay_ms"},
    )
    """Lateness of a sleeper after a long ``delay_seconds``; reached asymptotically."""
    rest_time_constant_seconds: float = field(
        default=8e-3,
        metadata={"source": "measured: etcd_put_closed.csv, rows with fsync_delay_ms"},
    )
    """Rest after which 63 % of ``rest_seconds`` is paid."""


DISKS: dict[str, DiskParams] = {
    row.name: row
    for row in (
        DiskParams(),
        # measured: etcd_disk_fdatasync.csv, tmpfs rows (0.1-0.2 microseconds)
        DiskParams(
            name="tmpfs",
            rest_seconds=0.0,
            sync_median_seconds=0.2e-6,
            bytes_per_second=5e9,
            shape=lognormal_shape(2.0),
        ),
        # assumed: data-centre NVMe with power-loss protection, flush is a no-op in the drive
        DiskParams(
            name="nvme",
            rest_seconds=0.0,
            sync_median_seconds=60e-6,
            bytes_per_second=1.5e9,
            shape=lognormal_shape(5.0),
        ),
        # assumed: SATA SSD without power-loss protection; upstream asks for p99 below 10 ms
        DiskParams(
            name="sata_ssd",
            rest_seconds=0.0,
            sync_median_seconds=1.5e-3,
            bytes_per_second=300e6,
            shape=lognormal_shape(5.0),
        ),
        # assumed: 7,200 rpm disk, one rotation is 8.3 ms, journal and data
        DiskParams(
            name="hdd",
            rest_seconds=0.0,
            sync_median_seconds=14e-3,
            bytes_per_second=100e6,
            shape=lognormal_shape(4.0),
        ),
        # published: iss10756 (mean 4.3 ms over 503,871 syncs) and iss34709-wal (mean 7.3 ms,
        # median between 4 and 8 ms) lie above, today's volumes below: 2 ms is assumed
        DiskParams(
            name="network_volume",
            rest_seconds=0.0,
            sync_median_seconds=2.0e-3,
            bytes_per_second=125e6,
            shape=lognormal_shape(6.0),
        ),
    )
}
"""Disks by name; the comment above each row is its source."""


class DiskLaw:
    """Draws fdatasync durations of one disk from one stream.

    ``slowdown_ratio`` multiplies everything and may be changed while a run goes on (slow disk).
    """

    __slots__ = (
        "_block",
        "_delay",
        "_last_seconds",
        "_other_ends_seconds",
        "_params",
        "_per_byte",
        "_place",
        "_stream",
        "_table",
        "slowdown_ratio",
    )

    def __init__(self, params: DiskParams, stream: Stream) -> None:
        self._params = params
        self.slowdown_ratio = 1.0
        self._stream = stream
        self._per_byte = 1.0 / params.bytes_per_second
        self._last_seconds = 0.0
        """When the disk is at rest again: the end of the last sync in flight."""
        self._other_ends_seconds: list[float] = []
        """Ends of the other syncs in flight, and of some that are over."""
        self._delay = 0.0
        if params.delay_seconds > 0.0:
            share = 1.0 - math.exp(-params.delay_seconds / params.rest_time_constant_seconds)
            self._delay = params.delay_seconds + params.timer_excess_seconds * share
        probabilities, ratios = zip(*params.shape, strict=True)
        middles = (np.arange(_TABLE_COUNT) + 0.5) / _TABLE_COUNT
        self._table: npt.NDArray[np.float64] = (
            np.interp(middles, probabilities, ratios) * params.sync_median_seconds
        )
        self._block = b""
        self._place: i64 = _BLOCK_BYTES
        """How many bytes of the block of durations have been used."""

    @property
    def params(self) -> DiskParams:
        """What the law was made from."""
        return self._params

    def sync_seconds(self, now: float, written_bytes: float) -> float:
        """Return the duration of an fdatasync that starts now.

        Syncs in flight on the same disk slow each other; a disk that has rested starts slowly.

        Args:
            now: simulated seconds.
            written_bytes: written since the last sync of that file.
        """
        params = self._params
        place = self._place
        if place == _BLOCK_BYTES:
            self._block = self._draw()
            place = 0
        self._place = place + 8
        duration = read_f64_le(self._block, place)
        last_seconds = self._last_seconds
        if last_seconds > now:
            others = [end for end in self._other_ends_seconds if end > now]
            self._other_ends_seconds = others
            duration *= 1.0 + params.sharing_ratio * float(1 + len(others))
        else:
            if self._other_ends_seconds:
                self._other_ends_seconds.clear()
            if params.rest_seconds > 0.0:
                rested = (now - last_seconds) / params.rest_time_constant_seconds
                duration += params.rest_seconds * (1.0 - math.exp(-rested))
        duration += written_bytes * self._per_byte + self._delay
        duration *= self.slowdown_ratio
        end = now + duration
        earlier_seconds = last_seconds
        if end > last_seconds:
            self._last_seconds = end
        else:
            earlier_seconds = end
        if earlier_seconds > now:
            self._other_ends_seconds.append(earlier_seconds)
        return duration

    def _draw(self) -> bytes:
        """Return durations of syncs without others in flight."""
        draws = self._stream.generator("uniform").random(_BLOCK_COUNT)
        indices = (draws * _TABLE_COUNT).astype(np.intp)
        return packed_draws(self._table.take(indices))

    def mean_seconds(self, written_bytes: float = 0.0) -> float:
        """Return the mean duration on a busy disk, without other syncs in flight."""
        total_seconds: float = sum(self._table.tolist())
        mean = total_seconds / _TABLE_COUNT
        return (mean + written_bytes * self._per_byte + self._delay) * self.slowdown_ratio


def disk_from_percentiles(name: str, percentiles: Mapping[float, float]) -> DiskParams:
    """Make a disk from a user's own percentiles of fdatasync (fio ``--fdatasync=1``).

    Args:
        name: what to call it.
        percentiles: percent (0 < p < 100) to seconds; at least two, among them or around 50.

    Raises:
        UserError: fewer than two percentiles, or not ascending, or not positive.
    """
    points = sorted((percent / 100.0, seconds) for percent, seconds in percentiles.items())
    if len(points) < 2:
        raise UserError(
            Problem(code="E013", message="a disk needs at least two percentiles of its sync time")
        )
    probabilities = np.array([point[0] for point in points])
    seconds = np.array([point[1] for point in points])
    if seconds[0] <= 0.0 or np.any(np.diff(seconds) < 0.0):
        raise UserError(
            Problem(
                code="E013", message="percentiles of the sync time must be positive and ascending"
            )
        )
    if probabilities[0] <= 0.0 or probabilities[-1] >= 1.0:
        raise UserError(Problem(code="E013", message="percentiles must lie between 0 and 100"))
    median = float(np.interp(0.5, probabilities, seconds))
    first = max(0.0, seconds[0] - (seconds[1] - seconds[0]) * 0.5) if len(points) > 1 else 0.0
    shape = [(0.0, float(min(first, seconds[0]) / median))]
    shape += [(float(p), float(s / median)) for p, s in zip(probabilities, seconds, strict=True)]
    shape.append((1.0, float(seconds[-1] / median)))
    return DiskParams(
        name=name,
        sync_median_seconds=median,
        bytes_per_second=DISKS["nvme"].bytes_per_second,
        shape=tuple(shape),
        rest_seconds=0.0,
    )


def disk_from_buckets(
    name: str, edges_seconds: Sequence[float], cumulative_counts: Sequence[float]
) -> DiskParams:
    """Make a disk from ``etcd_disk_wal_fsync_duration_seconds`` buckets.

    Args:
        name: what to call it.
        edges_seconds: upper edges, ascending, without +Inf: (n,).
        cumulative_counts: observations at or below each edge: (n,).

    Raises:
        UserError: no observations, or counts that fall.
    """
    counts = np.asarray(cumulative_counts, dtype=np.float64)
    edges = np.asarray(edges_seconds, dtype=np.float64)
    if len(counts) == 0 or counts[-1] <= 0.0:
        raise UserError(Problem(code="E013", message="the histogram of fsync durations is empty"))
    if np.any(np.diff(counts) < 0.0) or np.any(np.diff(edges) <= 0.0):
        raise UserError(
            Problem(
                code="E013", message="bucket edges must ascend and cumulative counts must not fall"
            )
        )
    probabilities: npt.NDArray[np.float64] = counts / counts[-1]
    keep = np.flatnonzero(np.diff(np.concatenate(([0.0], probabilities))) > 0.0)
    points = {0.0: float(edges[keep[0] - 1]) if keep[0] > 0 else float(edges[0]) * 0.5}
    points.update({float(probabilities[i]): float(edges[i]) for i in keep})
    grid = sorted(points)
    median = float(np.interp(0.5, grid, [points[p] for p in grid]))
    return DiskParams(
        name=name,
        sync_median_seconds=median,
        bytes_per_second=DISKS["nvme"].bytes_per_second,
        shape=tuple((p, points[p] / median) for p in grid),
        rest_seconds=0.0,
    )
