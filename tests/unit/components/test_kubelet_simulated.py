"""The simulated kubelets of the measurements: watches of the CA bundle, growth, vanished pods."""

from __future__ import annotations

from sim.base.pod_template import ContainerSpec, PodTemplate
from sim.components.kubelet_params import KubeletParams
from sim.costs.kubelet import simulated_kubelet_law
from tests.unit.components.kubelet_rig import Rig

PARAMS = KubeletParams(simulated_start_seconds=0.0, kube_api_qps=0.0)


def test_the_ca_bundle_is_watched_as_long_as_a_node_has_pods_of_the_namespace() -> None:
    rig = Rig(2, params=PARAMS, law=simulated_kubelet_law())
    simulated = rig.fleet.simulated
    assert simulated is not None
    for index in range(4):
        rig.create(f"p{index}", index % 2)
    rig.engine.run(2.0)
    assert all(pod.ready for pod in rig.pods().values())
    assert simulated.bundles.closed_count == 0
    rig.delete("p0")
    rig.delete("p1")
    rig.engine.run(4.0)
    assert simulated.bundles.closed_count == 0, "one pod is left on each node"
    rig.delete("p2")
    rig.engine.run(6.0)
    assert simulated.bundles.closed_count == 1
    rig.check()


def test_a_pod_grows_with_its_status() -> None:
    rig = Rig(1, params=PARAMS, law=simulated_kubelet_law())
    rig.create("p", 0, size_bytes=1600)
    rig.engine.run(2.0)
    assert rig.pod("p").size_bytes == 1600 + 2 * 750


def test_a_completed_pod_that_vanishes_gets_its_event_and_one_get() -> None:
    once = PodTemplate(
        manifest={},
        containers=(ContainerSpec(name="c", run_seconds=0.5),),
        restart_policy="Never",
    )
    rig = Rig(1, params=PARAMS, law=simulated_kubelet_law())
    rig.create("p", 0, once)
    rig.engine.run(3.0)
    assert rig.pod("p").phase == "Succeeded"
    before = rig.counts()
    rig.delete("p")
    rig.engine.run(6.0)
    after = rig.counts()
    after.subtract(before)
    assert +after == {("create", "events"): 1, ("get", "pods"): 1}
    assert rig.pods() == {}
    rig.check()
