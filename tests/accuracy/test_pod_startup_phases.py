"""Pod start-up, phase by phase, against the published breakdown on kind (Kubernetes 1.36).

A whole cluster stands in for theirs: three nodes on 64 cores, ten pods under way, image present.
The disk of that machine is not published; it decides the two phases of a few milliseconds. A
network volume is assumed, as virtual machines of 64 cores have.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from sim.cluster.assemble import build
from sim.cluster.params import (
    ClusterParams,
    ControlPlaneParams,
    HostParams,
    KubeletParams,
    NodePoolParams,
    NodesParams,
)
from sim.components import facts
from sim.engine.engine import Engine
from sim.engine.tables import Recorder
from sim.experiment.real_backend import backend
from sim.metrics.derive import Derivation
from sim.metrics.startup import MILESTONES
from sim.workload import operations as ops
from sim.workload.arrivals import Rate

LOW, HIGH = 0.80, 1.25
WAVES_COUNT, PODS_PER_WAVE = 5, 60
PODS_UNDER_WAY = 10.0


def published_seconds(shared_dir: Path) -> dict[str, float]:
    with (shared_dir / "facts" / "published.csv").open(encoding="utf-8", newline="") as file:
        return {
            row[0]: float(row[3]) * 1e-3
            for row in csv.reader(file)
            if row[0].startswith("pleg-") and row[0] != "pleg-resize-with"
        }


def simulated_seconds(*, on_demand: bool) -> dict[str, float]:
    """Mean of every phase over 300 pods, ten of them under way at a time (Little's law)."""
    whole_seconds = 1.1 if on_demand else 1.6
    params = ClusterParams(
        control_plane=ControlPlaneParams(
            host=HostParams(core_count=64), etcd_disk="network_volume"
        ),
        nodes=NodesParams(pools=(NodePoolParams(name="worker", count=2, cpu_millicores=64000),)),
        kubelet=KubeletParams(pleg_on_demand_relist=on_demand),
    )
    work: list[ops.Operation] = [ops.Sleep(duration_seconds=2.0)]
    for wave in range(WAVES_COUNT):
        work += [
            ops.CreatePods(
                count=PODS_PER_WAVE, name_prefix=f"wave-{wave}",
                rate=Rate(per_second=PODS_UNDER_WAY / whole_seconds, arrivals="poisson"),
            ),
            ops.Barrier(stage="ready"),
            ops.DeletePods(namespace="default", grace_seconds=0.0),
        ]  # fmt: skip
    engine, recorder = Engine(1), Recorder(facts.ALL)
    real = backend()
    assert real.load_profile is not None
    profile = real.load_profile(real.profiles[0])
    cluster = build(params, tuple(work), engine, recorder, profile)
    cluster.start()
    while not cluster.driver.done:
        engine.run(engine.now + 5.0)
    assert cluster.check() == []
    derivation = Derivation(recorder)
    times = derivation.startup.times
    assert len(times) == PODS_PER_WAVE * WAVES_COUNT
    at = {name: times[:, MILESTONES.index(name)] for name in MILESTONES}
    first_sync = at["observed"] + profile.kubelet.dispatch_seconds
    return {
        "request to created": _creation_seconds(recorder),
        "created to scheduled": float(np.mean(at["scheduled"] - at["created"])),
        "scheduled to first sync": float(np.mean(first_sync - at["scheduled"])),
        "first sync to running": float(np.mean(at["running"] - first_sync)),
    }


def _creation_seconds(recorder: Recorder) -> float:
    """Mean duration of the POSTs of pods."""
    requests = recorder["requests"]
    chosen = np.ones(len(requests), dtype=np.bool_)
    for column, value in (("verb", "create"), ("resource", "pods"), ("subresource", "")):
        chosen &= requests.column(column) == requests.categories(column).index(value)
    assert int(chosen.sum()) == PODS_PER_WAVE * WAVES_COUNT
    return float(requests.column("total_seconds")[chosen].mean())


@pytest.mark.parametrize("on_demand", [False, True])
def test_every_phase_is_within_the_band(shared_dir: Path, on_demand: bool) -> None:
    published = published_seconds(shared_dir)
    found = simulated_seconds(on_demand=on_demand)
    expected = {
        "request to created": published["pleg-request-to"],
        "created to scheduled": published["pleg-pod-to"],
        "scheduled to first sync": published["pleg-scheduled-first"],
    }
    whole = published["pleg-total-ondemand" if on_demand else "pleg-total-base"]
    expected["first sync to running"] = whole - sum(expected.values())
    ratios = {name: found[name] / seconds for name, seconds in expected.items()}
    ratios["request to running"] = sum(found.values()) / whole
    assert all(LOW <= ratio <= HIGH for ratio in ratios.values()), ratios
