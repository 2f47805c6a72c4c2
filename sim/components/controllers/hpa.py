"""HorizontalPodAutoscaler controller.

**Modelled:** one reconciliation per autoscaler every 15 s by 5 workers: GET of the scale
sub-resource, a LIST of the target's metrics, the ratio with 10 % tolerance, the downscale
stabilisation window of 300 s, scale-up by at most the larger of 4 pods and 100 % per 15 s, PUT of
the scale and of the status, SuccessfulRescale events. The metric comes from a callable that is
given the target, its name and replicas and answers with the mean utilisation over its request.
**Not modelled:** several metrics, behaviour sections, initial readiness delays.
**Source:** `facts/defaults.csv` rows of HPA; upstream pkg/controller/podautoscaler.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Final

from sim.base.api_object import Key
from sim.base.objects import HorizontalPodAutoscaler, Workload
from sim.components.controllers.base import ERROR, OK, Controller, ControllerContext, Sync
from sim.components.ports import Request

MetricSource = Callable[[str, str, str, int], float | None]
"""(namespace, kind, name, replicas) → mean utilisation ratio, None while unknown."""

SYNC_PERIOD_SECONDS: Final = 15.0
TOLERANCE_RATIO: Final = 0.1
DOWNSCALE_WINDOW_SECONDS: Final = 300.0
"""**Source:** `facts/defaults.csv`."""
SCALE_UP_PODS_COUNT: Final = 4
SCALE_UP_FACTOR: Final = 2.0
"""Default scale-up policies per 15 s. **Source:** autoscaling/v2 defaults."""
_RESOURCES: Final = {
    "Deployment": "deployments",
    "ReplicaSet": "replicasets",
    "StatefulSet": "statefulsets",
}


def desired_replicas(current: int, utilization: float | None, target: float) -> int:
    """Return ceil(current × utilisation / target), or current within the tolerance."""
    if utilization is None or current == 0:
        return current
    ratio = utilization / target
    if abs(ratio - 1.0) <= TOLERANCE_RATIO:
        return current
    return ceil(current * ratio - 1e-9)


class HorizontalPodAutoscalerController(Controller):
    """Keys are autoscalers; each is queued again 15 s after its last reconciliation."""

    name = "horizontal_pod_autoscaler"
    service_account = "horizontal-pod-autoscaler"

    def __init__(
        self, context: ControllerContext, worker_count: int, metric_source: MetricSource | None
    ) -> None:
        super().__init__(context, worker_count)
        self._metric_source = metric_source
        self._autoscalers = context.informer("horizontalpodautoscalers")
        self._recommendations: dict[Key, list[tuple[float, int]]] = {}
        self._autoscalers.add_handler(self._autoscaler_changed)

    def _autoscaler_changed(
        self, kind: str, new: HorizontalPodAutoscaler, old: HorizontalPodAutoscaler | None
    ) -> None:
        if kind == "ADDED":
            self.queue.add_after(new.key, SYNC_PERIOD_SECONDS)

    def sync(self, key: Key) -> Sync:
        """Reconcile one autoscaler."""
        autoscaler = self._autoscalers.objects.get(key)
        if autoscaler is None:
            self._recommendations.pop(key, None)
            return OK
        self.queue.add_after(key, SYNC_PERIOD_SECONDS)
        resource = _RESOURCES.get(autoscaler.target_kind)
        if resource is None:
            return OK
        response = yield self.client.call(
            Request("get", resource, key[0], autoscaler.target_name, subresource="scale")
        )
        if not response.ok:
            return ERROR
        target: Workload = response.result
        current = target.replica_count
        desired = current
        if current > 0 and self._metric_source is not None:
            yield self.client.call(Request("list", "pods.metrics.k8s.io", key[0]))
            utilization = self._metric_source(
                key[0], autoscaler.target_kind, autoscaler.target_name, current
            )
            wish = desired_replicas(current, utilization, autoscaler.cpu_utilization_target_ratio)
            desired = self._stabilized(key, autoscaler, current, wish)
        if desired != current:
            changed = target.clone()
            changed.replica_count = desired
            changed.generation += 1
            response = yield self.client.call(
                Request("update", resource, key[0], target.name, subresource="scale",
                        api_object=changed)
            )  # fmt: skip
            if not response.ok:
                return ERROR
            self.events.event(autoscaler, "Normal", "SuccessfulRescale", f"New size: {desired}")
        new = autoscaler.clone()
        new.current_count = current
        new.desired_count = desired
        if desired != current:
            new.last_scale_seconds = self.engine.now
        if new.current_count != autoscaler.current_count or (
            new.desired_count != autoscaler.desired_count
        ):
            response = yield self.client.call(
                Request(
                    "update", "horizontalpodautoscalers", *key,
                    subresource="status", api_object=new,
                )
            )  # fmt: skip
            if not response.ok:
                return ERROR
        return OK

    def _stabilized(
        self, key: Key, autoscaler: HorizontalPodAutoscaler, current: int, wish: int
    ) -> int:
        """Apply the downscale window, the scale-up policies and the bounds."""
        now = self.engine.now
        history = [
            item
            for item in self._recommendations.get(key, [])
            if now - item[0] <= DOWNSCALE_WINDOW_SECONDS
        ]
        history.append((now, wish))
        self._recommendations[key] = history
        if wish < current:
            wish = min(current, max(count for _, count in history))
        limit = max(current + SCALE_UP_PODS_COUNT, int(current * SCALE_UP_FACTOR))
        wish = min(wish, limit)
        return max(autoscaler.replica_count_min, min(autoscaler.replica_count_max, wish))
