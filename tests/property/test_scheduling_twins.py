"""The array core and its readable twin decide alike on random and adversarial clusters."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sim.scheduling import ClusterState, SchedulerConfiguration, SchedulingCore
from sim.scheduling.preemption import Candidate, select_victims
from sim.scheduling.reference import ReferenceScheduler, heap_root
from sim.scheduling.reference_objects import ReferenceCluster, ReferenceNode
from sim.scheduling.reference_preemption import select_victims as reference_victims
from sim.scheduling.select import select
from tests.support import scheduling_clusters as random_cluster

SEEDS = st.integers(0, 2**32 - 1)


class Pair:
    """The same cluster in both cores."""

    def __init__(self, rnd: Random, node_count: int, *, varied_image_sizes: bool = True) -> None:
        self.rnd = rnd
        self.nodes = [
            random_cluster.node(rnd, i, varied_image_sizes=varied_image_sizes)
            for i in range(node_count)
        ]
        self.objects = random_cluster.other_objects(rnd)
        self.configuration = random_cluster.configuration(rnd)
        self.profile = SchedulerConfiguration.from_dict(self.configuration).profiles[0]
        self.bound: dict[str, tuple[dict[str, Any], str]] = {}
        self.state = self.build()
        self.core = SchedulingCore(self.state, self.profile)
        self.twin = ReferenceScheduler(
            ReferenceCluster(
                [ReferenceNode(n) for n in self.nodes],
                dict(random_cluster.NAMESPACE_LABELS),
                self.objects,
            ),
            self.profile,
        )

    def build(self) -> ClusterState:
        """A fresh state of the present objects."""
        state = ClusterState()
        for name, labels in random_cluster.NAMESPACE_LABELS.items():
            state.set_namespace(name, labels)
        for document in self.objects:
            state.add_object(document)
        for node in self.nodes:
            state.add_node(node)
        for key, (pod, node_name) in self.bound.items():
            self._add(state, key, pod, node_name)
        return state

    @staticmethod
    def _add(state: ClusterState, key: str, pod: dict[str, Any], node_name: str) -> None:
        started = pod["status"].get("startTime")
        state.add_pod(
            key,
            state.pod_shape(pod),
            node_name,
            terminating="deletionTimestamp" in pod["metadata"],
            start_time_seconds=float(started[-3:-1]) if started else 0.0,
        )

    def bind(self, pod: dict[str, Any], node_name: str) -> None:
        """Bind a pod in both."""
        key = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        self.bound[key] = (pod, node_name)
        self._add(self.state, key, pod, node_name)
        self.twin.bind(pod, node_name)

    def unbind(self, key: str) -> None:
        """Remove a pod from both."""
        pod, node_name = self.bound.pop(key)
        self.state.remove_pod(key)
        self.twin.cluster.node(node_name).pods.remove(pod)

    def existing_pod(self, index: int) -> None:
        """Bind a random pod to a random node, whatever the filters say."""
        pod = random_cluster.pod(self.rnd, f"e{index}")
        pod["status"]["startTime"] = f"2026-01-05T08:00:{self.rnd.randint(10, 13)}Z"
        if self.rnd.random() < 0.1:
            pod["metadata"]["deletionTimestamp"] = "2026-01-05T08:00:00Z"
        # Overlapping host ports make upstream's bookkeeping depend on history.
        self.bind(pod, self.rnd.choice(self.nodes)["metadata"]["name"])


def assert_same_decision(pair: Pair, pod: dict[str, Any]) -> str | None:
    explained = pair.core.explain(pair.state.pod_shape(pod))
    expected = pair.twin.schedule(pod)
    decision = pair.core.schedule(pair.state.pod_shape(pod))
    assert decision.node_name == expected.node_name
    assert decision.fit_error == expected.fit_error
    assert decision.processed_nodes == expected.processed_nodes
    assert pair.core.next_start_index == pair.twin.next_start_index
    first = {
        n: (s.plugin, s.code, list(s.reasons))
        for n, s in explained.first_rejection.items()
        if not s.reasons[0].startswith("node(s) didn't satisfy plugin(s)")
    }
    assert first == expected.rejections
    assert set(explained.feasible) == set(expected.feasible)
    for plugin, raw in expected.raw.items():
        got = explained.scores[plugin]
        assert dict(zip(explained.feasible, got.raw, strict=True)) == dict(
            zip(expected.feasible, raw, strict=True)
        ), plugin
        assert dict(zip(explained.feasible, got.normalized, strict=True)) == dict(
            zip(expected.feasible, expected.normalized[plugin], strict=True)
        ), plugin
    totals = dict(zip(explained.feasible, explained.total, strict=True))
    assert totals == dict(zip(expected.feasible, expected.total, strict=True))
    return decision.node_name


@given(SEEDS)
def test_both_decide_alike_over_a_sequence(seed: int) -> None:
    rnd = Random(seed)
    pair = Pair(rnd, rnd.randint(0, 12))
    if pair.nodes:
        for index in range(rnd.randint(0, 20)):
            pair.existing_pod(index)
    templates = [random_cluster.pod(rnd, "t") for _ in range(3)]
    for index in range(8):
        template = rnd.choice(templates)
        pod = {**template, "metadata": {**template["metadata"], "name": f"p{index}"}}
        name = assert_same_decision(pair, pod)
        if name is not None:
            pair.bind(pod, name)
        if pair.bound and rnd.random() < 0.3:
            ports = {k for k, (p, _) in pair.bound.items() if "hostPort" in str(p["spec"])}
            removable = sorted(set(pair.bound) - ports)
            if removable:
                pair.unbind(rnd.choice(removable))


@given(SEEDS)
def test_preemption_picks_the_same_victims(seed: int) -> None:
    rnd = Random(seed)
    pair = Pair(rnd, rnd.randint(1, 6))
    for index in range(rnd.randint(1, 25)):
        pair.existing_pod(index)
        pod, _ = list(pair.bound.values())[-1]
        if "deletionTimestamp" in pod["metadata"]:  # upstream miscounts these on purpose
            key = list(pair.bound)[-1]
            pair.unbind(key)
    pod = random_cluster.pod(rnd, "preemptor")
    pod["spec"]["priority"] = 1000
    shape = pair.state.pod_shape(pod)
    plan = pair.core.plan(shape)
    pair.core.columns(plan)
    for node in pair.nodes:
        name = node["metadata"]["name"]
        got = select_victims(plan, pair.state.nodes[name], pair.state.objects.budgets())
        expected = reference_victims(pair.twin.cluster, pair.profile, pod, name)
        if not isinstance(got, Candidate):
            assert expected is None or not expected.names
            continue
        assert expected is not None
        assert got.victims == expected.names
        assert got.pdb_violation_count == expected.pdb_violation_count


@given(st.lists(st.integers(0, 3), min_size=1, max_size=200))
def test_the_choice_among_ties_is_the_root_of_the_heap(totals: list[int]) -> None:
    assert select(np.array(totals, np.int64)) == heap_root(totals)


def facts(core: SchedulingCore, pod: dict[str, Any]) -> tuple[Any, ...]:
    """What a state says of a pod, whatever the order of nodes."""
    explained = core.explain(core.state.pod_shape(pod))
    scores = {
        name: dict(zip(explained.feasible, score.normalized, strict=True))
        for name, score in explained.scores.items()
    }
    return (
        explained.all_rejections,
        sorted(explained.feasible),
        scores,
        dict(zip(explained.feasible, explained.total, strict=True)),
        explained.filter_skipped,
        explained.score_skipped,
    )


@given(SEEDS)
def test_incremental_state_equals_a_rebuilt_one(seed: int) -> None:
    rnd = Random(seed)
    pair = Pair(rnd, rnd.randint(1, 10), varied_image_sizes=False)
    probes = [random_cluster.pod(rnd, f"probe{i}") for i in range(3)]
    state, core = pair.state, pair.core
    free_of_ports = [{**p, "spec": _without_ports(p["spec"])} for p in probes]
    for step in range(rnd.randint(5, 30)):
        action = rnd.random()
        if action < 0.45 or not pair.bound:
            pod = random_cluster.pod(rnd, f"e{step}")
            pod["spec"] = _without_ports(pod["spec"])
            name = rnd.choice(pair.nodes)["metadata"]["name"]
            key = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
            pair.bound[key] = (pod, name)
            pair._add(state, key, pod, name)
        elif action < 0.65:
            key = rnd.choice(sorted(pair.bound))
            del pair.bound[key]
            state.remove_pod(key)
        elif action < 0.75:
            key = rnd.choice(sorted(pair.bound))
            pod, name = pair.bound[key]
            metadata = {**pod["metadata"], "deletionTimestamp": "2026-01-05T08:00:00Z"}
            pair.bound[key] = ({**pod, "metadata": metadata}, name)
            state.set_terminating(key)
        elif action < 0.85:
            index = rnd.randrange(len(pair.nodes))
            number = int(pair.nodes[index]["metadata"]["name"][1:])
            pair.nodes[index] = random_cluster.node(rnd, number, varied_image_sizes=False)
            state.update_node(pair.nodes[index])
        elif action < 0.92 and len(pair.nodes) > 1:
            gone = pair.nodes.pop(rnd.randrange(len(pair.nodes)))["metadata"]["name"]
            state.remove_node(gone)
            for key in [k for k, (_, n) in pair.bound.items() if n == gone]:
                del pair.bound[key]
                state.remove_pod(key)
        else:
            number = 20 + step
            pair.nodes.append(random_cluster.node(rnd, number, varied_image_sizes=False))
            state.add_node(pair.nodes[-1])
        if rnd.random() < 0.3:
            core.schedule(state.pod_shape(rnd.choice(free_of_ports)))
    rebuilt = SchedulingCore(pair.build(), pair.profile)
    for probe in free_of_ports:
        assert facts(core, probe) == facts(rebuilt, probe)
        # The cached columns of the fast path agree with a verdict from scratch.
        plan = core.plan(state.pod_shape(probe))
        columns = core.columns(plan)
        mask, base = columns.mask.copy(), columns.base.copy()
        columns.epoch = -1
        columns.refresh()
        assert np.array_equal(mask, columns.mask)
        assert np.array_equal(base, columns.base)


def _without_ports(spec: dict[str, Any]) -> dict[str, Any]:
    return {
        **spec,
        **{
            kind: [{k: v for k, v in c.items() if k != "ports"} for c in spec[kind]]
            for kind in ("containers", "initContainers")
            if kind in spec
        },
    }
