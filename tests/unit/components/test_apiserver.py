"""Object semantics of the apiserver, over a store that answers at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sim.base.objects import Deployment, Generic, Lease, Namespace, Pod, Service
from sim.base.pod_template import PodTemplate
from sim.components import facts
from sim.components.apiserver import APIServer, APIServerParams
from sim.components.client import Client, ClientFactory
from sim.components.endpoint import LoadBalancer
from sim.components.informer import Informer
from sim.components.ports import Request
from sim.costs.apiserver import APIServerLaw
from sim.engine.engine import Engine
from sim.engine.host import Host
from sim.engine.tables import Recorder
from tests.support.instant_storage import InstantStorage


class World:
    """One replica, one client, one host."""

    def __init__(self, **params: Any) -> None:
        self.engine = Engine(1)
        self.recorder = Recorder(facts.ALL)
        self.storage = InstantStorage(self.engine)
        self.host = Host(self.engine, "control-plane", 2)
        self.server = APIServer(
            self.engine,
            self.recorder,
            APIServerParams(**params),
            APIServerLaw(),
            self.storage,
            self.host.process("kube-apiserver"),
        )
        self.server.start()
        self.endpoint = LoadBalancer(self.engine, [self.server])
        self.clients = ClientFactory(self.engine, self.endpoint)
        self.client = self.clients.client("alice", groups=("system:masters",))

    def run(self, seconds: float = 1.0) -> None:
        self.engine.run(self.engine.now + seconds)

    def do(self, verb: Callable[..., Request], *args: Any, **kwargs: Any) -> Request:
        answered: list[Request] = []
        request = verb(*args, then=answered.append, **kwargs)
        self.run()
        assert answered == [request]
        return request

    def informer(self, resource: str, client: Client | None = None) -> Informer[Any]:
        made: Informer[Any] = Informer(
            self.engine, self.endpoint, client or self.client, resource
        )
        made.start()
        self.run()
        return made


@pytest.fixture
def world() -> World:
    return World()


def a_pod(name: str = "p", **more: Any) -> Pod:
    return Pod(name=name, namespace="default", template=PodTemplate(manifest={}), **more)


def bind(node: str) -> Callable[[Any], Any]:
    def mutate(pod: Pod) -> Pod:
        new = pod.clone()
        new.node_name = node
        return new

    return mutate


def test_create_assigns_uid_time_size_and_revision(world: World) -> None:
    request = world.do(world.client.create, Generic(name="c", namespace="n"))
    assert request.code == 201
    made = request.result
    assert made.uid == 1
    assert made.creation_seconds > 0.0
    assert made.size_bytes == 1024
    assert made.resource_version == world.storage.revision


def test_create_of_an_existing_name_is_a_conflict(world: World) -> None:
    world.do(world.client.create, Generic(name="c", namespace="n"))
    assert world.do(world.client.create, Generic(name="c", namespace="n")).code == 409


def test_create_in_a_terminating_namespace_is_forbidden(world: World) -> None:
    world.do(world.client.create, Namespace(name="n", phase="Terminating"))
    assert world.do(world.client.create, Generic(name="c", namespace="n")).code == 403


def test_put_with_a_stale_revision_is_a_conflict(world: World) -> None:
    made = world.do(world.client.create, Lease(name="l", namespace="n")).result
    first = made.clone()
    first.holder = "a"
    assert world.do(world.client.update, first).code == 200
    stale = made.clone()
    stale.holder = "b"
    stale.resource_version = 2
    assert first.resource_version != 2
    assert world.do(world.client.update, stale).code == 409


def test_put_right_after_another_put_is_judged_on_the_stored_object(world: World) -> None:
    """The cache is behind, the client is not: the object is read from etcd before refusing."""
    made = world.do(world.client.create, Lease(name="l", namespace="n")).result
    codes: list[int] = []

    def second(request: Request) -> None:
        codes.append(request.code)
        if len(codes) < 3:
            new = request.result.clone()
            new.renew_seconds = float(len(codes))
            world.client.update(new, second)

    new = made.clone()
    new.holder = "x"
    world.client.update(new, second)
    world.run()
    assert codes == [200, 200, 200]


def test_concurrent_patches_are_all_applied(world: World) -> None:
    world.do(world.client.create, Lease(name="l", namespace="n", transition_count=0))

    def increment(lease: Any) -> Any:
        new = lease.clone()
        new.transition_count += 1
        return new

    codes: list[int] = []
    for _ in range(8):
        world.client.patch("leases", "n", "l", increment, lambda r: codes.append(r.code))
    world.run()
    assert codes == [200] * 8
    assert world.storage.objects["leases"]["n", "l"].transition_count == 8  # type: ignore[attr-defined]


def test_a_write_that_changes_nothing_is_not_written(world: World) -> None:
    world.do(world.client.create, Lease(name="l", namespace="n"))
    before = world.storage.revision
    assert world.do(world.client.patch, "leases", "n", "l", lambda x: x).code == 200
    assert world.do(world.client.patch, "leases", "n", "l", lambda x: x.clone()).code == 200
    assert world.storage.revision == before


def test_a_refused_change_is_a_conflict(world: World) -> None:
    world.do(world.client.create, Lease(name="l", namespace="n"))
    assert world.do(world.client.patch, "leases", "n", "l", lambda x: None).code == 409


@pytest.mark.parametrize("verb", ["get", "delete"])
def test_an_unknown_object_is_not_found(world: World, verb: str) -> None:
    assert world.do(getattr(world.client, verb), "pods", "default", "nobody").code == 404


def test_binding_twice_is_a_conflict(world: World) -> None:
    world.do(world.client.create, a_pod())
    args = ("pods", "default", "p", bind("n1"))
    assert world.do(world.client.patch, *args, subresource="binding").code == 201
    again = ("pods", "default", "p", bind("n2"))
    assert world.do(world.client.patch, *again, subresource="binding").code == 409
    assert world.storage.objects["pods"]["default", "p"].node_name == "n1"  # type: ignore[attr-defined]


def test_an_unbound_pod_is_deleted_at_once_in_two_transactions(world: World) -> None:
    pods = world.informer("pods")
    seen: list[str] = []
    pods.add_handler(lambda kind, new, old: seen.append(kind))
    world.do(world.client.create, a_pod())
    before = world.storage.revision
    assert world.do(world.client.delete, "pods", "default", "p").code == 200
    assert world.storage.revision - before == 2
    assert seen == ["ADDED", "MODIFIED", "DELETED"]
    assert not pods.objects


def test_a_bound_pod_waits_for_its_kubelet(world: World) -> None:
    world.do(world.client.create, a_pod(node_name="n1"))
    world.do(world.client.delete, "pods", "default", "p")
    pod: Any = world.storage.objects["pods"]["default", "p"]
    assert pod.deletion_grace_seconds == 30.0
    assert pod.deletion_seconds > 30.0
    world.do(world.client.delete, "pods", "default", "p", grace_seconds=60.0)
    assert world.storage.objects["pods"]["default", "p"] is pod
    wrong = world.do(
        world.client.delete, "pods", "default", "p", grace_seconds=0.0, precondition_uid=77
    )
    assert wrong.code == 409
    world.do(world.client.delete, "pods", "default", "p", grace_seconds=0.0)
    assert not world.storage.objects["pods"]


def test_the_last_finalizer_holds_an_object(world: World) -> None:
    world.do(world.client.create, Generic(name="c", namespace="n", finalizers=("f",)))
    world.do(world.client.delete, "configmaps", "n", "c")
    held = world.storage.objects["configmaps"]["n", "c"]
    assert held.deletion_seconds > 0.0

    def release(item: Any) -> Any:
        new = item.clone()
        new.finalizers = ()
        return new

    world.do(world.client.patch, "configmaps", "n", "c", release)
    assert not world.storage.objects["configmaps"]


def test_spec_changes_make_generations_and_status_changes_do_not(world: World) -> None:
    made = Deployment(name="d", namespace="n", template=PodTemplate(manifest={}))
    world.do(world.client.create, made)

    def scale(item: Any) -> Any:
        new = item.clone()
        new.replica_count = 5
        return new

    def status(item: Any) -> Any:
        new = item.clone()
        new.ready_count += 1
        return new

    assert world.do(world.client.patch, "deployments", "n", "d", scale).result.generation == 2
    after = world.do(world.client.patch, "deployments", "n", "d", status, subresource="status")
    assert after.result.generation == 2


def test_tokens_read_and_write_nothing(world: World) -> None:
    request = Request("create", "serviceaccounts", "n", "default", subresource="token")
    answered: list[Request] = []
    request.then = answered.append
    world.client.submit(request)
    world.run()
    assert answered[0].code == 201
    assert world.storage.txn_count == 0
    assert world.storage.get_count == 1


def test_delete_collection_deletes_one_after_another(world: World) -> None:
    for index in range(5):
        world.do(world.client.create, Generic(name=f"c{index}", namespace="n"))
    world.do(world.client.create, Generic(name="other", namespace="m"))
    answered: list[Request] = []
    request = Request("deletecollection", "configmaps", "n", then=answered.append)
    world.client.submit(request)
    world.run()
    assert answered[0].code == 200
    assert list(world.storage.objects["configmaps"]) == [("m", "other")]


def test_a_service_has_an_address_object_of_its_own(world: World) -> None:
    made = world.do(world.client.create, Service(name="s", namespace="n")).result
    assert made.cluster_ip
    assert list(world.storage.objects["ipaddresses"]) == [("", made.cluster_ip)]
    world.do(world.client.create, Service(name="h", namespace="n", headless=True))
    assert len(world.storage.objects["ipaddresses"]) == 1
    world.do(world.client.delete, "services", "n", "s")
    world.run()
    assert not world.storage.objects["ipaddresses"]
    assert list(world.storage.objects["services"]) == [("n", "h")]


def test_facts_tell_the_life_of_a_pod(world: World) -> None:
    world.do(world.client.create, a_pod())
    world.do(world.client.patch, "pods", "default", "p", bind("n1"), subresource="binding")

    def run(pod: Any) -> Any:
        new = pod.clone()
        new.phase, new.ready, new.pod_ip = "Running", True, "10.0.0.1"
        return new

    world.do(world.client.patch, "pods", "default", "p", run, subresource="status")
    world.do(world.client.delete, "pods", "default", "p")
    world.do(world.client.delete, "pods", "default", "p", grace_seconds=0.0)
    table = world.recorder["pod_transitions"]
    names = table.categories("transition")
    told = [names[code] for code in table.column("transition")]
    assert told == ["created", "scheduled", "running", "ready", "deleting", "deleted"]
    assert len(world.recorder["pods"]) == 1


def test_every_request_leaves_a_row_that_adds_up(world: World) -> None:
    world.do(world.client.create, a_pod())
    world.do(world.client.get, "pods", "default", "p")
    rows = world.recorder["requests"]
    assert len(rows) == 2
    assert (rows.column("server_seconds") > 0.0).all()
    network = 2 * world.server.params.network_seconds
    slack = rows.column("total_seconds") - rows.column("server_seconds") - network
    assert abs(slack).max() < 1e-9
    assert world.host.check() == []
