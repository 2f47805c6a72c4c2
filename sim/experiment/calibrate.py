"""Fits a cost profile to measurements: a folder of CSVs, or metrics dumps before and after a load.

Two kinds of source are understood, alone or in one folder:

* the ground-truth format: the disk from its quantiles (`calibrate_etcd`); kube-proxy, overlay and
  the scheduling cycle by least squares on their laws (`calibrate_closed`); etcd, API server,
  watches and what surrounds the scheduling cycle by simulating the measured rows over and over
  (`calibrate_etcd`, `calibrate_server`);
* Prometheus text dumps named ``<component>-before.prom`` and ``<component>-after.prom`` (optionally
  ``.gz``) of etcd, apiserver and scheduler (`calibrate_prometheus`). Where a component's rows are
  there as well they decide, and its dumps are a check: by which factor they differ is told.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sim.base.errors import Problem, UserError
from sim.costs.profile import Profile, parameters
from sim.experiment.calibrate_closed import fit_cycle, fit_nodes, fit_user_plugin
from sim.experiment.calibrate_etcd import fit_disk, fit_etcd
from sim.experiment.calibrate_profile import profile_text, with_parameters
from sim.experiment.calibrate_prometheus import find_pairs, fit_dumps
from sim.experiment.calibrate_server import STAGES, fit_stages
from sim.experiment.calibrate_types import Fitted

PARTS: Final = ("disk", "etcd", "apiserver", "scheduler", "kube-proxy", "overlay")
"""What can be calibrated by itself."""
_SMALL_RATIO: Final = 0.1
_UNDETERMINED_RATIO: Final = 3.0
"""Tolerances above it say that the measurements do not tell the parameter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What a calibration found."""

    fitted: Sequence[Fitted]
    profile: Profile
    """The base profile with the fitted values in it."""
    base_name: str
    checks: Sequence[str] = ()
    """What metrics dumps say about components that were fitted to rows."""

    def values(self) -> Mapping[str, tuple[Any, str]]:
        """Return (value, source) by dotted name."""
        return {item.name: (item.value, f"measured: {item.source}") for item in self.fitted}

    def text(self, name: str, description: str) -> str:
        """Return the profile file."""
        return profile_text(name, self.base_name, description, self.values())


class _Run:
    """One calibration on its way: the profile so far, and what has been fitted."""

    def __init__(
        self, folder: Path, base: Profile, seed: int, iteration_count: int, row_step: int,
        parts: Collection[str], progress: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.folder = folder
        self.profile = base
        self.fitted: list[Fitted] = []
        self.checks: list[str] = []
        self._seed = seed
        self._iteration_count = iteration_count
        self._row_step = row_step
        self._parts = parts
        self._progress = progress

    def take(self, found: Sequence[Fitted]) -> None:
        """Note parameters and use them from here on."""
        self.fitted.extend(found)
        self.profile = with_parameters(self.profile, {item.name: item.value for item in found})

    def _has(self, part: str, name: str) -> bool:
        return part in self._parts and (self.folder / name).is_file()

    def without_simulation(self) -> None:
        """Fit what takes seconds."""
        folder = self.folder
        if self._has("disk", "etcd_disk_fdatasync.csv"):
            self._progress("disk: quantiles of fdatasync")
            self.take(fit_disk(folder, self.profile))
        parts = [part for part in ("kube-proxy", "overlay") if part in self._parts]
        for part in parts:
            self._progress(f"{part}: least squares on its law")
            self.take(fit_nodes(folder, self.profile, part))
        if self._has("scheduler", "scheduler_core_speed.csv"):
            self._progress("scheduler: least squares on the law of its cycle")
            self.take(fit_cycle(folder, self.profile))
        if self._has("scheduler", "scheduler_plugins.csv"):
            self.take(fit_user_plugin(folder))

    def with_simulation(self) -> None:
        """Fit what takes minutes per step: every measured row once per parameter."""
        if self._iteration_count == 0:
            return
        if self._has("etcd", "etcd_put_closed.csv"):
            self.take(fit_etcd(
                self.folder, self.profile, seed=self._seed,
                iteration_count=self._iteration_count, row_step=self._row_step,
                progress=self._progress,
            ))  # fmt: skip
        for stage in STAGES:
            if stage.component in self._parts:
                self.take(fit_stages(
                    self.folder, self.profile, seed=self._seed, stages=(stage,),
                    iteration_count=self._iteration_count, row_step=self._row_step,
                    progress=self._progress,
                ))  # fmt: skip

    def dumps(self) -> None:
        """Scale components by their metrics dumps, or compare them if rows decided."""
        pairs = {
            name: pair for name, pair in find_pairs(self.folder).items() if name in self._parts
        }
        if not pairs:
            return
        self._progress(f"metrics dumps of {', '.join(pairs)}")
        found = fit_dumps(pairs, self.profile)
        decided = {name for name in pairs if any(self.folder.glob(f"{name}_*.csv"))}
        if "etcd" in decided:
            decided.add("disk")
        parts = {item.name.partition(".")[0] for item in found} & decided
        told = {
            item.quality: item.source for item in found
            if item.name.split(".")[0] in parts and item.name != "disk.rest_seconds"
        }  # fmt: skip
        self.checks += [f"{source}: {quality}" for quality, source in told.items()]
        self.take([item for item in found if item.name.partition(".")[0] not in parts])


def calibrate(
    folder: Path,
    base: Profile,
    *,
    seed: int = 1,
    iteration_count: int = 3,
    row_step: int = 1,
    parts: Collection[str] = PARTS,
    progress: Callable[[str], None] = lambda _: None,
) -> Calibration:
    """Fit what the folder's files allow, starting from a base profile.

    Args:
        folder: CSVs of the ground-truth format, or pairs of metrics dumps, or both.
        base: where to start, and what stays where nothing was measured.
        seed: of the simulations.
        iteration_count: Gauss-Newton steps of the simulated fits; 0 leaves those out.
        row_step: every how many-th row the simulated fits use.
        parts: which of `PARTS` to fit.
        progress: told what happens next.

    Raises:
        UserError: nothing in the folder can be used.
    """
    run = _Run(folder, base, seed, iteration_count, row_step, parts, progress)
    run.without_simulation()
    run.with_simulation()
    run.dumps()
    if not run.fitted:
        raise UserError(
            Problem(
                code="E001",
                message="nothing here to calibrate from",
                file=str(folder),
                hint="CSVs of the ground-truth format, or <component>-before.prom and"
                " <component>-after.prom",
            )
        )
    last = {item.name: item for item in run.fitted}
    return Calibration(
        fitted=list(last.values()), profile=run.profile, base_name=base.name, checks=run.checks
    )


@dataclass(frozen=True, slots=True)
class Change:
    """One line of the report: a parameter before and after, from what, how well."""

    name: str
    before: str
    after: str
    tolerance: str
    within: bool
    """Whether the base profile's value lies within the tolerance of the fitted one."""
    source: str
    quality: str


