"""Steps of nodes that join, and the number of Ready nodes over time."""

from __future__ import annotations

import numpy as np
import pytest

from sim.components.facts import ALL
from sim.engine.tables import Recorder
from sim.metrics.derive import Derivation
from sim.metrics.node_join import STEPS, changes_of_readiness, node_join
from sim.metrics.summary import summary


def recorder_of(*rows: tuple[float, str, str]) -> Recorder:
    recorder = Recorder(ALL)
    for time, name, what in rows:
        recorder["node_transitions"].append((time, name, what, ""))
    return recorder


def test_steps_count_from_the_registration() -> None:
    recorder = recorder_of(
        (10.0, "b", "registered"), (10.5, "b", "cidr_allocated"), (3.0, "old", "ready"),
        (12.0, "b", "agent_started"), (14.0, "b", "ready"), (12.5, "b", "programmed_99"),
        (20.0, "b", "not_ready"), (25.0, "b", "ready"), (5.0, "a", "registered"),
    )  # fmt: skip
    found = node_join(recorder)
    assert found.names == ("a", "b")
    times = dict(zip(STEPS, found.times[1].tolist(), strict=True))
    assert (times["registered"], times["cidr_allocated"], times["ready"]) == (10.0, 10.5, 14.0)
    assert np.isnan(times["programmed_100"])
    assert np.isnan(found.times[0][1:]).all()
    rows = [row for row in summary(Derivation(recorder)) if row.metric == "sim_node_join_seconds"]
    values = {row.labels: row.value for row in rows if row.stat == "p50"}
    assert values['step="ready"'] == pytest.approx(4.0)
    assert values['step="programmed_99"'] == pytest.approx(2.5)


def test_ready_nodes_are_counted_once() -> None:
    recorder = recorder_of(
        (1.0, "a", "unknown"), (2.0, "b", "ready"), (3.0, "a", "not_ready"), (4.0, "a", "ready"),
        (5.0, "b", "deleted"), (6.0, "c", "cordoned"),
    )  # fmt: skip
    times, steps = changes_of_readiness(recorder)
    assert times.tolist() == [1.0, 2.0, 4.0, 5.0]
    assert steps.tolist() == [-1.0, 1.0, 1.0, -1.0]
    assert node_join(recorder).names == ()
