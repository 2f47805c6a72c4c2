"""Image pulls: bandwidth shares against brute force, layers, serial and parallel pulls."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.components import facts
from sim.components.image import PULLED, PULLING, Images, Layer
from sim.components.image_network import SharedBandwidth
from sim.components.image_params import ImageParams
from sim.costs.container_runtime import ContainerRuntimeParams
from sim.engine.engine import Engine
from sim.engine.tables import Recorder


def brute_force(
    starts: list[tuple[float, int, float]], node_rate: float, registry_rate: float
) -> list[float]:
    """Finish times by progressive filling, recomputed at every arrival and departure."""
    left = [size for _, _, size in starts]
    finished = [-1.0] * len(starts)
    now = 0.0
    while min(finished) < 0.0:
        active = [index for index, (start, _, _) in enumerate(starts)
                  if start <= now + 1e-12 and finished[index] < 0.0]  # fmt: skip
        rates = dict.fromkeys(active, 0.0)
        growing = set(active)
        while growing:  # raise all rates together until a link is full; freeze its transfers
            room = [(registry_rate - sum(rates.values())) / len(growing)]
            room += [
                (node_rate - sum(rates[i] for i in active if starts[i][1] == node))
                / sum(starts[i][1] == node for i in growing)
                for node in {starts[i][1] for i in growing}
            ]
            step = min(room)
            for index in growing:
                rates[index] += step
            full = registry_rate - sum(rates.values()) < 1e-9 * registry_rate
            growing = {
                i for i in growing
                if not full and node_rate - sum(rates[j] for j in active
                                                if starts[j][1] == starts[i][1]) > 1e-9 * node_rate
            }  # fmt: skip
        arrivals = [start for start, _, _ in starts if start > now + 1e-12]
        ends = [now + left[index] / rates[index] for index in active]
        following = min(arrivals + ends)
        for index in active:
            left[index] -= rates[index] * (following - now)
            if left[index] <= 1e-6 * starts[index][2]:
                finished[index] = following
        now = following
    return finished


transfers = st.lists(
    st.tuples(st.floats(0.0, 5.0), st.integers(0, 4), st.floats(10.0, 900.0)),
    min_size=1,
    max_size=14,
)


@given(starts=transfers, node_rate=st.floats(20.0, 200.0), registry_rate=st.floats(20.0, 500.0))
def test_shares_equal_progressive_filling(
    starts: list[tuple[float, int, float]], node_rate: float, registry_rate: float
) -> None:
    engine = Engine(1)
    network = SharedBandwidth(engine, node_rate, registry_rate)
    finished = [-1.0] * len(starts)

    def end(index: int) -> None:
        finished[index] = engine.now

    def begin(index: int) -> None:
        _, node, size = starts[index]
        network.start(node, size, end, index)

    for index, (start, _, _) in enumerate(starts):
        engine.call_at(start, begin, index)
    engine.run(1e6)
    np.testing.assert_allclose(finished, brute_force(starts, node_rate, registry_rate), rtol=1e-4)
    assert network.active_count == 0


def test_stopped_transfer_leaves_its_share() -> None:
    engine = Engine(1)
    network = SharedBandwidth(engine, 100.0, 100.0)
    ends: list[float] = []
    first = network.start(0, 500.0, lambda _: ends.append(engine.now), None)
    network.start(1, 500.0, lambda _: ends.append(engine.now), None)
    engine.call_later(2.0, network.stop, first)
    engine.run(100.0)
    assert ends == pytest.approx([6.0])  # 2 s at 50 B/s, then 400 B at 100 B/s


LAW = replace(ContainerRuntimeParams(), resolve_seconds=0.5)
CATALOGUE = {
    "base": [Layer("os", 60_000_000)],
    "web": [Layer("os", 60_000_000), Layer("web", 30_000_000)],
    "job": [Layer("os", 60_000_000), Layer("job", 10_000_000)],
}


class Puller:
    def __init__(self, node_count: int = 1, **params: Any) -> None:
        self.engine = Engine(1)
        self.recorder = Recorder(facts.ALL)
        self.images = Images(self.engine, self.recorder, ImageParams(**params), LAW, CATALOGUE)
        for index in range(node_count):
            self.images.add_node(f"node-{index}")
        self.answers: list[tuple[float, int, str]] = []

    def ask(self, uid: int, image: str, node: int = 0, policy: str = "IfNotPresent") -> None:
        self.images.ensure(node, uid, image, policy, self.answer, uid)

    def answer(self, uid: int, outcome: str, message: str) -> None:
        self.answers.append((self.engine.now, uid, outcome))

    def done(self, uid: int) -> float:
        return next(time for time, who, what in self.answers if who == uid and what == PULLED)

    def rows(self) -> list[tuple[Any, ...]]:
        table = self.recorder["image_pulls"]
        return list(
            zip(
                table.column("queue_seconds").tolist(),
                table.column("duration_seconds").tolist(),
                table.column("pulled_bytes").tolist(),
                strict=True,
            )
        )


def test_single_pull_takes_what_the_law_says() -> None:
    puller = Puller()
    puller.ask(1, "web")
    puller.engine.run(60.0)
    expected = LAW.pull_seconds([60e6, 30e6], 125e6)
    assert puller.done(1) == pytest.approx(expected)
    assert puller.answers[0] == (0.0, 1, PULLING)
    assert puller.rows() == [(0.0, pytest.approx(expected), 90_000_000)]


def test_serial_pulls_wait_and_share_layers() -> None:
    puller = Puller()
    puller.ask(1, "web")
    puller.ask(2, "job")
    puller.engine.run(60.0)
    first, second = puller.rows()
    assert second[0] == pytest.approx(first[1])
    assert second[2] == 10_000_000
    assert second[1] == pytest.approx(LAW.pull_seconds([10e6], 125e6))


def test_parallel_pulls_run_beside_each_other() -> None:
    puller = Puller(serialize_image_pulls=False, max_parallel_image_pulls_count=2)
    for uid, image in enumerate(["web", "job", "base", "web"], start=1):
        puller.ask(uid, image)
    puller.engine.run(60.0)
    assert puller.done(4) == puller.done(1)  # joined the pull that was on its way
    queued = sorted(row[0] for row in puller.rows())
    assert queued[:2] == [0.0, 0.0]
    assert queued[2] == pytest.approx(min(puller.done(1), puller.done(2)))


def test_registry_bandwidth_is_shared_by_all_nodes() -> None:
    """500 nodes at 1 Gbit/s each behind a registry of 1 Gbit/s: 500 times the bytes, once."""
    puller = Puller(500, registry_bandwidth_bytes_per_second=125e6)
    for node in range(500):
        puller.ask(node + 1, "base", node)
    puller.engine.run(3600.0)
    last = max(puller.done(node + 1) for node in range(500))
    transfer = 500 * 60e6 / 125e6
    assert last == pytest.approx(0.5 + transfer, rel=0.01)
    alone = Puller()
    alone.ask(1, "base")
    alone.engine.run(60.0)
    assert alone.done(1) == pytest.approx(LAW.pull_seconds([60e6], 125e6))


def test_policies() -> None:
    puller = Puller()
    puller.images.preload(0, "web")
    puller.ask(1, "web")
    puller.ask(2, "unknown-to-the-catalogue")
    puller.ask(3, "job", policy="Never")
    puller.ask(4, "web", policy="Always")
    puller.engine.run(60.0)
    outcomes = {uid: what for _, uid, what in puller.answers}
    assert outcomes == {1: "present", 2: "present", 3: "ErrImageNeverPull", 4: PULLED}
    assert puller.done(4) == pytest.approx(0.5)  # resolved anew, nothing to fetch


def test_settings_describe_images_and_shared_layers() -> None:
    images = {"a": {"os": 60_000_000, "a": 5}, "b": {"os": 60_000_000, "b": 7}}
    puller = Puller(layer_bytes=images)
    puller.ask(1, "a")
    puller.ask(2, "b")
    puller.engine.run(60.0)
    assert [row[2] for row in puller.rows()] == [60_000_005, 7]


def test_crashed_node_frees_its_bandwidth() -> None:
    puller = Puller(2, registry_bandwidth_bytes_per_second=60e6)
    puller.ask(1, "base", 0)
    puller.ask(2, "base", 1)
    puller.engine.call_at(1.0, lambda _: puller.images.reset(0))
    puller.engine.run(60.0)
    assert [uid for _, uid, what in puller.answers if what == PULLED] == [2]
    # half the rate for 0.5 s, then all of it; unpacking (1 s of the 60 MB) runs behind
    assert 0.5 + 0.5 + 0.75 < puller.done(2) < 0.5 + 0.5 + 0.75 + 1.2
