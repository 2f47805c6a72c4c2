"""Fits a cost profile to measurements: a folder of CSVs, or metrics dumps before and after a load.

Two kinds of source are understood, alone or in one folder:

* the ground-truth format (`etcd_*.csv`): the disk from its quantiles, etcd's laws by simulating
  the measured rows over and over (`calibrate_etcd`);
* Prometheus text dumps named ``<component>-before.prom`` and ``<component>-after.prom`` (optionally
  ``.gz``) of etcd, apiserver and scheduler (`calibrate_prometheus`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim.base.errors import Problem, UserError
from sim.costs.profile import Profile, parameters
from sim.experiment.calibrate_etcd import fit_disk, fit_etcd
from sim.experiment.calibrate_profile import profile_text, with_parameters
from sim.experiment.calibrate_prometheus import find_pairs, fit_dumps
from sim.experiment.calibrate_types import Fitted


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What a calibration found."""

    fitted: Sequence[Fitted]
    profile: Profile
    """The base profile with the fitted values in it."""
    base_name: str

    def values(self) -> Mapping[str, tuple[Any, str]]:
        """Return (value, source) by dotted name."""
        return {item.name: (item.value, f"measured: {item.source}") for item in self.fitted}

    def text(self, name: str, description: str) -> str:
        """Return the profile file."""
        return profile_text(name, self.base_name, description, self.values())


def calibrate(
    folder: Path,
    base: Profile,
    *,
    seed: int = 1,
    iteration_count: int = 3,
    progress: Callable[[str], None] = lambda _: None,
) -> Calibration:
    """Fit what the folder's files allow, starting from a base profile.

    Args:
        folder: CSVs of the ground-truth format, or pairs of metrics dumps, or both.
        base: where to start, and what stays where nothing was measured.
        seed: of the simulations.
        iteration_count: Gauss-Newton steps of the simulated fits; 0 leaves etcd's laws alone.
        progress: told what happens next.

    Raises:
        UserError: nothing in the folder can be used.
    """
    fitted: list[Fitted] = []
    profile = base

    def take(found: Sequence[Fitted]) -> None:
        nonlocal profile
        fitted.extend(found)
        profile = with_parameters(profile, {item.name: item.value for item in found})

    if (folder / "etcd_disk_fdatasync.csv").is_file():
        progress("disk: quantiles of fdatasync")
        take(fit_disk(folder, profile))
    if (folder / "etcd_put_closed.csv").is_file() and iteration_count > 0:
        take(
            fit_etcd(
                folder,
                profile,
                seed=seed,
                iteration_count=iteration_count,
                progress=progress,
            )
        )
    pairs = find_pairs(folder)
    if pairs:
        progress(f"metrics dumps of {', '.join(pairs)}")
        take(fit_dumps(pairs, profile))
    if not fitted:
        raise UserError(
            Problem(
                code="E001",
                message="nothing here to calibrate from",
                file=str(folder),
                hint="etcd_*.csv of the ground-truth format, or <component>-before.prom and"
                " <component>-after.prom",
            )
        )
    last = {item.name: item for item in fitted}
    return Calibration(fitted=list(last.values()), profile=profile, base_name=base.name)


def changes(calibration: Calibration, base: Profile) -> list[tuple[str, str, str, str, str]]:
    """Return lines (parameter, base value, fitted value, from what, how well)."""
    before = {name: value for name, value, _ in parameters(base)}
    return [
        (item.name, _short(before[item.name]), _short(item.value), item.source, item.quality)
        for item in calibration.fitted
    ]


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, tuple):
        return f"{len(value)} points"
    return str(value)
