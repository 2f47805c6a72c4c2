"""Placement gauges against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from sim.cluster.placement import fragmentation_ratio, resource_ratios


def test_allocation_and_imbalance_leave_out_nodes_without_the_resource() -> None:
    allocatable = np.array([8, 8, 0])
    used = np.array([8, 4, 0])
    allocation, imbalance = resource_ratios(allocatable, used)
    assert allocation == 12 / 16
    assert imbalance == pytest.approx(0.25)  # shares 1 and 1/2
    assert resource_ratios(np.array([0]), np.array([0])) == (0.0, 0.0)


def test_what_a_pod_of_the_mix_cannot_use_is_fragmented() -> None:
    # Rows cpu, gpu; node 0 has no cpu left for its 4 GPUs, node 1 holds 3 with cpu for plenty.
    free = np.array([[0, 100], [4, 3]])
    one_gpu, two_gpus, no_gpu = [1, 1], [1, 2], [5, 0]
    everything = fragmentation_ratio(free, 1, np.array([one_gpu]), np.array([10]))
    assert everything == pytest.approx(4 / 7)
    pairs = fragmentation_ratio(free, 1, np.array([two_gpus]), np.array([10]))
    assert pairs == pytest.approx(5 / 7)
    mixed = fragmentation_ratio(
        free, 1, np.array([one_gpu, two_gpus, no_gpu]), np.array([30, 10, 1000])
    )
    assert mixed == pytest.approx((30 * 4 + 10 * 5) / 40 / 7)
    assert fragmentation_ratio(free, 1, np.array([no_gpu]), np.array([1])) == 0.0
