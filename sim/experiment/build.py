"""A merged tree becomes a checked experiment: structure, operations, thresholds, size."""

from __future__ import annotations

import copy
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim.base.errors import Problem, UserError
from sim.base.ids import digest
from sim.base.spelling import nearest
from sim.experiment.backend import Backend, Demand
from sim.experiment.bind import bind
from sim.experiment.fields import field_infos, item_type, plain, union_members
from sim.experiment.load import ROOT_KEYS, Tree, load_tree
from sim.experiment.origin import Origins
from sim.experiment.spec import (
    API_VERSION,
    KIND,
    NAME_PATTERN,
    Experiment,
    Metadata,
    OutputsSpec,
    RunSpec,
    Spec,
    SweepSpec,
)
from sim.metrics.thresholds import ThresholdError, parse_selector, parse_threshold

_SCHEMA_KEY = "$schema"


@dataclass(slots=True)
class Loaded:
    """A checked experiment, the tree it came from, and what was noticed on the way."""

    experiment: Experiment
    tree: Tree
    warnings: list[Problem]
    demand: Demand | None = None
    """Estimate of what it takes; None if the check stopped before."""

    @property
    def folder(self) -> Path:
        """Relative paths in results are relative to this folder."""
        return self.tree.folder


def load_experiment(
    path: str | Path,
    backend: Backend,
    *,
    text: str | None = None,
    overrides: Sequence[str] = (),
) -> Loaded:
    """Read and check an experiment file.

    Raises:
        UserError: all problems found, in the order of the text.
    """
    tree = load_tree(path, text=text, overrides=overrides)
    return build_experiment(tree, backend)


def build_experiment(tree: Tree, backend: Backend) -> Loaded:
    """Check a merged tree. Raises UserError with all problems."""
    origins, data = tree.origins, tree.data
    _check_root(data, origins)
    metadata = None
    if "metadata" in data:
        metadata = bind(Metadata, data["metadata"], ("metadata",), origins)
    if isinstance(metadata, Metadata) and not re.fullmatch(NAME_PATTERN, metadata.name):
        origins.add(
            "E013", f"{metadata.name!r} is not a name", ("metadata", "name"),
            hint="lower-case letters, digits, dots and dashes",
        )  # fmt: skip
    spec = _bind_spec(data.get("spec"), backend, origins)
    if origins.problems:
        raise UserError(in_order(origins.problems, origins.unreadable))
    assert isinstance(metadata, Metadata)
    assert isinstance(spec, Spec)
    return Loaded(Experiment(metadata=metadata, spec=spec), tree, list(tree.warnings))


def in_order(
    problems: Sequence[Problem], unreadable: AbstractSet[Problem] = frozenset()
) -> list[Problem]:
    """Problems by place, without repetitions; files in the order in which they were met."""
    files = list(dict.fromkeys(problem.file or "" for problem in problems))
    taken = {(item.file, item.line, item.column) for item in unreadable if item.line}
    distinct = [
        item for item in dict.fromkeys(problems)
        if item in unreadable or (item.file, item.line, item.column) not in taken
    ]  # fmt: skip
    return sorted(
        distinct,
        key=lambda item: (files.index(item.file or ""), item.line or 0, item.column or 0),
    )


def _check_root(data: dict[str, Any], origins: Origins) -> None:
    for key in data:
        if key not in ROOT_KEYS and key != _SCHEMA_KEY:
            origins.add(
                "E010", f"unknown key {key!r}", (key,), at_key=True, allowed=ROOT_KEYS,
                nearest=nearest(key, ROOT_KEYS),
            )  # fmt: skip
    for key, wanted in (("apiVersion", API_VERSION), ("kind", KIND)):
        if key not in data:
            origins.add("E011", f"missing key {key!r}: {wanted}", ())
        elif data[key] != wanted:
            origins.add("E017", f"{data[key]!r} instead of {wanted}", (key,), allowed=(wanted,))
    if "spec" not in data:
        origins.add("E011", "missing key 'spec'", ())
    elif not isinstance(data["spec"], dict):
        origins.add("E012", "'spec' is not a mapping", ("spec",))
    if "metadata" not in data:
        origins.add("E011", "missing key 'metadata'", ())


_SECTIONS: Mapping[str, type] = {"run": RunSpec, "outputs": OutputsSpec}


