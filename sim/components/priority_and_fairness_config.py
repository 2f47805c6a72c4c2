"""FlowSchemas and PriorityLevelConfigurations: the built-in ones, users' own, and classification.

**Source:** `facts/defaults.csv` rows APF; staging/src/k8s.io/apiserver/pkg/apis/flowcontrol/
bootstrap/default.go; matching rules of util/flowcontrol/rule.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge, Le

ALL = "*"
BY_USER = "ByUser"
BY_NAMESPACE = "ByNamespace"


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorityLevel:
    """The spec of one PriorityLevelConfiguration."""

    name: str
    exempt: bool = False
    nominal_concurrency_shares_count: Annotated[int, Ge(0)] = 30
    lendable_percent: Annotated[int, Ge(0), Le(100)] = 0
    borrowing_limit_percent: Annotated[int, Ge(0)] | None = None
    queue_count: Annotated[int, Ge(0)] = 0
    """0: no queues, reject when full."""
    hand_size_count: Annotated[int, Ge(0)] = 0
    queue_length_limit_count: Annotated[int, Ge(0)] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRule:
    """Who may ask for what; an empty ``verbs`` never matches."""

    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    service_accounts: tuple[tuple[str, str], ...] = ()
    """(namespace, name), name may be ``*``."""
    verbs: tuple[str, ...] = (ALL,)
    resources: tuple[str, ...] = (ALL,)
    api_groups: tuple[str, ...] = (ALL,)
    namespaces: tuple[str, ...] = (ALL,)
    cluster_scope: bool = True

    def matches_subject(self, user: str, groups: frozenset[str]) -> bool:
        """Return whether a user is meant."""
        if ALL in self.users or user in self.users:
            return True
        if any(group == ALL or group in groups for group in self.groups):
            return True
        if self.service_accounts and user.startswith("system:serviceaccount:"):
            _, _, namespace, name = user.split(":", 3)
            return any(
                space == namespace and account in {ALL, name}
                for space, account in self.service_accounts
            )
        return False

    def matches_request(self, verb: str, group: str, resource: str, namespace: str) -> bool:
        """Return whether a request is meant; ``resource`` as ``nodes`` or ``nodes/status``."""
        if ALL not in self.verbs and verb not in self.verbs:
            return False
        if ALL not in self.api_groups and group not in self.api_groups:
            return False
        if ALL not in self.resources and resource not in self.resources:
            return False
        if not namespace:
            return self.cluster_scope
        return ALL in self.namespaces or namespace in self.namespaces


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowSchema:
    """The spec of one FlowSchema."""

    name: str
    matching_precedence: int
    priority_level: str
    distinguisher: str = ""
    """ByUser, ByNamespace or empty."""
    rules: tuple[PolicyRule, ...] = ()


def _queued(name: str, shares: int, lendable: int, queues: int, hand: int) -> PriorityLevel:
    return PriorityLevel(
        name=name,
        nominal_concurrency_shares_count=shares,
        lendable_percent=lendable,
        queue_count=queues,
        hand_size_count=hand,
        queue_length_limit_count=50,
    )


BUILT_IN_LEVELS: tuple[PriorityLevel, ...] = (
    PriorityLevel(name="exempt", exempt=True, nominal_concurrency_shares_count=0),
    PriorityLevel(name="catch-all", nominal_concurrency_shares_count=5),
    _queued("system", 30, 33, 64, 6),
    _queued("node-high", 40, 25, 64, 6),
    _queued("leader-election", 10, 0, 16, 4),
    _queued("workload-high", 40, 50, 128, 6),
    _queued("workload-low", 100, 90, 128, 6),
    _queued("global-default", 20, 50, 128, 6),
)

_EVERYONE = ("system:authenticated", "system:unauthenticated")
_KUBE_SYSTEM_ACCOUNTS = (("kube-system", ALL),)

BUILT_IN_SCHEMAS: tuple[FlowSchema, ...] = (
    FlowSchema(
        name="exempt",
        matching_precedence=1,
        priority_level="exempt",
        rules=(PolicyRule(groups=("system:masters",)),),
    ),
    FlowSchema(
        name="system-leader-election",
        matching_precedence=100,
        priority_level="leader-election",
        distinguisher=BY_USER,
        rules=(
            PolicyRule(
                users=("system:kube-controller-manager", "system:kube-scheduler"),
                service_accounts=_KUBE_SYSTEM_ACCOUNTS,
                verbs=("get", "create", "update"),
                resources=("leases",),
                api_groups=("coordination.k8s.io",),
            ),
        ),
    ),
    FlowSchema(
        name="system-node-high",
        matching_precedence=400,
        priority_level="node-high",
        distinguisher=BY_USER,
        rules=(
            PolicyRule(groups=("system:nodes",), resources=("nodes", "nodes/status", "leases")),
        ),
    ),
    FlowSchema(
        name="system-nodes",
        matching_precedence=500,
        priority_level="system",
        distinguisher=BY_USER,
        rules=(PolicyRule(groups=("system:nodes",)),),
    ),
    FlowSchema(
        name="kube-controller-manager",
        matching_precedence=800,
        priority_level="workload-high",
        distinguisher=BY_NAMESPACE,
        rules=(PolicyRule(users=("system:kube-controller-manager",)),),
    ),
    FlowSchema(
        name="kube-scheduler",
        matching_precedence=800,
        priority_level="workload-high",
        distinguisher=BY_NAMESPACE,
        rules=(PolicyRule(users=("system:kube-scheduler",)),),
    ),
    FlowSchema(
        name="kube-system-service-accounts",
        matching_precedence=900,
        priority_level="workload-high",
        distinguisher=BY_NAMESPACE,
        rules=(PolicyRule(service_accounts=_KUBE_SYSTEM_ACCOUNTS),),
    ),
    FlowSchema(
        name="service-accounts",
        matching_precedence=9000,
        priority_level="workload-low",
        distinguisher=BY_USER,
        rules=(PolicyRule(groups=("system:serviceaccounts",)),),
    ),
    FlowSchema(
        name="global-default",
        matching_precedence=9900,
        priority_level="global-default",
        distinguisher=BY_USER,
        rules=(PolicyRule(groups=_EVERYONE),),
    ),
    FlowSchema(
        name="catch-all",
        matching_precedence=10000,
        priority_level="catch-all",
        distinguisher=BY_USER,
        rules=(PolicyRule(groups=_EVERYONE),),
    ),
)


def parse_priority_level(manifest: Mapping[str, Any]) -> PriorityLevel:
    """Read a v1 PriorityLevelConfiguration given as plain JSON (API defaults filled in)."""
    name = str(manifest["metadata"]["name"])
    spec = manifest.get("spec", {})
    if spec.get("type") == "Exempt":
        exempt = spec.get("exempt") or {}
        return PriorityLevel(
            name=name,
            exempt=True,
            nominal_concurrency_shares_count=int(exempt.get("nominalConcurrencyShares", 0)),
            lendable_percent=int(exempt.get("lendablePercent", 0)),
        )
    limited = spec.get("limited") or {}
    response = limited.get("limitResponse") or {}
    queuing = response.get("queuing") or {}
    queues = response.get("type", "Reject") == "Queue"
    limit = limited.get("borrowingLimitPercent")
    return PriorityLevel(
        name=name,
        nominal_concurrency_shares_count=int(limited.get("nominalConcurrencyShares", 30)),
        lendable_percent=int(limited.get("lendablePercent", 0)),
        borrowing_limit_percent=None if limit is None else int(limit),
        queue_count=int(queuing.get("queues", 64)) if queues else 0,
        hand_size_count=int(queuing.get("handSize", 8)) if queues else 0,
        queue_length_limit_count=int(queuing.get("queueLengthLimit", 50)) if queues else 0,
    )


def _subjects(rule: Mapping[str, Any]) -> dict[str, Any]:
    users: list[str] = []
    groups: list[str] = []
    accounts: list[tuple[str, str]] = []
    for subject in rule.get("subjects", ()):
        kind = subject["kind"]
        if kind == "User":
            users.append(str(subject["user"]["name"]))
        elif kind == "Group":
            groups.append(str(subject["group"]["name"]))
        else:
            account = subject["serviceAccount"]
            accounts.append((str(account["namespace"]), str(account["name"])))
    return {"users": tuple(users), "groups": tuple(groups), "service_accounts": tuple(accounts)}


def parse_flow_schema(manifest: Mapping[str, Any]) -> FlowSchema:
    """Read a v1 FlowSchema given as plain JSON; rules on non-resource URLs are left out."""
    spec = manifest["spec"]
    rules: list[PolicyRule] = []
    for rule in spec.get("rules", ()):
        subjects = _subjects(rule)
        rules.extend(
            PolicyRule(
                **subjects,
                verbs=tuple(row.get("verbs", ())),
                resources=tuple(row.get("resources", ())),
                api_groups=tuple(row.get("apiGroups", ())),
                namespaces=tuple(row.get("namespaces", ())),
                cluster_scope=bool(row.get("clusterScope", False)),
            )
            for row in rule.get("resourceRules", ())
        )
    return FlowSchema(
        name=str(manifest["metadata"]["name"]),
        matching_precedence=int(spec.get("matchingPrecedence", 1000)),
        priority_level=str(spec["priorityLevelConfiguration"]["name"]),
        distinguisher=str((spec.get("distinguisherMethod") or {}).get("type", "")),
        rules=tuple(rules),
    )


def with_built_in_levels(own: Sequence[PriorityLevel]) -> tuple[PriorityLevel, ...]:
    """Return the built-in levels, replaced by name and extended by the user's own."""
    merged = {level.name: level for level in BUILT_IN_LEVELS}
    merged.update({level.name: level for level in own})
    return tuple(merged.values())


