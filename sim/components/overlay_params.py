"""Parameters of the network overlay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlayParams:
    """How nodes reach each other's pods."""

    backend: Literal["vxlan", "bgp", "cloud-routes"] = "vxlan"
    """vxlan: neighbour, FDB entry and route per node on every node; bgp: a route; cloud-routes:
    one call per node to the provider's network, nothing on the nodes."""
    agent_user: str = "system:serviceaccount:kube-flannel:flannel"
    agent_groups: tuple[str, ...] = (
        "system:serviceaccounts",
        "system:serviceaccounts:kube-flannel",
    )
    agent_qps: Annotated[float, Gt(0)] = 5.0
    """client-go's default, which the agent does not change."""
    agent_burst: Annotated[int, Ge(1)] = 10
