"""KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1), read as it is.

**Source:** Kubernetes v1.36 ``staging/src/k8s.io/kube-scheduler/config/v1/types.go`` (fields),
``pkg/scheduler/apis/config/v1/{defaults,default_plugins}.go`` (defaults, merging),
``pkg/scheduler/apis/config/validation`` (ranges), ``pkg/scheduler/framework/runtime/framework.go``
(expansion of ``multiPoint``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sim.scheduling import plugin_names
from sim.scheduling.plugin_arguments import PluginArguments, read_arguments
from sim.scheduling.problems import Problems

DEFAULT_SCHEDULER_NAME = "default-scheduler"
PARALLELISM_COUNT_DEFAULT = 16
POD_INITIAL_BACKOFF_SECONDS_DEFAULT = 1
POD_MAX_BACKOFF_SECONDS_DEFAULT = 10

_TOP_LEVEL = (
    "apiVersion",
    "kind",
    "metadata",
    "parallelism",
    "leaderElection",
    "clientConnection",
    "healthzBindAddress",
    "metricsBindAddress",
    "enableProfiling",
    "enableContentionProfiling",
    "percentageOfNodesToScore",
    "podInitialBackoffSeconds",
    "podMaxBackoffSeconds",
    "profiles",
    "extenders",
    "delayCacheUntilActive",
)
_PROFILE = ("schedulerName", "percentageOfNodesToScore", "plugins", "pluginConfig")


class ConfigurationError(ValueError):
    """A KubeSchedulerConfiguration that cannot be honoured.

    ``problems`` lists ``(dotted path, message)``; a message about an unknown name lists the known
    ones and the nearest spelling.
    """

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{path}: {message}" for path, message in problems))


@dataclass(frozen=True, slots=True)
class SchedulerProfile:
    """One profile: which plugins run at which extension point, in order, and their arguments.

    ``percentage_of_nodes_to_score`` is None when neither profile nor configuration sets one, and 0
    means adaptive as well.
    """

    scheduler_name: str
    plugins: Mapping[str, tuple[str, ...]]
    """Enabled plugins per extension point (KubeSchedulerConfiguration's name), in order."""
    score_weights: Mapping[str, int]
    arguments: PluginArguments
    user_arguments: Mapping[str, Mapping[str, Any]]
    percentage_of_nodes_to_score: int

    def enabled(self, extension_point: str, plugin: str) -> bool:
        """Whether a plugin runs at an extension point."""
        return plugin in self.plugins[extension_point]


@dataclass(frozen=True, slots=True)
class SchedulerConfiguration:
    """The parts of a KubeSchedulerConfiguration that change decisions or timing."""

    profiles: tuple[SchedulerProfile, ...]
    parallelism_count: int = PARALLELISM_COUNT_DEFAULT
    percentage_of_nodes_to_score: int = 0
    pod_initial_backoff_seconds: float = POD_INITIAL_BACKOFF_SECONDS_DEFAULT
    pod_max_backoff_seconds: float = POD_MAX_BACKOFF_SECONDS_DEFAULT
    client_connection: Mapping[str, Any] = field(default_factory=dict)
    leader_election: Mapping[str, Any] = field(default_factory=dict)

    def profile(self, scheduler_name: str) -> SchedulerProfile | None:
        """The profile that serves a ``spec.schedulerName``, or None."""
        for profile in self.profiles:
            if profile.scheduler_name == scheduler_name:
                return profile
        return None

    @classmethod
    def from_dict(
        cls,
        document: Mapping[str, Any] | None,
        *,
        user_plugins: Mapping[str, Iterable[str]] | None = None,
    ) -> SchedulerConfiguration:
        """Read a parsed configuration file; ``{}`` or None means every default.

        ``user_plugins`` maps the name of each plugin of the user to the extension points it serves.
        Raises :class:`ConfigurationError` listing every problem.
        """
        document = document or {}
        problems = Problems()
        known = {
            point: names | {n for n, points in (user_plugins or {}).items() if point in points}
            for point, names in plugin_names.EXTENSION_POINTS.items()
        }
        configuration = _read(document, known, problems)
        if problems.found:
            raise ConfigurationError(problems.found)
        return configuration


def _read(
    document: Mapping[str, Any], known: dict[str, frozenset[str]], problems: Problems
) -> SchedulerConfiguration:
    problems.names("", document, _TOP_LEVEL)
    if document.get("kind", "KubeSchedulerConfiguration") != "KubeSchedulerConfiguration":
        problems.add("kind", f"is {document['kind']!r}, expected KubeSchedulerConfiguration")
    version = document.get("apiVersion", "kubescheduler.config.k8s.io/v1")
    if version != "kubescheduler.config.k8s.io/v1":
        problems.add("apiVersion", f"is {version!r}, expected kubescheduler.config.k8s.io/v1")
    if document.get("extenders"):
        problems.add("extenders", "scheduler extenders are not modelled")
    percentage = problems.integer("percentageOfNodesToScore", document, 0, 0, 100)
    initial = problems.number("podInitialBackoffSeconds", document, 1.0, 0.0)
    maximum = problems.number("podMaxBackoffSeconds", document, 10.0, 0.0)
    if maximum < initial:
        problems.add("podMaxBackoffSeconds", "must not be less than podInitialBackoffSeconds")
    profiles = [
        _read_profile(f"profiles[{i}]", p, percentage, known, problems)
        for i, p in enumerate(document.get("profiles") or [{}])
    ]
    names = [p.scheduler_name for p in profiles]
    for i, name in enumerate(names):
        if name in names[:i]:
            problems.add(f"profiles[{i}].schedulerName", f"{name!r} is used twice")
    return SchedulerConfiguration(
        profiles=tuple(profiles),
        parallelism_count=problems.integer(
            "parallelism", document, PARALLELISM_COUNT_DEFAULT, 1, 2**31 - 1
        ),
        percentage_of_nodes_to_score=percentage,
        pod_initial_backoff_seconds=initial,
        pod_max_backoff_seconds=maximum,
        client_connection=document.get("clientConnection") or {},
        leader_election=document.get("leaderElection") or {},
    )


def _read_profile(
    path: str,
    profile: Mapping[str, Any],
    percentage: int,
    known: dict[str, frozenset[str]],
    problems: Problems,
) -> SchedulerProfile:
    problems.names(path, profile, _PROFILE)
    plugins, weights = _expand(f"{path}.plugins", profile.get("plugins") or {}, known, problems)
    every_name = frozenset().union(*known.values()) | set(plugin_names.KNOWN_PLUGINS)
    builtin: dict[str, Mapping[str, Any]] = {}
    of_user: dict[str, Mapping[str, Any]] = {}
    for i, entry in enumerate(profile.get("pluginConfig") or ()):
        where = f"{path}.pluginConfig[{i}]"
        problems.names(where, entry, ("name", "args"))
        name = entry.get("name", "")
        if name in builtin or name in of_user:
            problems.add(f"{where}.name", f"{name!r} is configured twice")
        elif name not in every_name:
            problems.unknown(f"{where}.name", "plugin", name, every_name)
        elif name in plugin_names.KNOWN_PLUGINS:
            builtin[name] = entry.get("args") or {}
            problems.names(
                f"{where}.args",
                builtin[name],
                ("apiVersion", "kind", *plugin_names.ARGUMENTS.get(name, ())),
            )
        else:
            of_user[name] = entry.get("args") or {}
    own = profile.get("percentageOfNodesToScore")
    if own is not None:
        percentage = problems.integer("percentageOfNodesToScore", profile, 0, 0, 100, prefix=path)
    return SchedulerProfile(
        scheduler_name=str(profile.get("schedulerName") or DEFAULT_SCHEDULER_NAME),
        plugins=plugins,
        score_weights=weights,
        arguments=read_arguments(f"{path}.pluginConfig", builtin, problems),
        user_arguments=of_user,
        percentage_of_nodes_to_score=percentage,
    )


@dataclass(slots=True)
class _PluginSet:
    enabled: dict[str, int]
    disabled: set[str]


def _read_set(
    path: str, plugin_set: Mapping[str, Any], names: Iterable[str], problems: Problems
) -> _PluginSet:
    problems.names(path, plugin_set, ("enabled", "disabled"))
    result = _PluginSet({}, set())
    allowed = set(names)
    for kind in ("enabled", "disabled"):
        for i, entry in enumerate(plugin_set.get(kind) or ()):
            where = f"{path}.{kind}[{i}]"
            problems.names(where, entry, ("name", "weight"))
            name = entry.get("name", "")
            if name not in allowed and not (name == "*" and kind == "disabled"):
                problems.unknown(f"{where}.name", "plugin", name, allowed)
            elif kind == "disabled":
                result.disabled.add(name)
            elif name in result.enabled:
                problems.add(f"{where}.name", f"{name!r} is enabled twice")
            else:
                result.enabled[name] = problems.integer("weight", entry, 0, 0, 2**31, prefix=where)
    return result


def _expand(
    path: str,
    plugins: Mapping[str, Any],
    known: dict[str, frozenset[str]],
    problems: Problems,
) -> tuple[dict[str, tuple[str, ...]], dict[str, int]]:
    """Plugins per extension point and score weights, merged with the defaults as upstream does."""
    problems.names(path, plugins, (*plugin_names.EXTENSION_POINTS, "multiPoint"))
    every_name = frozenset().union(*known.values()) | set(plugin_names.KNOWN_PLUGINS)
    multi = _read_set(f"{path}.multiPoint", plugins.get("multiPoint") or {}, every_name, problems)
    order = _merge_defaults(multi)
    result: dict[str, tuple[str, ...]] = {}
    weights: dict[str, int] = {}
    for point, able in known.items():
        chosen = _read_set(f"{path}.{point}", plugins.get(point) or {}, able, problems)
        result[point] = _expand_point(point, chosen, order, able, weights)
    if not result["queueSort"]:
        problems.add(f"{path}.queueSort", "a queue sort plugin is required")
    if not result["bind"]:
        problems.add(f"{path}.bind", "a bind plugin is required")
    return result, weights


def _merge_defaults(multi: _PluginSet) -> list[tuple[str, int]]:
    """The multiPoint list: defaults not disabled, overridden in place, then the added ones.

    **Source:** ``mergePluginSet`` in ``default_plugins.go``: an enabled plugin that is a default
    replaces it in place; others follow in the order given.
    """
    order: list[tuple[str, int]] = []
    replaced: set[str] = set()
    if "*" not in multi.disabled:
        for name, weight in plugin_names.DEFAULT_MULTI_POINT:
            if name in multi.disabled:
                continue
            if name in multi.enabled:
                order.append((name, multi.enabled[name] or 0))
                replaced.add(name)
            else:
                order.append((name, weight))
    order.extend((n, w) for n, w in multi.enabled.items() if n not in replaced)
    return order


def _expand_point(
    point: str,
    chosen: _PluginSet,
    multi: list[tuple[str, int]],
    able: frozenset[str],
    weights: dict[str, int],
) -> tuple[str, ...]:
    """Plugins of one extension point.

    **Source:** ``expandMultiPointPlugins``: specific settings override multiPoint; plugins that
    override come first in their specific order, then multiPoint's, then other specific ones.
    """
    multi_names = {name for name, _ in multi}
    overriding = [n for n in chosen.enabled if n in multi_names]
    specific = [n for n in chosen.enabled if n not in multi_names]
    from_multi: list[str] = []
    if "*" not in chosen.disabled:
        from_multi = [
            name
            for name, _ in multi
            if name in able and name not in chosen.disabled and name not in chosen.enabled
        ]
    if point == "score":
        multi_weights = dict(multi)
        for name in (*overriding, *specific):
            weights[name] = chosen.enabled[name] or 1
        for name in from_multi:
            weights[name] = multi_weights[name] or 1
    return (*overriding, *from_multi, *specific)