def _bind_spec(data: Any, backend: Backend, origins: Origins) -> Spec | None:
    if not isinstance(data, dict):
        return None
    allowed = tuple(field_infos(Spec))
    for key in data:
        if key not in allowed:
            origins.add(
                "E010", f"unknown key {key!r}", ("spec", key), at_key=True, allowed=allowed,
                nearest=nearest(key, allowed),
            )  # fmt: skip
    cluster = bind(backend.params_type, data.get("cluster") or {}, ("spec", "cluster"), origins)
    workload = _bind_workload(data.get("workload"), backend, origins)
    sections = {
        name: bind(cls, data.get(name) or {}, ("spec", name), origins)
        for name, cls in _SECTIONS.items()
    }
    sweep = None
    if data.get("sweep") is not None:
        sweep = bind(SweepSpec, data["sweep"], ("spec", "sweep"), origins)
    thresholds = _bind_thresholds(data.get("thresholds"), origins)
    profile = _bind_profile(data.get("profile", ""), backend, origins)
    if origins.problems and backend.check is not None:
        # A run checks the objects itself; here they are read to tell all faults at once.
        told = backend.check(cluster, [item for item in workload if item is not None])
        origins.problems += [origins.placed(item) for item in told if not item.is_warning]
    run = sections["run"]
    if isinstance(run, RunSpec) and run.stop == "duration" and run.duration_seconds is None:
        origins.add("E011", "stop: duration needs durationSeconds", ("spec", "run", "stop"))
    outputs = sections["outputs"]
    if cluster is None or not isinstance(run, RunSpec) or not isinstance(outputs, OutputsSpec):
        return None
    return Spec(
        cluster=cluster, workload=workload, sweep=sweep, thresholds=thresholds, profile=profile,
        run=run, outputs=outputs,
    )  # fmt: skip


def _bind_workload(data: Any, backend: Backend, origins: Origins) -> tuple[Any, ...]:
    path = ("spec", "workload")
    if data is None:
        return ()
    if not isinstance(data, list):
        origins.add("E012", "the workload is not a list of operations", path)
        return ()
    operations = []
    known = tuple(backend.operation_types)
    for index, item in enumerate(data):
        where = (*path, index)
        if not isinstance(item, dict):
            origins.add("E012", "an operation is a mapping with the key 'op'", where)
            continue
        name = item.get("op")
        if name is None:
            origins.add("E011", "missing key 'op'", where, allowed=known)
            continue
        cls = backend.operation_types.get(name) if isinstance(name, str) else None
        if cls is None:
            origins.add(
                "E014", f"unknown operation {name!r}", (*where, "op"), allowed=known,
                nearest=nearest(str(name), known),
            )  # fmt: skip
            continue
        if "op" not in field_infos(cls):
            item = {key: value for key, value in item.items() if key != "op"}
        operations.append(bind(cls, item, where, origins))
    return tuple(operations)


def _bind_thresholds(data: Any, origins: Origins) -> dict[str, tuple[str, ...]]:
    path = ("spec", "thresholds")
    if data is None:
        return {}
    if not isinstance(data, dict):
        origins.add("E012", "thresholds are a mapping of metrics to conditions", path)
        return {}
    result: dict[str, tuple[str, ...]] = {}
    for selector, conditions in data.items():
        where = (*path, selector)
        kind = None
        try:
            kind = parse_selector(selector).metric.kind
        except ThresholdError as error:
            origins.add(
                error.code, str(error), where, at_key=True, nearest=error.nearest,
                allowed=error.allowed,
            )  # fmt: skip
        listed = [conditions] if isinstance(conditions, str) else conditions
        if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
            origins.add("E012", "conditions are a list of texts such as p(99) < 1s", where)
            continue
        for index, condition in enumerate(listed):
            at = where if isinstance(conditions, str) else (*where, index)
            try:
                parse_threshold(condition, kind)
            except ThresholdError as error:
                origins.add(error.code, str(error), at, allowed=error.allowed,
                            nearest=error.nearest)  # fmt: skip
        result[selector] = tuple(listed)
    return result


def _bind_profile(value: Any, backend: Backend, origins: Origins) -> str:
    path = ("spec", "profile")
    if not isinstance(value, str):
        origins.add("E012", "a profile is a name or a path", path)
        return ""
    if not value:
        return backend.profiles[0]
    if value in backend.profiles:
        return value
    if value.endswith((".yaml", ".yml", ".json")):
        file = origins.find(path).folder / value
        if file.is_file():
            full = os.path.abspath(file)  # noqa: PTH100 - keeps links
            if backend.load_profile is not None:
                try:
                    backend.load_profile(full)
                except UserError as error:
                    origins.problems += error.problems
            return full
        origins.add("E001", f"no such file: {value}", path)
        return value
    origins.add(
        "E025", f"no profile of the name {value!r}", path, allowed=tuple(backend.profiles),
        nearest=nearest(value, backend.profiles),
        hint="a name from the list, or the path of a profile file",
    )  # fmt: skip
    return value


