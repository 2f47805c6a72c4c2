"""Compiled forms of the hottest modules, where a C compiler was at hand.

`python -m sim.native_build` (``make setup`` does it) compiles the modules named here with mypyc
into ``build/native`` beside the package. They are the same modules: same sources, same results to
the last bit, about twice as fast. They are used only if they were made from exactly the
sources that lie here, and not at all with ``KUBESIM_NATIVE=0``; without them Python interprets
the sources as usual.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from hashlib import blake2b
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

VARIABLE = "KUBESIM_NATIVE"
ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "native"
MANIFEST = FOLDER / "manifest.json"

_BASE = ("api_object", "objects", "pod_template")
_ENGINE = ("engine", "host", "streams", "tables", "tasks", "token_bucket", "workqueue")
_COSTS = ("apiserver", "controllers", "disk", "etcd", "network", "watch")
_SCHEDULING = (
    "columns", "core", "dynamic", "match_index", "nodes", "plan", "state", "tallies",
)  # fmt: skip
_CLUSTER = ("gauges", "invariants")
_WORKLOAD = ("driver_core", "pod_tracker", "rollout_tracker", "submission")
_COMPONENTS = (
    "apiserver", "apiserver_background", "apiserver_facts", "apiserver_fanout",
    "apiserver_fleets", "apiserver_garbage", "apiserver_parts", "apiserver_reads",
    "apiserver_runqueue", "apiserver_widths", "apiserver_writes", "client",
    "container_runtime", "endpoint", "etcd",
    "etcd_backend", "etcd_endpoint", "etcd_faults", "etcd_member", "etcd_process", "etcd_raft",
    "etcd_reads", "etcd_store", "etcd_watch", "events", "facts", "image", "image_network",
    "informer", "kube_proxy_arrays", "kube_proxy_fleet", "kube_proxy_rows",
    "kube_proxy_runners", "kubelet_client", "kubelet_containers", "kubelet_context",
    "kubelet_events", "kubelet_faults", "kubelet_fleet", "kubelet_nodes", "kubelet_pleg",
    "kubelet_pods", "kubelet_record", "kubelet_simulated", "kubelet_status", "kubelet_stop",
    "kubelet_tokens", "leader_election", "node_cpu", "overlay", "overlay_ipam", "ports",
    "priority_and_fairness", "priority_and_fairness_formulas", "proxy_state", "queueing_hints",
    "registry", "scheduler", "scheduler_cache", "scheduler_preemption", "scheduler_process",
    "scheduler_watches", "scheduling_queue", "watch_cache",
)  # fmt: skip
_CONTROLLERS = (
    "base", "cronjob", "daemonset", "deployment", "endpointslice", "garbage_collector", "hpa",
    "job", "membership", "namespace", "node_ipam", "node_lifecycle", "node_pods", "pod_gc",
    "replicaset", "statefulset", "taint_eviction",
)  # fmt: skip
MODULES: tuple[str, ...] = (
    *(f"sim.base.{name}" for name in _BASE),
    *(f"sim.engine.{name}" for name in _ENGINE),
    *(f"sim.scheduling.{name}" for name in _SCHEDULING),
    *(f"sim.costs.{name}" for name in _COSTS),
    *(f"sim.components.{name}" for name in _COMPONENTS),
    *(f"sim.components.controllers.{name}" for name in _CONTROLLERS),
    *(f"sim.workload.{name}" for name in _WORKLOAD),
    *(f"sim.cluster.{name}" for name in _CLUSTER),
)
"""Modules worth compiling: they run for every request or event. Settings that a user's file is
checked against stay interpreted, in modules of their own."""


def source(module: str) -> Path:
    """Return the file of a module of this package."""
    return ROOT / f"{module.replace('.', '/')}.py"


def digest() -> str:
    """Return what identifies the sources of `MODULES` and the interpreter they are compiled for."""
    state = blake2b(EXTENSION_SUFFIXES[0].encode(), digest_size=16)
    for module in MODULES:
        state.update(source(module).read_bytes())
    return state.hexdigest()


def compiled() -> bool:
    """Return whether the compiled modules are in use in this process."""
    return any(isinstance(finder, _Finder) for finder in sys.meta_path)


class _Finder:
    """Finds compiled modules before their sources."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = frozenset(names)

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where a module of ours lies in compiled form."""
        if fullname not in self._names:
            return None
        place = str(FOLDER / f"{fullname.replace('.', '/')}{EXTENSION_SUFFIXES[0]}")
        return spec_from_file_location(fullname, place, loader=ExtensionFileLoader(fullname, place))


def built_modules() -> list[str] | None:
    """Return the names of what has been compiled from these very sources, None if nothing has."""
    try:
        manifest = json.loads(MANIFEST.read_text(encoding="utf-8"))
        if manifest["digest"] == digest():
            return list(manifest["modules"])
    except (OSError, ValueError, KeyError):
        pass  # nothing built, a build that was interrupted, or sources that are not all there
    return None


def is_usable() -> bool:
    """Return whether there are compiled modules of these very sources."""
    return built_modules() is not None


def install() -> None:
    """Use the compiled modules from now on, if there are any of these very sources."""
    if os.environ.get(VARIABLE) == "0" or not MANIFEST.is_file():
        return
    names = built_modules()
    if names is not None:
        sys.meta_path.insert(0, _Finder(names))
