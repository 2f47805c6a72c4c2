"""Random and adversarial clusters for the scheduling core, from one seeded generator.

Value pools are tiny so that labels, ports, taints and scores collide; odd quantities, missing
labels and zero capacities are frequent.
"""

from __future__ import annotations

from random import Random
from typing import Any

ZONES = ("zone-a", "zone-b", "zone-c", None)
APPS = ("web", "db", "cache")
TIERS = ("front", "back", None)
NAMESPACES = ("default", "team-a", "team-b", "unlisted")
NAMESPACE_LABELS = {"default": {}, "team-a": {"team": "a"}, "team-b": {"team": "b", "env": "prod"}}
IMAGES = ("app:v1", "registry.example/app", "registry.example:5000/big", "img@sha256:00", "none")
TOPOLOGY_KEYS = ("topology.kubernetes.io/zone", "kubernetes.io/hostname", "rack")
EFFECTS = ("NoSchedule", "NoExecute", "PreferNoSchedule")

Json = dict[str, Any]


def node(rnd: Random, index: int, *, varied_image_sizes: bool = True) -> Json:
    """A v1 Node."""
    name = f"n{index:02d}"
    labels = {"kubernetes.io/hostname": name} if rnd.random() < 0.9 else {}
    zone = rnd.choice(ZONES)
    if zone:
        labels["topology.kubernetes.io/zone"] = zone
    if rnd.random() < 0.5:
        labels["rack"] = rnd.choice(("r1", "r2", ""))
    if rnd.random() < 0.6:
        labels["gen"] = rnd.choice(("1", "9", "+10", "-3", "x", "99999999999999999999"))
    allocatable = {
        "cpu": rnd.choice(("0", "1", "2500m", "4", "16", "1500001u")),
        "memory": rnd.choice(("1Gi", "4Gi", "8590000001", "0", "2e9", "3.5Gi")),
        "pods": rnd.choice(("2", "5", "110")),
    }
    if rnd.random() < 0.4:
        allocatable["ephemeral-storage"] = rnd.choice(("10Gi", "1Gi", "0"))
    if rnd.random() < 0.4:
        allocatable["example.com/gpu"] = rnd.choice(("1", "4", "0"))
    if rnd.random() < 0.2:
        allocatable["hugepages-2Mi"] = "64Mi"
    spec: Json = {}
    if rnd.random() < 0.4:
        spec["taints"] = [
            {"key": rnd.choice(("k1", "k2")), "value": rnd.choice(("a", "b", "")),
             "effect": rnd.choice(EFFECTS)}
            for _ in range(rnd.randint(1, 3))
        ]  # fmt: skip
    if rnd.random() < 0.1:
        spec["unschedulable"] = True
    images = [
        {"names": [image],
         "sizeBytes": rnd.choice((10**7, 10**8, 10**9)) if varied_image_sizes else 5 * 10**8}
        for image in IMAGES if rnd.random() < 0.4
    ]  # fmt: skip
    return {
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
        "status": {"allocatable": allocatable, "images": images},
    }


def selector(rnd: Random) -> Json | None:
    """A LabelSelector; sometimes empty, sometimes absent."""
    kind = rnd.random()
    if kind < 0.6:
        return {"matchLabels": {"app": rnd.choice(APPS)}}
    if kind < 0.85:
        operator = rnd.choice(("In", "NotIn", "Exists", "DoesNotExist"))
        values = [v for v in APPS if rnd.random() < 0.5] or ["web"]
        expression: Json = {"key": rnd.choice(("app", "tier")), "operator": operator}
        if operator in ("In", "NotIn"):
            expression["values"] = values
        return {"matchExpressions": [expression]}
    return {} if kind < 0.95 else None


def affinity_term(rnd: Random) -> Json:
    """A PodAffinityTerm."""
    term: Json = {"topologyKey": rnd.choice(TOPOLOGY_KEYS)}
    chosen = selector(rnd)
    if chosen is not None:
        term["labelSelector"] = chosen
        if rnd.random() < 0.2:
            term["matchLabelKeys"] = ["tier"]
        if rnd.random() < 0.1:
            term["mismatchLabelKeys"] = ["app"]
    if rnd.random() < 0.3:
        term["namespaces"] = rnd.sample(NAMESPACES, rnd.randint(1, 2))
    if rnd.random() < 0.3:
        term["namespaceSelector"] = rnd.choice(
            ({}, {"matchLabels": {"team": "a"}},
             {"matchExpressions": [{"key": "env", "operator": "DoesNotExist"}]})
        )  # fmt: skip
    return term


