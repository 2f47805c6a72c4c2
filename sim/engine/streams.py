"""Named random streams, derived by name and drawn in blocks.

A stream's numbers depend on (seed, replication, stream name, distribution) and on nothing else: not
on the order in which streams are created, nor on what other streams draw. Two variants of an
experiment therefore share their randomness wherever they share a name (common random numbers).
"""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np
import numpy.typing as npt
from librt.strings import read_f64_le
from mypy_extensions import i64

_BLOCK_COUNT: Final = 512
_BLOCK_BYTES: Final = 8 * _BLOCK_COUNT


def _hash64(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")


def packed_draws(draws: npt.NDArray[np.float64]) -> bytes:
    """Return a block of draws as `read_f64_le` reads them: no object is made for each of them."""
    return draws.astype("<f8", copy=False).tobytes()


class Stream:
    """One named source of random numbers; scalar draws come from blocks, arrays are drawn whole.

    Every distribution of a stream has a generator of its own, so that mixing scalar draws of
    different distributions never changes the numbers of either.
    """

    __slots__ = (
        "_exponential_place", "_exponentials", "_generators", "_normal_place", "_normals",
        "_replication_index", "_seed", "_uniform_place", "_uniforms", "name",
    )  # fmt: skip

    def __init__(self, seed: int, replication_index: int, name: str) -> None:
        self.name = name
        self._seed = seed
        self._replication_index = replication_index
        self._generators: dict[str, np.random.Generator] = {}
        self._uniforms = b""
        """Block of draws, packed, and below how many of its bytes have been used."""
        self._uniform_place: i64 = _BLOCK_BYTES
        self._exponentials = b""
        self._exponential_place: i64 = _BLOCK_BYTES
        self._normals = b""
        self._normal_place: i64 = _BLOCK_BYTES

    def generator(self, purpose: str = "arrays") -> np.random.Generator:
        """Return the numpy generator of one purpose of this stream (for array draws)."""
        found = self._generators.get(purpose)
        if found is None:
            sequence = np.random.SeedSequence(
                self._seed,
                spawn_key=(self._replication_index, _hash64(f"{self.name}#{purpose}")),
            )
            found = np.random.Generator(np.random.PCG64DXSM(sequence))
            self._generators[purpose] = found
        return found

    def uniform(self) -> float:
        """Draw from U[0, 1)."""
        place = self._uniform_place
        if place == _BLOCK_BYTES:
            self._uniforms = packed_draws(self.generator("uniform").random(_BLOCK_COUNT))
            place = 0
        self._uniform_place = place + 8
        return read_f64_le(self._uniforms, place)

    def exponential(self, mean: float) -> float:
        """Draw from the exponential distribution of that mean."""
        place = self._exponential_place
        if place == _BLOCK_BYTES:
            block = self.generator("exponential").standard_exponential(_BLOCK_COUNT)
            self._exponentials = packed_draws(block)
            place = 0
        self._exponential_place = place + 8
        return mean * read_f64_le(self._exponentials, place)

    def normal(self) -> float:
        """Draw from the standard normal distribution."""
        place = self._normal_place
        if place == _BLOCK_BYTES:
            self._normals = packed_draws(self.generator("normal").standard_normal(_BLOCK_COUNT))
            place = 0
        self._normal_place = place + 8
        return read_f64_le(self._normals, place)

    def integer(self, count: int) -> int:
        """Draw an integer of 0 … count-1."""
        return int(self.uniform() * count)

    def uniforms(self, count: int) -> npt.NDArray[np.float64]:
        """Draw an array of U[0, 1): shape (count,)."""
        return self.generator("arrays").random(count)


class StreamFactory:
    """Makes the streams of one run; asking twice for a name gives the same stream."""

    def __init__(self, seed: int, replication_index: int) -> None:
        self._seed = seed
        self._replication_index = replication_index
        self._streams: dict[str, Stream] = {}

    def stream(self, name: str) -> Stream:
        """Return the stream of that name."""
        found = self._streams.get(name)
        if found is None:
            found = Stream(self._seed, self._replication_index, name)
            self._streams[name] = found
        return found

    def names(self) -> list[str]:
        """Return the names of all streams used so far, sorted."""
        return sorted(self._streams)
