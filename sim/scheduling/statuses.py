"""Rejections and the texts upstream gives for them.

**Source:** Kubernetes v1.36 ``pkg/scheduler/framework/plugins/*`` (error reasons).
"""

from __future__ import annotations

from typing import NamedTuple

UNSCHEDULABLE = "Unschedulable"
UNRESOLVABLE = "UnschedulableAndUnresolvable"

REASON_UNSCHEDULABLE = "node(s) were unschedulable"
REASON_NAME = "node(s) didn't match the requested node name"
REASON_TAINT = "node(s) had untolerated taint(s)"
REASON_AFFINITY = "node(s) didn't match Pod's node affinity/selector"
REASON_ENFORCED = "node(s) didn't match scheduler-enforced node affinity"
REASON_PORTS = "node(s) didn't have free ports for the requested pod ports"
REASON_SPREAD = "node(s) didn't match pod topology spread constraints"
REASON_SPREAD_LABEL = REASON_SPREAD + " (missing required label)"
REASON_POD_AFFINITY = "node(s) didn't match pod affinity rules"
REASON_POD_ANTI_AFFINITY = "node(s) didn't match pod anti-affinity rules"
REASON_EXISTING_ANTI_AFFINITY = "node(s) didn't satisfy existing pods anti-affinity rules"
REASON_TOO_MANY_PODS = "Too many pods"


class Status(NamedTuple):
    """A rejection: ``code`` is upstream's word."""

    plugin: str
    code: str
    reasons: tuple[str, ...]
