"""Address arithmetic on CIDR blocks, as integers until someone has to read them."""

from __future__ import annotations

import ipaddress


class AddressBlock:
    """A CIDR block: hands out subnets or single addresses by index."""

    __slots__ = ("_first", "_make", "_size_bits", "cidr", "mask_size")

    def __init__(self, cidr: str) -> None:
        network = ipaddress.ip_network(cidr, strict=False)
        self.cidr = str(network)
        self._first = int(network.network_address)
        self._size_bits = network.max_prefixlen - network.prefixlen
        self.mask_size = network.prefixlen
        self._make = ipaddress.IPv6Address if network.version == 6 else _text

    def subnet_count(self, mask_size: int) -> int:
        """Return how many subnets of that mask the block holds; 0 if it is too small."""
        return 1 << (mask_size - self.mask_size) if mask_size >= self.mask_size else 0

    def subnet(self, index: int, mask_size: int) -> str:
        """Return the index-th subnet of that mask."""
        width = self._size_bits - (mask_size - self.mask_size)
        return f"{self._make(self._first + (index << width))}/{mask_size}"

    def address(self, index: int) -> str:
        """Return the index-th address of the block (0 is the network address)."""
        if not 0 <= index < 1 << self._size_bits:
            raise ValueError(f"{self.cidr} has no address number {index}")
        return str(self._make(self._first + index))


def _text(value: int) -> str:
    return f"{value >> 24}.{value >> 16 & 255}.{value >> 8 & 255}.{value & 255}"