def changes(calibration: Calibration, base: Profile) -> list[Change]:
    """Return what a calibration changed, in the order in which it was fitted."""
    before = {name: value for name, value, _ in parameters(base)}
    return [
        Change(
            item.name, _short(before[item.name]), _short(item.value),
            _tolerance(item.tolerance_ratio),
            is_within(before[item.name], item.value, item.tolerance_ratio),
            item.source, item.quality,
        )
        for item in calibration.fitted
    ]  # fmt: skip


def _tolerance(ratio: float) -> str:
    if ratio > _UNDETERMINED_RATIO:
        return "not told by these data"
    return f"{ratio:.1%}" if ratio < _SMALL_RATIO else f"{ratio:.0%}"


def is_within(before: Any, after: Any, tolerance_ratio: float) -> bool:
    """Return whether two values agree within a relative tolerance, either way round.

    Of shapes the quantiles from 1 to 98 % are compared: beyond them single values decide.
    """
    if isinstance(after, tuple):
        old, new = dict(before), dict(after)
        inner = [key for key in new if 0.01 <= key < 0.98 and key in old]  # noqa: PLR2004
        return all(is_within(old[key], new[key], tolerance_ratio) for key in inner)
    if not isinstance(after, float | int) or isinstance(after, bool):
        return bool(before == after)
    if before <= 0.0 or after <= 0.0:
        return bool(before == after)
    return abs(math.log(after / before)) <= math.log1p(tolerance_ratio)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, tuple):
        return f"{len(value)} points"
    return str(value)
