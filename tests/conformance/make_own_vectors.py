"""Writes the project's own vector sample: random clusters, decisions of the readable twin.

Run ``python -m tests.conformance.make_own_vectors`` from the root of the checkout. The sample lets
the replay and its comparison be tested where the real scheduler's vectors are absent.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from random import Random
from typing import Any

from sim.scheduling import SchedulerConfiguration
from sim.scheduling.reference import ReferenceDecision, ReferenceScheduler
from sim.scheduling.reference_objects import ReferenceCluster, ReferenceNode
from tests.support import scheduling_clusters as random_cluster

FOLDER = Path(__file__).parent / "own_vectors"
SINGLE_COUNT = 24
STEP_COUNT = 40


def _cluster(rnd: Random, node_count: int) -> dict[str, Any]:
    nodes = [random_cluster.node(rnd, i) for i in range(node_count)]
    pods = []
    for index in range(node_count * 2):
        pod = random_cluster.pod(rnd, f"e{index}")
        pod["spec"] = {**pod["spec"], "nodeName": rnd.choice(nodes)["metadata"]["name"]}
        pods.append(pod)
    namespaces = [
        {"metadata": {"name": name, "labels": labels}}
        for name, labels in random_cluster.NAMESPACE_LABELS.items()
    ]
    objects = random_cluster.other_objects(rnd)
    return {
        "nodes": nodes,
        "pods": pods,
        "namespaces": namespaces,
        "services": [o for o in objects if o["kind"] == "Service"],
        "replicasets": [o for o in objects if o["kind"] == "ReplicaSet"],
    }


def _scheduler(config: dict[str, Any], cluster: dict[str, Any]) -> ReferenceScheduler:
    nodes = {n["metadata"]["name"]: ReferenceNode(n) for n in cluster["nodes"]}
    for pod in cluster["pods"]:
        nodes[pod["spec"]["nodeName"]].pods.append(pod)
    namespaces = {n["metadata"]["name"]: n["metadata"]["labels"] for n in cluster["namespaces"]}
    objects = [*cluster["services"], *cluster["replicasets"]]
    profile = SchedulerConfiguration.from_dict(config).profiles[0]
    return ReferenceScheduler(ReferenceCluster(list(nodes.values()), namespaces, objects), profile)


def _expect(scheduler: ReferenceScheduler, decision: ReferenceDecision) -> dict[str, Any]:
    order = [n.name for n in scheduler.cluster.visiting_order()]
    conflict = "pod affinity terms conflict" in (decision.fit_error or "")
    expect: dict[str, Any] = {
        "outcome": "scheduled" if decision.node_name else "unschedulable",
        "node_order": order,
        "feasible": decision.feasible,
        "filter": {
            node: {"plugin": plugin, "code": code, "reasons": reasons}
            for node, (plugin, code, reasons) in decision.rejections.items()
        },
        "total": decision.total,
    }
    if conflict:
        expect["prefilter_reject"] = {
            "plugin": "NodeAffinity",
            "code": "UnschedulableAndUnresolvable",
            "reasons": ["pod affinity terms conflict"],
        }
    if decision.node_name is None:
        expect["fit_error"] = decision.fit_error
        return expect
    best = max(decision.total)
    pairs = list(zip(decision.feasible, decision.total, strict=True))
    zeros = [0] * len(decision.feasible)
    weights = scheduler.profile.score_weights
    scores = {
        plugin: {
            "weight": weights[plugin],
            "raw": raw,
            "normalized": decision.normalized[plugin],
            "weighted": [weights[plugin] * s for s in decision.normalized[plugin]],
        }
        for plugin, raw in decision.raw.items()
    }
    scores["DynamicResources"] = {"weight": 2, "raw": zeros, "normalized": zeros, "weighted": zeros}
    expect |= {
        "scores": scores,
        "max_total": best,
        "max_nodes": sorted(n for n, t in pairs if t == best),
        "selected_parallelism1": decision.node_name,
        "evaluated_nodes": decision.processed_nodes,
    }
    return expect


def _single(rnd: Random) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    while len(records) < SINGLE_COUNT:
        config = {**random_cluster.configuration(rnd), "percentageOfNodesToScore": 100}
        cluster = _cluster(rnd, rnd.randint(1, 8))
        pod = random_cluster.pod(rnd, "incoming")
        if "matchFields" in json.dumps(pod):
            continue  # narrowed searches are covered by the property tests
        scheduler = _scheduler(config, cluster)
        expect = _expect(scheduler, scheduler.schedule(pod))
        records.append(
            {"id": f"own-{len(records):03d}", "family": "own", "config": config,
             "cluster": cluster, "pod": pod, "expect": expect}
        )  # fmt: skip
    return records


def _sequence(rnd: Random) -> list[dict[str, Any]]:
    config = {"percentageOfNodesToScore": 0}
    cluster = _cluster(rnd, 130)
    scheduler = _scheduler(config, cluster)
    records: list[dict[str, Any]] = [
        {"type": "header", "id": "own-sequence", "family": "own", "config": config,
         "cluster": cluster,
         "node_order": [n.name for n in scheduler.cluster.visiting_order()]}
    ]  # fmt: skip
    for step in range(STEP_COUNT):
        pod = random_cluster.pod(rnd, f"p{step}")
        before = scheduler.next_start_index
        decision = scheduler.schedule(pod)
        record = {
            "type": "step", "step": step, "pod": pod,
            "outcome": "scheduled" if decision.node_name else "unschedulable",
            "feasible_count": len(decision.feasible),
            "evaluated_nodes": decision.processed_nodes if decision.node_name else 0,
            "processed_nodes": decision.processed_nodes,
            "next_start_before": before, "next_start_after": scheduler.next_start_index,
        }  # fmt: skip
        if decision.node_name is None:
            record["fit_error"] = decision.fit_error
        else:
            record["chosen"] = decision.node_name
            scheduler.bind(pod, decision.node_name)
        records.append(record)
    return records


def _write(name: str, records: list[dict[str, Any]]) -> None:
    lines = "".join(json.dumps(r, sort_keys=True, separators=(",", ":")) + "\n" for r in records)
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / name).write_bytes(gzip.compress(lines.encode(), 9, mtime=0))


if __name__ == "__main__":
    _write("single.jsonl.gz", _single(Random(2026)))
    _write("sequence.jsonl.gz", _sequence(Random(36)))
