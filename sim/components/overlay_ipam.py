"""host-local IPAM: which pod addresses of a node's CIDR are taken.

**Modelled:** one range per node and address family, network, gateway and broadcast addresses
reserved, next free address after the last one given (round robin), release, exhaustion, dual stack.
**Not modelled:** static reservations. The time of the lock and of the scan is a law of
`sim.costs.overlay`.
**Source:** `facts/model.md` (i).
"""

from __future__ import annotations

from ipaddress import IPv6Address, ip_network
from typing import Final

_IPV6_POOL_BITS_MAX: Final = 12
"""An IPv6 range is used up to this many low bits (4,094 pods on one node)."""


class AddressPool:
    """The addresses of one CIDR of one node."""

    __slots__ = ("_base", "_first", "_last", "_prefix", "_taken", "_version", "cidr", "size_count",
                 "taken_count")  # fmt: skip

    def __init__(self, cidr: str) -> None:
        network = ip_network(cidr)
        self.cidr = cidr
        self._version = network.version
        bits = network.max_prefixlen - network.prefixlen
        if network.version == 6 and bits > _IPV6_POOL_BITS_MAX:
            bits = _IPV6_POOL_BITS_MAX
        span = 1 << bits
        self._base = int(network.network_address)
        self._first = 2  # .0 is the network, .1 the bridge
        limit = span - 1 if network.version == 4 else span
        self._taken = bytearray(span)
        for offset in (*range(min(self._first, span)), *range(limit, span)):
            self._taken[offset] = 1
        self._last = self._first - 1
        self.size_count = max(0, limit - self._first)
        """Addresses that pods may have."""
        self.taken_count = 0
        whole = network.version == 4 and bits <= 8
        self._prefix = str(network.network_address).rpartition(".")[0] + "." if whole else ""

    def allocate(self) -> str:
        """Take the next free address after the last one given; empty if there is none."""
        taken = self._taken
        offset = taken.find(0, self._last + 1)
        if offset < 0:
            offset = taken.find(0)
            if offset < 0:
                return ""
        taken[offset] = 1
        self._last = offset
        self.taken_count += 1
        return self._text(offset)

    def take(self, address: str) -> bool:
        """Take a given address (of a pod that runs already); False if that is not possible."""
        offset = self._offset(address)
        if not 0 <= offset < len(self._taken) or self._taken[offset]:
            return False
        self._taken[offset] = 1
        self.taken_count += 1
        if offset > self._last:
            self._last = offset
        return True

    def release(self, address: str) -> None:
        """Give an address back; it comes round again after the rest of the range."""
        offset = self._offset(address)
        assert self._taken[offset], f"{address} of {self.cidr} released twice"
        self._taken[offset] = 0
        self.taken_count -= 1

    def _text(self, offset: int) -> str:
        if self._prefix:
            return f"{self._prefix}{(self._base & 255) + offset}"
        value = self._base + offset
        if self._version == 6:
            return str(IPv6Address(value))
        return f"{value >> 24}.{value >> 16 & 255}.{value >> 8 & 255}.{value & 255}"

    def _offset(self, address: str) -> int:
        if self._version == 6:
            return int(IPv6Address(address)) - self._base
        a, b, c, d = address.split(".")
        return ((int(a) << 24) | (int(b) << 16) | (int(c) << 8) | int(d)) - self._base
