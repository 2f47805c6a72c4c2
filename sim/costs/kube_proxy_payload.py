"""What one kube-proxy sync carries: the load, and the exact rule and chain counts of the payload.

The counts are kube-proxy's own, equal to the measured ones in every row. They take floats or
arrays of shape ``(nodes,)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float64]
Real: TypeAlias = float | FloatArray

LARGE_CLUSTER_ENDPOINTS_COUNT = 1000
"""Above this many endpoints iptables drops comments, periodic full syncs and eager cleanup.

**Source:** upstream pkg/proxy/iptables/proxier.go (largeClusterEndpointsThreshold).
"""

IPTABLES_FIXED_RULES_COUNT = 8
"""Rules of a restore call that do not depend on any Service.

**Source:** kube_proxy_sync.csv (apply_rules at changed_services 0 minus services).
"""
IPTABLES_FIXED_CHAINS_COUNT = 9
"""Chains declared in every restore call. **Source:** kube_proxy_sync.csv (apply_chains)."""
IPTABLES_ENSURED_COUNT = 14
"""Rules that the ensure calls install once (in total_rules). **Source:** kube_proxy_sync.csv."""
IPTABLES_ENSURED_CHAINS_COUNT = 8
"""Chains that the ensure calls install once (in total_chains). **Source:** kube_proxy_sync.csv."""
NFTABLES_FIXED_RULES_COUNT = 21
"""Rules of the base chains, in every full sync. **Source:** kube_proxy_sync.csv."""
NFTABLES_INITIAL_CHAINS_COUNT = 23
"""Base chains created by the first sync. **Source:** kube_proxy_sync.csv."""
NFTABLES_FULL_CHAINS_COUNT = 15
"""Base chains named by a later full sync. **Source:** kube_proxy_sync.csv."""


class SyncOp(StrEnum):
    """Kinds of sync, by the names of the measurements."""

    INITIAL_FULL = "initial_full"
    PARTIAL = "partial"
    FULL_NOCHANGE = "full_nochange"


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncLoad:
    """What one sync has to do; every field is a float or an array of shape ``(nodes,)``.

    Attributes:
        services_count: service ports that have at least one ready endpoint.
        endpoints_count: endpoints of all these service ports together.
        changed_services_count: service ports whose rules this sync emits because they changed;
            all of them on the first sync.
        changed_endpoints_count: all endpoints of the changed service ports.
        stale_chains_count: chains that the cleanup listing finds unused and deletes.
        full: 1 for a full sync, 0 for a partial one.
        initial: 1 when no rules are installed yet (implies ``full``).
        cleanup_listing: 1 when iptables lists the nat table to find stale chains.
        extra_rules_count: payload rules beyond those of plain ClusterIP services
            (`iptables_extra_payload_count`, `nftables_extra_payload_count`).
        extra_chains_count: payload chains beyond those of plain ClusterIP services.
    """

    services_count: Real
    endpoints_count: Real
    changed_services_count: Real = 0.0
    changed_endpoints_count: Real = 0.0
    stale_chains_count: Real = 0.0
    full: Real = 0.0
    initial: Real = 0.0
    cleanup_listing: Real = 0.0
    extra_rules_count: Real = 0.0
    extra_chains_count: Real = 0.0


def iptables_apply_rules_count(load: SyncLoad) -> Real:
    """Rules (``-A`` and ``-X`` lines) of one iptables-restore call.

    The KUBE-SERVICES chain is always rewritten with one rule per service port. An emitted service
    port adds one mark-for-masquerade rule, one jump per endpoint in its own chain, and two rules
    per endpoint chain. A stale chain adds its deletion.

    **Source:** kube_proxy_sync.csv (equal in every row); upstream pkg/proxy/iptables/proxier.go.
    """
    full = load.full
    services = full * load.services_count + (1.0 - full) * load.changed_services_count
    endpoints = full * load.endpoints_count + (1.0 - full) * load.changed_endpoints_count
    return (
        IPTABLES_FIXED_RULES_COUNT
        + load.services_count
        + services
        + 3.0 * endpoints
        + load.stale_chains_count
        + load.extra_rules_count
    )


def iptables_apply_chains_count(load: SyncLoad) -> Real:
    """Chains declared in one iptables-restore call: one per emitted service and endpoint.

    **Source:** kube_proxy_sync.csv (equal in every row).
    """
    full = load.full
    services = full * load.services_count + (1.0 - full) * load.changed_services_count
    endpoints = full * load.endpoints_count + (1.0 - full) * load.changed_endpoints_count
    return (
        IPTABLES_FIXED_CHAINS_COUNT
        + services
        + endpoints
        + load.stale_chains_count
        + load.extra_chains_count
    )


def iptables_total_rules_count(services_count: Real, endpoints_count: Real) -> Real:
    """Rules installed on a node. **Source:** kube_proxy_sync.csv (total_rules, equal)."""
    fixed = IPTABLES_FIXED_RULES_COUNT + IPTABLES_ENSURED_COUNT
    return fixed + 2.0 * services_count + 3.0 * endpoints_count


def iptables_total_chains_count(services_count: Real, endpoints_count: Real) -> Real:
    """Chains installed on a node. **Source:** kube_proxy_sync.csv (total_chains, equal)."""
    fixed = IPTABLES_FIXED_CHAINS_COUNT + IPTABLES_ENSURED_CHAINS_COUNT
    return fixed + services_count + endpoints_count


def iptables_extra_payload_count(
    *,
    changed_affinity_endpoints_count: Real = 0.0,
    external_services_count: Real = 0.0,
    changed_external_services_count: Real = 0.0,
    external_addresses_count: Real = 0.0,
    services_without_endpoints_count: Real = 0.0,
) -> tuple[Real, Real]:
    """Payload (rules, chains) beyond plain ClusterIP services.

    ClientIP affinity adds one rule per endpoint. A service port reachable from outside has an own
    external chain with two rules, emitted when it changed; its node port and each of its external
    or load-balancer addresses is one rule in chains that are rewritten on every sync. A service
    port without endpoints is one reject rule in the filter table.

    Args:
        changed_affinity_endpoints_count: endpoints of emitted services with ClientIP affinity.
        external_services_count: all service ports with a node port.
        changed_external_services_count: those among the emitted services.
        external_addresses_count: external and load-balancer addresses of all services.
        services_without_endpoints_count: service ports that reject.

    **Source:** upstream pkg/proxy/iptables/proxier.go (older version read); the measurements have
    none of these.
    """
    rules = (
        changed_affinity_endpoints_count
        + external_services_count
        + 2.0 * changed_external_services_count
        + external_addresses_count
        + services_without_endpoints_count
    )
    return rules, changed_external_services_count


def nftables_apply_rules_count(load: SyncLoad) -> Real:
    """Rules of one nft transaction: one per emitted service port, plus the base chains if full.

    **Source:** kube_proxy_sync.csv (equal in every row).
    """
    return (
        load.full * (NFTABLES_FIXED_RULES_COUNT + load.services_count)
        + (1.0 - load.full) * load.changed_services_count
        + load.extra_rules_count
    )


def nftables_apply_chains_count(load: SyncLoad) -> Real:
    """Chains of one nft transaction. **Source:** kube_proxy_sync.csv (equal in every row)."""
    base = (
        load.initial * NFTABLES_INITIAL_CHAINS_COUNT
        + (1.0 - load.initial) * NFTABLES_FULL_CHAINS_COUNT
    )
    return (
        load.full * (base + load.services_count)
        + (1.0 - load.full) * load.changed_services_count
        + load.extra_chains_count
    )


def nftables_total_rules_count(services_count: Real) -> Real:
    """Rules installed on a node. **Source:** kube_proxy_sync.csv (total_rules, equal)."""
    return NFTABLES_FIXED_RULES_COUNT + services_count


def nftables_total_chains_count(services_count: Real) -> Real:
    """Chains installed on a node. **Source:** kube_proxy_sync.csv (total_chains, equal)."""
    return NFTABLES_INITIAL_CHAINS_COUNT + services_count


def nftables_total_elements_count(services_count: Real) -> Real:
    """Verdict-map elements on a node: two per ClusterIP service port.

    **Source:** kube_proxy_sync.csv (total_elements; the measured count is up to 0.1 % of the
    endpoints higher).
    """
    return 2.0 * services_count


def nftables_extra_payload_count(
    *,
    changed_affinity_endpoints_count: Real = 0.0,
    changed_external_services_count: Real = 0.0,
) -> tuple[Real, Real]:
    """Payload (rules, chains) of an nft transaction beyond plain ClusterIP services.

    ClientIP affinity gives every endpoint a chain of two rules and the service one look-up rule
    per endpoint; a service reachable from outside has an external chain of two rules. Addresses
    and node ports are map elements, not rules.

    **Source:** assumed for 1.36: an older upstream pkg/proxy/nftables/proxier.go, less the
    per-endpoint hairpin rule that the measured 1.36 payloads no longer have.
    """
    rules = 3.0 * changed_affinity_endpoints_count + 2.0 * changed_external_services_count
    return rules, changed_affinity_endpoints_count + changed_external_services_count
