"""Queues, hosts and seats against the closed forms of queueing theory.

Method: the stations are the program's own (a workqueue with its workers, a host, a priority level),
the arrivals come from a stream; 24 independent replications each. Every comparison states its
false-alarm rate by `FALSE_ALARM` = 1e-4: a correct program fails one comparison with that
probability, and one of the 32 here with less than 0.0032. The seeds are fixed.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import brentq

from sim.engine.engine import Engine
from sim.engine.host import Host
from sim.engine.token_bucket import TokenBucket
from tests.support.stations import (
    REPLICATIONS,
    Floats,
    agrees,
    replicate,
    run_jobs,
    seats,
    shared_host,
    workers,
)

Draw = Callable[[np.random.Generator, int], tuple[Floats, Floats]]
SERVICES: dict[str, tuple[Callable[[np.random.Generator, int], Floats], float]] = {
    # name: (services of mean 1, second moment)
    "deterministic": (lambda rng, n: np.ones(n), 1.0),
    "uniform": (lambda rng, n: rng.uniform(0.0, 2.0, n), 4.0 / 3.0),
    "exponential": (lambda rng, n: rng.exponential(1.0, n), 2.0),
    "hyperexponential": (
        # 0.5 with probability 0.8, 3 with 0.2, each exponential: mean 1, E[S²] = 2·Σ p·m²
        lambda rng, n: np.where(rng.random(n) < 0.8, 0.5, 3.0) * rng.exponential(1.0, n),
        2.0 * (0.8 * 0.25 + 0.2 * 9.0),
    ),
}


def poisson(rate: float, service: str = "exponential") -> Draw:
    """Poisson arrivals with services of mean 1."""
    return lambda rng, n: (rng.exponential(1.0 / rate, n), SERVICES[service][0](rng, n))


def erlang_b(servers: int, load: float) -> float:
    """Probability that all servers are busy when nobody may wait (recursion in the servers)."""
    blocked = 1.0
    for count in range(1, servers + 1):
        blocked = load * blocked / (count + load * blocked)
    return blocked


def erlang_c(servers: int, load: float) -> float:
    """Probability that an arrival of M/M/c waits."""
    blocked = erlang_b(servers, load)
    return blocked / (1.0 - load / servers * (1.0 - blocked))


def test_the_formulas_themselves() -> None:
    """Erlang's published values: B(5, 3) = 0.1101, C(2, 1) = 1/3, C(1, ρ) = ρ."""
    assert erlang_b(5, 3.0) == pytest.approx(0.11005, abs=1e-5)
    assert erlang_c(2, 1.0) == pytest.approx(1.0 / 3.0)
    assert erlang_c(1, 0.7) == pytest.approx(0.7)


def test_mm1_wait_and_share_that_waits() -> None:
    """M/M/1: W = ρ/(μ - λ), P(wait) = ρ. False alarm 2e-4."""
    load = 0.6
    runs = replicate(workers(1), poisson(load), seed=1)
    agrees(runs.mean_wait(), load / (1 - load), 0.1)
    agrees(runs.waiting_share(), load, 0.03)


def test_mm1_sojourns_are_exponential() -> None:
    """M/M/1: P(T > t) = exp(-(μ - λ)t), at the median and the 95 % point. False alarm 2e-4."""
    rate = 0.5
    runs = replicate(workers(1), poisson(rate), seed=2)
    for share, width in ((0.5, 0.04), (0.05, 0.15)):
        limit = -math.log(share) / (1.0 - rate)
        agrees([float(np.mean(run.sojourns > limit)) for run in runs], share, width)


@pytest.mark.parametrize("servers", [2, 5])
def test_mmc_workers(servers: int) -> None:
    """M/M/c: P(wait) = C(c, a) (Erlang C), W = C/(cμ - λ). False alarm 2e-4 per c."""
    load = 0.7 * servers
    waits = erlang_c(servers, load)
    runs = replicate(workers(servers), poisson(load), seed=3)
    agrees(runs.waiting_share(), waits, 0.07)
    agrees(runs.mean_wait(), waits / (servers - load), 0.15)


@pytest.mark.parametrize("cores", [2, 5])
def test_mmc_host(cores: int) -> None:
    """M/M/c on shared cores: as many jobs present as first come, first served, hence by Little's
    law the same mean sojourn 1/μ + C/(cμ - λ). False alarm 1e-4 per c."""
    load = 0.7 * cores
    expected = 1.0 + erlang_c(cores, load) / (cores - load)
    runs = replicate(shared_host(cores), poisson(load), seed=4)
    agrees(runs.mean_sojourn(), expected, 0.06)


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_mg1_wait_is_pollaczek_khinchine(service: str) -> None:
    """M/G/1: W = λE[S²]/(2(1 - ρ)). False alarm 1e-4 per distribution."""
    rate = 0.5
    expected = rate * SERVICES[service][1] / (2.0 * (1.0 - rate))
    agrees(replicate(workers(1), poisson(rate, service), seed=5).mean_wait(), expected, 0.12)


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_mg1_processor_sharing_is_insensitive(service: str) -> None:
    """M/G/1-PS: T = E[S]/(1 - ρ) for any distribution. False alarm 1e-4 per distribution."""
    rate = 0.6
    runs = replicate(shared_host(1), poisson(rate, service), seed=6)
    agrees(runs.mean_sojourn(), 1.0 / (1.0 - rate), 0.08)


def test_processor_sharing_slows_all_sizes_alike() -> None:
    """M/G/1-PS: E[T | S = x] = x/(1 - ρ), for short and long jobs apart. False alarm 2e-4."""
    rate = 0.5
    runs = replicate(shared_host(1), poisson(rate, "hyperexponential"), seed=7)
    for low, high in ((0.2, 0.6), (2.0, 6.0)):
        slowdowns = []
        for run in runs:
            chosen = (run.services >= low) & (run.services < high)
            slowdowns.append(float(np.mean((run.sojourns / run.services)[chosen])))
        agrees(slowdowns, 1.0 / (1.0 - rate), 0.06)


