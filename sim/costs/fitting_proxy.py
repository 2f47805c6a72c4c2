"""Re-derives the node laws (kube-proxy, overlay) from measurements of the groundtruth layout.

The optimiser is a small Levenberg-Marquardt in numpy: laws may not import SciPy, and the problems
are tiny (at most twenty parameters, two hundred rows). Parameters are fitted as logarithms, so
they stay positive, with weak log-normal priors that keep those determinate which a data set says
little about (a fold without large tables, another machine's shorter sweep).
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sim.costs.kube_proxy import (
    IptablesLegacyParams,
    IptablesNftParams,
    KubeProxyParams,
    NftablesParams,
    SyncLoad,
    SyncOp,
)

FloatArray: TypeAlias = NDArray[np.float64]
Row: TypeAlias = Mapping[str, str]
FittedParams: TypeAlias = IptablesNftParams | IptablesLegacyParams | NftablesParams

# Start value (seconds, or a ratio) and standard deviation of its natural logarithm. The starts are
# rounded from single-step fits; the standard deviations say how firmly the start is believed.
_PRIORS_NF_TABLES: dict[str, tuple[float, float]] = {
    "generate_base_seconds": (5e-4, 1.0),
    "generate_per_service_seconds": (5e-6, 1.0),
    "generate_per_payload_rule_seconds": (3e-7, 1.0),
    "generate_per_changed_endpoint_seconds": (4e-6, 1.0),
    "restore_base_seconds": (3e-3, 1.0),
    "restore_rcu_wait_seconds": (0.03, 1.0),
    "restore_per_rule_seconds": (3e-5, 0.5),
    "restore_chains_kilo_power_seconds": (7e-3, 0.5),
    "sorted_list_exponent": (2.4, 0.05),
    "restore_services_kilo_power_seconds": (1.5e-3, 0.5),
    "restore_per_present_endpoint_seconds": (1.5e-6, 1.0),
    "save_base_seconds": (3e-3, 1.0),
    "save_per_service_seconds": (4e-5, 1.0),
    "save_per_endpoint_seconds": (2e-5, 1.0),
    "ensure_initial_seconds": (0.06, 1.0),
    "ensure_base_seconds": (0.045, 1.0),
    "ensure_per_service_seconds": (1.6e-5, 1.0),
}
_PRIORS_LEGACY: dict[str, tuple[float, float]] = {
    "generate_base_seconds": (5e-4, 1.0),
    "generate_per_service_seconds": (5e-6, 1.0),
    "generate_per_payload_rule_seconds": (5e-7, 1.0),
    "generate_per_changed_endpoint_seconds": (4e-6, 1.0),
    "restore_base_seconds": (1e-3, 1.0),
    "restore_per_rule_seconds": (5e-6, 1.0),
    "restore_per_present_rule_seconds": (5e-6, 1.0),
    "save_base_seconds": (1.5e-3, 1.0),
    "save_per_service_seconds": (3e-6, 1.0),
    "save_per_endpoint_seconds": (5e-6, 1.0),
    "ensure_initial_seconds": (0.05, 1.0),
    "ensure_base_seconds": (0.03, 1.0),
    "ensure_per_present_rule_seconds": (1.1e-5, 1.0),
}
_PRIORS_NFTABLES: dict[str, tuple[float, float]] = {
    "generate_base_seconds": (5e-4, 1.0),
    "generate_per_service_seconds": (1.7e-5, 1.0),
    "generate_per_endpoint_seconds": (1.5e-6, 1.0),
    "generate_per_emitted_service_seconds": (5e-6, 1.0),
    "generate_per_emitted_endpoint_seconds": (5e-7, 1.0),
    "nft_commit_wait_seconds": (0.014, 1.0),
    "nft_per_service_seconds": (8e-5, 0.5),
    "nft_per_endpoint_seconds": (5e-6, 1.0),
    "nft_per_present_service_seconds": (5e-6, 1.0),
    "set_scan_step_seconds": (1.6e-7, 0.3),
    "transaction_scan_step_seconds": (7e-7, 0.3),
    "transaction_cold_kilo_services": (10.0, 0.3),
    "transaction_replace_ratio": (2.0, 0.2),
    "list_base_seconds": (5e-3, 1.0),
    "list_per_service_seconds": (6e-5, 0.5),
    "list_per_endpoint_seconds": (5e-6, 1.0),
    "list_per_service_pair_seconds": (3e-8, 0.5),
    "list_full_base_seconds": (0.02, 1.0),
    "list_full_per_service_seconds": (1.7e-5, 1.0),
}
PRIORS: dict[tuple[str, str], dict[str, tuple[float, float]]] = {
    ("iptables", "nf_tables"): _PRIORS_NF_TABLES,
    ("iptables", "legacy"): _PRIORS_LEGACY,
    ("nftables", ""): _PRIORS_NFTABLES,
}
_DEFAULTS: dict[tuple[str, str], FittedParams] = {
    ("iptables", "nf_tables"): IptablesNftParams(),
    ("iptables", "legacy"): IptablesLegacyParams(),
    ("nftables", ""): NftablesParams(),
}
_STEP_WEIGHT = 0.5
_PRIOR_WEIGHT = 0.15
_PUBLISHED_WEIGHT = 0.5
_HUBER_SCALE = 0.2

# published: iss139513-full and iss139513-list, seconds at 44,125 services
_PUBLISHED_SERVICES_COUNT = 44_125.0
_PUBLISHED_APPLY_SECONDS = 1003.9 - 63.0
_PUBLISHED_LIST_SECONDS = 63.0


def read_rows(path: Path) -> list[dict[str, str]]:
    """Rows of a measured CSV file as text."""
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def pseudo_huber(residuals: FloatArray, scale: float) -> FloatArray:
    """Residuals whose squares grow linearly beyond ``scale``; any shape, same shape back."""
    ratio = residuals / scale
    return np.asarray(
        np.sign(residuals) * scale * np.sqrt(2.0 * (np.sqrt(1.0 + ratio * ratio) - 1.0)),
        dtype=np.float64,
    )


def least_squares(
    residuals: Callable[[FloatArray], FloatArray], start: FloatArray, *, rounds_count: int = 400
) -> FloatArray:
    """Levenberg-Marquardt with a forward-difference Jacobian.

    Args:
        residuals: from parameters of shape (p,) to residuals of shape (m,).
        start: shape (p,).
        rounds_count: bound on the number of Jacobians.

    Returns:
        Parameters of shape (p,) at the local minimum.

    **Source:** Marquardt (1963), damping proportional to the identity.
    """
    at = np.array(start, dtype=np.float64)
    value = residuals(at)
    cost = float(value @ value)
    damping = 1e-3
    for _ in range(rounds_count):
        jacobian = np.empty((value.size, at.size))
        for column in range(at.size):
            moved = at.copy()
            moved[column] += 1e-6
            jacobian[:, column] = (residuals(moved) - value) * 1e6
        normal, gradient = jacobian.T @ jacobian, jacobian.T @ value
        improved = False
        for _ in range(30):
            step = np.linalg.solve(normal + damping * np.eye(at.size), -gradient)
            trial = residuals(at + step)
            trial_cost = float(trial @ trial)
            if trial_cost < cost:
                improved = True
                break
            damping *= 4.0
        if not improved:
            break
        gain = (cost - trial_cost) / cost
        at, value, cost = at + step, trial, trial_cost
        damping = max(damping / 3.0, 1e-12)
        if gain < 1e-10:
            break
    return at


def _number(row: Row, column: str) -> float:
    return float(row[column] or 0.0)


def _column(rows: Sequence[Row], column: str) -> FloatArray:
    return np.array([_number(row, column) for row in rows], dtype=np.float64)


def sync_load_of_rows(rows: Sequence[Row]) -> SyncLoad:
    """The loads of n rows of kube_proxy_sync.csv as arrays of shape (n,).

    One endpoint of each changed service was replaced, so a listing finds one stale chain each.
    """
    services = _column(rows, "services")
    per_service = _column(rows, "endpoints_per_service")
    full = np.array([row["op"] != SyncOp.PARTIAL for row in rows], dtype=np.float64)
    initial = np.array([row["op"] == SyncOp.INITIAL_FULL for row in rows], dtype=np.float64)
    changed = np.where(initial > 0, services, _column(rows, "changed_services"))
    listing = _column(rows, "with_cleanup_listing")
    return SyncLoad(
        services_count=services,
        endpoints_count=services * per_service,
        changed_services_count=changed,
        changed_endpoints_count=changed * per_service,
        stale_chains_count=(1.0 - full) * listing * changed,
        full=full,
        initial=initial,
        cleanup_listing=listing,
    )


def sync_load_of_row(row: Row) -> SyncLoad:
    """The load of one row as floats (see `sync_load_of_rows`)."""
    arrays = sync_load_of_rows([row])
    names = [one.name for one in fields(SyncLoad)]
    values = {name: float(np.sum(getattr(arrays, name))) for name in names}
    return SyncLoad(**values)


def _with_values(params: FittedParams, values: Mapping[str, Any]) -> FittedParams:
    return replace(params, **values)


def _published_residuals(params: FittedParams) -> FloatArray:
    if not isinstance(params, NftablesParams):
        return np.empty(0)
    many = _PUBLISHED_SERVICES_COUNT
    first = params.components(
        SyncLoad(services_count=many, endpoints_count=many, full=1.0, initial=1.0)
    )
    later = params.components(SyncLoad(services_count=many, endpoints_count=many))
    return _PUBLISHED_WEIGHT * np.log(
        np.array(
            [
                first.apply / _PUBLISHED_APPLY_SECONDS,
                later.list / _PUBLISHED_LIST_SECONDS,
            ],
            dtype=np.float64,
        )
    )


def fit_proxy_mode(
    rows: Iterable[Row], proxy_mode: str, iptables_backend: str = ""
) -> FittedParams:
    """Fit the law of one mode to rows of kube_proxy_sync.csv.

    Residuals are log(predicted / measured) of the total and, at half weight, the error of each
    step relative to the measured total; both with a linear tail (machine drift is large).
    Disturbed rows are left out.

    Raises:
        ValueError: when no usable row has this mode.
    """
    key = (proxy_mode, iptables_backend)
    used = [
        row
        for row in rows
        if (row["proxy_mode"], row["iptables_backend"]) == key and row["disturbed"] == "0"
    ]
    if not used:
        raise ValueError(f"no undisturbed row of {key}")
    base, priors = _DEFAULTS[key], PRIORS[key]
    names = list(priors)
    centre = np.log(np.array([priors[name][0] for name in names]))
    spread = np.array([priors[name][1] for name in names])
    load = sync_load_of_rows(used)
    measured = {
        step: _column(used, f"{step}_ms") * 1e-3
        for step in ("sync", "generate", "list", "apply", "ensure")
    }
    sync = measured["sync"]
    initial = np.asarray(load.initial) > 0
    constants = _first_listing(base, used, initial)

    def params_at(logs: FloatArray) -> FittedParams:
        values = {name: float(v) for name, v in zip(names, np.exp(logs), strict=True)}
        return _with_values(base, {**values, **constants})

    def residuals(logs: FloatArray) -> FloatArray:
        params = params_at(logs)
        steps = params.components(load)
        parts = [
            np.log(np.asarray(steps.total) / sync),
            *(
                _STEP_WEIGHT * (np.asarray(getattr(steps, step)) - measured[step]) / sync
                for step in ("generate", "list", "apply", "ensure")
            ),
        ]
        return np.concatenate(
            [
                pseudo_huber(np.concatenate(parts), _HUBER_SCALE),
                _PRIOR_WEIGHT * (logs - centre) / spread,
                _published_residuals(params),
            ]
        )

    fitted = params_at(least_squares(residuals, centre))
    return _with_cpu_ratios(fitted, used, load)


def _first_listing(
    base: FittedParams, rows: Sequence[Row], initial: NDArray[np.bool_]
) -> dict[str, float]:
    name = "list_initial_seconds" if isinstance(base, NftablesParams) else "save_empty_seconds"
    listing = _column(rows, "list_ms")[initial] * 1e-3
    return {name: float(np.median(listing))} if listing.size else {}


def _with_cpu_ratios(params: FittedParams, rows: Sequence[Row], load: SyncLoad) -> FittedParams:
    """CPU per second of each step, non-negative, relative errors weighted equally."""
    steps = params.components(load)
    cpu = (_column(rows, "self_cpu_ms") + _column(rows, "child_cpu_ms")) * 1e-3
    names = ["generate", "list", "apply"] + (
        [] if isinstance(params, NftablesParams) else ["ensure"]
    )
    columns = [np.asarray(getattr(steps, name), dtype=np.float64) for name in names]
    columns[2] = columns[2] - np.asarray(steps.wait)
    start = np.zeros(len(names))

    def residuals(logs: FloatArray) -> FloatArray:
        predicted = sum(
            (float(ratio) * column for ratio, column in zip(np.exp(logs), columns, strict=True)),
            start=np.zeros_like(cpu),
        )
        return np.concatenate(
            [pseudo_huber(predicted / cpu - 1.0, _HUBER_SCALE), _PRIOR_WEIGHT * logs]
        )

    ratios = np.exp(least_squares(residuals, start))
    return _with_values(
        params,
        {f"cpu_per_{name}_ratio": float(v) for name, v in zip(names, ratios, strict=True)},
    )


def fit_kube_proxy(rows: Iterable[Row]) -> KubeProxyParams:
    """Fit all measured modes to rows of kube_proxy_sync.csv; IPVS keeps its assumed values."""
    rows = list(rows)
    fitted = KubeProxyParams()
    nf_tables = fit_proxy_mode(rows, "iptables", "nf_tables")
    legacy = fit_proxy_mode(rows, "iptables", "legacy")
    nftables = fit_proxy_mode(rows, "nftables")
    if not isinstance(nf_tables, IptablesNftParams) or not isinstance(legacy, IptablesLegacyParams):
        raise TypeError("a mode was fitted with another mode's law")
    if not isinstance(nftables, NftablesParams):
        raise TypeError("nftables was fitted with another mode's law")
    return replace(fitted, iptables_nf_tables=nf_tables, iptables_legacy=legacy, nftables=nftables)
