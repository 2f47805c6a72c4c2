"""Job controller and the controller that deletes finished Jobs.

**Modelled:** tracking by finalizers (status with uncounted pods, one PATCH per finished pod, status
again), sync batches of 1 s after pod events, parallelism and completions, back-off of failed pods
(10 s doubling to 600 s), back-off limit, suspension, two conditions at the end (success criteria
met, then complete), finalizers of orphaned pods, ttlSecondsAfterFinished.
**Not modelled:** indexed completion beyond counting, pod failure and success policies, active
deadlines.
**Source:** `facts/defaults.csv` rows of job; `groundtruth/recipe_request_counts.csv`
(job_20_completions: POST 20, PATCH pods 20, PUT jobs/status 4).
"""

from __future__ import annotations

from typing import Final

from sim.base.api_object import NEVER, APIObject, Key, OwnerReference
from sim.base.objects import Job, Pod
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
    slow_start,
    with_labels,
)
from sim.components.ports import Request

FINALIZER: Final = "batch.kubernetes.io/job-tracking"
BATCH_PERIOD_SECONDS: Final = 1.0
BACKOFF_BASE_SECONDS: Final = 10.0
BACKOFF_MAX_SECONDS: Final = 600.0
RETRY_BASE_SECONDS: Final = 1.0
"""**Source:** `facts/defaults.csv`: job sync batch period, job pod failure and API backoff."""
BURST_COUNT: Final = 500
"""Pods created in one sync. **Source:** upstream job controller MaxPodCreateDeletePerSync."""


def without_finalizer(current: APIObject) -> APIObject:
    """Return the pod without the tracking finalizer."""
    if FINALIZER not in current.finalizers:
        return current
    new = current.clone()
    new.finalizers = tuple(name for name in current.finalizers if name != FINALIZER)
    return new


