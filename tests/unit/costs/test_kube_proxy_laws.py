"""Properties that any law of sync time must have, whatever its parameters."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.costs.kube_proxy import (
    KubeProxyParams,
    SyncLoad,
    cleanup_listing,
    jitter_mean_ratio,
)

MODES = [("iptables", "nf_tables"), ("iptables", "legacy"), ("nftables", ""), ("ipvs", "")]
PARAMS = KubeProxyParams()


def _load(services: float, endpoints: float, changed: float, *, full: float = 0.0) -> SyncLoad:
    return SyncLoad(
        services_count=services,
        endpoints_count=services * endpoints,
        changed_services_count=changed,
        changed_endpoints_count=changed * endpoints,
        full=full,
    )


@pytest.mark.parametrize(("mode", "backend"), MODES)
@given(
    services=st.integers(1, 30_000),
    endpoints=st.integers(1, 200),
    share=st.floats(0.0, 1.0),
    full=st.sampled_from([0.0, 1.0]),
    initial=st.sampled_from([0.0, 1.0]),
)
def test_an_array_of_nodes_gets_what_each_node_gets(
    mode: str,
    backend: str,
    services: int,
    endpoints: int,
    share: float,
    full: float,
    initial: float,
) -> None:
    full = max(full, initial)
    changed = float(round(share * services))
    one = dataclasses.replace(
        _load(float(services), float(endpoints), changed, full=full),
        initial=initial,
        cleanup_listing=1.0,
    )
    other = _load(10.0, 3.0, 1.0)
    both = SyncLoad(
        **{
            name.name: np.array([getattr(one, name.name), getattr(other, name.name)], dtype=float)
            for name in dataclasses.fields(SyncLoad)
        }
    )
    for law in (PARAMS.sync_seconds, PARAMS.sync_cpu_seconds):
        together = np.asarray(law(both, mode, backend or "nf_tables"))
        alone = [float(law(load, mode, backend or "nf_tables")) for load in (one, other)]
        assert together.shape == (2,)
        np.testing.assert_allclose(together, alone, rtol=1e-12)
        assert np.all(together > 0.0)


@pytest.mark.parametrize(("mode", "backend"), MODES)
def test_more_work_never_takes_less_time(mode: str, backend: str) -> None:
    backend = backend or "nf_tables"
    base = float(PARAMS.sync_seconds(_load(1000, 5, 10), mode, backend))
    for load in (_load(2000, 5, 10), _load(1000, 50, 10), _load(1000, 5, 100)):
        assert float(PARAMS.sync_seconds(load, mode, backend)) > base
    listed = dataclasses.replace(_load(1000, 5, 10), cleanup_listing=1.0)
    assert float(PARAMS.sync_seconds(listed, mode, backend)) >= base


def test_no_ensure_calls_and_no_rcu_wait_where_there_are_none() -> None:
    steps = PARAMS.iptables_nf_tables.components(_load(1000, 1, 1))
    assert steps.ensure == 0.0
    assert steps.list == 0.0
    assert 0.02 < float(steps.wait) < 0.04
    idle = PARAMS.nftables.components(_load(1000, 1, 0))
    assert idle.wait == 0.0
    assert float(idle.apply) == pytest.approx(PARAMS.nftables.nft_base_seconds)


def test_sorted_lists_grow_faster_than_squares_until_the_caches_are_exhausted() -> None:
    """Doubling the chains: more than four times up to 40,000 chains, four times above."""

    def quadratic_part(services: float) -> float:
        law = dataclasses.replace(
            PARAMS.iptables_nf_tables,
            restore_base_seconds=0.0,
            restore_per_rule_seconds=0.0,
            restore_services_kilo_power_seconds=0.0,
        )
        load = dataclasses.replace(_load(services, 1, services, full=1.0), initial=1.0)
        return float(law.components(load).apply)

    exponent = PARAMS.iptables_nf_tables.sorted_list_exponent
    assert quadratic_part(16_000) / quadratic_part(8_000) == pytest.approx(2**exponent, rel=2e-3)
    assert quadratic_part(80_000) / quadratic_part(40_000) == pytest.approx(4.0, rel=2e-3)


def test_jitter_has_median_one_and_the_stated_mean() -> None:
    load = _load(1000, 1, 1)
    normals = np.random.default_rng(7).standard_normal(200_000)
    median = float(PARAMS.sync_seconds(load, "nftables"))
    drawn = np.asarray(PARAMS.sync_seconds(load, "nftables", normals=normals))
    assert np.median(drawn) == pytest.approx(median, rel=0.01)
    assert drawn.mean() / median == pytest.approx(
        jitter_mean_ratio(PARAMS.nftables.jitter_log_sd), rel=0.01
    )


def test_a_slower_machine_scales_every_sync() -> None:
    slow = dataclasses.replace(PARAMS, speed_ratio=2.0)
    load = _load(500, 4, 3)
    for mode, backend in MODES:
        assert float(slow.sync_seconds(load, mode, backend or "nf_tables")) == pytest.approx(
            2.0 * float(PARAMS.sync_seconds(load, mode, backend or "nf_tables"))
        )


def test_listing_is_eager_up_to_a_thousand_endpoints_and_periodic_above() -> None:
    assert cleanup_listing(1000.0, 0.0, 30.0) == 1.0
    assert cleanup_listing(1001.0, 30.0, 30.0) == 0.0
    assert cleanup_listing(1001.0, 30.1, 30.0) == 1.0
    np.testing.assert_array_equal(
        cleanup_listing(np.array([5.0, 5000.0]), np.array([1.0, 1.0]), 30.0), [1.0, 0.0]
    )


def test_unknown_modes_are_refused() -> None:
    for mode, backend in (("userspace", "nf_tables"), ("iptables", "ebtables")):
        with pytest.raises(ValueError, match="no kube-proxy law"):
            PARAMS.sync_seconds(_load(1, 1, 1), mode, backend)


def test_every_parameter_names_its_source() -> None:
    for params in (
        PARAMS.iptables_nf_tables,
        PARAMS.iptables_legacy,
        PARAMS.nftables,
        PARAMS.ipvs,
    ):
        for one in dataclasses.fields(params):
            source = one.metadata.get("source", "")
            assert source.startswith(("measured: ", "published: ", "assumed")), one.name
            assert math.isfinite(getattr(params, one.name))
