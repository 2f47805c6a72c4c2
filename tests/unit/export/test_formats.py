"""OpenMetrics, JUnit, perf-dash and kube-burner, read back the way their tools read them."""

from __future__ import annotations

import re
from collections import defaultdict
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from sim.export.interchange import kube_burner_documents, perf_dash_items
from sim.export.junit import Case, junit_xml
from sim.export.openmetrics import exposition
from sim.metrics.catalogue import BY_NAME
from sim.metrics.derive import Derivation
from sim.metrics.series import scrape_times
from tests.support.fake_cluster import filled_recorder

SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+) (\S+)$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
COMMON = {"cluster": "kubesim", "experiment": 'a"b', "seed": "1"}


@pytest.fixture(scope="module")
def derivation() -> Derivation:
    return Derivation(filled_recorder(200))


@pytest.fixture(scope="module")
def text(derivation: Derivation) -> str:
    return exposition(derivation, scrape_times(15.0, 5.0), COMMON)


def samples(text: str):
    for line in text.splitlines():
        if not line.startswith("#"):
            match = SAMPLE.match(line)
            assert match is not None, line
            labels = dict(LABEL.findall(match[2] or ""))
            yield match[1], labels, float(match[3]), float(match[4])


def test_families_are_contiguous_and_the_end_is_marked(text: str) -> None:
    assert text.endswith("# EOF\n")
    families = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(families) == len(set(families))
    current = ""
    for line in text.splitlines():
        if line.startswith("# TYPE"):
            current = line.split()[2]
        elif not line.startswith("#"):
            assert line.startswith(current), line


def test_times_increase_within_a_label_set(text: str) -> None:
    last: dict[tuple, float] = {}
    for name, labels, _, time in samples(text):
        key = (name, tuple(labels.items()))
        assert time > last.get(key, 0.0)
        last[key] = time
    assert min(last.values()) > 1.7e9  # wall-clock seconds, not simulated ones


def test_histograms_are_cumulative_and_agree_with_the_facts(text: str, derivation) -> None:
    name = "apiserver_request_sli_duration_seconds"
    buckets: dict[tuple, list[tuple[float, float]]] = defaultdict(list)
    counts, sums = {}, {}
    for sample, labels, value, time in samples(text):
        if sample == f"{name}_bucket":
            le = float(labels.pop("le"))
            buckets[(*labels.items(), time)].append((le, value))
        elif sample == f"{name}_count":
            counts[(*labels.items(), time)] = value
        elif sample == f"{name}_sum":
            sums[(*labels.items(), time)] = value
    assert len(buckets) == len(counts) == len(sums) == 12  # 4 label sets, 3 scrapes
    for key, row in buckets.items():
        edges, values = zip(*row, strict=True)
        assert list(edges) == sorted(edges)
        assert edges[-1] == float("inf")
        assert list(values) == sorted(values)
        assert values[-1] == counts[key]
    observed = derivation.observations(BY_NAME[name])
    end = max(key[-1] for key in counts)
    final = [key for key in counts if key[-1] == end]
    assert sum(counts[key] for key in final) == len(observed.values)
    assert sum(sums[key] for key in final) == pytest.approx(observed.values.sum())
    for edge in (1.0, 0.1):
        below = sum(value for key in final for le, value in buckets[key] if le == edge)
        assert below == np.sum(observed.values <= edge)


def test_counters_end_in_total_and_never_fall(text: str) -> None:
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    last: dict[tuple, float] = {}
    for name, labels, value, _ in samples(text):
        if kinds.get(name.removesuffix("_total")) == "counter":
            assert name.endswith("_total")
            key = (name, tuple(labels.items()))
            assert value >= last.get(key, 0.0)
            last[key] = value
    assert len(last) > 10


def test_common_labels_and_escapes(text: str) -> None:
    line = next(line for line in text.splitlines() if line.startswith("sim_pods_total"))
    assert 'experiment="a\\"b"' in line
    assert 'job="kubesim"' in line


def test_junit_is_xml_with_the_right_counts() -> None:
    cases = [
        Case("thresholds", "a < b"), Case("thresholds", "c & d", failure="measured <9>"),
        Case("run", "e", skipped="nothing observed"),
    ]  # fmt: skip
    root = ET.fromstring(junit_xml("x & y", 12.5, cases))
    assert root.attrib == {
        "name": "x & y", "tests": "3", "failures": "1", "errors": "0", "skipped": "1",
        "time": "12.500000",
    }  # fmt: skip
    assert [case.get("name") for case in root] == ["a < b", "c & d", "e"]
    assert root[1][0].text == "measured <9>"


def test_perf_dash_items_have_equal_label_keys(derivation: Derivation) -> None:
    documents = perf_dash_items(derivation, {"experiment": "x", "scenario": "y"})
    api = documents["APIResponsivenessPrometheus"]["dataItems"]
    assert {tuple(sorted(item["labels"])) for item in api} == {
        ("Count", "Resource", "Scope", "Subresource", "Verb")
    }
    assert all(item["unit"] == "ms" for item in api)
    binding = next(item for item in api if item["labels"]["Subresource"] == "binding")
    observed = derivation.observations(BY_NAME["apiserver_request_sli_duration_seconds"])
    values = observed.select({"subresource": "binding"})
    assert binding["data"]["Perc99"] == pytest.approx(1000 * np.quantile(values, 0.99))
    assert documents["SchedulingThroughput"]["dataItems"][0]["data"]["Average"] == pytest.approx(
        20.0, rel=0.05
    )


def test_kube_burner_quantiles_in_milliseconds(derivation: Derivation) -> None:
    manifest = {"experiment": "x", "digest": "d" * 64, "seed": 1}
    documents = {
        item["quantileName"]: item for item in kube_burner_documents(derivation, manifest)
    }
    assert set(documents) == {"PodScheduled", "Initialized", "ContainersReady", "Ready"}
    ready = documents["Ready"]
    assert ready["P50"] <= ready["P95"] <= ready["P99"] <= ready["max"]
    expected = derivation.startup.durations("ready_seconds")[0]
    assert ready["max"] == round(1000 * expected.max())