# ---------------------------------------------------------------------------- resolved and digest
def resolved(loaded: Loaded, experiment: Experiment | None = None) -> dict[str, Any]:
    """Return the experiment with every default expanded, paths relative to its folder."""
    chosen = experiment or loaded.experiment
    spec = plain(chosen.spec)
    spec["cluster"] = _portable(chosen.spec.cluster, loaded.folder)
    spec["workload"] = [_portable(item, loaded.folder) for item in chosen.spec.workload]
    if spec["profile"].startswith("/"):
        spec["profile"] = _relative(spec["profile"], loaded.folder)
    return {
        "apiVersion": API_VERSION, "kind": KIND, "metadata": plain(chosen.metadata), "spec": spec,
    }  # fmt: skip


def _portable(value: Any, folder: Path) -> Any:
    """`plain`, with the paths of files relative to the experiment's folder."""
    result = plain(value)

    def visit(settings: Any, shown: dict[str, Any]) -> None:
        for key, info in field_infos(type(settings)).items():
            inner = getattr(settings, info.name)
            if info.is_path and inner:
                shown[key] = (
                    _relative(inner, folder)
                    if isinstance(inner, str)
                    else [_relative(item, folder) for item in inner]
                )
            elif any(hasattr(item, "__dataclass_fields__") for item in union_members(info.kind)):
                if inner is not None:
                    visit(inner, shown[key])
            elif item_type(union_members(info.kind)[0]) is not None:
                for item, item_shown in zip(inner or (), shown[key] or (), strict=True):
                    if hasattr(item, "__dataclass_fields__"):
                        visit(item, item_shown)

    visit(value, result)
    return result


def _relative(path: str, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()


def named_files(value: Any) -> list[str]:
    """Return the files that settings name, in order (absolute paths)."""
    found: list[str] = []
    for info in field_infos(type(value)).values():
        inner = getattr(value, info.name)
        if info.is_path and inner:
            found += [inner] if isinstance(inner, str) else list(inner)
        else:
            items = inner if isinstance(inner, tuple | list) else (inner,)
            for item in items:
                if hasattr(item, "__dataclass_fields__"):
                    found += named_files(item)
    return found


def scenario_digest(loaded: Loaded, experiment: Experiment | None = None) -> str:
    """Return the identity of a scenario: what decides its results, the seed apart.

    Names, outputs, thresholds, bounds and the sweep it belongs to are left out; of files, their
    content counts and not their place.
    """
    chosen = experiment or loaded.experiment
    whole = copy.deepcopy(resolved(loaded, chosen)["spec"])
    run = whole["run"]
    contents = [
        hashlib.sha256(Path(name).read_bytes()).hexdigest()
        for part in (chosen.spec.cluster, *chosen.spec.workload)
        for name in named_files(part)
    ]
    if chosen.spec.profile.startswith("/"):
        contents.append(hashlib.sha256(Path(chosen.spec.profile).read_bytes()).hexdigest())
        whole["profile"] = ""
    identity = {
        "cluster": _without_paths(chosen.spec.cluster, whole["cluster"]),
        "workload": [
            _without_paths(item, shown)
            for item, shown in zip(chosen.spec.workload, whole["workload"], strict=True)
        ],
        "profile": whole["profile"],
        "stop": run["stop"],
        "durationSeconds": run["durationSeconds"],
        "files": contents,
        "apiVersion": API_VERSION,
    }
    return digest(identity)


def _without_paths(value: Any, shown: dict[str, Any]) -> dict[str, Any]:
    for key, info in field_infos(type(value)).items():
        inner = getattr(value, info.name)
        if info.is_path:
            shown.pop(key, None)
        elif hasattr(inner, "__dataclass_fields__"):
            _without_paths(inner, shown[key])
        elif isinstance(inner, tuple):
            for item, item_shown in zip(inner, shown[key], strict=True):
                if hasattr(item, "__dataclass_fields__"):
                    _without_paths(item, item_shown)
    return shown
