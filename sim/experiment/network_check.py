"""Whether the address blocks of an experiment exist, are large enough and do not overlap."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from itertools import combinations
from typing import Final

from sim.base.errors import Problem
from sim.cluster.params import ClusterParams

_PLACE: Final = "spec.cluster.network"
_FIRST_NODE_INDEX: Final = 10
"""Nodes begin at the eleventh address of their block, as `sim.cluster.bootstrap` places them."""
_DNS_INDEX: Final = 10
"""kube-dns has the eleventh address of the service block, as kubeadm gives it."""


def check_network(params: ClusterParams) -> list[Problem]:
    """Return what is wrong with the address blocks."""
    network = params.network
    given = {
        "podCidr": network.pod_cidr, "serviceCidr": network.service_cidr,
        "nodeCidr": network.node_cidr,
    }  # fmt: skip
    problems: list[Problem] = []
    blocks = {}
    for key, text in given.items():
        try:
            blocks[key] = ipaddress.IPv4Network(text)
        except ValueError as error:
            problems.append(_malformed(key, text, error))
    problems += _overlaps(blocks)
    return problems + _sizes(params, blocks) + _second_family(params)


def _second_family(params: ClusterParams) -> list[Problem]:
    """Return what is wrong with the IPv6 block of a dual-stack cluster."""
    text, mask = params.network.pod_cidr_ipv6, params.network.node_cidr_mask_size_ipv6
    if not text:
        return []
    try:
        block = ipaddress.IPv6Network(text)
    except ValueError as error:
        return [_malformed("podCidrIpv6", text, error)]
    if block.prefixlen > mask:
        return [_too_small("podCidrIpv6", f"{block} holds no block of /{mask} for a node")]
    return []


def _malformed(key: str, text: str, error: ValueError) -> Problem:
    second = key == "podCidrIpv6"
    hint = "an IPv6 block such as fd00:10::/48" if second else "an IPv4 block such as 10.0.0.0/8"
    if "host bits" in str(error):
        hint = f"the block is {ipaddress.ip_network(text, strict=False)}"
    message = f"{text!r} is not an address block"
    return Problem(code="E013", message=message, file=f"{_PLACE}.{key}", hint=hint)


def _overlaps(blocks: Mapping[str, ipaddress.IPv4Network]) -> list[Problem]:
    return [
        Problem(
            code="E019", message=f"{second} {blocks[second]} overlaps with {first} {blocks[first]}",
            file=f"{_PLACE}.{second}", hint="addresses are unique in a cluster",
        )
        for first, second in combinations(blocks, 2) if blocks[first].overlaps(blocks[second])
    ]  # fmt: skip


def _sizes(params: ClusterParams, blocks: Mapping[str, ipaddress.IPv4Network]) -> list[Problem]:
    mask = params.network.node_cidr_mask_size
    problems = []
    pods, services, nodes = (blocks.get(key) for key in ("podCidr", "serviceCidr", "nodeCidr"))
    if pods is not None and pods.prefixlen > mask:
        problems.append(_too_small("podCidr", f"{pods} holds no block of /{mask} for a node"))
    if services is not None and services.num_addresses <= _DNS_INDEX:
        message = f"{services} has no address number {_DNS_INDEX}, which is that of DNS"
        problems.append(_too_small("serviceCidr", message))
    count = params.control_plane.node_count + sum(pool.count for pool in params.nodes.pools)
    if nodes is not None and nodes.num_addresses < count + _FIRST_NODE_INDEX:
        message = f"{nodes} has {nodes.num_addresses:,} addresses for {count:,} nodes"
        problems.append(_too_small("nodeCidr", message))
    return problems


def _too_small(key: str, message: str) -> Problem:
    return Problem(code="E036", message=message, file=f"{_PLACE}.{key}")
