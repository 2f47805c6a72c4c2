"""Packing of endpoints into slices: invariants for any history, and the rules of facts (g)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sim.base.objects import Endpoint, EndpointSlice, ServicePort
from sim.components.controllers.endpointslice import pack

PORTS = (ServicePort("http", 80, "8080"),)


def make_endpoint(uid: int, ready: bool = True) -> Endpoint:
    return Endpoint(f"10.0.0.{uid}", "node", ready, ready, False, uid, f"pod-{uid}")


def make_slice(name: str, uids: list[int]) -> EndpointSlice:
    return EndpointSlice(
        name=name, endpoints=tuple(make_endpoint(uid) for uid in uids), ports=PORTS
    )


def apply(
    slices: list[EndpointSlice], desired: dict[int, Endpoint], limit: int
) -> list[EndpointSlice]:
    changed, created = pack(slices, desired, PORTS, limit)
    new = {id(item): tuple(endpoints) for item, endpoints in changed}
    after = []
    for item in slices:
        endpoints = new.get(id(item), item.endpoints)
        if endpoints:
            after.append(EndpointSlice(name=item.name, endpoints=endpoints, ports=PORTS))
    for index, endpoints in enumerate(created):
        after.append(
            EndpointSlice(
                name=f"new-{len(slices)}-{index}", endpoints=tuple(endpoints), ports=PORTS
            )
        )
    return after


@given(
    st.integers(1, 7),
    st.lists(st.lists(st.tuples(st.integers(1, 40), st.booleans()), max_size=40), max_size=8),
)
def test_every_endpoint_is_in_exactly_one_slice(
    limit: int, steps: list[list[tuple[int, bool]]]
) -> None:
    slices: list[EndpointSlice] = []
    for step in steps:
        desired = {uid: make_endpoint(uid, ready) for uid, ready in step}
        slices = apply(slices, desired, limit)
        seen = [endpoint for item in slices for endpoint in item.endpoints]
        assert sorted(seen) == sorted(desired.values())
        assert all(0 < len(item.endpoints) <= limit for item in slices)
        assert pack(slices, desired, PORTS, limit) == ([], []), "a second sync writes nothing"


def test_one_flip_is_one_write() -> None:
    slices = [make_slice("a", list(range(1, 101))), make_slice("b", list(range(101, 151)))]
    desired = {uid: make_endpoint(uid) for uid in range(1, 151)}
    desired[30] = make_endpoint(30, ready=False)
    changed, created = pack(slices, desired, PORTS, 100)
    assert [item.name for item, _ in changed] == ["a"]
    assert created == []


def test_new_endpoints_go_into_slices_that_change_anyway() -> None:
    slices = [make_slice("a", list(range(1, 61))), make_slice("b", list(range(101, 151)))]
    desired = {uid: make_endpoint(uid) for uid in [*range(1, 60), *range(101, 151), 200, 201]}
    changed, created = pack(slices, desired, PORTS, 100)
    assert [(item.name, len(new)) for item, new in changed] == [("a", 61)]
    assert created == []


def test_otherwise_into_the_fullest_slice_that_has_room_for_all() -> None:
    slices = [make_slice("c", list(range(201, 251))), make_slice("b", list(range(101, 195))),
              make_slice("a", list(range(1, 61)))]  # fmt: skip
    desired = {
        **{e.pod_uid: e for item in slices for e in item.endpoints},
        **{uid: make_endpoint(uid) for uid in range(300, 310)},
    }
    changed, created = pack(slices, desired, PORTS, 100)
    assert [(item.name, len(new)) for item, new in changed] == [("a", 70)]
    assert created == []


def test_without_room_there_are_new_slices_and_no_rebalancing() -> None:
    slices = [make_slice("a", list(range(1, 96)))]
    desired = {uid: make_endpoint(uid) for uid in range(1, 306)}
    changed, created = pack(slices, desired, PORTS, 100)
    assert changed == []
    assert [len(new) for new in created] == [100, 100, 10]


def test_a_change_of_ports_rewrites_every_slice() -> None:
    slices = [make_slice("a", [1, 2]), make_slice("b", [3])]
    desired = {uid: make_endpoint(uid) for uid in (1, 2, 3)}
    changed, _ = pack(slices, desired, (ServicePort("http", 81, "8080"),), 100)
    assert [item.name for item, _ in changed] == ["a", "b"]
