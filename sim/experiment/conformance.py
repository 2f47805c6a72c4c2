"""Replays decision vectors of the real kube-scheduler and compares every field they state.

Three kinds of files (gzipped or plain JSON lines) are told apart by their content: single
decisions, sequences of decisions that follow the recorded choices, and preemption vectors.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from sim.scheduling import (
    ClusterState,
    ConfigurationError,
    Explanation,
    PodShape,
    SchedulerConfiguration,
    SchedulingCore,
    Status,
)


class VectorFileError(ValueError):
    """A path holds no vectors, or a file is not in the vector format."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One field in which a decision differs from the recorded one."""

    vector: str
    what: str
    expected: object
    got: object
    node: str = ""
    plugin: str = ""

    def text(self) -> str:
        """One line for people."""
        where = "".join(
            f" {label} {value}" for label, value in (("node", self.node), ("plugin", self.plugin))
            if value
        )  # fmt: skip
        return f"{self.vector}: {self.what}{where}: expected {self.expected!r}, got {self.got!r}"


@dataclass(slots=True)
class FamilyResult:
    """How the vectors (or steps) of one family fared; ``differences`` has the first of each."""

    kind: str
    family: str
    passed_count: int = 0
    total_count: int = 0
    differences: list[Difference] = field(default_factory=list)

    def note(self, difference: Difference | None) -> None:
        """Count one vector or step."""
        self.total_count += 1
        if difference is None:
            self.passed_count += 1
        else:
            self.differences.append(difference)


def replay(paths: Iterable[Path | str]) -> list[FamilyResult]:
    """Replay every vector file under the paths; results in order of kind and family.

    Raises :class:`VectorFileError` for a path without vectors or an unreadable file.
    """
    results: dict[tuple[str, str], FamilyResult] = {}
    for path in _files(paths):
        records = _records(path)
        first = next(records, None)
        if first is None:
            raise VectorFileError(f"{path}: empty")
        if first.get("type") == "header":
            _require(path, first, "id", "family", "config", "cluster")
            _replay_sequence(path, first, records, results)
        else:
            for record in (first, *records):
                _require(path, record, "id", "config", "cluster", "pod", "expect")
                _replay_vector(record, results)
    return [results[key] for key in sorted(results)]


def _require(path: Path, record: Mapping[str, Any], *names: str) -> None:
    missing = [name for name in names if name not in record]
    if missing:
        raise VectorFileError(f"{path}: not a conformance vector, lacks {', '.join(missing)}")


def _files(paths: Iterable[Path | str]) -> list[Path]:
    found: list[Path] = []
    for given in paths:
        path = Path(given)
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.name.endswith((".jsonl", ".jsonl.gz")))
            if not inside:
                raise VectorFileError(f"{path}: no .jsonl or .jsonl.gz file inside")
            found.extend(inside)
        elif path.exists():
            found.append(path)
        else:
            raise VectorFileError(f"{path}: no such file or directory")
    return found


