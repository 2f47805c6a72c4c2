"""Deployment controller: rolls ReplicaSets.

**Modelled:** creation of the new ReplicaSet, rolling update (maxSurge, maxUnavailable, unhealthy
first), Recreate, scaling with proportional distribution, paused deployments, status with the
Progressing and Available conditions, revision annotation, clean-up of old ReplicaSets, the status
write with an outdated resourceVersion that upstream makes right after creating a ReplicaSet (409).
**Not modelled:** rollback, collision counts, progress deadline exceeded.
**Source:** `facts/model.md` a.1 step 1, a.5; `groundtruth/recipe_request_counts.csv`.
"""

from __future__ import annotations

from math import ceil
from typing import Final

from sim.base.api_object import Key, OwnerReference
from sim.base.objects import Deployment, LabelSelector, Pod, ReplicaSet
from sim.base.pod_template import PodTemplate
from sim.components.controllers.base import (
    ERROR,
    OK,
    Controller,
    ControllerContext,
    Steps,
    Sync,
    safe_hash,
    set_terminating,
    template_identity,
    terminating_count,
    with_labels,
)
from sim.components.ports import Request

HASH_LABEL: Final = "pod-template-hash"


def resolve(value: str, total_count: int, *, up: bool) -> int:
    """Return a number of pods given as ``"3"`` or ``"25%"`` of a total, rounded up or down."""
    text = str(value)
    if text.endswith("%"):
        exact = int(text[:-1]) * total_count / 100.0
        return ceil(exact - 1e-9) if up else int(exact + 1e-9)
    return int(text)


