"""Payload counts against every measured sync, and against hand-made rule lists."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from sim.costs.fitting_proxy import sync_load_of_row
from sim.costs.kube_proxy import (
    SyncLoad,
    iptables_apply_chains_count,
    iptables_apply_rules_count,
    iptables_extra_payload_count,
    iptables_total_chains_count,
    iptables_total_rules_count,
    nftables_apply_chains_count,
    nftables_apply_rules_count,
    nftables_total_chains_count,
    nftables_total_elements_count,
    nftables_total_rules_count,
)


def _rows(shared_dir: Path, name: str) -> list[dict[str, str]]:
    with (shared_dir / "groundtruth" / name).open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("name", ["kube_proxy_sync.csv", "kube_proxy_sync_reps.csv"])
def test_apply_counts_equal_every_measured_sync(shared_dir: Path, name: str) -> None:
    rows = _rows(shared_dir, name)
    assert len(rows) > 150
    for row in rows:
        load = sync_load_of_row(row)
        if row["proxy_mode"] == "nftables":
            got = (nftables_apply_rules_count(load), nftables_apply_chains_count(load))
        else:
            got = (iptables_apply_rules_count(load), iptables_apply_chains_count(load))
        assert got == (float(row["apply_rules"]), float(row["apply_chains"])), row


def test_installed_counts_equal_every_first_sync(shared_dir: Path) -> None:
    checked = 0
    for row in _rows(shared_dir, "kube_proxy_sync.csv"):
        if not row["total_rules"]:
            continue
        services = float(row["services"])
        endpoints = services * float(row["endpoints_per_service"])
        if row["proxy_mode"] == "nftables":
            assert nftables_total_rules_count(services) == float(row["total_rules"])
            assert nftables_total_chains_count(services) == float(row["total_chains"])
            elements = float(row["total_elements"])
            excess = elements - nftables_total_elements_count(services)
            assert 0 <= excess <= 0.001 * endpoints + 1
        else:
            assert iptables_total_rules_count(services, endpoints) == float(row["total_rules"])
            assert iptables_total_chains_count(services, endpoints) == float(row["total_chains"])
        checked += 1
    assert checked > 20


def test_one_service_with_node_port_affinity_and_address_is_counted_rule_by_rule() -> None:
    """Two endpoints, node port, one load-balancer address, ClientIP: listed by hand.

    Service chain: mark, 2 affinity jumps, 2 jumps. Endpoint chains: 2 x 2. External chain: 2.
    KUBE-SERVICES: cluster address and load-balancer address. KUBE-NODEPORTS: 1. Fixed: 8.
    Chains: service, external, 2 endpoints, 9 fixed.
    """
    extra_rules, extra_chains = iptables_extra_payload_count(
        changed_affinity_endpoints_count=2,
        external_services_count=1,
        changed_external_services_count=1,
        external_addresses_count=1,
    )
    load = SyncLoad(
        services_count=1.0,
        endpoints_count=2.0,
        changed_services_count=1.0,
        changed_endpoints_count=2.0,
        extra_rules_count=extra_rules,
        extra_chains_count=extra_chains,
    )
    assert iptables_apply_rules_count(load) == (1 + 2 + 2) + 4 + 2 + 2 + 1 + 8
    assert iptables_apply_chains_count(load) == 4 + 9
