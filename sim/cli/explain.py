"""``kubesim explain``: what a code, a setting, a metric or an exit code means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click

from sim.base.exit_codes import ExitCode


@click.command("explain")
@click.argument("subject")
def command(subject: str) -> int:
    """Explain SUBJECT.

    SUBJECT is an error code (E014), `exit-codes`, a metric, a cost profile (name or file), an
    operation (createPods), or a setting by dotted path (cluster.controlPlane.etcd).
    """
    for explain in (_code, _exit_codes, _metric, _profile, _setting):
        text = explain(subject)
        if text:
            click.echo(text)
            return ExitCode.OK
    click.echo(f"nothing is called {subject!r}{_nearest(subject)}", err=True)
    return ExitCode.INVALID_INPUT


def _nearest(subject: str) -> str:
    from sim.base.error_codes import CODES
    from sim.base.spelling import nearest
    from sim.cli import options
    from sim.costs.profile import profile_names
    from sim.metrics.catalogue import metric_names

    known = [
        *CODES, *options.backend().operation_types, *metric_names(), *profile_names(), "exit-codes",
    ]  # fmt: skip
    near = nearest(subject, known) or _nearest_setting(subject)
    return f"; did you mean {near}?" if near else ""


def _code(subject: str) -> str:
    from sim.base.error_codes import CODES

    info = CODES.get(subject.upper())
    return f"{subject.upper()}: {info.title}\n\n{info.explanation}" if info is not None else ""


def _exit_codes(subject: str) -> str:
    from sim.base.exit_codes import MEANINGS

    if subject.isdecimal() and int(subject) in MEANINGS:
        return f"{subject}: {MEANINGS[ExitCode(int(subject))]}"
    if subject not in {"exit-codes", "exit-code", "exitcodes"}:
        return ""
    return "\n".join(f"{int(code):>3}  {meaning}" for code, meaning in MEANINGS.items())


def _metric(subject: str) -> str:
    from sim.metrics.catalogue import BY_NAME, SAMPLED
    from sim.metrics.thresholds import AGGREGATES

    metric = BY_NAME.get(subject)
    if metric is None:
        for gauge, item in SAMPLED.items():
            if item.name == subject:
                return (
                    f"{item.name} ({item.kind}, {item.unit}, label {item.label})\n\n{item.help}\n"
                    f"Sampled by the run as {gauge}.\n"
                    f"In thresholds: {', '.join(AGGREGATES[item.kind])}"
                )
        return ""
    lines = [f"{metric.name} ({metric.kind}, {metric.unit})", "", metric.help]
    if metric.label_names:
        lines.append(f"Labels: {', '.join(metric.label_names)}")
    source = f"table {metric.table}, column {metric.value or '(one per row)'}"
    lines.append(f"From: {source if metric.table else 'pods and their transitions, bindings'}")
    if metric.buckets:
        lines.append("Buckets: " + " ".join(f"{edge:g}" for edge in metric.buckets))
    if metric.is_upstream and metric.job:
        lines.append(f"Exposed upstream by {metric.job}.")
    lines.append(f"In thresholds: {', '.join(AGGREGATES[metric.kind])}")
    return "\n".join(lines)


def _profile(subject: str) -> str:
    from sim.costs.profile import profile_names
    from sim.experiment.profile_text import profile_explained

    if subject not in profile_names() and not subject.endswith((".yaml", ".yml")):
        return ""
    return profile_explained(subject)


def _setting(subject: str) -> str:
    found = _find_setting(subject)
    return "" if isinstance(found, _Misspelt) else _setting_text(subject, *found)


@dataclass(frozen=True, slots=True)
class _Misspelt:
    """A dotted path that leads nowhere: where it does so, and what there is instead."""

    steps: tuple[str, ...]
    position: int
    known: tuple[str, ...]


def _nearest_setting(subject: str) -> str | None:
    from sim.base.spelling import nearest

    found = _find_setting(subject)
    if not isinstance(found, _Misspelt):
        return None
    near = nearest(found.steps[found.position], found.known)
    if near is None:
        return None
    path = (*found.steps[: found.position], near, *found.steps[found.position + 1 :])
    first = subject.partition(".")[0]
    is_whole = path[0] in {"spec", "metadata", "apiVersion", "kind"}
    return ".".join(path if is_whole else (first, *path))


def _find_setting(subject: str) -> tuple[Any, str, Any] | _Misspelt:
    """Return (type, description, default) of a setting named by its dotted path."""
    from sim.cli import options
    from sim.experiment.fields import field_infos, item_type, union_members
    from sim.experiment.spec import Experiment

    backend = options.backend()
    steps = subject.split(".")
    found = backend.operation_types.get(steps[0])
    kind: Any = found
    if found is None:
        kind = Experiment
        if steps[0] not in {"spec", "metadata", "apiVersion", "kind"}:
            steps = ["spec", *steps]
    else:
        steps = steps[1:]
    description = (kind.__doc__ or "").strip()
    default: Any = None
    for position, step in enumerate(steps):
        if not hasattr(kind, "__dataclass_fields__"):
            return _Misspelt(tuple(steps), position, ())
        if step.isdecimal():
            continue
        info = field_infos(kind).get(step)
        if info is None:
            return _Misspelt(tuple(steps), position, tuple(field_infos(kind)))
        description, default = _described(kind, info.name)
        inner = union_members(info.kind)[0]
        inner = union_members(item_type(inner))[0] if item_type(inner) else inner
        kind = backend.params_type if (step, inner) == ("cluster", Any) else inner
    return kind, description, default


def _described(cls: Any, name: str) -> tuple[str, Any]:
    from dataclasses import MISSING

    from sim.experiment.fields import field_docs

    field = cls.__dataclass_fields__[name]
    return field_docs(cls).get(name, ""), None if field.default is MISSING else field.default


def _setting_text(subject: str, kind: Any, description: str, default: Any) -> str:
    from sim.experiment.fields import field_docs, field_infos

    lines = [subject]
    if description:
        lines += ["", description]
    if not hasattr(kind, "__dataclass_fields__"):
        shown = getattr(kind, "__name__", None) or str(kind).replace("typing.", "")
        lines += ["", f"Type: {shown}", f"Default: {default!r}"]
        return "\n".join(lines)
    doc = (kind.__doc__ or "").strip()
    if doc and doc != description:
        lines += ["", doc]
    lines.append("")
    docs = field_docs(kind)
    for base in kind.__mro__[1:-1]:
        docs = {**field_docs(base), **docs}
    for key, info in field_infos(kind).items():
        required = "  (required)" if info.required else ""
        lines.append(f"  {key}{required}  {docs.get(info.name, '')}".rstrip())
    return "\n".join(lines)
