"""The watch cache alone: ring, index of watchers, conversion of events."""

from __future__ import annotations

from typing import Any

import pytest

from sim.base.api_object import APIObject
from sim.base.objects import Generic, Pod
from sim.base.pod_template import PodTemplate
from sim.components.ports import FleetWatcher, Watcher, WatchEvent
from sim.components.watch_cache import Ring, WatchCache, filtered

TEMPLATE = PodTemplate(manifest={})


def event(revision: int, seconds: float, name: str = "x", kind: str = "ADDED") -> WatchEvent:
    item = Generic(name=name, namespace="n", resource_version=revision)
    return WatchEvent(kind, "configmaps", item.key, item, None, revision, seconds)


def test_a_ring_doubles_while_its_oldest_event_is_fresh() -> None:
    """facts c.2: from 100 up, doubling when full while the oldest is younger than 75 s."""
    ring = Ring()
    sizes = set()
    for revision in range(1, 1001):
        ring.append(event(revision, revision * 0.01))
        sizes.add(ring.capacity_count)
    assert sizes == {100, 200, 400, 800, 1600}
    assert len(ring) == 1000
    assert ring.evicted_revision == 0


def test_a_ring_forgets_the_oldest_when_events_are_old_enough() -> None:
    ring = Ring()
    for revision in range(1, 301):
        ring.append(event(revision, revision * 1.0))
    assert ring.capacity_count == 100
    assert len(ring) == 100
    assert ring.evicted_revision == 200
    assert ring.since(199) is None
    found = ring.since(297)
    assert found is not None
    assert [item.revision for item in found] == [298, 299, 300]


def test_a_ring_halves_when_three_quarters_are_old() -> None:
    ring = Ring()
    for revision in range(1, 401):  # a burst makes it grow to 400
        ring.append(event(revision, revision * 0.001))
    assert ring.capacity_count == 400
    for revision in range(401, 1200):  # then one event in two seconds
        ring.append(event(revision, 2.0 * revision))
    assert ring.capacity_count == 100


def test_a_ring_never_grows_beyond_its_bound() -> None:
    ring = Ring()
    for revision in range(1, 103_000):
        ring.append(event(revision, 1.0))
    assert ring.capacity_count == 102_400
    assert len(ring) == 102_400


def pod(name: str, node: str = "", **labels: str) -> Pod:
    return Pod(name=name, namespace="n", template=TEMPLATE, node_name=node, labels=labels)


def change(kind: str, new: APIObject, old: APIObject | None) -> WatchEvent:
    return WatchEvent(kind, "pods", new.key, new, old, 7, 1.0)


def ignore(_: Any) -> None:
    return


def test_only_watchers_of_old_and_new_node_are_visited() -> None:
    cache = WatchCache("pods")
    everyone = Watcher("pods", ignore)
    own = {name: Watcher("pods", ignore, field_node_name=name) for name in ("a", "b", "c")}
    for watcher in (everyone, *own.values()):
        cache.add(watcher)
    moved = change("MODIFIED", pod("p", "b"), pod("p", "a"))
    assert cache.candidates(moved) == [everyone, own["b"], own["a"]]
    kinds = [filtered(watcher, moved) for watcher in (own["b"], own["a"], own["c"])]
    assert [item.type if item else None for item in kinds] == ["ADDED", "DELETED", None]


def test_scopes_are_indexed() -> None:
    cache = WatchCache("configmaps")
    inside = Watcher("configmaps", ignore, namespace="n")
    other = Watcher("configmaps", ignore, namespace="m")
    named = Watcher("configmaps", ignore, namespace="n", name="x")
    for watcher in (inside, other, named):
        cache.add(watcher)
    assert cache.candidates(event(1, 1.0, "x")) == [inside, named]
    assert cache.candidates(event(1, 1.0, "y")) == [inside]
    assert cache.interested_count(("n", "x")) == 2
    cache.remove(named)
    assert cache.interested_count(("n", "x")) == 1
    assert cache.watcher_count == 2


def test_a_selector_turns_changes_into_additions_and_removals() -> None:
    watcher = Watcher("pods", ignore, selector=lambda item: item.labels.get("app") == "web")
    gains = filtered(watcher, change("MODIFIED", pod("p", app="web"), pod("p")))
    loses = filtered(watcher, change("MODIFIED", pod("p"), pod("p", app="web")))
    stays = filtered(watcher, change("MODIFIED", pod("p", app="web"), pod("p", app="web")))
    assert [item.type for item in (gains, loses, stays) if item] == ["ADDED", "DELETED", "MODIFIED"]
    assert filtered(watcher, change("MODIFIED", pod("p"), pod("p"))) is None


@pytest.mark.parametrize(
    ("resource", "node", "capacity", "expected"),
    [
        ("pods", "a", 102_400, 10),
        ("pods", "", 102_400, 1000),
        ("configmaps", "", 102_400, 100),
        ("configmaps", "", 100, 10),
    ],
)
def test_channel_sizes(resource: str, node: str, capacity: int, expected: int) -> None:
    """facts c.3: ceil(capacity/75), between 10 and a bound that depends on the index."""
    cache = WatchCache(resource)
    cache.ring.capacity_count = capacity
    assert cache.channel_size(Watcher(resource, ignore, field_node_name=node)) == expected


def test_fleets_that_see_everything_count_for_seats_and_fleets_of_their_own_do_not() -> None:
    slices = WatchCache("endpointslices")
    slices.fleets.append(FleetWatcher("kube-proxy", "endpointslices", "all", 1000))
    assert slices.interested_count(("n", "x")) == 1000
    pods = WatchCache("pods")
    pods.fleets.append(FleetWatcher("kubelet", "pods", "own", 1000))
    assert pods.interested_count(("n", "x")) == 0


def test_what_is_still_on_its_way_is_not_known_to_watchers() -> None:
    cache = WatchCache("configmaps")
    old = Generic(name="x", namespace="n", resource_version=1)
    new = Generic(name="x", namespace="n", resource_version=2)
    cache.apply(WatchEvent("ADDED", "configmaps", old.key, old, None, 1, 1.0))
    cache.delivered_revision = 1
    cache.apply(WatchEvent("MODIFIED", "configmaps", new.key, new, old, 2, 1.1))
    fresh = Generic(name="y", namespace="n", resource_version=3)
    cache.apply(WatchEvent("ADDED", "configmaps", fresh.key, fresh, None, 3, 1.2))
    known = cache.as_delivered()
    assert known == {old.key: old}
    missed = cache.difference(known, 2.0)
    assert [(item.type, item.key[1]) for item in missed] == [("MODIFIED", "x"), ("ADDED", "y")]
