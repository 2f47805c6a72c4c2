"""k6's threshold grammar, its errors, and values measured against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from sim.metrics.derive import Derivation
from sim.metrics.thresholds import (
    AGGREGATES,
    ThresholdError,
    measure,
    observed_values,
    parse_selector,
    parse_threshold,
)
from tests.support.fake_cluster import filled_recorder


@pytest.mark.parametrize(
    ("text", "aggregate", "share", "comparison", "limit"),
    [
        ("p(99) < 1s", "p", 0.99, "<", 1.0),
        ("p(99.9)<=250ms", "p", 0.999, "<=", 0.25),
        ("  avg >  270 ", "avg", 0.0, ">", 270.0),
        ("med < 1m30s", "med", 0.0, "<", 90.0),
        ("rate < 0.01", "rate", 0.0, "<", 0.01),
        ("rate < 1%", "rate", 0.0, "<", 0.01),
        ("count == 0", "count", 0.0, "==", 0.0),
        ("max < 512Mi", "max", 0.0, "<", 512 * 2.0**20),
        ("value >= 1e3", "value", 0.0, ">=", 1000.0),
    ],
)
def test_grammar(text, aggregate, share, comparison, limit) -> None:
    parsed = parse_threshold(text)
    assert (parsed.aggregate, parsed.comparison) == (aggregate, comparison)
    assert parsed.share == pytest.approx(share)
    assert parsed.limit == pytest.approx(limit)


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("p99 < 1s", "histogram", "not a condition"),
        ("p(101) < 1s", "histogram", "beyond 100"),
        ("avg =< 1", "histogram", "unknown comparison"),
        ("avg <> 1", "histogram", "unknown comparison"),
        ("mean < 1", "histogram", "no aggregate 'mean'"),
        ("rate < 1", "histogram", "no aggregate 'rate'"),
        ("p(50) < 1", "counter", "no aggregate 'p(50)'"),
        ("avg < soon", "histogram", "neither a number"),
        ("avg <", "histogram", "not a condition"),
        ("", "histogram", "not a condition"),
    ],
)
def test_malformed_conditions(text: str, kind: str, words: str) -> None:
    with pytest.raises(ThresholdError, match=r".+") as caught:
        parse_threshold(text, kind)
    assert caught.value.code == "E022"
    assert words in str(caught.value)


def test_selectors() -> None:
    selector = parse_selector('apiserver_request_sli_duration_seconds{verb="GET", scope="cluster"}')
    assert selector.labels == (("verb", "GET"), ("scope", "cluster"))
    with pytest.raises(ThresholdError) as caught:
        parse_selector("apiserver_request_sli_duration_secs")
    assert (caught.value.code, caught.value.nearest) == (
        "E023", "apiserver_request_sli_duration_seconds",
    )  # fmt: skip
    with pytest.raises(ThresholdError) as caught:
        parse_selector('apiserver_request_sli_duration_seconds{verbs="GET"}')
    assert caught.value.nearest == "verb"
    with pytest.raises(ThresholdError):
        parse_selector("apiserver_request_sli_duration_seconds{verb=GET}")


def test_comparisons() -> None:
    for text, low, equal, high in (
        ("avg < 2", True, False, False), ("avg <= 2", True, True, False),
        ("avg > 2", False, False, True), ("avg >= 2", False, True, True),
        ("avg == 2", False, True, False), ("avg != 2", True, False, True),
        ("avg === 2", False, True, False), ("avg !== 2", True, False, True),
    ):  # fmt: skip
        condition = parse_threshold(text)
        assert [condition.holds(value) for value in (1.0, 2.0, 3.0)] == [low, equal, high], text


def test_measured_values() -> None:
    derivation = Derivation(filled_recorder(100))
    selector = parse_selector('apiserver_request_sli_duration_seconds{verb="POST"}')
    values = observed_values(selector, derivation)
    assert len(values) == 200  # two POSTs per pod, of different label sets
    for text, expected in (
        ("avg < 1", values.mean()), ("max < 1", values.max()), ("min < 1", values.min()),
        ("med < 1", np.median(values)), ("p(95) < 1", np.quantile(values, 0.95)),
        ("count > 1", 200),
    ):  # fmt: skip
        assert measure(parse_threshold(text), selector, derivation, 10.0) == pytest.approx(expected)
    counter = parse_selector("apiserver_request_total")
    total = measure(parse_threshold("count > 0"), counter, derivation, 10.0)
    rate = measure(parse_threshold("rate > 0"), counter, derivation, 10.0)
    assert total == 302.0
    assert rate == pytest.approx(30.2)
    failed = parse_selector("sim_request_failed_ratio")
    assert measure(parse_threshold("rate < 1%"), failed, derivation, 10.0) == 0.0
    sampled = parse_selector('sim_host_utilization_ratio{instance="cp-0"}')
    assert measure(parse_threshold("max < 1"), sampled, derivation, 10.0) == pytest.approx(0.4)


def test_nothing_observed_is_not_zero() -> None:
    derivation = Derivation(filled_recorder(5))
    selector = parse_selector('apiserver_request_sli_duration_seconds{verb="DELETE"}')
    assert measure(parse_threshold("p(99) < 1s"), selector, derivation, 1.0) is None
    assert measure(parse_threshold("count == 0"), selector, derivation, 1.0) == 0.0


def test_every_kind_has_aggregates() -> None:
    assert set(AGGREGATES) == {"histogram", "gauge", "counter", "ratio"}
