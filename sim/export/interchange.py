"""Numbers in the shapes of SIG-scalability's and kube-burner's own tools.

**Source:** perf-tests/perfdash (items with Perc50, Perc90, Perc99; API latency in milliseconds,
every item of a document with the same label keys); kube-burner's podLatency measurement.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from sim.metrics.catalogue import BY_NAME
from sim.metrics.derive import Derivation
from sim.metrics.facts_view import FloatArray
from sim.metrics.startup import MILESTONES

_NOT_APPLICABLE: Final = "not applicable"


def _percentiles(values: FloatArray, scale: float) -> dict[str, float]:
    shares = np.quantile(values, (0.5, 0.9, 0.99)) * scale
    return {"Perc50": float(shares[0]), "Perc90": float(shares[1]), "Perc99": float(shares[2])}


def perf_dash_items(derivation: Derivation, manifest: dict[str, Any]) -> dict[str, Any]:
    """Return perf-dash documents by measurement name."""
    api = []
    observed = derivation.observations(BY_NAME["apiserver_request_sli_duration_seconds"])
    for index, labels in enumerate(observed.labels):
        values, _ = observed.group(index)
        verb, resource, subresource, scope = labels
        api.append({
            "data": _percentiles(values, 1000.0),
            "unit": "ms",
            "labels": {
                "Count": str(len(values)), "Resource": resource, "Scope": scope,
                "Subresource": subresource or _NOT_APPLICABLE, "Verb": verb,
            },
        })  # fmt: skip
    documents = {"APIResponsivenessPrometheus": api}
    throughput = derivation.observations(BY_NAME["sim_scheduling_throughput_pods_per_second"])
    if len(throughput.values):
        data = _percentiles(throughput.values, 1.0)
        data["Average"] = float(throughput.values.mean())
        documents["SchedulingThroughput"] = [
            {"data": data, "unit": "pods/s", "labels": {"Name": manifest["experiment"]}}
        ]
    startup = derivation.observations(BY_NAME["kubelet_pod_start_sli_duration_seconds"])
    if len(startup.values):
        documents["PodStartupLatency"] = [{
            "data": _percentiles(startup.values, 1000.0), "unit": "ms",
            "labels": {"Metric": "pod_startup"},
        }]  # fmt: skip
    return {
        name: {"version": "v1", "dataItems": items, "labels": {"experiment": manifest["scenario"]}}
        for name, items in documents.items()
    }


_CONDITIONS: Final = (
    ("PodScheduled", "scheduled"), ("Initialized", "volumes_mounted"),
    ("ContainersReady", "ready"), ("Ready", "ready"),
)  # fmt: skip


def kube_burner_documents(derivation: Derivation, manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """Return kube-burner's quantile documents of pod latency, in milliseconds."""
    startup = derivation.startup
    documents = []
    for name, milestone in _CONDITIONS:
        since = startup.times[:, MILESTONES.index(milestone)] - startup.times[:, 0]
        values = since[~np.isnan(since)] * 1000.0
        if len(values):
            p50, p95, p99 = np.quantile(values, (0.5, 0.95, 0.99)).tolist()
            documents.append({
                "quantileName": name, "P50": round(p50), "P95": round(p95), "P99": round(p99),
                "max": round(float(values.max())), "avg": round(float(values.mean())),
                "metricName": "podLatencyQuantilesMeasurement",
                "jobName": manifest["experiment"], "uuid": manifest["digest"][:36],
                "metadata": {"simulated": True, "seed": manifest["seed"]},
            })  # fmt: skip
    return documents
