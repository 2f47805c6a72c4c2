"""The order in which the scheduler visits nodes.

**Source:** Kubernetes v1.36 ``pkg/scheduler/backend/cache/node_tree.go`` (round robin over zones in
order of first appearance) and ``component-helpers/node/topology`` ``GetZoneKey``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")


def zone_key(labels: Mapping[str, str]) -> str:
    """Identity of a node's zone: region and zone labels (stable names before beta ones)."""
    zone = labels.get("topology.kubernetes.io/zone")
    if zone is None:
        zone = labels.get("failure-domain.beta.kubernetes.io/zone", "")
    region = labels.get("topology.kubernetes.io/region")
    if region is None:
        region = labels.get("failure-domain.beta.kubernetes.io/region", "")
    return f"{region}:\x00:{zone}" if region or zone else ""


def zone_round_robin(zones: Sequence[Sequence[T]]) -> list[T]:
    """First node of every zone, then the second of every zone that has one, and so on."""
    order: list[T] = []
    index = 0
    remaining = [z for z in zones if z]
    while remaining:
        order.extend(zone[index] for zone in remaining)
        index += 1
        remaining = [z for z in remaining if len(z) > index]
    return order
