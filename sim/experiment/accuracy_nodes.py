"""Predictors of the files about single nodes: kube-proxy and the overlay (see `accuracy`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sim.costs.accuracy_node_laws import (
    predict_kube_proxy_sync,
    predict_overlay_pod_sandbox,
    predict_overlay_remote_node_entries,
)
from sim.costs.profile import Profile
from sim.experiment.accuracy import Predictor, Row, Values


def _each(predict: Callable[..., dict[str, float]], part: Callable[[Profile], Any]) -> Predictor:
    def run(rows: Sequence[Row], profile: Profile, _: int) -> list[Values]:
        params = part(profile)
        return [predict(row, params) for row in rows]

    return run


PREDICTORS: dict[str, Predictor] = {
    "kube_proxy_sync.csv": _each(predict_kube_proxy_sync, lambda profile: profile.kube_proxy),
    "overlay_pod_sandbox.csv": _each(
        predict_overlay_pod_sandbox, lambda profile: profile.pod_network
    ),
    "overlay_remote_node_entries.csv": _each(
        predict_overlay_remote_node_entries, lambda profile: profile.remote_node
    ),
}
"""By file name."""