class JobController(Controller):
    """Keys are jobs; (namespace, name, uid) are orphaned pods that still carry the finalizer."""

    name = "job"
    service_account = "job-controller"

    def __init__(self, context: ControllerContext, worker_count: int) -> None:
        super().__init__(context, worker_count, retry_base_seconds=RETRY_BASE_SECONDS)
        self._jobs = context.informer("jobs")
        self._pods = context.owner_index("pods")
        self._expectations = Expectations(context.engine)
        self._written = WrittenRevisions(context)
        self._uncounted: dict[int, dict[int, None]] = {}
        """Job uid → finished pods whose finalizer removal has been sent."""
        self._last_failure_seconds: dict[int, float] = {}
        self._jobs.add_handler(self._job_changed)
        context.informer("pods").add_handler(self._pod_changed)

    def _job_changed(self, kind: str, new: Job, old: Job | None) -> None:
        if kind == "MODIFIED" and old is not None and old.generation == new.generation:
            self.queue.add_after(new.key, BATCH_PERIOD_SECONDS)  # its own status, mostly
        else:
            self.queue.add(new.key)
        if kind == "DELETED":
            for pod in self._pods.of(new.uid):
                self._release(pod)

    def _release(self, pod: Pod) -> None:
        if FINALIZER in pod.finalizers:
            self.queue.add((pod.namespace, pod.name, pod.uid))

    def _pod_changed(self, kind: str, new: Pod, old: Pod | None) -> None:
        owner = new.owner
        if owner is None or owner.kind != "Job":
            return
        key = (new.namespace, owner.name)
        job = self._jobs.objects.get(key)
        if kind != "DELETED" and (job is None or job.uid != owner.uid):
            self._release(new)
            return
        if kind == "DELETED" or new.deletion_seconds >= 0.0:
            self._expectations.deletion_observed(key, new.key)
        elif kind == "ADDED":
            self._expectations.creation_observed(key)
        self.queue.add_after(key, BATCH_PERIOD_SECONDS)

    def object_count(self, key: Key) -> int:
        """Return the pods of the job."""
        job = self._jobs.get(key[0], key[1])
        return len(self._pods.children.get(job.uid, ())) if job is not None else 1

    def sync(self, key: tuple[str, ...]) -> Sync:
        """Sync a job, or take the finalizer off an orphaned pod."""
        if len(key) == 3:
            response = yield self.client.call(
                Request("patch", "pods", key[0], key[1], mutate=without_finalizer)
            )
            return OK if response.ok or response.code == 404 else ERROR
        return (yield from self._sync_job((key[0], key[1])))

    def _sync_job(self, key: Key) -> Sync:
        job = self._jobs.objects.get(key)
        if job is None:
            self._expectations.forget(key)
            self._written.forget(key)
            return OK
        if job.condition in {"Complete", "Failed"} or job.deletion_seconds >= 0.0:
            return OK
        if not self._written.caught_up(key):
            return REQUEUE
        new = job.clone()
        if new.start_seconds == NEVER and not job.suspend:
            new.start_seconds = self.engine.now
        pods = self._pods.of(job.uid)
        finished = [pod for pod in pods if pod.is_terminal and FINALIZER in pod.finalizers]
        known = self._uncounted.setdefault(job.uid, {})
        fresh = [pod for pod in finished if pod.uid not in known]
        active = [pod for pod in pods if pod.is_active]
        succeeded = job.succeeded_count + sum(pod.phase == "Succeeded" for pod in fresh)
        failed = job.failed_count + len(fresh) - (succeeded - job.succeeded_count)
        if failed > job.failed_count:
            self._last_failure_seconds[job.uid] = self.engine.now
        good = True
        over = self._verdict(job, succeeded, failed)
        if over and active:
            good = yield from self._delete(job, active)
        elif not over and self._expectations.satisfied(key):
            created = yield from self._manage(job, active, succeeded, failed)
            good = created >= 0
            new.active_count = len(active) + max(0, created)
        if over:
            new.active_count = 0
        new.ready_count = sum(pod.ready for pod in active)
        if fresh:
            if not (yield from self._count(job, new, fresh, succeeded, failed)):
                return ERROR
            return OK if good else ERROR
        if over and not active:
            new.condition = over
            new.completion_seconds = self.engine.now
        if not (yield from self._write_status(job, new)):
            return ERROR
        if over and not active:
            reason = "Completed" if over == "Complete" else "BackoffLimitExceeded"
            type_ = "Normal" if over == "Complete" else "Warning"
            self.events.event(job, type_, reason, f"Job {over.lower()}")
        return OK if good else ERROR

    def _verdict(self, job: Job, succeeded: int, failed: int) -> str:
        if failed > job.backoff_limit_count:
            return "Failed"
        return "Complete" if succeeded >= job.completion_count else ""

    def _manage(self, job: Job, active: list[Pod], succeeded: int, failed: int) -> Steps:
        """Create or delete pods; return how many were created, -1 after an error."""
        wanted = 0 if job.suspend else min(job.parallelism_count, job.completion_count - succeeded)
        missing = min(wanted - len(active), BURST_COUNT)
        if missing < 0:
            return 0 if (yield from self._delete(job, active[:-missing])) else -1
        if missing == 0:
            return 0
        if failed:
            pause = min(BACKOFF_BASE_SECONDS * 2.0 ** (failed - 1), BACKOFF_MAX_SECONDS)
            since = self.engine.now - self._last_failure_seconds.get(job.uid, NEVER)
            if since < pause:
                self.queue.add_after(job.key, pause - since)
                return 0
        template = with_labels(job.template, {"batch.kubernetes.io/job-name": job.name})
        self._expectations.expect_creations(job.key, missing)

        def make() -> Request:
            name = f"{job.name}-{self.context.next_suffix(job.uid)}"
            pod = Pod(
                name=name,
                namespace=job.namespace,
                labels=template.labels,
                owner=OwnerReference("Job", job.name, job.uid),
                finalizers=(FINALIZER,),
                template=template,
                size_bytes=template.size_bytes,
            )
            return Request("create", "pods", pod.namespace, name, api_object=pod, then=created)

        def created(request: Request) -> None:
            if request.ok:
                self._written.wrote(job.key, request)
                self.events.event(job, "Normal", "SuccessfulCreate", f"Created pod: {request.name}")

        done, bad = yield from slow_start(self.context, self.client, missing, make)
        if done < missing:
            self._expectations.creation_observed(job.key, missing - done)
        return -1 if bad else done

    def _delete(self, job: Job, pods: list[Pod]) -> Steps:
        self._expectations.expect_deletions(job.key, [pod.key for pod in pods])
        requests = yield self.context.together(
            [Request("delete", "pods", pod.namespace, pod.name) for pod in pods], self.client
        )
        return all(request.ok or request.code == 404 for request in requests)

    def _count(self, job: Job, new: Job, fresh: list[Pod], succeeded: int, failed: int) -> Steps:
        """Write down the finished pods, take their finalizers off, then count them."""
        known = self._uncounted[job.uid]
        response = yield from self._put(new, marker=len(fresh))
        if not response.ok:
            return False
        requests = yield self.context.together(
            [
                Request("patch", "pods", pod.namespace, pod.name, mutate=without_finalizer)
                for pod in fresh
            ],
            self.client,
        )
        for pod, request in zip(fresh, requests, strict=True):
            if request.ok or request.code == 404:
                known[pod.uid] = None
                self._written.wrote(job.key, request)
        counted = response.result.clone()
        counted.annotations = job.annotations
        counted.succeeded_count = succeeded
        counted.failed_count = failed
        if self._verdict(job, succeeded, failed):
            counted.active_count = 0
        response = yield from self._put(counted)
        self.queue.add_after(job.key, BATCH_PERIOD_SECONDS)
        return bool(response.ok)

    def _put(self, new: Job, *, marker: int = 0) -> Steps:
        """PUT jobs/status; ``marker`` stands for the list of uncounted pods in the status."""
        if marker:
            new.annotations = {**new.annotations, "status.uncountedTerminatedPods": str(marker)}
        response = yield self.client.call(
            Request("update", "jobs", new.namespace, new.name, subresource="status",
                    api_object=new)
        )  # fmt: skip
        self._written.wrote(new.key, response)
        return response

    def _write_status(self, job: Job, new: Job) -> Steps:
        names = ("active_count", "ready_count", "start_seconds", "condition")
        if all(getattr(new, name) == getattr(job, name) for name in names):
            return True
        response = yield from self._put(new)
        return response.ok


class TTLAfterFinishedController(Controller):
    """Deletes Jobs some time after they have finished (ttlSecondsAfterFinished)."""

    name = "ttl_after_finished"
    service_account = "ttl-after-finished-controller"

    def __init__(self, context: ControllerContext, worker_count: int) -> None:
        super().__init__(context, worker_count)
        self._jobs = context.informer("jobs")
        self._jobs.add_handler(self._job_changed)

    def _job_changed(self, kind: str, new: Job, old: Job | None) -> None:
        if kind != "DELETED" and new.completion_seconds >= 0.0:
            if new.ttl_after_finished_seconds >= 0.0 and new.deletion_seconds < 0.0:
                due = new.completion_seconds + new.ttl_after_finished_seconds
                self.queue.add_after(new.key, max(0.0, due - self.engine.now))

    def sync(self, key: Key) -> Sync:
        """Look at the job live and delete it."""
        response = yield self.client.call(Request("get", "jobs", *key))
        if response.code == 404:
            return OK
        if response.ok:
            response = yield self.client.call(
                Request("delete", "jobs", *key, precondition_uid=response.result.uid)
            )
        return OK if response.ok or response.code == 404 else ERROR
