"""etcd against the measured etcd: every condition row simulated, bars of `index.yaml` held.

The parameters were fitted to these very rows; what the test guards is that they stay fitted.
`docs/model/etcd.md` has the cross-validation.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from sim.experiment.accuracy import FileResult, run_accuracy

FILES = (
    "etcd_put_closed",
    "etcd_put_open",
    "etcd_txn_closed",
    "etcd_range_closed",
    "etcd_watch_fanout",
    "etcd_kill_member",
)


@pytest.fixture(scope="module")
def results(shared_dir: Path) -> dict[str, FileResult]:
    report = run_accuracy(shared_dir / "groundtruth", names=FILES)
    return {result.spec.name.removesuffix(".csv"): result for result in report.files}


def test_every_file_is_simulated(results: dict[str, FileResult]) -> None:
    assert tuple(results) == FILES
    for result in results.values():
        assert result.simulated
        assert all(score.predicted == score.predicted for score in result.scores), "no nan"


@pytest.mark.parametrize("name", FILES)
def test_bars_hold(results: dict[str, FileResult], name: str) -> None:
    assert results[name].failures == []


@pytest.mark.parametrize("name", FILES[:4])
def test_no_bias(results: dict[str, FileResult], name: str) -> None:
    assert 0.93 <= results[name].median_ratio <= 1.07


def test_knee_of_the_open_loop_is_the_measured_saturation(
    results: dict[str, FileResult],
) -> None:
    """At every offered rate, up to 90 % of saturation, the offered rate is served (within 5 %)."""
    served = [
        score.ratio
        for score in results["etcd_put_open"].scores
        if score.column == "throughput_ops_s"
    ]
    assert len(served) == 18
    assert all(0.95 <= ratio <= 1.05 for ratio in served)


def test_leader_loss_loses_no_acknowledged_write(results: dict[str, FileResult]) -> None:
    lost = results["etcd_kill_member"].of_kind("zero")
    assert len(lost) == 6
    assert all(score.predicted == 0.0 for score in lost)
