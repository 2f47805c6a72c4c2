"""Predictors of the `etcd_*.csv` files (see `accuracy`)."""

from __future__ import annotations

from collections.abc import Callable

from sim.costs.profile import Profile
from sim.experiment.accuracy import Predictor, Row, Values, row_by_row
from sim.experiment.accuracy_etcd import (
    EtcdCosts,
    Prediction,
    predict_kill_member,
    predict_put_closed,
    predict_put_open,
    predict_range_closed,
    predict_watch_fanout,
)

RowPredictor = Callable[[Row, EtcdCosts, int], Prediction]


def costs_of(profile: Profile) -> EtcdCosts:
    """Return the costs of a simulated etcd bench under a profile."""
    return EtcdCosts(law=profile.etcd, disk=profile.disk)


def _each(predict: RowPredictor) -> Predictor:
    def run(row: Row, profile: Profile, seed: int) -> Values:
        return predict(row, costs_of(profile), seed)

    return row_by_row(run)


PREDICTORS: dict[str, Predictor] = {
    "etcd_put_closed.csv": _each(predict_put_closed),
    "etcd_put_open.csv": _each(predict_put_open),
    "etcd_txn_closed.csv": _each(predict_put_closed),
    "etcd_range_closed.csv": _each(predict_range_closed),
    "etcd_watch_fanout.csv": _each(predict_watch_fanout),
    "etcd_kill_member.csv": _each(predict_kill_member),
}
"""By file name."""
