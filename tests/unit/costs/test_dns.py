"""CoreDNS against its published scaling figures and queueing closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sim.costs.dns import CoreDnsParams, lookups_count

DNS = CoreDnsParams()
SEARCH = ("default.svc.cluster.local", "svc.cluster.local", "cluster.local", "example.org")


def test_saturation_and_its_latency_are_the_published_ones() -> None:
    """33,669 q/s at 2.608 ms is 88 queries in flight; dns-ext is five look-ups a query."""
    rate = float(DNS.saturation_queries_per_second(2.0))
    assert rate == pytest.approx(33_669, rel=1e-6)
    in_flight = 33_669 * 0.002608
    latency = float(DNS.closed_loop_seconds(in_flight, 2.0))
    assert latency == pytest.approx(0.002608, rel=1e-3)
    assert rate / 5.0 == pytest.approx(6_733, rel=0.01)
    assert 0.80 <= 5.0 * latency / 0.01202 <= 1.25


def test_one_core_is_an_mm1_queue_and_two_cores_the_known_mm2() -> None:
    service = DNS.query_cpu_seconds
    for rho in (0.1, 0.5, 0.9):
        free = DNS.network_round_trip_seconds
        one = DNS.open_loop_seconds(rho / service, 1) - free
        assert one == pytest.approx(service / (1.0 - rho))
        two = DNS.open_loop_seconds(2.0 * rho / service, 2) - free
        assert two == pytest.approx(service / (1.0 - rho**2))
    assert DNS.open_loop_seconds(2.0 / service, 2) == math.inf
    with pytest.raises(ValueError, match="cores"):
        DNS.open_loop_seconds(1.0, 0)


def test_memory_is_the_published_line() -> None:
    megabytes = np.asarray(DNS.memory_bytes(np.array([0.0, 150_000.0]), 10_000.0)) / 1e6
    np.testing.assert_allclose(megabytes, [49.1 + 8.58, 49.1 + 137.28])


@pytest.mark.parametrize(
    ("name", "domain", "queries"),
    [
        ("web", SEARCH[0], 2),  # a service of the own namespace: first name, A and AAAA
        ("web.shop", SEARCH[1], 4),
        ("web.shop.svc", SEARCH[2], 6),
        ("api.github.com", None, 10),  # four search domains, then the name itself
        ("api.github.com.", None, 2),
        ("a.b.c.d.e.f", None, 2),  # five dots: tried as it is first
    ],
)
def test_search_list_amplification(name: str, domain: str | None, queries: int) -> None:
    assert lookups_count(name, search_domains=SEARCH, answering_domain=domain) == queries


def test_a_name_cannot_exist_under_a_domain_that_is_not_searched() -> None:
    with pytest.raises(ValueError, match="search list"):
        lookups_count("web", search_domains=SEARCH[:1], answering_domain="cluster.local")
