"""What schedulers are told: a KubeSchedulerConfiguration and the user's own plugins, checked.

Faults come back as problems with the dotted path of the configuration (and, for a file, its line).
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim.base.errors import Problem, UserError
from sim.base.yaml_strict import Dialect, Document, load_document
from sim.cluster.params import ControlPlaneParams
from sim.components.scheduler_params import SchedulerParams, with_configuration
from sim.scheduling import ConfigurationError, SchedulerConfiguration, UserPlugins

_PLACE = "spec.cluster.controlPlane.schedulerConfiguration"
_POINTS = ("filter", "score")
_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerSettings:
    """Checked settings of all scheduler replicas."""

    configuration: SchedulerConfiguration
    user_plugins: Mapping[str, UserPlugins]
    """By scheduler name; each profile has instances of its own, made with its arguments."""


def scheduler_settings(control: ControlPlaneParams) -> SchedulerSettings:
    """Read and check what a control plane says about its schedulers.

    Raises:
        UserError: every problem of the configuration, its file or the file of plugins.
    """
    classes = load_plugins(control.scheduler_plugins_file)
    points = {
        name: tuple(point for point in _POINTS if callable(getattr(cls, point, None)))
        for name, cls in classes.items()
    }
    document, source = _document(control)
    try:
        configuration = SchedulerConfiguration.from_dict(document, user_plugins=points)
        with_configuration(SchedulerParams(), configuration)
    except ConfigurationError as error:
        raise UserError([_problem(path, text, source) for path, text in error.problems]) from None
    plugins: dict[str, UserPlugins] = {}
    for profile in configuration.profiles:
        made = [
            _make(cls, profile.user_arguments.get(name, {}), control.scheduler_plugins_file)
            for name, cls in classes.items()
            if any(profile.enabled(point, name) for point in _POINTS)
        ]
        plugins[profile.scheduler_name] = UserPlugins(made)
    return SchedulerSettings(configuration=configuration, user_plugins=plugins)


def _document(control: ControlPlaneParams) -> tuple[Mapping[str, Any], Document | None]:
    file = control.scheduler_configuration_file
    if not file:
        return control.scheduler_configuration, None
    if control.scheduler_configuration:
        raise UserError(
            Problem(
                code="E019",
                message=f"{_PLACE} and schedulerConfigurationFile are both given",
                hint="keep one of them",
            )
        )
    source = load_document(file, dialect=Dialect.KUBERNETES)
    return source.data, source


def _problem(path: str, message: str, source: Document | None) -> Problem:
    code = "E010" if message.startswith("unknown field") else "E014"
    if not message.startswith("unknown"):
        code = "E013"
    if source is None:
        return Problem(code=code, message=f"{_PLACE}.{path}: {message}")
    steps = [name or int(index) for name, index in _STEP.findall(path)]
    return source.problem(code, f"{path}: {message}", steps)


def load_plugins(file: str) -> dict[str, type]:
    """Return the plugin classes that a Python file defines, by their ``name``.

    Raises:
        UserError: the file is missing, raises when it is executed, or defines no plugin.
    """
    if not file:
        return {}
    if not Path(file).is_file():
        raise UserError(Problem(code="E001", message="no such file of plugins", file=file))
    specification = importlib.util.spec_from_file_location("kubesim_user_plugins", file)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    try:
        specification.loader.exec_module(module)
    except Exception as error:  # noqa: BLE001 - whatever a user's file raises is the user's
        line = getattr(error, "lineno", None)
        text = f"cannot be executed: {type(error).__name__}: {error}"
        raise UserError(Problem(code="E001", message=text, file=file, line=line)) from error
    found: dict[str, type] = {}
    for item in vars(module).values():
        if not isinstance(item, type) or item.__module__ != module.__name__:
            continue
        name = getattr(item, "name", None)
        if isinstance(name, str) and any(callable(getattr(item, p, None)) for p in _POINTS):
            if name in found:
                raise UserError(
                    Problem(code="E034", message=f"two plugins are named {name!r}", file=file)
                )
            found[name] = item
    if not found:
        raise UserError(
            Problem(
                code="E037",
                message="no class with a `name` and a method `filter` or `score`",
                file=file,
            )
        )
    return found


def _make(cls: type, arguments: Mapping[str, Any], file: str) -> Any:
    try:
        return cls(**arguments)
    except Exception as error:  # noqa: BLE001 - whatever a user's class raises is the user's
        text = f"{cls.__name__}({', '.join(arguments)}): {type(error).__name__}: {error}"
        raise UserError(Problem(code="E013", message=text, file=file)) from error