def node_term(rnd: Random) -> Json:
    """A NodeSelectorTerm."""
    expressions = []
    for _ in range(rnd.randint(0, 2)):
        key = rnd.choice(("rack", "gen", "topology.kubernetes.io/zone"))
        operator = rnd.choice(("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"))
        values: list[str] = []
        if operator in ("In", "NotIn"):
            values = rnd.sample(("r1", "r2", "zone-a", "zone-b", "9", ""), 2)
        elif operator in ("Gt", "Lt"):
            values = [rnd.choice(("1", "5", "-10", "y"))]
        expressions.append({"key": key, "operator": operator, "values": values})
    term: Json = {"matchExpressions": expressions}
    if rnd.random() < 0.15:
        names = [f"n{rnd.randint(0, 11):02d}" for _ in range(rnd.randint(1, 3))]
        term["matchFields"] = [
            {"key": "metadata.name", "operator": rnd.choice(("In", "NotIn")), "values": names}
        ]
    return term


def container(rnd: Random, index: int) -> Json:
    """A container with any mixture of requests and ports."""
    requests: Json = {}
    if rnd.random() < 0.8:
        requests["cpu"] = rnd.choice(("100m", "250m", "1", "0", "1500001u", "0.5"))
    if rnd.random() < 0.8:
        requests["memory"] = rnd.choice(("64Mi", "1Gi", "100000001", "1500m", "0"))
    if rnd.random() < 0.15:
        requests["ephemeral-storage"] = "512Mi"
    if rnd.random() < 0.15:
        requests["example.com/gpu"] = rnd.choice(("1", "2", "0"))
    if rnd.random() < 0.05:
        requests["hugepages-2Mi"] = "4Mi"
    result: Json = {
        "name": f"c{index}",
        "image": rnd.choice(IMAGES),
        "resources": {"requests": requests},
    }
    if rnd.random() < 0.15:
        result["ports"] = [
            {"hostPort": rnd.choice((80, 443)), "hostIP": rnd.choice(("", "10.0.0.1", "0.0.0.0")),
             "protocol": rnd.choice(("TCP", "UDP"))}
        ]  # fmt: skip
    return result


def pod(rnd: Random, name: str) -> Json:
    """A v1 Pod without a node."""
    labels = {"app": rnd.choice(APPS)} if rnd.random() < 0.9 else {}
    tier = rnd.choice(TIERS)
    if tier:
        labels["tier"] = tier
    spec: Json = {
        "containers": [container(rnd, i) for i in range(rnd.randint(1, 2))],
        "priority": rnd.choice((0, 0, 10, 100, -5)),
    }
    if rnd.random() < 0.25:
        spec["initContainers"] = [
            {
                **container(rnd, 10 + i),
                **({"restartPolicy": "Always"} if rnd.random() < 0.5 else {}),
            }
            for i in range(rnd.randint(1, 3))
        ]
    if rnd.random() < 0.1:
        spec["overhead"] = {"cpu": "10m", "memory": "1Mi"}
    if rnd.random() < 0.1:
        spec["resources"] = {"requests": {"cpu": "2", "memory": rnd.choice(("2Gi", "0"))}}
    _constraints(rnd, spec)
    metadata: Json = {"name": name, "namespace": rnd.choice(NAMESPACES), "labels": labels}
    if rnd.random() < 0.3:
        owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "controller": True}
        metadata["ownerReferences"] = [owner]
    return {"metadata": metadata, "spec": spec, "status": {}}


def _constraints(rnd: Random, spec: Json) -> None:
    if rnd.random() < 0.5:
        spec["tolerations"] = [
            {"key": rnd.choice(("k1", "k2", "")), "operator": rnd.choice(("Exists", "Equal")),
             "value": rnd.choice(("a", "")), "effect": rnd.choice((*EFFECTS, ""))}
            for _ in range(rnd.randint(1, 2))
        ]  # fmt: skip
    if rnd.random() < 0.1:
        spec["nodeSelector"] = {"rack": rnd.choice(("r1", "r2"))}
    affinity: Json = {}
    required, preferred = (
        f"{w}DuringSchedulingIgnoredDuringExecution" for w in ("required", "preferred")
    )
    if rnd.random() < 0.25:
        affinity["nodeAffinity"] = {}
        if rnd.random() < 0.5:
            terms = [node_term(rnd) for _ in range(rnd.randint(1, 2))]
            affinity["nodeAffinity"][required] = {"nodeSelectorTerms": terms}
        if rnd.random() < 0.6:
            affinity["nodeAffinity"][preferred] = [
                {"weight": rnd.randint(1, 100), "preference": node_term(rnd)}
                for _ in range(rnd.randint(1, 2))
            ]
    for kind in ("podAffinity", "podAntiAffinity"):
        if rnd.random() < 0.25:
            affinity[kind] = {}
            if rnd.random() < 0.5:
                affinity[kind][required] = [affinity_term(rnd) for _ in range(rnd.randint(1, 2))]
            if rnd.random() < 0.6:
                affinity[kind][preferred] = [
                    {"weight": rnd.randint(1, 100), "podAffinityTerm": affinity_term(rnd)}
                    for _ in range(rnd.randint(1, 2))
                ]
    if affinity:
        spec["affinity"] = affinity
    if rnd.random() < 0.3:
        spec["topologySpreadConstraints"] = [
            spread_constraint(rnd) for _ in range(rnd.randint(1, 2))
        ]


