# ruff: noqa: PD011 - values of observations, not of pandas
"""Summaries and series against pandas and plain loops over the same facts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.engine.tables import Recorder
from sim.metrics.catalogue import BY_NAME, METRICS
from sim.metrics.columns import HTTP_VERBS, job_of_user
from sim.metrics.derive import Derivation
from sim.metrics.facts_view import group_rows
from sim.metrics.series import SCRAPES_MAX, all_series, scrape_times
from sim.metrics.summary import quantiles_of_sorted, summarise, summary
from tests.support.fake_cluster import filled_recorder


@pytest.fixture(scope="module")
def recorder() -> Recorder:
    return filled_recorder(300)


def frame(recorder: Recorder, name: str) -> pd.DataFrame:
    table = recorder[name]
    columns = {}
    for column in table.spec.columns:
        values = table.column(column.name)
        if column.dtype == "text":
            values = np.array(table.categories(column.name), dtype=object)[values]
        columns[column.name] = values
    return pd.DataFrame(columns)


def test_request_latency_equals_pandas(recorder: Recorder) -> None:
    requests = frame(recorder, "requests")
    requests["verb"] = requests["verb"].map(HTTP_VERBS)
    requests["sli"] = (requests["server_seconds"] - requests["queue_seconds"]).clip(lower=0)
    rows = summarise(
        Derivation(recorder).observations(BY_NAME["apiserver_request_sli_duration_seconds"])
    )
    found = {(row.labels, row.stat): row.value for row in rows}
    groups = requests.groupby(["verb", "resource", "subresource", "scope"])["sli"]
    assert len(groups) * 6 == len(found)
    for (verb, resource, subresource, scope), values in groups:
        labels = (
            f'verb="{verb}",resource="{resource}",subresource="{subresource}",scope="{scope}"'
        )
        assert found[labels, "count"] == len(values)
        assert found[labels, "mean"] == pytest.approx(values.mean())
        for stat, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
            assert found[labels, stat] == pytest.approx(values.quantile(share))
        assert found[labels, "max"] == values.max()


def test_counters_equal_plain_counts(recorder: Recorder) -> None:
    requests = frame(recorder, "requests")
    derivation = Derivation(recorder)
    rows = summarise(derivation.observations(BY_NAME["apiserver_request_total"]))
    assert sum(row.value for row in rows) == len(requests)
    events = frame(recorder, "watch_deliveries")["delivery_count"].sum()
    rows = summarise(derivation.observations(BY_NAME["apiserver_watch_events_total"]))
    assert sum(row.value for row in rows) == events
    entries = frame(recorder, "etcd_commits")["entry_count"].sum()
    rows = summarise(derivation.observations(BY_NAME["etcd_server_proposals_committed_total"]))
    assert [row.value for row in rows] == [entries]


def test_attempt_includes_its_binding(recorder: Recorder) -> None:
    attempts, bindings = frame(recorder, "scheduling_attempts"), frame(recorder, "bindings")
    joined = attempts.merge(bindings, on="pod_uid")
    expected = (joined["cycle_seconds"] + joined["duration_seconds"]).mean()
    rows = summarise(
        Derivation(recorder).observations(BY_NAME["scheduler_scheduling_attempt_duration_seconds"])
    )
    assert next(row.value for row in rows if row.stat == "mean") == pytest.approx(expected)


def test_throughput_is_pods_per_second(recorder: Recorder) -> None:
    values = Derivation(recorder).observations(
        BY_NAME["sim_scheduling_throughput_pods_per_second"]
    ).values
    assert values.mean() == pytest.approx(20.0, rel=0.03)  # the stand-in creates 20 per second


def test_every_metric_has_facts_and_a_place_in_the_summary(recorder: Recorder) -> None:
    names = {row.metric for row in summary(Derivation(recorder))}
    silent = {metric.name for metric in METRICS} - names
    # The stand-in has no rejections, no requeues, no full syncs.
    assert silent == {
        "apiserver_flowcontrol_rejected_requests_total", "workqueue_retries_total",
        "sim_scheduler_rejections_total", "kubeproxy_sync_full_proxy_rules_duration_seconds",
    }  # fmt: skip


def test_running_totals_end_at_the_total(recorder: Recorder) -> None:
    derivation = Derivation(recorder)
    end = float(frame(recorder, "pod_transitions")["time_seconds"].max())
    lines = all_series(derivation, scrape_times(end, 5.0))
    totals = {
        (row.metric, row.labels): row.value
        for row in summary(derivation) if row.stat in {"total", "count"}
    }  # fmt: skip
    seen = 0
    for line in lines:
        assert np.all(np.diff(line.times) > 0)
        if line.stat in {"total", "count"} and BY_NAME.get(line.metric) is not None:
            assert np.all(np.diff(line.values) >= 0), line.metric
            if (line.metric, line.labels) in totals:
                assert line.values[-1] == totals[line.metric, line.labels]
                seen += 1
    assert seen > 40


def test_interval_quantiles_equal_numpy(recorder: Recorder) -> None:
    derivation = Derivation(recorder)
    observed = derivation.observations(BY_NAME["etcd_disk_wal_fsync_duration_seconds"])
    scrapes = scrape_times(15.0, 3.0)
    line = next(
        item for item in all_series(derivation, scrapes)
        if item.metric == observed.metric.name and item.stat == "p99"
    )  # fmt: skip
    inside = (observed.times > 3.0) & (observed.times <= 6.0)
    assert line.values[line.times == 6.0][0] == pytest.approx(
        np.quantile(observed.values[inside], 0.99)
    )


def test_scrape_times_stay_bounded() -> None:
    assert scrape_times(12.0, 5.0).tolist() == [5.0, 10.0, 15.0]
    assert scrape_times(10.0, 5.0).tolist() == [5.0, 10.0]
    assert len(scrape_times(1e6, 1.0)) <= SCRAPES_MAX


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2), st.booleans()), max_size=60)
)
def test_grouping_equals_a_dictionary(rows: list[tuple[int, int, bool]]) -> None:
    first = np.array([row[0] for row in rows], dtype=np.int64)
    second = np.array([row[1] for row in rows], dtype=np.int64)
    mask = np.array([row[2] for row in rows], dtype=np.bool_)
    names, more = ["e", "d", "c", "b", "a"], ["z", "y", "x"]
    grouping = group_rows([(first, names), (second, more)], len(rows), mask)
    expected: dict[tuple[str, str], list[int]] = {}
    for index, (a, b, chosen) in enumerate(rows):
        if chosen:
            expected.setdefault((names[a], more[b]), []).append(index)
    found = {
        labels: grouping.rows[grouping.starts[i] : grouping.starts[i + 1]].tolist()
        for i, labels in enumerate(grouping.labels)
    }
    assert found == expected
    assert list(grouping.labels) == sorted(expected)


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50),
    st.lists(st.floats(0.0, 1.0), min_size=1, max_size=4),
)
def test_quantiles_equal_numpy(values: list[float], shares: list[float]) -> None:
    found = quantiles_of_sorted(np.sort(values), shares)
    assert found == pytest.approx(np.quantile(values, shares), rel=1e-9, abs=1e-6)


def test_jobs_of_users() -> None:
    assert job_of_user("system:node:node-17") == "kubelet"
    assert job_of_user("system:kube-scheduler") == "kube-scheduler"
    assert job_of_user("system:serviceaccount:kube-system:replicaset-controller") == (
        "replicaset-controller"
    )
    assert job_of_user("kubernetes-admin") == "kubernetes-admin"