def _records(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open("rb") as stream:
            packed = path.suffix == ".gz"
            for line in gzip.GzipFile(fileobj=stream) if packed else stream:
                if line.strip():
                    record = json.loads(line)
                    if not isinstance(record, dict):
                        raise VectorFileError(f"{path}: a line is not a JSON object")
                    yield record
    except (OSError, ValueError) as error:
        raise VectorFileError(f"{path}: {error}") from error


# ---------------------------------------------------------------------------------- cluster set-up
class _Cluster:
    """State and core of one vector or sequence."""

    def __init__(self, config: Mapping[str, Any], cluster: Mapping[str, Any]) -> None:
        self.state = ClusterState()
        for namespace in cluster.get("namespaces") or ():
            metadata = namespace["metadata"]
            self.state.set_namespace(metadata["name"], metadata.get("labels"))
        for node in cluster.get("nodes") or ():
            self.state.add_node(node)
        for key, kind in _OBJECT_KINDS.items():
            for document in cluster.get(key) or ():
                self.state.add_object({"kind": kind, **document})
        for pod in cluster.get("pods") or ():
            self.bind(pod, pod["spec"]["nodeName"])
        profile = SchedulerConfiguration.from_dict(config).profiles[0]
        self.core = SchedulingCore(self.state, profile)

    def bind(self, pod: Mapping[str, Any], node_name: str) -> None:
        """Add a bound pod."""
        metadata = pod["metadata"]
        status = pod.get("status") or {}
        started = status.get("startTime")
        self.state.add_pod(
            f"{metadata['namespace']}/{metadata['name']}",
            self.state.pod_shape(pod),
            node_name,
            terminating=bool(metadata.get("deletionTimestamp")),
            preempted=any(
                c.get("type") == "DisruptionTarget" and c.get("reason") == "PreemptionByScheduler"
                for c in status.get("conditions") or ()
            ),
            start_time_seconds=(
                datetime.fromisoformat(started).timestamp() if started else float("inf")
            ),
        )

    def shape(self, pod: Mapping[str, Any]) -> PodShape:
        """The incoming pod's shape."""
        return self.state.pod_shape(pod)


_OBJECT_KINDS = {
    "services": "Service",
    "replicasets": "ReplicaSet",
    "statefulsets": "StatefulSet",
    "replicationcontrollers": "ReplicationController",
    "poddisruptionbudgets": "PodDisruptionBudget",
    "persistentvolumes": "PersistentVolume",
    "persistentvolumeclaims": "PersistentVolumeClaim",
    "storageclasses": "StorageClass",
    "csinodes": "CSINode",
    "priorityclasses": "PriorityClass",
}


class _Checker:
    """Collects the first difference of one vector."""

    def __init__(self, vector: str) -> None:
        self.vector = vector
        self.first: Difference | None = None

    def same(self, what: str, expected: object, got: object, **where: str) -> bool:
        """Compare one field; returns whether all fields so far agree."""
        if self.first is None and expected != got:
            self.first = Difference(self.vector, what, expected, got, **where)
        return self.first is None


def _replay_vector(record: Mapping[str, Any], results: dict[tuple[str, str], FamilyResult]) -> None:
    expect = record["expect"]
    kind = "preemption" if "potential_nodes" in expect or "candidates" in expect else "single"
    family = record.get("family") or kind
    check = _Checker(record["id"])
    try:
        cluster = _Cluster(record["config"], record["cluster"])
    except ConfigurationError as error:
        check.same("configuration", "accepted", str(error))
    else:
        if kind == "preemption":
            _check_preemption(check, cluster, record)
        else:
            _check_single(check, cluster, record)
    results.setdefault((kind, family), FamilyResult(kind, family)).note(check.first)


# ---------------------------------------------------------------------------------- single vectors
def _check_single(check: _Checker, cluster: _Cluster, record: Mapping[str, Any]) -> None:
    expect = record["expect"]
    core = cluster.core
    shape = cluster.shape(record["pod"])
    explained = core.explain(shape)
    check.same("node_order", expect.get("node_order") or [], explained.node_order)
    outcome = _outcome(explained)
    check.same("outcome", expect["outcome"], outcome)
    _check_filters(check, expect, explained)
    _check_scores(check, expect, explained)
    decision = core.schedule(shape)
    check.same("evaluated_nodes", expect.get("evaluated_nodes", 0), decision.evaluated_nodes)
    selected = expect.get("selected_parallelism1")
    check.same("selected_parallelism1", selected, decision.node_name)
    if explained.feasible:
        check.same("selected by explain", selected, explained.selected)
    if "fit_error" in expect:
        check.same("fit_error", expect["fit_error"], decision.fit_error)
        check.same("fit_error of explain", expect["fit_error"], explained.fit_error)
    if outcome == "scheduled":
        return
    if "message" not in expect:
        return
    preemption = core.preempt(
        shape,
        offset=int(expect.get("candidate_offset") or 0),
        nominated_node=(record["pod"].get("status") or {}).get("nominatedNodeName"),
        diagnosis=decision.diagnosis,
    )
    check.same("message", expect["message"], preemption.message)
    if "postfilter_code" in expect:
        check.same("postfilter_code", expect["postfilter_code"], preemption.code)
    if preemption.best_nodes or "preemption_nominated" in expect:
        nominated = expect.get("preemption_nominated") or ""
        got = preemption.nominated_node or ""
        if nominated not in preemption.best_nodes:
            check.same("preemption_nominated", nominated, got)


def _outcome(explained: Explanation) -> str:
    if not explained.node_order:
        return "no_nodes"
    return "scheduled" if explained.feasible else "unschedulable"


def _status_record(status: Status) -> dict[str, object]:
    return {"plugin": status.plugin, "code": status.code, "reasons": list(status.reasons)}


def _canonical(record: Mapping[str, Any]) -> dict[str, object]:
    """Reasons sorted: upstream lists scalar resources in the random order of a Go map."""
    return {**record, "reasons": sorted(record.get("reasons") or ())}


def _check_filters(check: _Checker, expect: Mapping[str, Any], explained: Explanation) -> None:
    rejection = explained.pre_filter
    got_rejection = None
    if rejection is not None:
        got_rejection = {
            "plugin": rejection.plugin,
            "code": rejection.code,
            "reasons": list(rejection.reasons),
        }
    check.same("prefilter_reject", expect.get("prefilter_reject"), got_rejection)
    names = expect.get("prefilter_nodes")
    got_names = explained.pre_filter_nodes
    check.same(
        "prefilter_nodes",
        None if names is None else sorted(names),
        None if got_names is None else sorted(got_names),
    )
    if "filter_skipped" in expect and rejection is None:
        check.same("filter_skipped", sorted(expect["filter_skipped"]), explained.filter_skipped)
    expected = expect.get("filter") or {}
    if rejection is None:
        for node in explained.node_order:
            status = explained.first_rejection.get(node)
            _check_status(check, "filter", node, expected.get(node), status)
    everything = expect.get("filter_all")
    if everything is not None and rejection is None:
        for node in explained.node_order:
            wanted = [_canonical(r) for r in everything.get(node) or ()]
            statuses = explained.all_rejections.get(node, ())
            got = [_canonical(_status_record(s)) for s in statuses]
            for want, have in zip(wanted, got, strict=False):
                check.same("filter_all", want, have, node=node, plugin=str(want["plugin"]))
            check.same("filter_all", wanted, got, node=node)
    check.same("feasible", expect.get("feasible") or [], explained.feasible)


def _check_status(
    check: _Checker,
    what: str,
    node: str,
    expected: Mapping[str, Any] | None,
    status: Status | None,
) -> None:
    got = None if status is None else _canonical(_status_record(status))
    wanted = None if expected is None else _canonical(expected)
    if wanted is not None and got is not None and "plugin" not in wanted:
        del got["plugin"]
    plugin = str((wanted or got or {}).get("plugin", ""))
    check.same(what, wanted, got, node=node, plugin=plugin)


def _check_scores(check: _Checker, expect: Mapping[str, Any], explained: Explanation) -> None:
    scores = expect.get("scores") or {}
    for plugin, wanted in scores.items():
        got = explained.scores.get(plugin)
        if got is None:
            check.same("scores", "present", "skipped", plugin=plugin)
            continue
        check.same("weight", wanted["weight"], got.weight, plugin=plugin)
        for part in ("raw", "normalized", "weighted"):
            values: list[int] = getattr(got, part)
            for node, want, have in zip(explained.feasible, wanted[part], values, strict=False):
                check.same(f"{part} score", want, have, node=node, plugin=plugin)
            check.same(f"{part} scores", wanted[part], values, plugin=plugin)
    check.same("scored plugins", sorted(scores), sorted(explained.scores))
    if "score_skipped" in expect:
        check.same("score_skipped", sorted(expect["score_skipped"]), explained.score_skipped)
    check.same("total", expect.get("total") or [], explained.total)
    if explained.total:
        check.same("max_total", expect.get("max_total"), max(explained.total))
        check.same("max_nodes", expect.get("max_nodes"), explained.max_nodes)


# ---------------------------------------------------------------------------------- sequences
def _replay_sequence(
    path: Path,
    header: Mapping[str, Any],
    records: Iterable[Mapping[str, Any]],
    results: dict[tuple[str, str], FamilyResult],
) -> None:
    family = header["family"]
    result = results.setdefault(("sequence", family), FamilyResult("sequence", family))
    cluster = _Cluster(header["config"], header["cluster"])
    order = header.get("node_order")
    if order is not None and order != cluster.state.node_names():
        result.note(Difference(header["id"], "node_order", order, cluster.state.node_names()))
    for record in records:
        _require(path, record, "step", "pod", "outcome")
        check = _Checker(f"{header['id']} step {record['step']}")
        _check_step(check, cluster, record)
        result.note(check.first)


def _check_step(check: _Checker, cluster: _Cluster, record: Mapping[str, Any]) -> None:
    core = cluster.core
    pod = record["pod"]
    shape = cluster.shape(pod)
    if "next_start_before" in record:
        check.same("next_start_before", record["next_start_before"], core.next_start_index)
    explained = None
    complete = core.profile.percentage_of_nodes_to_score >= 100 or (cluster.state.node_count < 100)
    if complete:
        explained = core.explain(shape)
    decision = core.schedule(shape)
    outcome = "scheduled" if decision.node_name is not None else "unschedulable"
    if cluster.state.node_count == 0:
        outcome = "no_nodes"
    check.same("outcome", record["outcome"], outcome)
    check.same("feasible_count", record.get("feasible_count", 0), decision.feasible_nodes)
    if explained is not None and explained.total and "max_score" in record:
        check.same("max_score", record["max_score"], max(explained.total))
        check.same("max_count", record.get("max_count"), len(explained.max_nodes))
        if "max_nodes" in record:
            check.same("max_nodes", record["max_nodes"], explained.max_nodes)
    check.same("evaluated_nodes", record.get("evaluated_nodes", 0), decision.evaluated_nodes)
    chosen = record.get("chosen")
    check.same("chosen", chosen, decision.node_name)
    if "processed_nodes" in record:
        check.same("processed_nodes", record["processed_nodes"], decision.processed_nodes)
    if "next_start_after" in record:
        check.same("next_start_after", record["next_start_after"], decision.next_start_after)
        core.next_start_index = record["next_start_after"]
    if chosen:
        cluster.bind(pod, chosen)
        return
    if "fit_error" in record:
        check.same("fit_error", record["fit_error"], decision.fit_error)
    if "message" in record:
        preemption = core.preempt(shape, offset=0, diagnosis=decision.diagnosis)
        check.same("message", record["message"], preemption.message)


# ---------------------------------------------------------------------------------- preemption
def _check_preemption(check: _Checker, cluster: _Cluster, record: Mapping[str, Any]) -> None:
    expect = record["expect"]
    core = cluster.core
    shape = cluster.shape(record["pod"])
    explained = core.explain(shape)
    for node in explained.node_order:
        status = explained.first_rejection.get(node)
        _check_status(check, "filter", node, (expect.get("filter") or {}).get(node), status)
    decision = core.schedule(shape)
    check.same("fit_error", expect.get("fit_error"), decision.fit_error)
    got = core.preempt(
        shape,
        offset=int(expect.get("candidate_offset") or 0),
        nominated_node=(record["pod"].get("status") or {}).get("nominatedNodeName"),
        diagnosis=decision.diagnosis,
    )
    check.same("potential_nodes", expect.get("potential_nodes") or [], got.potential_nodes)
    if "num_candidates_limit" in expect:
        check.same("num_candidates_limit", expect["num_candidates_limit"], got.candidates_max_count)
    wanted = expect.get("candidates") or []
    for want, have in zip(wanted, got.candidates, strict=False):
        check.same("candidate", want["node"], have.node, node=want["node"])
        check.same("victims", want["victims"], list(have.victims), node=want["node"])
        check.same(
            "num_pdb_violations",
            want.get("num_pdb_violations", 0),
            have.pdb_violation_count,
            node=want["node"],
        )
    check.same("candidates", [c["node"] for c in wanted], [c.node for c in got.candidates])
    refused = expect.get("not_candidates") or {}
    for node in sorted({*refused, *got.not_candidates}):
        _check_status(
            check, "not_candidates", node, refused.get(node), got.not_candidates.get(node)
        )
    check.same("best_nodes", sorted(expect.get("best_nodes") or []), sorted(got.best_nodes))
    _check_nomination(check, expect, got.best_nodes, got.nominated_node)
    check.same("postfilter_code", expect.get("postfilter_code"), got.code)
    check.same("postfilter_message", expect.get("postfilter_message", ""), got.post_filter_message)
    check.same("message", expect.get("message"), got.message)
    chosen = {c.node: list(c.victims) for c in got.candidates}
    if expect.get("nominated") and check.first is None:
        check.same("victims", expect.get("victims"), chosen.get(expect["nominated"]))


def _check_nomination(
    check: _Checker, expect: Mapping[str, Any], best: list[str], nominated: str | None
) -> None:
    """Any of the tied nodes is a correct nomination."""
    wanted = expect.get("nominated") or None
    if wanted in best and nominated in best:
        return
    check.same("nominated", wanted, nominated)


def summary(results: Iterable[FamilyResult]) -> Counter[str]:
    """``passed`` and ``total`` over all families."""
    totals: Counter[str] = Counter()
    for result in results:
        totals["passed"] += result.passed_count
        totals["total"] += result.total_count
    return totals