def test_dm1_wait() -> None:
    """D/M/1: W = σ/(μ(1 - σ)) with σ = exp(-(1 - σ)μ/λ); P(wait) = σ. False alarm 2e-4."""
    gap = 1.0 / 0.75
    sigma = brentq(lambda x: x - math.exp(-(1.0 - x) * gap), 1e-9, 1.0 - 1e-6)

    def draw(rng: np.random.Generator, count: int) -> tuple[Floats, Floats]:
        return np.full(count, gap), rng.exponential(1.0, count)

    runs = replicate(workers(1), draw, seed=8)
    agrees(runs.mean_wait(), sigma / (1.0 - sigma), 0.1)
    agrees(runs.waiting_share(), sigma, 0.03)


@pytest.mark.parametrize(("rate", "room"), [(0.8, 3), (1.5, 5)])
def test_mm1k_loss(rate: float, room: int) -> None:
    """M/M/1/K: P(lost) = (1 - ρ)ρ^K/(1 - ρ^(K+1)), one in service and K - 1 waiting; the wait of
    those that are let in. False alarm 2e-4 per case."""
    places = room + 1
    weights = rate ** np.arange(places + 1)
    chances = weights / weights.sum()
    runs = replicate(seats(1, room), poisson(rate), seed=9, job_count=2_500)
    agrees(runs.lost_share(), chances[-1], 0.1)
    wait = float(chances[:-1] @ np.arange(places)) / (1.0 - chances[-1])
    agrees(runs.mean_wait(), wait, 0.06)


@pytest.mark.parametrize("service", ["deterministic", "hyperexponential"])
def test_mgcc_loss_is_erlang_b(service: str) -> None:
    """M/G/c/c: P(lost) = B(c, a) whatever the service times. False alarm 1e-4 per distribution."""
    runs = replicate(seats(4, 0), poisson(3.0, service), seed=10)
    agrees(runs.lost_share(), erlang_b(4, 3.0), 0.06)


def test_a_host_s_own_accounts() -> None:
    """M/M/1-PS: utilisation ρ and ρ/(1 - ρ) jobs present, read from the integrals that `check`
    holds to Little's law and to the utilisation law. False alarm 2e-4."""
    load = 0.6
    used: list[float] = []
    present: list[float] = []
    for replication in range(REPLICATIONS):
        engine = Engine(11, replication)
        host = Host(engine, "h", 1)
        process = host.process("p")
        rng = engine.stream("jobs").generator()
        run_jobs(
            engine,
            lambda job, service, done, process=process: process.run(service, done, job),
            rng.exponential(1.0 / load, 5_000),
            rng.exponential(1.0, 5_000),
        )
        assert host.check() == []
        seconds = engine.now - 1e4  # all work is done long before the end of the run
        used.append(host.work_seconds / seconds)
        present.append(host.job_area_seconds / seconds)
    agrees(used, load, 0.03)
    agrees(present, load / (1.0 - load), 0.08)


# The token bucket.


@pytest.mark.parametrize(("qps", "burst"), [(5.0, 10), (20.0, 30), (50.0, 100), (0.1, 1)])
def test_a_burst_of_requests_waits_for_its_turn(qps: float, burst: int) -> None:
    """The n-th of many at once waits max(0, (n - burst)/qps). Exact."""
    bucket = TokenBucket(qps, burst)
    waits = [bucket.reserve(100.0) for _ in range(3 * burst + 5)]
    expected = [max(0.0, (n - burst) / qps) for n in range(1, len(waits) + 1)]
    assert waits == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("rate", "qps"), [(4.0, 5.0), (50.0, 5.0)])
def test_a_bucket_lets_through_its_rate_and_no_more(rate: float, qps: float) -> None:
    """Evenly spaced requests: none waits below the rate; above it the n-th waits
    (n - burst)/qps - (n - 1)/rate, if that is positive. Exact."""
    burst = 3
    bucket = TokenBucket(qps, burst)
    for n in range(1, 200):
        waited = bucket.reserve((n - 1) / rate)
        expected = max(0.0, (n - burst) / qps - (n - 1) / rate) if rate > qps else 0.0
        assert waited == pytest.approx(expected, abs=1e-9)


def test_a_bucket_without_burst_is_an_md1_queue() -> None:
    """Burst 1 under Poisson requests: a token every 1/qps is a deterministic server, and the wait
    is that of M/D/1, ρ/(2 qps (1 - ρ)). False alarm 1e-4."""
    load, qps = 0.6, 5.0

    def waits(replication: int) -> float:
        engine = Engine(12, replication)
        rng = engine.stream("requests").generator()
        bucket = TokenBucket(qps, 1)
        found = [bucket.reserve(t) for t in np.cumsum(rng.exponential(1 / (load * qps), 12_000))]
        return float(np.mean(found[400:]))

    agrees(
        [waits(replication) for replication in range(REPLICATIONS)],
        load / (2.0 * qps * (1.0 - load)),
        0.06,
    )


def test_a_wrong_station_is_noticed() -> None:
    """The method bites: service times 8 % longer than the formula believes are refused."""

    def slow(rng: np.random.Generator, count: int) -> tuple[Floats, Floats]:
        return rng.exponential(1.0 / 0.6, count), 1.08 * rng.exponential(1.0, count)

    values = replicate(workers(1), slow, seed=13).mean_wait()
    with pytest.raises(AssertionError):
        agrees(values, 0.6 / 0.4, 0.5)
