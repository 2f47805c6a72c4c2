"""What an apiserver replica is made with: routes, and what replicas share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sim.base.api_object import APIObject
from sim.components.apiserver_facts import CommitFacts
from sim.components.ports import Request
from sim.components.priority_and_fairness import Level
from sim.components.priority_and_fairness_config import FlowSchema
from sim.components.watch_cache import WatchCache
from sim.costs.apiserver import RequestCost
from sim.engine.tables import Table

_FIRST_CLUSTER_IP: Final = (10 << 24) + (100 << 16)
"""10.100.0.0, in the upper part of 10.96.0.0/12, which is used for unnamed addresses first."""
_MUTATING_VERBS: Final = frozenset({"create", "update", "patch", "delete", "deletecollection"})


class Route:
    """What the replica knows about one class of requests after the first of its kind."""

    __slots__ = (
        "_code", "_facts", "_facts_number", "_rows",
        "authentication_seconds", "byte_seconds", "cache", "cost", "distinguisher", "handle",
        "level", "merged_seconds", "mutating", "namespace", "removes", "resource", "schema_name",
        "subresource", "user", "verb", "wide",
    )  # fmt: skip

    def __init__(
        self,
        key: tuple[str, str, str, str, str],
        cost: RequestCost,
        handle: Callable[[Request], None],
        level: Level,
        schema: FlowSchema,
        cache: WatchCache,
        facts: tuple[str, str, str, str, str, str, int],
        rows: Table,
    ) -> None:
        self.user, self.verb, self.resource, self.subresource, self.namespace = key
        self.cost = cost
        self.handle = handle
        self.level = level
        self.schema_name = schema.name
        self.distinguisher = schema.distinguisher
        self.cache = cache
        self._rows = rows
        self._facts = facts
        """What rows of the table of requests share: verb, resource, subresource, scope, user,
        level, replica."""
        self._code = 0
        """The status answered last, and below the number of the facts with that."""
        self._facts_number = 0
        self.mutating = self.verb in _MUTATING_VERBS and not level.exempt
        self.wide = self.verb in {"list", "watch"} and not level.exempt
        """Whether the request may take more than one seat for its own size."""
        self.removes = self.verb == "delete" or self.subresource == "eviction"
        self.byte_seconds = 0.0
        """What a write costs per byte of its object, before it is proposed."""
        self.authentication_seconds = cost.authentication_seconds
        self.merged_seconds = cost.authentication_seconds + cost.before_seconds

    def facts_number(self, code: int) -> int:
        """Return how rows of the table of requests name the facts of one answered so."""
        if code != self._code:
            self._code = code
            self._facts_number = self._rows.share((*self._facts, code))
        return self._facts_number

    def fits(self, request: Request, user: str, namespace: str) -> bool:
        """Return whether a request surely is of this class: the very same words."""
        return (
            self.resource is request.resource
            and self.verb is request.verb
            and self.subresource is request.subresource
            and self.user is user
            and self.namespace is namespace
        )


class ReplicaGroup:
    """What the replicas of one cluster share although no process holds it: identity and facts."""

    def __init__(self, facts: CommitFacts) -> None:
        self.facts = facts
        self._last_uid = 0
        self._last_address = 0
        self.last_compaction_seconds = 0.0

    def start_uids_after(self, uid: int) -> None:
        """Leave the uids up to this one to the objects of the initial state."""
        self._last_uid = uid

    def note_uids(self, objects: list[APIObject]) -> None:
        """Keep clear of the uids of objects made elsewhere."""
        self._last_uid = max([self._last_uid, *(item.uid for item in objects)])

    def next_cluster_ip(self) -> str:
        """Return the next address of 10.96.0.0/12, kubeadm's Service range."""
        self._last_address += 1
        number = _FIRST_CLUSTER_IP + self._last_address
        return ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))

    def next_uid(self) -> int:
        """Return the next uid, in order of creation over all replicas."""
        self._last_uid += 1
        return self._last_uid
