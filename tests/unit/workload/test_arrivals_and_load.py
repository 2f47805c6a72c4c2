"""Arrival shapes against their integrals; load clients against closed-loop formulas."""

from __future__ import annotations

from itertools import islice, pairwise
from math import pi, sin

import numpy as np
import pytest
from scipy.integrate import quad

from sim.engine.engine import Engine
from sim.workload.arrivals import Rate
from sim.workload.load import LoadGenerator
from sim.workload.operations import Load
from tests.support.instant_apiserver import InstantAPIServer

SHAPES = [
    Rate(per_second=7.0),
    Rate(per_second=2.0, shape="ramp", end_per_second=20.0, over_seconds=10.0),
    Rate(per_second=20.0, shape="ramp", end_per_second=2.0, over_seconds=10.0),
    Rate(per_second=0.0, shape="ramp", end_per_second=9.0, over_seconds=3.0),
    Rate(per_second=3.0, shape="step", step_per_second=2.0, over_seconds=4.0),
    Rate(per_second=9.0, shape="step", step_per_second=-2.0, over_seconds=4.0),
    Rate(per_second=5.0, shape="sine", amplitude_ratio=0.9, over_seconds=6.0),
    Rate(per_second=5.0, shape="sine", amplitude_ratio=1.0, over_seconds=1.5),
]


@pytest.mark.parametrize("rate", SHAPES, ids=lambda rate: f"{rate.shape}-{rate.per_second:g}")
def test_one_arrival_per_unit_of_the_integral(rate: Rate) -> None:
    """∫λ between two evenly spaced arrivals is one, whatever the shape (numeric integration)."""
    times = list(islice(rate.times(Engine(1).stream("a")), 60))
    assert times[0] == 0.0
    for sooner, later in pairwise(times):
        edges = [edge for edge in np.arange(0.0, later, rate.over_seconds) if sooner < edge < later]
        mass, _ = quad(rate.intensity, sooner, later, points=edges or None, limit=200)
        assert mass == pytest.approx(1.0, abs=1e-6)


def test_a_rate_that_falls_to_nothing_ends() -> None:
    """Down from 4/s in steps of 2: 40 + 20 arrivals, and the one at 0."""
    rate = Rate(per_second=4.0, shape="step", step_per_second=-2.0, over_seconds=10.0)
    times = list(islice(rate.times(Engine(1).stream("a")), 1000))
    assert len(times) in {60, 61}
    assert times[-1] <= 20.0 + 1e-9


def test_sine_intensity_is_the_formula() -> None:
    rate = Rate(per_second=5.0, shape="sine", amplitude_ratio=0.5, over_seconds=8.0)
    assert rate.intensity(3.0) == pytest.approx(5.0 * (1.0 + 0.5 * sin(2.0 * pi * 3.0 / 8.0)))


def test_poisson_arrivals_have_the_mean_and_the_variance() -> None:
    """20,000 gaps of a Poisson process: mean 1/λ, variance 1/λ² (5 standard errors)."""
    rate = Rate(per_second=4.0, arrivals="poisson")
    times = np.array(list(islice(rate.times(Engine(3).stream("a")), 20_000)))
    gaps = np.diff(times)
    assert gaps.mean() == pytest.approx(0.25, abs=5 * 0.25 / np.sqrt(gaps.size))
    assert gaps.var() == pytest.approx(0.0625, rel=5 * np.sqrt(8.0 / gaps.size))


def run(load: Load, delay_seconds: float = 0.01) -> tuple[LoadGenerator, InstantAPIServer]:
    engine = Engine(1)
    server = InstantAPIServer(engine, delay_seconds)
    generator = LoadGenerator(engine, server.clients, load, "workload/0")
    engine.process(generator.run())
    engine.run(10_000.0)
    return generator, server


def count(server: InstantAPIServer, verb: str, resource: str = "configmaps") -> int:
    return sum(row[2:4] == (verb, resource) for row in server.requests)


def test_closed_loop_without_thinking() -> None:
    """n clients, answers after d: n/d requests per second."""
    _, server = run(Load(verb="get", clients=4, duration_seconds=20.0, object_count=5))
    assert count(server, "get") == pytest.approx(4 * 20.0 / 0.01, rel=0.01)


def test_closed_loop_with_thinking() -> None:
    """The interactive response-time law: X = n / (R + Z), within 5 standard errors."""
    _, server = run(
        Load(verb="get", clients=20, think_seconds=0.5, duration_seconds=200.0, object_count=5)
    )
    expected = 20 * 200.0 / 0.51
    assert count(server, "get") == pytest.approx(expected, abs=5 * expected**0.5)


def test_open_loop_goes_on_at_its_rate() -> None:
    """100/s against answers that take a second: arrivals do not wait for answers."""
    _, server = run(
        Load(verb="patch", clients=3, rate=Rate(per_second=100.0), duration_seconds=10.0,
             object_count=5),
        delay_seconds=1.0,
    )  # fmt: skip
    patches = [row for row in server.requests if row[2] == "patch"]
    assert len(patches) in {1000, 1001}  # the one at 10 s is a matter of rounding
    assert patches[999][0] - patches[0][0] == pytest.approx(9.99, abs=1e-6)
    assert {row[1] for row in patches} == {"load-0", "load-1", "load-2"}


def test_a_client_limit_slows_a_closed_loop() -> None:
    _, server = run(
        Load(verb="get", client_qps=5.0, client_burst=10, duration_seconds=20.0, object_count=1)
    )
    assert count(server, "get") == pytest.approx(10 + 5 * 20, abs=2)


def test_every_verb_is_sent() -> None:
    for verb in ("get", "list", "create", "update", "patch", "delete"):
        generator, server = run(Load(verb=verb, duration_seconds=1.0, object_count=3), 0.1)  # type: ignore[arg-type]
        prepared = 3 if verb != "create" else 0
        assert count(server, verb) >= 9, verb
        assert count(server, "create") == prepared or verb == "create"
        assert generator.request_count == len(server.requests)


def test_watching_clients_hold_their_watches() -> None:
    _, server = run(Load(verb="watch", clients=7, duration_seconds=5.0))
    assert len(server.watchers) == 7
