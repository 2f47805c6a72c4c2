"""Published pod starts come out, and the pull pipeline has its closed forms."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from sim.costs.container_runtime import (
    ContainerRuntimeParams,
    containerd_params,
    docker_params,
)
from sim.costs.overlay import PodNetworkParams

VOLUME_POLL_SECONDS = 0.300
"""A pod with a token passes the volume wait at its first re-check."""
KUBELET_REST_SECONDS = 0.035
"""cgroups and directories (20 ms) and the GET and PATCH of the status (15 ms)."""
MIDDLE = 0.5


@pytest.fixture(scope="module")
def published(shared_dir: Path) -> dict[str, float]:
    wanted = {"pleg-first-to", "pleg-total-ondemand", "pleg-total-base", "pr111250"}
    wanted |= {"containerd-cpu-runtime-CPU", "openai25-image"}
    with (shared_dir / "facts" / "published.csv").open(encoding="utf-8") as stream:
        rows = {row[0]: float(row[3]) for row in csv.reader(stream) if row[0] in wanted}
    assert set(rows) == wanted
    return rows


def _first_sync_to_running(params: ContainerRuntimeParams, parallel: float) -> float:
    network = float(PodNetworkParams().cni_add_seconds(10.0, parallel, MIDDLE))
    start = float(params.pod_start_seconds(1.0, parallel))
    rest = KUBELET_REST_SECONDS + params.status_call_seconds
    return VOLUME_POLL_SECONDS + network + start + rest


def test_kind_pod_start_with_and_without_on_demand_relist(published: dict[str, float]) -> None:
    """10 parallel creations over two workers: 5 per node; request to first sync was 25 ms."""
    params = containerd_params()
    parallel = 5.0
    base = _first_sync_to_running(params, parallel)
    ondemand = base + params.inspect_pod_seconds()
    measured = published["pleg-total-ondemand"] * 1e-3 - 0.025
    assert ondemand / measured == pytest.approx(1.0, abs=0.05)

    rng = np.random.default_rng(11)
    relist = float(params.relist_seconds(10.0, parallel))
    phase = rng.random(200_000) * (1.0 + relist)
    # the cycle begins with a relist; what starts during it is seen by the next one
    waited = (1.0 + relist - phase) + relist
    without = base + float(waited.mean())
    assert 0.80 <= without / (published["pleg-first-to"] * 1e-3) <= 1.25


def test_batch_of_a_hundred_pods_on_one_node(published: dict[str, float]) -> None:
    """965 pods/min at 3 s median: 48 pods in flight by Little's law (relist of 1 s, 2022)."""
    rate = published["pr111250"] / 60.0
    in_flight = rate * 3.0
    params = containerd_params()
    relist = float(params.relist_seconds(100.0, rate))
    start = _first_sync_to_running(params, in_flight) + 0.5 + 1.5 * relist
    assert 0.80 <= start / 3.0 <= 1.25


def test_docker_uses_the_published_multiple_of_containerds_cpu(
    published: dict[str, float],
) -> None:
    docker, containerd = docker_params(), containerd_params()
    docker_cpu = float(docker.pod_start_seconds(1.0)) * docker.cpu_per_wall_ratio
    containerd_cpu = float(containerd.pod_start_seconds(1.0)) * containerd.cpu_per_wall_ratio
    change = 100.0 * (containerd_cpu / docker_cpu - 1.0)
    assert change == pytest.approx(published["containerd-cpu-runtime-CPU"], abs=0.5)


def test_docker_pull_of_a_huge_image(published: dict[str, float]) -> None:
    """17 GB in 30 minutes on a machine whose network was not the limit."""
    layers = [17e9 / 20] * 20
    minutes = docker_params().pull_seconds(layers, 1.25e9) / 60.0
    assert minutes == pytest.approx(published["openai25-image"], rel=0.10)


def test_pull_is_bounded_by_the_slower_of_network_and_unpacking() -> None:
    params = ContainerRuntimeParams(layer_overhead_seconds=0.0, resolve_seconds=0.0)
    rate = params.unpack_bytes_per_second
    layers = [6e6] * 10
    # slow network: everything but the last layers' unpacking is hidden; three arrive together
    slow = params.pull_seconds(layers, rate / 10.0)
    assert slow == pytest.approx(60e6 / (rate / 10.0) + 6e6 / rate, rel=1e-9)
    # endless network: unpacking in order is all there is
    assert params.pull_seconds(layers, 1e15) == pytest.approx(60e6 / rate, rel=1e-3)
    # one layer: transfer, then unpacking
    assert params.pull_seconds([6e6], rate) == pytest.approx(2.0 * 6e6 / rate)
    assert params.pull_seconds([], rate) == 0.0


def test_layers_beyond_the_download_slots_wait_and_share_the_bandwidth() -> None:
    """Sizes 1, 2, 3, 1 at rate 3 with three slots: processor sharing by hand.

    Three at 1 each: the first ends at 1. Then 1, 2, 1 left: the second and fourth end at 2 (1
    each), the third has 1 left alone at rate 3: 2 + 1/3. All done: 7 / 3.
    """
    params = ContainerRuntimeParams(
        layer_overhead_seconds=0.0, resolve_seconds=0.0, unpack_bytes_per_second=1e30
    )
    assert params.pull_seconds([1.0, 2.0, 3.0, 1.0], 3.0) == pytest.approx(7.0 / 3.0)


def test_stretch_grows_linearly_and_jitter_is_log_normal() -> None:
    params = ContainerRuntimeParams()
    counts = np.array([1.0, 11.0, 21.0])
    seconds = np.asarray(params.run_pod_sandbox_seconds(counts))
    np.testing.assert_allclose(np.diff(seconds), 10.0 * 0.045 * params.sandbox_create_seconds)
    logs = np.log(np.asarray(params.start_container_seconds(1.0, np.array([-1.0, 0.0, 1.0]))))
    np.testing.assert_allclose(np.diff(logs), params.jitter_log_sd)


def test_a_pull_without_bandwidth_is_refused() -> None:
    with pytest.raises(ValueError, match="bandwidth"):
        ContainerRuntimeParams().pull_seconds([1.0], 0.0)
