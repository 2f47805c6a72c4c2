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

_BLOCK_COUNT: Final = 512


def _hash64(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")


class Stream:
    """One named source of random numbers; scalar draws come from blocks, arrays are drawn whole.

    Every distribution of a stream has a generator of its own, so that mixing scalar draws of
    different distributions never changes the numbers of either.
    """

    __slots__ = (
        "_exponential_index", "_exponentials", "_generators", "_normal_index", "_normals",
        "_replication_index", "_seed", "_uniform_index", "_uniforms", "name",
    )  # fmt: skip

    def __init__(self, seed: int, replication_index: int, name: str) -> None:
        self.name = name
        self._seed = seed
        self._replication_index = replication_index
        self._generators: dict[str, np.random.Generator] = {}
        self._uniforms: list[float] = []
        """Block of draws, and below how many of them have been used."""
        self._uniform_index = _BLOCK_COUNT
        self._exponentials: list[float] = []
        self._exponential_index = _BLOCK_COUNT
        self._normals: list[float] = []
        self._normal_index = _BLOCK_COUNT

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
        index = self._uniform_index
        if index == _BLOCK_COUNT:
            self._uniforms = self.generator("uniform").random(_BLOCK_COUNT).tolist()
            index = 0
        self._uniform_index = index + 1
        return self._uniforms[index]

    def exponential(self, mean: float) -> float:
        """Draw from the exponential distribution of that mean."""
        index = self._exponential_index
        if index == _BLOCK_COUNT:
            block = self.generator("exponential").standard_exponential(_BLOCK_COUNT)
            self._exponentials = block.tolist()
            index = 0
        self._exponential_index = index + 1
        return mean * self._exponentials[index]

    def normal(self) -> float:
        """Draw from the standard normal distribution."""
        index = self._normal_index
        if index == _BLOCK_COUNT:
            self._normals = self.generator("normal").standard_normal(_BLOCK_COUNT).tolist()
            index = 0
        self._normal_index = index + 1
        return self._normals[index]

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