def fenceposts(deployment: Deployment) -> tuple[int, int]:
    """Return (maxSurge, maxUnavailable) in pods; both zero becomes one unavailable."""
    if deployment.strategy != "RollingUpdate":
        return 0, 0
    surge = resolve(deployment.max_surge, deployment.replica_count, up=True)
    unavailable = resolve(deployment.max_unavailable, deployment.replica_count, up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return surge, min(unavailable, deployment.replica_count)


class DeploymentController(Controller):
    """Keys are deployments."""

    name = "deployment"
    service_account = "deployment-controller"

    def __init__(self, context: ControllerContext, worker_count: int) -> None:
        super().__init__(context, worker_count)
        self._deployments = context.informer("deployments")
        self._replica_sets = context.owner_index("replicasets")
        self._pods = context.owner_index("pods")
        self._hashes: dict[int, tuple[PodTemplate, str]] = {}
        """By uid of a deployment: its last template and that template's hash."""
        self._deployments.add_handler(self._deployment_changed)
        context.informer("replicasets").add_handler(self._replica_set_changed)
        context.informer("pods").add_handler(self._pod_changed)

    def _deployment_changed(self, kind: str, new: Deployment, old: Deployment | None) -> None:
        if kind == "DELETED":
            self._hashes.pop(new.uid, None)
        self.queue.add(new.key)

    def _replica_set_changed(self, kind: str, new: ReplicaSet, old: ReplicaSet | None) -> None:
        owner = new.owner
        if owner is not None and owner.kind == "Deployment":
            self.queue.add((new.namespace, owner.name))

    def _pod_changed(self, kind: str, new: Pod, old: Pod | None) -> None:
        if kind != "DELETED" or new.owner is None or new.owner.kind != "ReplicaSet":
            return
        replica_set = self.context.informers["replicasets"].get(new.namespace, new.owner.name)
        if replica_set is None or replica_set.owner is None:
            return
        deployment = self._deployments.get(new.namespace, replica_set.owner.name)
        if (
            deployment is not None
            and deployment.strategy == "Recreate"
            and not any(
                self._pods.children.get(item.uid) for item in self._replica_sets.of(deployment.uid)
            )
        ):
            self.queue.add(deployment.key)

    def hash_of(self, deployment: Deployment) -> str:
        """Return the pod-template-hash of a deployment's template."""
        template = deployment.template
        known = self._hashes.get(deployment.uid)
        if known is None or known[0] is not template:
            known = (template, safe_hash(template_identity(template)))
            self._hashes[deployment.uid] = known
        return known[1]

    def sync(self, key: Key) -> Sync:
        """Do one step of the rollout of a deployment."""
        deployment = self._deployments.objects.get(key)
        if deployment is None:
            return OK
        rollout = _Rollout(self, deployment, self._replica_sets.of(deployment.uid))
        if deployment.deletion_seconds >= 0.0:
            yield from rollout.write_status()
        elif deployment.paused or rollout.is_scaling():
            yield from rollout.scale_all()
            if not rollout.failed():
                yield from rollout.write_status()
        elif deployment.strategy == "Recreate":
            yield from rollout.recreate(self._pods.children)
        else:
            yield from rollout.roll()
        return ERROR if rollout.failed() else OK


class _Rollout:
    """One sync of one deployment, on the cached objects it started with."""

    def __init__(
        self, controller: DeploymentController, deployment: Deployment, owned: list[ReplicaSet]
    ) -> None:
        self._controller = controller
        self.deployment = deployment
        self.hash = controller.hash_of(deployment)
        self.owned = sorted(owned, key=lambda item: (item.creation_seconds, item.uid))
        self.new: ReplicaSet | None = next(
            (item for item in self.owned if item.template_hash == self.hash), None
        )
        self._failed = False
        self.revision = deployment.revision

    def failed(self) -> bool:
        """Whether a request was refused: the sync ends and is tried again."""
        return self._failed

    @property
    def old(self) -> list[ReplicaSet]:
        """ReplicaSets of former templates, oldest first."""
        return [item for item in self.owned if item is not self.new]

    def is_scaling(self) -> bool:
        """Whether spec.replicas changed since the active ReplicaSets were sized."""
        wanted = self.deployment.replica_count
        return any(
            item.replica_count > 0 and item.desired_annotation_count != wanted
            for item in self.owned
        )

    # the requests

    def _put(self, request: Request) -> Steps:
        response = yield self._controller.client.call(request)
        if not response.ok:
            self._failed = True
        return response

    def _update(self, new: ReplicaSet | Deployment, subresource: str = "") -> Steps:
        response = yield from self._put(
            Request(
                "update", new.resource, new.namespace, new.name,
                subresource=subresource, api_object=new,
            )
        )  # fmt: skip
        return response

    def _scale(self, item: ReplicaSet, count: int) -> Steps:
        """Size one ReplicaSet and report it (PUT replicasets + event)."""
        deployment = self.deployment
        changed = item.clone()
        changed.desired_annotation_count = deployment.replica_count
        if item.replica_count != count:
            changed.replica_count = count
            changed.generation += 1
        response = yield from self._update(changed)
        if self.failed():
            return False
        self.owned[self.owned.index(item)] = response.result
        if self.new is item:
            self.new = response.result
        if item.replica_count != count:
            word = "up" if count > item.replica_count else "down"
            self._report(f"Scaled {word} replica set {item.name} from {item.replica_count}"
                         f" to {count}")  # fmt: skip
        return True

    def _report(self, message: str) -> None:
        self._controller.events.event(self.deployment, "Normal", "ScalingReplicaSet", message)

    # steps of a sync

    def ensure_new(self, *, create: bool) -> Steps:
        """Find or create the ReplicaSet of the current template; set the revision."""
        deployment = self.deployment
        revision = max((item.revision for item in self.old), default=0) + 1
        if self.new is not None:
            if self.new.revision < revision:
                changed = self.new.clone()
                changed.revision = revision
                response = yield from self._update(changed)
                if not self.failed():
                    self.owned[self.owned.index(self.new)] = response.result
                    self.new = response.result
                return
            if deployment.revision != self.new.revision:
                self.revision = self.new.revision
                yield from self._write_revision()
            return
        if not create:
            return
        template = with_labels(deployment.template, {HASH_LABEL: self.hash})
        count = self._new_count(0)
        replica_set = ReplicaSet(
            name=f"{deployment.name}-{self.hash}",
            namespace=deployment.namespace,
            labels=template.labels,
            owner=OwnerReference("Deployment", deployment.name, deployment.uid),
            replica_count=count,
            selector=LabelSelector(
                (*deployment.selector.match_labels, (HASH_LABEL, self.hash)),
                deployment.selector.match_expressions,
            ),
            template=template,
            template_hash=self.hash,
            min_ready_seconds=deployment.min_ready_seconds,
            desired_annotation_count=deployment.replica_count,
            revision=revision,
        )
        response = yield from self._put(
            Request(
                "create", "replicasets", replica_set.namespace, replica_set.name,
                api_object=replica_set,
            )
        )  # fmt: skip
        if self.failed():
            return
        self.new = response.result
        self.owned.append(response.result)
        if count > 0:
            self._report(f"Scaled up replica set {replica_set.name} from 0 to {count}")
        self.revision = revision
        yield from self._write_revision()

    def _write_revision(self) -> Steps:
        changed = self.deployment.clone()
        changed.revision = self.revision
        yield from self._update(changed, "status")

    def _new_count(self, current: int) -> int:
        """Return spec.replicas of the new ReplicaSet now that it has ``current``."""
        deployment = self.deployment
        if deployment.strategy != "RollingUpdate":
            return deployment.replica_count
        surge, _ = fenceposts(deployment)
        total = sum(item.replica_count for item in self.owned)
        room = deployment.replica_count + surge - total
        if room <= 0:
            return current
        return current + min(room, deployment.replica_count - current)

    def roll(self) -> Steps:
        """One step of a rolling update: up, or down, or only status."""
        yield from self.ensure_new(create=True)
        if self.failed() or self.new is None:
            return
        deployment = self.deployment
        new = self.new
        wanted = deployment.replica_count
        scaled = False
        if new.replica_count > wanted:
            scaled = yield from self._scale(new, wanted)
        elif new.replica_count < wanted:
            count = self._new_count(new.replica_count)
            if count != new.replica_count:
                scaled = yield from self._scale(new, count)
        if self.failed():
            return
        if not scaled:
            scaled = yield from self._shrink_old()
        if self.failed():
            return
        if not scaled and self._complete():
            yield from self._clean_up()
        yield from self.write_status()

    def _shrink_old(self) -> Steps:
        old = [item for item in self.old if item.replica_count > 0]
        if not old or self.new is None:
            return False
        deployment = self.deployment
        _, unavailable = fenceposts(deployment)
        available_min = deployment.replica_count - unavailable
        total = sum(item.replica_count for item in self.owned)
        new_unavailable = self.new.replica_count - self.new.available_count
        budget = total - available_min - new_unavailable
        if budget <= 0:
            return False
        scaled = False
        for item in old:  # pods that are not available go first
            if budget <= 0:
                break
            lazy = min(budget, item.replica_count - item.available_count)
            if lazy > 0:
                yield from self._scale(item, item.replica_count - lazy)
                if self.failed():
                    return scaled
                scaled = True
                budget -= lazy
        spare = sum(item.available_count for item in self.owned) - available_min
        for item in [item for item in self.old if item.replica_count > 0]:
            count = min(item.replica_count, spare)
            if count <= 0:
                break
            yield from self._scale(item, item.replica_count - count)
            if self.failed():
                return scaled
            scaled = True
            spare -= count
        return scaled

    def recreate(self, pods: dict[int, dict[Key, Pod]]) -> Steps:
        """One step of a Recreate rollout: all old pods go before the first new one comes."""
        yield from self.ensure_new(create=False)
        if self.failed():
            return
        active = [item for item in self.old if item.replica_count > 0]
        for item in active:
            yield from self._scale(item, 0)
            if self.failed():
                return
        running = any(
            not pod.is_terminal for item in self.old for pod in pods.get(item.uid, {}).values()
        )
        if active or running:
            yield from self.write_status()
            return
        yield from self.ensure_new(create=True)
        if self.failed() or self.new is None:
            return
        if self.new.replica_count != self.deployment.replica_count:
            yield from self._scale(self.new, self.deployment.replica_count)
            if self.failed():
                return
        if self._complete():
            yield from self._clean_up()
        yield from self.write_status()

    def scale_all(self) -> Steps:
        """Follow a change of spec.replicas, in proportion if a rollout is under way."""
        yield from self.ensure_new(create=False)
        if self.failed():
            return
        deployment = self.deployment
        wanted = deployment.replica_count
        active = [item for item in self.owned if item.replica_count > 0]
        latest = active[0] if len(active) == 1 else None
        if not active:
            latest = self.new or (self.owned[-1] if self.owned else None)
        if latest is not None:
            if latest.replica_count != wanted:
                yield from self._scale(latest, wanted)
            return
        if not active:
            return
        new = self.new
        if new is not None and new.replica_count == wanted == new.available_count:
            for item in [item for item in active if item is not new]:
                yield from self._scale(item, 0)
                if self.failed():
                    return
            return
        yield from self._scale_in_proportion(active)

    def _scale_in_proportion(self, active: list[ReplicaSet]) -> Steps:
        """**Source:** deployment controller, scaling while several ReplicaSets are active."""
        deployment = self.deployment
        surge, _ = fenceposts(deployment)
        allowed = deployment.replica_count + surge if deployment.replica_count > 0 else 0
        total = sum(item.replica_count for item in active)
        to_add = allowed - total
        newest_first = to_add > 0
        ordered = sorted(
            active,
            key=lambda item: (
                -item.replica_count,
                -item.creation_seconds if newest_first else item.creation_seconds,
            ),
        )
        sizes: list[int] = []
        added = 0
        for item in ordered:
            share = 0
            if to_add != 0 and item.replica_count > 0:
                base = max(1, item.desired_annotation_count + surge)
                share = round(item.replica_count * allowed / base) - item.replica_count
                left = to_add - added
                share = min(share, left) if to_add > 0 else max(share, left)
            sizes.append(item.replica_count + share)
            added += share
        if ordered:
            sizes[0] = max(0, sizes[0] + to_add - added)
        for item, size in zip(ordered, sizes, strict=True):
            yield from self._scale(item, size)
            if self.failed():
                return

    # status

    def _complete(self) -> bool:
        """Whether the cached status says that the rollout is over."""
        status = self.deployment
        wanted = status.replica_count
        return (
            status.updated_count == wanted
            and status.current_count == wanted
            and status.available_count == wanted
            and status.observed_generation >= status.generation
        )

    def _clean_up(self) -> Steps:
        """Delete the oldest empty ReplicaSets beyond the history limit."""
        idle = [
            item
            for item in self.old
            if item.replica_count == 0
            and item.current_count == 0
            and item.observed_generation >= item.generation
            and item.deletion_seconds < 0.0
        ]
        surplus = len(idle) - self.deployment.revision_history_limit_count
        for item in sorted(idle, key=lambda item: item.revision)[: max(0, surplus)]:
            yield from self._put(Request("delete", "replicasets", item.namespace, item.name))
            if self.failed():
                return

    def write_status(self) -> Steps:
        """PUT the status if it differs from the cached one."""
        deployment = self.deployment
        owned = self.owned
        current = sum(item.current_count for item in owned)
        ready = sum(item.ready_count for item in owned)
        available = sum(item.available_count for item in owned)
        updated = self.new.current_count if self.new is not None else 0
        terminating = sum(terminating_count(item) for item in owned)
        if (
            deployment.observed_generation == deployment.generation
            and deployment.current_count == current
            and deployment.ready_count == ready
            and deployment.available_count == available
            and deployment.updated_count == updated
            and terminating_count(deployment) == terminating
        ):
            return
        changed = deployment.clone()
        changed.observed_generation = deployment.generation
        changed.current_count = current
        changed.ready_count = ready
        changed.available_count = available
        changed.updated_count = updated
        set_terminating(changed, terminating)
        yield from self._update(changed, "status")
