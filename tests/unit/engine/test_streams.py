"""Named streams: which numbers they give, and what must not change them."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from scipy import stats

from sim.engine.engine import Engine
from sim.engine.streams import StreamFactory


def generator(seed: int, replication: int, text: str) -> np.random.Generator:
    """The documented derivation, written again."""
    key = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    return np.random.Generator(
        np.random.PCG64DXSM(np.random.SeedSequence(seed, spawn_key=(replication, key)))
    )


def test_scalar_draws_are_numpys_own_sequence_across_blocks() -> None:
    stream = StreamFactory(7, 2).stream("etcd/0/fsync")
    count = 1_300  # more than two blocks
    assert [stream.uniform() for _ in range(count)] == generator(
        7, 2, "etcd/0/fsync#uniform"
    ).random(count).tolist()
    assert [stream.normal() for _ in range(count)] == generator(
        7, 2, "etcd/0/fsync#normal"
    ).standard_normal(count).tolist()
    assert [stream.exponential(1.0) for _ in range(count)] == generator(
        7, 2, "etcd/0/fsync#exponential"
    ).standard_exponential(count).tolist()


def test_a_stream_depends_on_no_other_and_on_no_order() -> None:
    alone = StreamFactory(1, 0).stream("a")
    expected = [alone.uniform() for _ in range(10)]
    factory = StreamFactory(1, 0)
    other = factory.stream("b")
    other.uniforms(100)
    stream = factory.stream("a")
    seen = []
    for _ in range(10):
        other.uniform()
        stream.normal()  # nor on draws of another kind
        stream.uniforms(3)
        seen.append(stream.uniform())
    assert seen == expected
    assert factory.stream("a") is stream
    assert factory.names() == ["a", "b"]


@pytest.mark.parametrize(("seed", "replication", "name"), [(2, 0, "a"), (1, 1, "a"), (1, 0, "b")])
def test_another_seed_replication_or_name_gives_other_numbers(
    seed: int, replication: int, name: str
) -> None:
    base = StreamFactory(1, 0).stream("a").uniforms(1_000)
    other = StreamFactory(seed, replication).stream(name).uniforms(1_000)
    assert not np.any(base == other)
    # |r| of 1,000 independent pairs exceeds 0.155 with probability 1e-6
    assert abs(np.corrcoef(base, other)[0, 1]) < 0.155


def test_draws_follow_their_distributions() -> None:
    """Kolmogorov-Smirnov, 20,000 draws each; fails a correct program once in 10⁶ seeds."""
    stream = Engine(3).stream("x")
    count = 20_000
    for draws, law in (
        ([stream.uniform() for _ in range(count)], stats.uniform()),
        ([stream.exponential(2.5) for _ in range(count)], stats.expon(scale=2.5)),
        ([stream.normal() for _ in range(count)], stats.norm()),
    ):
        assert stats.kstest(draws, law.cdf).pvalue > 3e-7
    integers = np.bincount([stream.integer(6) for _ in range(count)], minlength=6)
    assert len(integers) == 6
    assert stats.chisquare(integers).pvalue > 3e-7
