from sim.base.objects import Deployment, LabelSelector, Service, ServicePort
from tests.unit.components.controllers.stand_ins import World, make_template


def test_a_deployment_becomes_ready_pods_behind_a_slice() -> None:
    world = World()
    world.driver.create(
        Service(
            name="web", namespace="default", selector=LabelSelector((("app", "web"),)),
            ports=(ServicePort("http", 80, "8080"),),
        )
    )  # fmt: skip
    world.driver.create(
        Deployment(
            name="web", namespace="default", replica_count=5,
            selector=LabelSelector((("app", "web"),)), template=make_template(),
        )
    )  # fmt: skip
    world.run(5.0)
    pods = world.objects("pods")
    assert [pod.phase for pod in pods] == ["Running"] * 5
    (deployment,) = world.objects("deployments")
    assert deployment.available_count == deployment.updated_count == 5
    assert deployment.observed_generation == deployment.generation
    (item,) = world.objects("endpointslices")
    assert {e.address for e in item.endpoints if e.ready} == {pod.pod_ip for pod in pods}
    (endpoints,) = world.objects("endpoints")
    assert len(endpoints.ready_addresses) == 5
    cidrs = [node.pod_cidr for node in world.objects("nodes")]
    assert cidrs == ["10.244.0.0/24", "10.244.1.0/24", "10.244.2.0/24"]
    transitions = world.recorder["pod_transitions"]
    assert transitions.mask_equal("transition", "in_endpoint_slice").sum() == 5
