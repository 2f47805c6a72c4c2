"""The quantile curve is a distribution, and the overlay laws add up."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from sim.costs.fitting_overlay import median_rank
from sim.costs.overlay import (
    LAST_QUANTILE,
    SETUP_STEPS,
    TEARDOWN_STEPS,
    PodNetworkParams,
    RemoteNodeParams,
    StepLaw,
)

PODS = PodNetworkParams()
REMOTE = RemoteNodeParams()


@pytest.mark.parametrize("step", [*SETUP_STEPS, *TEARDOWN_STEPS])
@pytest.mark.parametrize("concurrency", [1.0, 2.0, 4.0, 9.0])
def test_quantile_curve_rises_through_its_knots(step: str, concurrency: float) -> None:
    law = PODS.step(step)
    u = np.linspace(0.0, 0.9999, 5000)
    curve = np.asarray(law.quantile_ratio(u, concurrency))
    assert np.all(np.diff(curve) >= 0.0)
    assert law.quantile_ratio(0.5, concurrency) == pytest.approx(1.0)
    assert law.quantile_ratio(0.0, concurrency) == pytest.approx(law.lowest_ratio)
    if concurrency == 1.0:
        assert law.quantile_ratio(0.9, 1.0) == pytest.approx(law.q90_ratio)
        assert law.quantile_ratio(0.99, 1.0) == pytest.approx(law.q99_ratio)
    assert curve[-1] == law.quantile_ratio(LAST_QUANTILE, concurrency)


def test_exponential_tail_is_the_one_of_a_power_of_the_survival_function() -> None:
    """log ratio linear in -ln(1-u) is a Pareto tail: ratio = (1 - u) ** -a."""
    law = StepLaw(
        median_seconds=1.0,
        q90_ratio=5**0.5,
        q99_ratio=50**0.5,
        contended_q90_ratio=2.0,
        contended_q99_ratio=4.0,
    )
    u = np.array([0.6, 0.8, 0.95, 0.99])
    expected = ((1.0 - u) / 0.5) ** -0.5
    np.testing.assert_allclose(law.quantile_ratio(u), expected, rtol=1e-12)


def test_drawn_durations_have_the_stated_mean() -> None:
    uniforms = np.random.default_rng(3).random(400_000)
    for step in SETUP_STEPS:
        law = PODS.step(step)
        for concurrency in (1.0, 3.0):
            drawn = np.asarray(law.seconds(120.0, concurrency, uniforms))
            mean = float(law.mean_seconds(120.0, concurrency))
            assert drawn.mean() == pytest.approx(mean, rel=0.02)


def test_set_up_is_the_sum_of_its_steps_and_only_the_lock_grows_with_pods() -> None:
    total = float(PODS.pod_setup_mean_seconds(100.0, 1.0))
    parts = {step: float(PODS.step(step).mean_seconds(100.0)) for step in SETUP_STEPS}
    assert total == pytest.approx(sum(parts.values()))
    growing = [
        step
        for step in SETUP_STEPS
        if PODS.step(step).typical_seconds(200.0) > PODS.step(step).typical_seconds(0.0)
    ]
    assert growing == ["ipam_allocate"]
    uniforms = np.random.default_rng(5).random(400_000)
    drawn = np.asarray(PODS.pod_setup_seconds(100.0, 1.0, uniforms))
    assert drawn.mean() == pytest.approx(total, rel=0.02)


def test_waiting_for_the_lock_keeps_growing_while_the_rest_saturates() -> None:
    ipam, veth = PODS.ipam_allocate, PODS.veth_create_move
    assert veth.typical_seconds(0.0, 16.0) == veth.typical_seconds(0.0, 4.0)
    steps = [float(ipam.typical_seconds(50.0, c)) for c in (1.0, 4.0, 7.0, 10.0)]
    np.testing.assert_allclose(np.diff(steps), np.diff(steps)[0])
    assert steps[0] == pytest.approx(float(PODS.ipam_lock_hold_seconds(50.0)))


def test_cni_calls_contain_the_network_work_and_the_plugin_processes() -> None:
    processes = PODS.cni_plugin_process_seconds * PODS.cni_plugins_count
    u = np.array([0.1, 0.5, 0.9])
    add = np.asarray(PODS.cni_add_seconds(30.0, 2.0, u))
    np.testing.assert_allclose(add - processes, PODS.pod_setup_seconds(30.0, 2.0, u), rtol=1e-9)
    assert np.all(np.diff(np.asarray(PODS.cni_del_seconds(u))) > 0.0)
    with pytest.raises(ValueError, match="no step"):
        PODS.step("bridge_delete")


def test_marginal_route_costs_add_up_to_the_measured_mean() -> None:
    """The sum of one-by-one joins over n nodes equals programming n nodes in a row."""
    for nodes in (100, 1000, 5000):
        joins = float(np.sum(REMOTE.node_joined_seconds(np.arange(nodes, dtype=float))))
        assert joins == pytest.approx(float(REMOTE.full_programming_seconds(nodes)), rel=0.01)


def test_node_total_is_the_sum_of_its_entries() -> None:
    nodes = np.array([10.0, 3000.0])
    parts = sum(
        np.asarray(REMOTE.netlink_entry_seconds(step, nodes))
        for step in ("arp_entry", "fdb_entry", "route")
    )
    np.testing.assert_allclose(REMOTE.netlink_entry_seconds("node_total", nodes), parts)
    for law in (REMOTE.netlink_entry_seconds, REMOTE.cli_entry_seconds):
        with pytest.raises(ValueError, match="step"):
            law("list_all", 5.0)


def test_median_rank_is_the_median_of_the_order_statistic() -> None:
    """The i-th of n uniforms is Beta(i, n + 1 - i); Benard's formula is within 0.002."""
    for quantile, samples, rank in ((0.99, 50, 50), (0.9, 50, 45), (0.99, 250, 248)):
        exact = float(stats.beta(rank, samples + 1 - rank).median())
        assert median_rank(quantile, samples) == pytest.approx(exact, abs=0.002)
