"""The worker nodes as v1 manifests, whatever they come from: pools, files or a trace."""

from __future__ import annotations

from typing import Any

from sim.cluster.bootstrap import pool_manifests
from sim.cluster.params import NodesParams
from sim.workload.manifests import load_manifests
from sim.workload.openb import load_nodes


def worker_manifests(params: NodesParams) -> list[dict[str, Any]]:
    """Return the manifests of all worker nodes in a fixed order.

    Raises:
        UserError: a file is missing or is not what it should be.
    """
    return [item for pool in params.pools for item in pool_manifests(pool)] + written_nodes(params)


def written_nodes(params: NodesParams) -> list[dict[str, Any]]:
    """Return the manifests of the worker nodes that files or a trace describe.

    Raises:
        UserError: a file is missing or is not what it should be.
    """
    manifests = []
    for item in load_manifests(*params.manifests) if params.manifests else ():
        if item.get("kind") == "Node":
            manifests.append(item)
    if params.openb_csv:
        manifests += load_nodes(params.openb_csv)
    return manifests