def with_built_in_schemas(own: Sequence[FlowSchema]) -> tuple[FlowSchema, ...]:
    """Return built-in and own schemas in matching order: by precedence, then by name."""
    merged = {schema.name: schema for schema in BUILT_IN_SCHEMAS}
    merged.update({schema.name: schema for schema in own})
    return tuple(sorted(merged.values(), key=lambda row: (row.matching_precedence, row.name)))


def full_groups(user: str, groups: tuple[str, ...]) -> frozenset[str]:
    """Return a user's groups with those that the authenticators add."""
    found = set(groups)
    if user == "system:anonymous":
        found.add("system:unauthenticated")
    else:
        found.add("system:authenticated")
    if user.startswith("system:serviceaccount:"):
        found.add("system:serviceaccounts")
        found.add(f"system:serviceaccounts:{user.split(':')[2]}")
    if user.startswith("system:node"):
        found.add("system:nodes")
    return frozenset(found)


def classify(
    schemas: Sequence[FlowSchema],
    user: str,
    groups: frozenset[str],
    verb: str,
    api_group: str,
    resource: str,
    namespace: str,
) -> FlowSchema:
    """Return the first schema that matches; catch-all matches everything."""
    for schema in schemas:
        for rule in schema.rules:
            if rule.matches_subject(user, groups) and rule.matches_request(
                verb, api_group, resource, namespace
            ):
                return schema
    return schemas[-1]