def spread_constraint(rnd: Random) -> Json:
    """A TopologySpreadConstraint."""
    result: Json = {
        "maxSkew": rnd.randint(1, 3),
        "topologyKey": rnd.choice(TOPOLOGY_KEYS),
        "whenUnsatisfiable": rnd.choice(("DoNotSchedule", "ScheduleAnyway")),
    }
    chosen = selector(rnd)
    if chosen is not None:
        result["labelSelector"] = chosen
        if rnd.random() < 0.2:
            result["matchLabelKeys"] = ["tier"]
    if rnd.random() < 0.2 and result["whenUnsatisfiable"] == "DoNotSchedule":
        result["minDomains"] = rnd.randint(1, 4)
    if rnd.random() < 0.3:
        result["nodeAffinityPolicy"] = rnd.choice(("Honor", "Ignore"))
    if rnd.random() < 0.3:
        result["nodeTaintsPolicy"] = rnd.choice(("Honor", "Ignore"))
    return result


def other_objects(rnd: Random) -> list[Json]:
    """Services, a ReplicaSet and disruption budgets."""
    objects: list[Json] = [
        {"kind": "Service", "metadata": {"name": f"s{i}", "namespace": rnd.choice(NAMESPACES)},
         "spec": {"selector": {"app": rnd.choice(APPS)}}}
        for i in range(rnd.randint(0, 2))
    ]  # fmt: skip
    for namespace in NAMESPACES:
        if rnd.random() < 0.3:
            objects.append(
                {"kind": "ReplicaSet", "metadata": {"name": "rs", "namespace": namespace},
                 "spec": {"selector": {"matchLabels": {"app": rnd.choice(APPS)}}}}
            )  # fmt: skip
        if rnd.random() < 0.5:
            objects.append(
                {"kind": "PodDisruptionBudget",
                 "metadata": {"name": "b", "namespace": namespace},
                 "spec": {"selector": selector(rnd)},
                 "status": {"disruptionsAllowed": rnd.randint(0, 2)}}
            )  # fmt: skip
    return objects


def configuration(rnd: Random) -> Json:
    """A KubeSchedulerConfiguration: any strategy, arguments, weights, percentage."""
    strategy: Json = {
        "type": rnd.choice(("LeastAllocated", "MostAllocated", "RequestedToCapacityRatio")),
        "resources": rnd.choice(
            ([{"name": "cpu", "weight": 1}, {"name": "memory", "weight": 1}],
             [{"name": "cpu", "weight": 5}, {"name": "example.com/gpu", "weight": 3},
              {"name": "ephemeral-storage", "weight": 2}])
        ),
    }  # fmt: skip
    if strategy["type"] == "RequestedToCapacityRatio":
        strategy["requestedToCapacityRatio"] = {
            "shape": rnd.choice(
                ([{"utilization": 0, "score": 10}, {"utilization": 70, "score": 3},
                  {"utilization": 100, "score": 9}],
                 [{"utilization": 20, "score": 0}, {"utilization": 90, "score": 10}])
            )
        }  # fmt: skip
    arguments: list[Json] = []
    if rnd.random() < 0.5:
        fit: Json = {"scoringStrategy": strategy}
        if rnd.random() < 0.3:
            fit["ignoredResourceGroups"] = ["example.com"]
        arguments.append({"name": "NodeResourcesFit", "args": fit})
    if rnd.random() < 0.3:
        names = ["cpu", "memory", "example.com/gpu", "ephemeral-storage"]
        resources = [{"name": n, "weight": 1} for n in names[: rnd.randint(1, 4)]]
        arguments.append(
            {"name": "NodeResourcesBalancedAllocation", "args": {"resources": resources}}
        )
    if rnd.random() < 0.3:
        arguments.append(
            {"name": "InterPodAffinity",
             "args": {"hardPodAffinityWeight": rnd.choice((0, 1, 60)),
                      "ignorePreferredTermsOfExistingPods": rnd.random() < 0.5}}
        )  # fmt: skip
    if rnd.random() < 0.3:
        action = rnd.choice(("DoNotSchedule", "ScheduleAnyway"))
        key = rnd.choice(TOPOLOGY_KEYS)
        constraint = {"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": action}
        arguments.append(
            {"name": "PodTopologySpread",
             "args": {"defaultingType": "List", "defaultConstraints": [constraint]}}
        )  # fmt: skip
    if rnd.random() < 0.2:
        added = {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [
                {"key": "rack", "operator": "NotIn", "values": ["r2"]}]}]}}  # fmt: skip
        arguments.append({"name": "NodeAffinity", "args": {"addedAffinity": added}})
    profile: Json = {"pluginConfig": arguments}
    if rnd.random() < 0.3:
        profile["plugins"] = {
            "score": {"disabled": [{"name": "ImageLocality"}, {"name": "TaintToleration"}],
                      "enabled": [{"name": "TaintToleration", "weight": 7}]}
        }  # fmt: skip
    return {"profiles": [profile], "percentageOfNodesToScore": rnd.choice((0, 100))}
