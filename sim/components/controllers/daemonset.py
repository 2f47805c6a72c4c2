"""DaemonSet controller: one pod per eligible node.

**Modelled:** eligibility by nodeSelector and taints (with the tolerations that daemon pods get), a
node affinity that pins each pod to its node (the scheduler binds it), creation in slow start with a
burst of 250, deletion from nodes that are not eligible any more, rolling update with
maxUnavailable, OnDelete, ControllerRevisions, status, expectations, the stale-cache check of v1.36.
**Not modelled:** maxSurge, back-off of failed daemon pods.
**Source:** `facts/model.md` a.3; `facts/defaults.csv` rows of daemonset.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from sim.base.api_object import Key, OwnerReference
from sim.base.objects import DaemonSet, Generic, Node, Pod, Taint
from sim.base.pod_template import PodTemplate
from sim.components.controllers.base import (
    ERROR,
    OK,
    REQUEUE,
    Controller,
    ControllerContext,
    Expectations,
    Steps,
    Sync,
    WrittenRevisions,
    owned_pod,
    safe_hash,
    slow_start,
    template_identity,
    with_labels,
)
from sim.components.controllers.deployment import resolve
from sim.components.controllers.taint_eviction import tolerates
from sim.components.ports import Request

BURST_COUNT: Final = 250
"""**Source:** `facts/defaults.csv`, daemonset burst replicas per sync."""
REVISION_LABEL: Final = "controller-revision-hash"
_DAEMON_TOLERATIONS: tuple[dict[str, Any], ...] = (
    {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"},
    {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"},
    {"key": "node.kubernetes.io/disk-pressure", "operator": "Exists", "effect": "NoSchedule"},
    {"key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule"},
    {"key": "node.kubernetes.io/pid-pressure", "operator": "Exists", "effect": "NoSchedule"},
    {"key": "node.kubernetes.io/unschedulable", "operator": "Exists", "effect": "NoSchedule"},
)
"""**Source:** upstream pkg/controller/daemon/util, AddOrUpdateDaemonPodTolerations."""


def daemon_template(template: PodTemplate, revision: str) -> PodTemplate:
    """Return the template with the revision label and the tolerations of daemon pods."""
    labelled = with_labels(template, {REVISION_LABEL: revision})
    tolerations = (*template.tolerations, *_DAEMON_TOLERATIONS)
    if template.host_network:
        network = {"key": "node.kubernetes.io/network-unavailable", "operator": "Exists"}
        tolerations = (*tolerations, {**network, "effect": "NoSchedule"})
    spec = {**(labelled.manifest.get("spec") or {}), "tolerations": list(tolerations)}
    return replace(
        labelled,
        tolerations=tolerations,
        manifest={**labelled.manifest, "spec": spec},
        digest=safe_hash(f"daemon {labelled.digest}"),
    )


def pinned(template: PodTemplate, node_name: str) -> PodTemplate:
    """Return the template with the affinity that lets it run on one node only."""
    spec = dict(template.manifest.get("spec") or {})
    terms = [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node_name]}]}]
    affinity = dict(spec.get("affinity") or {})
    affinity["nodeAffinity"] = {
        **(affinity.get("nodeAffinity") or {}),
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms},
    }
    spec["affinity"] = affinity
    return replace(
        template,
        manifest={**template.manifest, "spec": spec},
        digest=safe_hash(f"{template.digest} on {node_name}"),
    )


def target_node(pod: Pod) -> str:
    """Return the node a daemon pod belongs to, bound or not."""
    if pod.node_name:
        return pod.node_name
    node: Any = pod.template.manifest.get("spec") or {}
    for key in ("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"):
        node = node.get(key) or {}
    for term in node.get("nodeSelectorTerms") or ():
        for field in term.get("matchFields") or ():
            if field.get("key") == "metadata.name" and field.get("values"):
                return str(field["values"][0])
    return ""


def node_fits(template: PodTemplate, node: Node, labels: Mapping[str, str]) -> tuple[bool, bool]:
    """Return (should run, should continue running) of a daemon pod on a node."""
    selector = (template.manifest.get("spec") or {}).get("nodeSelector") or {}
    if any(labels.get(key) != value for key, value in selector.items()):
        return False, False
    should_run = should_stay = True
    taints = node.taints
    if node.unschedulable:
        taints = (*taints, Taint("node.kubernetes.io/unschedulable", "", "NoSchedule"))
    for taint in taints:
        if taint.effect == "PreferNoSchedule":
            continue
        if not any(tolerates(item, taint) for item in template.tolerations):
            should_run = False
            should_stay = should_stay and taint.effect != "NoExecute"
    return should_run, should_stay


class DaemonSetController(Controller):
    """Keys are daemon sets."""

    name = "daemonset"
    service_account = "daemon-set-controller"

    def __init__(self, context: ControllerContext, worker_count: int) -> None:
        super().__init__(context, worker_count)
        self._sets = context.informer("daemonsets")
        self._nodes = context.informer("nodes")
        self._pods = context.owner_index("pods")
        self._revisions = context.owner_index("controllerrevisions")
        self._expectations = Expectations(context.engine)
        self._written = WrittenRevisions(context)
        self._templates: dict[tuple[int, str], PodTemplate] = {}
        self._eligible: dict[str, dict[str, tuple[bool, bool]]] = {}
        """Template digest → node → what `node_fits` said, until the node changes."""
        self._sets.add_handler(self._set_changed)
        self._nodes.add_handler(self._node_changed)
        context.informer("pods").add_handler(self._pod_changed)

    def _set_changed(self, kind: str, new: DaemonSet, old: DaemonSet | None) -> None:
        self.queue.add(new.key)

    def _node_changed(self, kind: str, new: Node, old: Node | None) -> None:
        if (
            old is not None
            and kind == "MODIFIED"
            and new.taints == old.taints
            and new.unschedulable == old.unschedulable
            and new.labels == old.labels
        ):
            return
        for known in self._eligible.values():
            known.pop(new.name, None)
        for key in self._sets.objects:
            self.queue.add(key)

    def _fits(self, template: PodTemplate, node: Node) -> tuple[bool, bool]:
        known = self._eligible.setdefault(template.digest, {})
        found = known.get(node.name)
        if found is None:
            found = known[node.name] = node_fits(template, node, node.labels)
        return found

    def _pod_changed(self, kind: str, new: Pod, old: Pod | None) -> None:
        owner = new.owner
        if owner is None or owner.kind != "DaemonSet":
            return
        key = (new.namespace, owner.name)
        if kind == "DELETED" or new.deletion_seconds >= 0.0:
            self._expectations.deletion_observed(key, new.key)
        elif kind == "ADDED":
            self._expectations.creation_observed(key)
        if old is not None and kind == "MODIFIED" and old.ready == new.ready and (
            old.phase == new.phase
            and (old.deletion_seconds < 0.0) == (new.deletion_seconds < 0.0)
            and old.node_name == new.node_name
        ):  # fmt: skip
            return
        self.queue.add(key)

    def object_count(self, key: Key) -> int:
        """Return the nodes, all of which a sync looks at."""
        return len(self._nodes.objects)

    def sync(self, key: Key) -> Sync:
        """Create and delete daemon pods, roll the update on, write the status."""
        daemon_set = self._sets.objects.get(key)
        if daemon_set is None:
            self._expectations.forget(key)
            self._written.forget(key)
            return OK
        if daemon_set.deletion_seconds >= 0.0:
            return OK
        if not self._written.caught_up(key):
            return REQUEUE
        revision = safe_hash(template_identity(daemon_set.template))
        if not (yield from self._ensure_revision(daemon_set, revision)):
            return ERROR
        template = self._template(daemon_set, revision)
        by_node: dict[str, list[Pod]] = {}
        for pod in self._pods.of(daemon_set.uid):
            by_node.setdefault(target_node(pod), []).append(pod)
        failed = False
        desired = 0
        missing: list[str] = []
        surplus: list[Pod] = []
        for node in self._nodes.objects.values():
            should_run, should_stay = self._fits(template, node)
            desired += should_run
            pods = [pod for pod in by_node.get(node.name, ()) if pod.deletion_seconds < 0.0]
            if should_run and not by_node.get(node.name):
                missing.append(node.name)
            elif not should_stay:
                surplus += pods
            else:
                surplus += [pod for pod in pods if pod.is_terminal]
                surplus += [pod for pod in pods if not pod.is_terminal][1:]
        if self._expectations.satisfied(key):
            if missing or surplus:
                failed = yield from self._manage(daemon_set, template, missing, surplus)
            else:
                failed = yield from self._roll(daemon_set, revision, by_node, desired)
        good = yield from self._write_status(daemon_set, revision, by_node, desired, template)
        return OK if good and not failed else ERROR

    def _template(self, daemon_set: DaemonSet, revision: str) -> PodTemplate:
        known = self._templates.get((daemon_set.uid, revision))
        if known is None:
            known = daemon_template(daemon_set.template, revision)
            self._templates[daemon_set.uid, revision] = known
        return known

    def _ensure_revision(self, daemon_set: DaemonSet, revision: str) -> Steps:
        name = f"{daemon_set.name}-{revision}"
        if any(item.name == name for item in self._revisions.of(daemon_set.uid)):
            return True
        item = Generic(
            name=name,
            namespace=daemon_set.namespace,
            owner=OwnerReference("DaemonSet", daemon_set.name, daemon_set.uid),
            kind_plural="controllerrevisions",
        )
        response = yield self.client.call(
            Request("create", "controllerrevisions", item.namespace, name, api_object=item)
        )
        self._written.wrote(daemon_set.key, response)
        return bool(response.ok or response.code == 409)

    def _manage(
        self, daemon_set: DaemonSet, template: PodTemplate, missing: list[str], surplus: list[Pod]
    ) -> Steps:
        key = daemon_set.key
        missing = missing[:BURST_COUNT]
        surplus = surplus[:BURST_COUNT]
        names = iter(missing)

        def make() -> Request:
            name = f"{daemon_set.name}-{self.context.next_suffix(daemon_set.uid)}"
            pod = owned_pod(daemon_set, "DaemonSet", name, pinned(template, next(names)))
            return Request("create", "pods", pod.namespace, name, api_object=pod, then=created)

        def created(request: Request) -> None:
            if request.ok:
                self._written.wrote(key, request)
                self.events.event(
                    daemon_set, "Normal", "SuccessfulCreate", f"Created pod: {request.name}"
                )

        failed = False
        if missing:
            self._expectations.expect_creations(key, len(missing))
            done, failed = yield from slow_start(self.context, self.client, len(missing), make)
            if done < len(missing):
                self._expectations.creation_observed(key, len(missing) - done)
        if surplus:
            failed = (
                yield from self.delete_pods(daemon_set, surplus, self._expectations)
            ) or failed
        return failed

    def _roll(
        self, daemon_set: DaemonSet, revision: str, by_node: dict[str, list[Pod]], desired: int
    ) -> Steps:
        """Delete old pods as far as maxUnavailable allows; pods that are not ready go first."""
        if (daemon_set.annotations.get("update-strategy") or "RollingUpdate") == "OnDelete":
            return False
        allowed = resolve(daemon_set.max_unavailable, desired, up=True)
        unavailable = 0
        old_ready: list[Pod] = []
        old_unready: list[Pod] = []
        for pods in by_node.values():
            living = [pod for pod in pods if pod.deletion_seconds < 0.0]
            if not living or not living[0].ready:
                unavailable += 1
            for pod in living[:1]:
                if pod.labels.get(REVISION_LABEL, revision) != revision:
                    (old_ready if pod.ready else old_unready).append(pod)
        doomed = old_unready + old_ready[: max(0, allowed - unavailable)]
        if not doomed:
            return False
        return (yield from self.delete_pods(daemon_set, doomed[:BURST_COUNT], self._expectations))

    def _write_status(
        self,
        daemon_set: DaemonSet,
        revision: str,
        by_node: dict[str, list[Pod]],
        desired: int,
        template: PodTemplate,
    ) -> Steps:
        current = ready = updated = misscheduled = 0
        for node_name, pods in by_node.items():
            node = self._nodes.get("", node_name)
            if node is None:
                continue
            if not self._fits(template, node)[0]:
                misscheduled += 1
                continue
            current += 1
            newest = pods[-1]
            ready += newest.ready
            updated += newest.labels.get(REVISION_LABEL, revision) == revision
        new = daemon_set.clone()
        new.observed_generation = daemon_set.generation
        new.desired_count = desired
        new.current_count = current
        new.ready_count = new.available_count = ready
        new.updated_count = updated
        new.misscheduled_count = misscheduled
        names = ("observed_generation", "desired_count", "current_count", "ready_count",
                 "updated_count", "misscheduled_count")  # fmt: skip
        if all(getattr(new, name) == getattr(daemon_set, name) for name in names):
            return True
        response = yield self.client.call(
            Request(
                "update", "daemonsets", new.namespace, new.name,
                subresource="status", api_object=new,
            )
        )  # fmt: skip
        self._written.wrote(daemon_set.key, response)
        return response.ok
