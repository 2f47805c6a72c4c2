"""Laws of kube-proxy and the overlay against the measurements, with real cross-validation."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import optimize

from sim.costs.accuracy_node_laws import (
    fit,
    predict_kube_proxy_sync,
    predict_overlay_pod_sandbox,
    predict_overlay_remote_node_entries,
)
from sim.costs.fitting_overlay import fit_pod_network, fit_remote_nodes
from sim.costs.fitting_proxy import fit_kube_proxy, least_squares
from sim.costs.kube_proxy import KubeProxyParams, SyncLoad
from sim.costs.overlay import PodNetworkParams, RemoteNodeParams

Row = dict[str, str]
FloatArray = NDArray[np.float64]
TYPICAL = (0.80, 1.25)
TAIL = (0.66, 1.50)


def _read(shared_dir: Path, name: str) -> list[Row]:
    with (shared_dir / "groundtruth" / name).open(encoding="utf-8") as stream:
        return [row for row in csv.DictReader(stream) if row.get("disturbed", "0") == "0"]


def _shares(ratios: Sequence[float], met: Sequence[bool] | None = None) -> tuple[float, float]:
    """Shares of ratios within the typical and the tail band (or met by the row's own spread)."""
    values = np.array(ratios)
    spared = np.zeros(values.size, dtype=bool) if met is None else np.array(met)
    inside = [((values >= low) & (values <= high)) | spared for low, high in (TYPICAL, TAIL)]
    return float(np.mean(inside[0])), float(np.mean(inside[1]))


def _sync_ratios(rows: Iterable[Row], params: KubeProxyParams) -> tuple[list[float], list[bool]]:
    ratios, met = [], []
    for row in rows:
        predicted = predict_kube_proxy_sync(row, params)["sync_ms"]
        ratios.append(predicted / float(row["sync_ms"]))
        met.append(float(row["sync_ms_min"]) <= predicted <= float(row["sync_ms_max"]))
    return ratios, met


def _left_out(
    rows: Sequence[Row],
    column: str,
    values: Iterable[str],
    fold: Callable[[list[Row], list[Row]], None],
) -> None:
    for value in values:
        train = [row for row in rows if row[column] != value]
        test = [row for row in rows if row[column] == value]
        assert train
        assert test
        fold(train, test)


@pytest.fixture(scope="module")
def sync_rows(shared_dir: Path) -> list[Row]:
    rows = _read(shared_dir, "kube_proxy_sync.csv")
    assert len(rows) >= 170
    return rows


def test_committed_sync_laws_meet_the_bars(sync_rows: list[Row]) -> None:
    for mode, backend in (("iptables", "nf_tables"), ("iptables", "legacy"), ("nftables", "")):
        rows = [r for r in sync_rows if (r["proxy_mode"], r["iptables_backend"]) == (mode, backend)]
        typical, tail = _shares(*_sync_ratios(rows, KubeProxyParams()))
        assert typical >= 0.95, (mode, backend)
        assert tail >= 0.99, (mode, backend)


def test_service_counts_that_the_fit_has_not_seen(sync_rows: list[Row]) -> None:
    """Each number of services is predicted by a fit to all the others (20,000 from 10,000)."""
    ratios: list[float] = []
    met: list[bool] = []

    def fold(train: list[Row], test: list[Row]) -> None:
        got = _sync_ratios(test, fit_kube_proxy(train))
        ratios.extend(got[0])
        met.extend(got[1])

    _left_out(sync_rows, "services", sorted({r["services"] for r in sync_rows}), fold)
    typical, tail = _shares(ratios, met)
    assert len(ratios) == len(sync_rows)
    assert typical >= 0.82
    assert tail >= 0.95


def test_endpoint_counts_that_the_fit_has_not_seen(sync_rows: list[Row]) -> None:
    """50 endpoints per service from at most 10, and so on."""
    ratios: list[float] = []
    met: list[bool] = []

    def fold(train: list[Row], test: list[Row]) -> None:
        got = _sync_ratios(test, fit_kube_proxy(train))
        ratios.extend(got[0])
        met.extend(got[1])

    _left_out(sync_rows, "endpoints_per_service", ["2", "10", "50"], fold)
    typical, tail = _shares(ratios, met)
    assert len(ratios) >= 60
    assert typical >= 0.82
    assert tail >= 0.95


def test_payload_counts_are_exact(sync_rows: list[Row]) -> None:
    for row in sync_rows:
        predicted = predict_kube_proxy_sync(row)
        assert predicted["apply_rules"] == float(row["apply_rules"])
        assert predicted["apply_chains"] == float(row["apply_chains"])


def test_cpu_of_a_sync(sync_rows: list[Row]) -> None:
    from sim.costs.fitting_proxy import sync_load_of_row

    params = KubeProxyParams()
    ratios = []
    for row in sync_rows:
        measured = (float(row["self_cpu_ms"]) + float(row["child_cpu_ms"])) * 1e-3
        backend = row["iptables_backend"] or "nf_tables"
        cpu = float(params.sync_cpu_seconds(sync_load_of_row(row), row["proxy_mode"], backend))
        ratios.append(cpu / measured)
    typical, tail = _shares(ratios)
    assert typical >= 0.90
    assert tail >= 0.99


def test_forty_four_thousand_services_on_someone_elses_machine() -> None:
    """published: iss139513-full, 1,003.9 s; the one published size beyond the measured ones."""
    many = 44_125.0
    load = SyncLoad(services_count=many, endpoints_count=many, full=1.0, initial=1.0)
    seconds = float(KubeProxyParams().sync_seconds(load, "nftables"))
    assert 0.5 <= seconds / 1003.9 <= 2.0


# ------------------------------------------------------------------------------------- runner
def _programming_latency_ms(row: Row, runs_count: int, seed: int) -> FloatArray:
    """Latencies of Poisson changes under the runner with the fitted law, milliseconds.

    A run starts at once when idle; the next one at the earliest one minSyncPeriod after its end;
    changes in between are coalesced. Each change replaces one endpoint of a random service.
    """
    rng = np.random.default_rng(seed)
    params = KubeProxyParams()
    services = float(row["services"])
    per_service = float(row["endpoints_per_service"])
    endpoints = services * per_service
    duration = float(row["duration_s"])
    latencies: list[float] = []
    for _ in range(runs_count):
        changes = np.sort(rng.random(rng.poisson(float(row["change_rate_s"]) * duration)))
        changes *= duration
        position, free = 0, 0.0
        while position < changes.size:
            begin = max(changes[position], free)
            behind = int(np.searchsorted(changes, begin, side="right"))
            count = float(behind - position)
            load = SyncLoad(
                services_count=services,
                endpoints_count=endpoints,
                changed_services_count=count,
                changed_endpoints_count=count * per_service,
                stale_chains_count=count if endpoints <= 1000 else 0.0,
                cleanup_listing=1.0 if endpoints <= 1000 else 0.0,
            )
            end = begin + float(
                params.sync_seconds(
                    load,
                    row["proxy_mode"],
                    row["iptables_backend"] or "nf_tables",
                    normals=float(rng.standard_normal()),
                )
            )
            latencies.extend((end - changes[position:behind]) * 1e3)
            position, free = behind, end + float(row["min_sync_period_s"])
    return np.array(latencies)


def test_runner_with_the_law_gives_the_measured_programming_latency(shared_dir: Path) -> None:
    """Rows of 19 changes have a median of their own luck: only their mean and tail are judged."""
    typical, tail = [], []
    for row in _read(shared_dir, "kube_proxy_bounded_frequency.csv"):
        got = _programming_latency_ms(row, runs_count=40, seed=1)
        assert got.size > 400
        typical.append(float(got.mean()) / float(row["npl_mean_ms"]))
        if float(row["changes"]) >= 50:
            typical.append(float(np.median(got)) / float(row["npl_p50_ms"]))
        tail.append(float(np.quantile(got, 0.99)) / float(row["npl_p99_ms"]))
    assert len(tail) == 12
    assert _shares(typical)[0] >= 0.90
    assert _shares(tail)[1] == 1.0


# ------------------------------------------------------------------------------------ overlay
def _pod_ratios(rows: Iterable[Row], params: PodNetworkParams) -> tuple[list[float], list[float]]:
    typical, tail = [], []
    for row in rows:
        predicted = predict_overlay_pod_sandbox(row, params)
        typical += [predicted[name] / float(row[name]) for name in ("mean_ms", "p50_ms")]
        tail.append(predicted["p99_ms"] / float(row["p99_ms"]))
    return typical, tail


def test_committed_pod_network_law_meets_the_bars(shared_dir: Path) -> None:
    typical, tail = _pod_ratios(_read(shared_dir, "overlay_pod_sandbox.csv"), PodNetworkParams())
    assert _shares(typical)[0] >= 0.80
    assert _shares(typical)[1] >= 0.95
    assert _shares(tail)[1] >= 0.80


def test_bands_of_pods_that_the_fit_has_not_seen_are_as_good_as_a_repetition(
    shared_dir: Path,
) -> None:
    """One repetition predicts the other's values in band for 44 % only; the law must beat that."""
    rows = _read(shared_dir, "overlay_pod_sandbox.csv")
    setup = [row for row in rows if row["op"] == "pod_setup"]
    teardown = [row for row in rows if row["op"] != "pod_setup"]
    typical: list[float] = []
    tail: list[float] = []

    def fold(train: list[Row], test: list[Row]) -> None:
        got = _pod_ratios(test, fit_pod_network([*train, *teardown]))
        typical.extend(got[0])
        tail.extend(got[1])

    _left_out(setup, "existing_pods_from", ["0", "50", "100", "150"], fold)
    serial = [row for row in setup if row["concurrency"] == "1"]
    first = {(r["step"], r["existing_pods_from"]): r for r in serial if r["rep"] == "1"}
    repeated = [
        float(first[row["step"], row["existing_pods_from"]][name]) / float(row[name])
        for row in serial
        if row["rep"] == "2"
        for name in ("mean_ms", "p50_ms")
    ]
    assert _shares(typical)[0] >= 0.65 > _shares(repeated)[0]
    assert _shares(typical)[1] >= 0.90
    assert _shares(tail)[1] >= 0.70


def test_remote_node_entries_seen_and_unseen(shared_dir: Path) -> None:
    rows = [
        r for r in _read(shared_dir, "overlay_remote_node_entries.csv") if r["step"] != "list_all"
    ]
    assert len(rows) == 35

    def ratios(test: Iterable[Row], params: RemoteNodeParams) -> list[float]:
        return [
            predict_overlay_remote_node_entries(row, params)["mean_ms"] / float(row["mean_ms"])
            for row in test
        ]

    assert _shares(ratios(rows, RemoteNodeParams()))[0] >= 0.90
    unseen: list[float] = []
    _left_out(
        rows,
        "remote_nodes",
        ["100", "1000", "5000"],
        lambda train, test: unseen.extend(ratios(test, fit_remote_nodes(train))),
    )
    assert _shares(unseen)[0] >= 0.80
    assert _shares(unseen)[1] >= 0.95


# ---------------------------------------------------------------------------------------- fit
def test_fit_reproduces_the_committed_parameters(shared_dir: Path) -> None:
    """The defaults are the fit, rounded to four digits."""
    laws = fit(shared_dir / "groundtruth")
    checked = 0
    committed_laws = (KubeProxyParams(), PodNetworkParams(), RemoteNodeParams())
    fitted_laws = (laws.kube_proxy, laws.pod_network, laws.remote_nodes)
    pairs: list[tuple[object, object]] = list(zip(committed_laws, fitted_laws, strict=True))
    while pairs:
        committed, fitted = pairs.pop()
        assert type(committed) is type(fitted)
        for one in dataclasses.fields(committed):  # type: ignore[arg-type]
            ours, theirs = getattr(committed, one.name), getattr(fitted, one.name)
            if dataclasses.is_dataclass(ours):
                pairs.append((ours, theirs))
            elif isinstance(ours, float):
                assert theirs == pytest.approx(ours, rel=5e-3), (type(committed), one.name)
                checked += 1
    assert checked > 100


def test_fit_of_twice_as_slow_measurements_is_twice_as_slow(sync_rows: list[Row]) -> None:
    """Another machine's sweep gives that machine's law, not the committed one."""
    times = ["sync_ms", "generate_ms", "list_ms", "apply_ms", "ensure_ms"]
    times += ["self_cpu_ms", "child_cpu_ms"]
    slower = [
        {**row, **{name: str(2.0 * float(row[name] or 0.0)) for name in times}}
        for row in sync_rows
        if row["proxy_mode"] == "iptables"
    ]
    mixed = [*slower, *(row for row in sync_rows if row["proxy_mode"] == "nftables")]
    params = fit_kube_proxy(mixed)
    ratios, _ = _sync_ratios(slower, params)
    assert _shares(ratios)[0] >= 0.95


def test_optimiser_agrees_with_scipy_on_a_curved_valley() -> None:
    def residuals(at: FloatArray) -> FloatArray:
        return np.array([10.0 * (at[1] - at[0] ** 2), 1.0 - at[0], 0.1 * at[1]])

    start = np.array([-1.2, 1.0])
    ours = least_squares(residuals, start)
    theirs = optimize.least_squares(residuals, start, method="lm").x
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
