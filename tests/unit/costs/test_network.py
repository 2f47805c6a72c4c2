"""Link laws: free loopback, means that the formula predicts."""

from __future__ import annotations

import pytest

from sim.costs.network import LINKS, LinkLaw, delayed
from sim.engine.streams import StreamFactory


def law(name: str) -> LinkLaw:
    return LinkLaw(LINKS[name], StreamFactory(1, 0).stream("link"))


def test_loopback_is_free() -> None:
    assert law("loopback").free
    assert law("loopback").sample_seconds() == 0.0


@pytest.mark.parametrize("name", [name for name in sorted(LINKS) if name != "loopback"])
def test_mean_is_the_lognormal_mean_and_base_is_the_minimum(name: str) -> None:
    link = law(name)
    values = [link.sample_seconds() for _ in range(20_000)]
    assert not link.free
    assert min(values) >= LINKS[name].base_seconds
    assert sum(values) / len(values) == pytest.approx(link.mean_seconds(), rel=0.02)


def test_delay_is_added_to_every_message() -> None:
    slow = LinkLaw(delayed(LINKS["same_rack"], 0.05), StreamFactory(1, 0).stream("link"))
    fast = law("same_rack")
    assert [slow.sample_seconds() for _ in range(9)] == pytest.approx(
        [fast.sample_seconds() + 0.05 for _ in range(9)]
    )
