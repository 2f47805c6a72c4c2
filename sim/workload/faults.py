"""What a workload may ask of the cluster beside API requests; the cluster implements it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from sim.workload.operations import Fault


class ClusterActions(Protocol):
    """Hands on the machines themselves: things that no API request does."""

    def join_node(self, manifest: Mapping[str, Any]) -> None:
        """Switch on a machine; its kubelet registers the node and everything else follows."""

    def fault(self, fault: Fault) -> None:
        """Break what ``fault.what`` and ``fault.target`` say."""

    def look(self, source: str, target: str) -> tuple[int, int]:
        """Return (nodes asked, nodes from which ``target`` is reached) at this moment."""

    def mend(self, fault: Fault) -> None:
        """Undo a fault (start what was killed, restore what was slowed)."""
