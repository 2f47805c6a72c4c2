"""Names, labels and buckets of the catalogue against real Prometheus dumps of v1.36.2."""

from __future__ import annotations

import gzip
import re
from collections import defaultdict
from pathlib import Path

import pytest

from sim.components.facts import ALL
from sim.metrics.catalogue import COUNTER, HISTOGRAM, METRICS, SAMPLED
from sim.metrics.columns import FILTERS, LABELS, VALUES
from sim.report.reference import errors_markdown, metrics_markdown

# Exposed by kubelet, kube-proxy and CoreDNS, of which there is no dump; and by etcd's clients only.
NOT_DUMPED = ("kubelet_", "kubeproxy_", "coredns_")
TARGET_LABELS = {"job", "instance"}


@pytest.fixture(scope="module")
def dumped(shared_dir: Path) -> dict[str, tuple[set[str], list[float]]]:
    """Family → (labels, bucket edges), of all four components."""
    labels: dict[str, set[str]] = defaultdict(set)
    edges: dict[str, list[float]] = defaultdict(list)
    for path in sorted((shared_dir / "groundtruth" / "metrics").glob("*-after.prom.gz")):
        for line in gzip.decompress(path.read_bytes()).decode().splitlines():
            if line.startswith("# TYPE"):
                labels[line.split()[2]] |= set()
            match = re.match(r"(\w+)\{(.*)\} ", line)
            if match is None:
                continue
            name = re.sub(r"_(bucket|sum|count)$", "", match[1])
            name = name if name in labels else match[1]
            for label, value in re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[2]):
                labels[name].add(label)
                if label == "le" and float(value) not in edges[name] and value != "+Inf":
                    edges[name].append(float(value))
    return {name: (found, edges[name]) for name, found in labels.items()}


DUMPED = [item for item in METRICS if item.is_upstream and not item.name.startswith(NOT_DUMPED)]


@pytest.mark.parametrize("metric", DUMPED, ids=lambda item: item.name)
def test_upstream_names_labels_and_buckets(metric, dumped) -> None:
    assert metric.name in dumped, "not a name of the real control plane"
    labels, edges = dumped[metric.name]
    assert set(metric.label_names) - TARGET_LABELS <= labels
    if metric.kind == HISTOGRAM and edges:
        assert list(metric.buckets) == pytest.approx(edges, rel=1e-6)


def test_sampled_gauges_have_upstream_names(dumped) -> None:
    for item in SAMPLED.values():
        if not item.name.startswith(("sim_", *NOT_DUMPED)):
            assert item.name in dumped
            assert item.label in dumped[item.name][0] | TARGET_LABELS | {"resource"}


def test_rules_select_edges_one_five_and_thirty() -> None:
    buckets = next(m for m in METRICS if m.name == "apiserver_request_sli_duration_seconds").buckets
    assert {1.0, 5.0, 30.0} <= set(buckets)


def test_every_row_refers_to_columns_that_exist() -> None:
    specs = {spec.name: set(spec.column_names()) for spec in ALL}
    for metric in METRICS:
        if metric.special:
            continue
        columns = specs[metric.table]
        for name in filter(None, (metric.value, metric.time)):
            assert name in columns or (metric.table, name) in VALUES, (metric.name, name)
        for _, name in metric.labels:
            assert name in columns or (metric.table, name) in LABELS, (metric.name, name)
        assert not metric.where or (metric.table, metric.where) in FILTERS
        assert metric.buckets == tuple(sorted(set(metric.buckets)))
        assert bool(metric.buckets) == (metric.kind == HISTOGRAM)
        assert (metric.kind == COUNTER) == metric.name.endswith("_total")


def test_names_are_unique() -> None:
    names = [item.name for item in METRICS] + [item.name for item in SAMPLED.values()]
    assert len(names) == len(set(names))


def test_documentation_is_made_from_the_code(repository_dir: Path) -> None:
    for page, text in (("metrics.md", metrics_markdown()), ("errors.md", errors_markdown())):
        assert (repository_dir / "docs" / page).read_text(encoding="utf-8") == text, (
            f"docs/{page} is out of date: kubesim list metrics|codes --markdown"
        )
