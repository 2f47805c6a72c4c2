"""Figures about nodes and published latencies: what is drawn is what the facts say."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from sim.components.facts import ALL
from sim.engine.tables import Recorder
from sim.metrics.bottleneck import find_bottleneck
from sim.metrics.derive import Derivation
from sim.metrics.programming import measured_window, pooled_latencies
from sim.report import figures_nodes, figures_published
from sim.report.figure_kit import Context
from tests.support.fake_cluster import filled_recorder


def context_of(recorder: Recorder, **settings: object) -> Context:
    derivation = Derivation(recorder)
    return Context(derivation, find_bottleneck(derivation), 20.0, settings)


def programming(node_count: int, change_count: int = 50) -> Recorder:
    recorder = Recorder(ALL)
    for index in range(change_count):
        recorder["network_programming"].append(
            (float(index), "ns", "web", 0.1, 0.5, 1.0, 2.0, node_count)
        )
    return recorder


def test_endpoints_are_summed_over_slices_and_forgotten_when_deleted() -> None:
    recorder = Recorder(ALL)
    for time, name, kind, ready in (
        (1.0, "a-1", "ADDED", 3), (2.0, "a-2", "ADDED", 2), (3.0, "a-1", "MODIFIED", 1),
        (4.0, "a-2", "DELETED", 2),
    ):  # fmt: skip
        text = f'{{"ready_count":{ready},"service":"a"}}'
        recorder["objects"].append((time, "endpointslices", "ns", name, kind, text, ""))
    services = figures_nodes.ready_endpoints(context_of(recorder))
    times, counts = services["a"]
    assert times.tolist() == [1.0, 2.0, 3.0, 4.0]
    assert counts.tolist() == [3.0, 5.0, 3.0, 1.0]
    grid = np.array([0.0, 1.0, 2.5, 9.0])
    assert figures_nodes.endpoints_over_time(services, grid).tolist() == [[0.0, 3.0, 5.0, 1.0]]


def test_joining_shows_every_step_that_was_reached() -> None:
    figure = figures_nodes.joining(context_of(filled_recorder(50)))
    left, right = figure.axes
    assert len(left.patches) == 7
    assert [line.get_label() for line in right.lines] == [
        "registered", "with a range", "Ready", "reached by every node",
    ]  # fmt: skip


def test_disturbance_marks_the_fault_and_the_dip() -> None:
    context = context_of(filled_recorder(50))
    assert figures_nodes.is_disturbed(context)
    left, _ = figures_nodes.disturbance(context).axes
    worst = left.lines[0].get_ydata()
    assert float(np.nanmin(worst)) == pytest.approx(100.0 * 2 / 3)
    assert any("killNode node-1" in text.get_text() for text in left.texts)


def test_latencies_are_pooled_over_changes_and_nodes() -> None:
    values = pooled_latencies(programming(5000))
    assert np.quantile(values, 0.5) == pytest.approx(0.5, abs=0.02)
    assert float(values[-1]) <= 2.0
    assert float(values[0]) >= 0.1
    recorder = programming(5000)
    for time, what in ((10.0, "measurement starts"), (20.0, "measurement ends")):
        recorder["faults"].append((time, "workload", what, "measured"))
    assert measured_window(recorder) == (10.0, 20.0)
    assert len(pooled_latencies(recorder)) == 10 * 40


def test_published_figures_are_drawn_beside_runs_of_their_size() -> None:
    assert not figures_published.is_wanted(context_of(programming(20)))
    context = context_of(programming(5000), **{"cluster.kubeProxy.mode": "nftables"})
    assert figures_published.is_wanted(context)
    run = figures_published.measured(context.derivation.facts, context.settings)
    assert (run.mode, run.node_count, run.min_sync_seconds) == ("nftables", 5000, 1.0)
    like = [row for row in figures_published.published_rows() if run.is_like(row)]
    assert like == []  # nftables was published for 100 nodes only
    _, right = figures_published.beside_published([run]).axes
    labels = [text.get_text() for text in right.get_yticklabels()]
    assert labels[0] == "this model: nftables, 5,000 nodes, 1 s"
    assert "GCE CI 2023: iptables, 5,000 nodes" in labels


def test_shipped_rows_are_those_of_the_measured_data(shared_dir: Path) -> None:
    with (shared_dir / "facts" / "published.csv").open(encoding="utf-8", newline="") as file:
        known = {row["id"]: row for row in csv.DictReader(file)}
    path = Path(figures_published.__file__).parent / "data" / "network_programming_published.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    for row in rows:
        source = known[row["id"]]
        scale = {"s": 1.0, "ms": 1e-3}[source["unit"]]
        edges = [float(part) * scale for part in source["value"].lstrip("~").split("-")]
        assert (float(row["low_seconds"]), float(row["high_seconds"])) == (edges[0], edges[-1])
        assert source["source_url"] == row["source_url"]
        assert source["percentile_or_stat"] == row["stat"]
