"""Predictions of the node laws for rows of the groundtruth files, column by column.

Each function takes one row (text, as read) and returns the predicted values of the columns that
``index.yaml`` scores for its file, in the file's own units. Only the row's conditions and its
sample size are used, never a measured value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sim.costs.fitting_overlay import (
    fit_pod_network,
    fit_remote_nodes,
    remote_entry_seconds,
    step_statistics_seconds,
    total_statistics_seconds,
)
from sim.costs.fitting_proxy import fit_kube_proxy, read_rows, sync_load_of_row
from sim.costs.kube_proxy import (
    KubeProxyParams,
    iptables_apply_chains_count,
    iptables_apply_rules_count,
    nftables_apply_chains_count,
    nftables_apply_rules_count,
)
from sim.costs.overlay import PodNetworkParams, RemoteNodeParams

_KUBE_PROXY = KubeProxyParams()
_POD_NETWORK = PodNetworkParams()
_REMOTE_NODES = RemoteNodeParams()
_SCORED_STATISTICS = ("mean_ms", "p50_ms", "p90_ms", "p99_ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeLaws:
    """The laws that the groundtruth files of the nodes determine."""

    kube_proxy: KubeProxyParams
    pod_network: PodNetworkParams
    remote_nodes: RemoteNodeParams


def fit(groundtruth_dir: Path) -> NodeLaws:
    """Derive the laws anew from kube_proxy_sync.csv and the two overlay files of a folder.

    Raises:
        FileNotFoundError: when one of the three files is missing.
        ValueError: when a mode or step has no usable row.
    """
    return NodeLaws(
        kube_proxy=fit_kube_proxy(read_rows(groundtruth_dir / "kube_proxy_sync.csv")),
        pod_network=fit_pod_network(read_rows(groundtruth_dir / "overlay_pod_sandbox.csv")),
        remote_nodes=fit_remote_nodes(
            read_rows(groundtruth_dir / "overlay_remote_node_entries.csv")
        ),
    )


def predict_kube_proxy_sync(
    row: Mapping[str, str], params: KubeProxyParams = _KUBE_PROXY
) -> dict[str, float]:
    """sync_ms, apply_rules and apply_chains of one row of kube_proxy_sync.csv.

    Raises:
        ValueError: for a proxy mode or backend without a law.
    """
    load = sync_load_of_row(row)
    mode = row["proxy_mode"]
    sync = params.sync_seconds(load, mode, row["iptables_backend"] or "nf_tables")
    if mode == "nftables":
        rules, chains = nftables_apply_rules_count(load), nftables_apply_chains_count(load)
    else:
        rules, chains = iptables_apply_rules_count(load), iptables_apply_chains_count(load)
    return {
        "sync_ms": float(sync) * 1e3,
        "apply_rules": float(rules),
        "apply_chains": float(chains),
    }


def predict_overlay_pod_sandbox(
    row: Mapping[str, str], params: PodNetworkParams = _POD_NETWORK
) -> dict[str, float]:
    """mean_ms, p50_ms, p90_ms and p99_ms of one row of overlay_pod_sandbox.csv.

    Raises:
        ValueError: for a step that has no law.
    """
    if row["step"] == "total":
        seconds = total_statistics_seconds(params, row)
    else:
        seconds = step_statistics_seconds(params.step(row["step"]), row)
    return {name: seconds[name] * 1e3 for name in _SCORED_STATISTICS}


def predict_overlay_remote_node_entries(
    row: Mapping[str, str], params: RemoteNodeParams = _REMOTE_NODES
) -> dict[str, float]:
    """mean_ms of one row of overlay_remote_node_entries.csv; empty for ``list_all``.

    Raises:
        ValueError: for a step that has no law.
    """
    seconds = remote_entry_seconds(params, row)
    return {} if seconds is None else {"mean_ms": seconds * 1e3}
