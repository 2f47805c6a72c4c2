"""``kubesim get``: what ``kubectl get`` would have shown at one moment of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from sim.base.exit_codes import ExitCode

if TYPE_CHECKING:
    from sim.cli.get_print import Found
    from sim.export.reader import StoredFacts
    from sim.scheduling.labels import Requirement

_FORMATS: Final = ("table", "wide", "json", "yaml", "csv", "name")


@click.command("get")
@click.argument("resource")
@click.argument("names_and_run", nargs=-1, required=True, metavar="[NAME]... RUN_DIR")
@click.option("--namespace", "-n", default="default", show_default=True, help="Namespace.")
@click.option("--all-namespaces", "-A", is_flag=True, help="All namespaces.")
@click.option("--at", "at", metavar="TIME", help="Simulated time, such as 30s; default: the end.")
@click.option("--output", "-o", "output_format", type=click.Choice(_FORMATS), default="table",
              show_default=True, help="Form of the output.")
@click.option("--selector", "-l", metavar="SELECTOR", default="",
              help="Labels: 'app=web,tier!=db', 'app in (web,api)', 'gpu', '!gpu'.")
@click.option("--field-selector", metavar="FIELD=VALUE[,…]", default="",
              help="Fields: metadata.name, metadata.namespace, spec.nodeName, status.phase …")
@click.option("--sort-by", metavar="PATH", default="",
              help="Field to sort by: .metadata.creationTimestamp, '{.spec.nodeName}'.")
@click.option("--label-columns", "-L", multiple=True, metavar="LABEL[,…]",
              help="Labels to show as columns; repeatable.")
@click.option("--show-labels", is_flag=True, help="Show all labels in a last column.")
@click.option("--no-headers", is_flag=True, help="Leave the header line out.")
@click.option("--ignore-not-found", is_flag=True, help="Exit 0 if a named object does not exist.")
def command(
    resource: str, names_and_run: tuple[str, ...], namespace: str, all_namespaces: bool,
    at: str | None, output_format: str, selector: str, field_selector: str, sort_by: str,
    label_columns: tuple[str, ...], show_labels: bool, no_headers: bool, ignore_not_found: bool,
) -> int:  # fmt: skip
    """List RESOURCE (pods, nodes, services, endpointslices, events …) of a run.

    Columns, short names and habits are kubectl's: kubesim get po -n kube-system -o wide RUN_DIR,
    kubesim get deploy,rs,po -l app=web RUN_DIR, kubesim get pod/web-1 -o yaml RUN_DIR.
    """
    from sim.cli.get_print import Found, Layout, print_found
    from sim.export.reader import open_run

    requirements = _label_requirements(selector)
    words = names_and_run[:-1]
    if words and (selector or field_selector):
        raise click.UsageError("name and selector exclude each other")
    run = open_run(Path(names_and_run[-1]))
    facts = run.require_facts()
    now = _time(at, float(run.manifest["totals"]["simulated_seconds"]))
    targets = _targets(resource, words, facts)
    if requirements:
        _check_labels_recorded(facts)
    found = []
    missing = []
    for plural, names in targets:
        group = Found(plural, _items(plural, facts, now))
        items = group.items
        if group.columns.namespaced and not all_namespaces:
            items = [item for item in items if item.namespace == namespace]
        items = _by_labels(items, requirements)
        items = _by_fields(items, field_selector)
        if names:
            known = {item.name for item in items}
            missing += [(plural, name) for name in names if name not in known]
            items = [item for item in items if item.name in names]
        found.append(Found(plural, _sorted(plural, items, sort_by)))
    if not ignore_not_found:
        _tell_missing(missing)
    layout = Layout(
        output_format=output_format, now_seconds=now, headers=not no_headers,
        with_namespace=all_namespaces, with_kind=len(targets) > 1, show_labels=show_labels,
        single=len(targets) == 1 and len(targets[0][1]) == 1,
        label_columns=tuple(key for text in label_columns for key in text.split(",") if key),
    )  # fmt: skip
    if not (missing and not any(group.items for group in found)):
        if not _is_empty(found, layout, namespace):
            print_found(found, layout)
    return ExitCode.INTERNAL_ERROR if missing and not ignore_not_found else ExitCode.OK


def _is_empty(found: Sequence[Found], layout: Any, namespace: str) -> bool:
    """Say that there is nothing, unless the output is for machines."""
    if layout.output_format not in {"table", "wide", "name"}:
        return False
    if any(group.items for group in found):
        return False
    everywhere = layout.with_namespace or not any(group.columns.namespaced for group in found)
    where = "" if everywhere else f" in {namespace} namespace."
    click.echo(f"No resources found{where}", err=True)
    return True


def _tell_missing(missing: Sequence[tuple[str, str]]) -> None:
    from sim.base.api_object import RESOURCE_TYPES

    for plural, name in missing:
        group = RESOURCE_TYPES[plural].group if plural in RESOURCE_TYPES else ""
        full = f"{plural}.{group}" if group else plural
        click.echo(f'Error from server (NotFound): {full} "{name}" not found', err=True)


def _time(text: str | None, end_seconds: float) -> float:
    from sim.base.duration import DurationError, parse_duration_seconds

    if text is None:
        return end_seconds
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return parse_duration_seconds(text)
    except DurationError as error:
        raise click.BadParameter(str(error), param_hint="--at") from error


# ------------------------------------------------------------------------------ what is asked for
def _targets(
    resource: str, words: Sequence[str], facts: StoredFacts
) -> list[tuple[str, tuple[str, ...]]]:
    """Return (plural, names) of each resource; names are empty for all objects.

    ``pods,services``, ``all``, ``pod web-1 web-2`` and ``pod/web-1 svc/web`` are understood.
    """
    if "/" in resource:
        by_kind: dict[str, list[str]] = {}
        for word in (resource, *words):
            kind, slash, name = word.partition("/")
            if not slash or not kind or not name:
                raise click.UsageError(f"{word!r}: after resource/name the others are such, too")
            by_kind.setdefault(_plural(kind, facts), []).append(name)
        return [(plural, tuple(names)) for plural, names in by_kind.items()]
    plurals: dict[str, None] = {}
    for word in filter(None, resource.split(",")):
        if word == "all":
            from sim.cli.get_columns import CATEGORY_ALL

            plurals.update(dict.fromkeys(CATEGORY_ALL))
        else:
            plurals[_plural(word, facts)] = None
    if not plurals:
        raise click.UsageError("no resource given")
    return [(plural, tuple(words)) for plural in plurals]


def _plural(text: str, facts: StoredFacts) -> str:
    """Return a resource's plural name from any of its names.

    Raises:
        click.UsageError: there is no such resource, in kubectl's words.
    """
    from sim.base.api_object import KIND_TO_PLURAL, RESOURCE_TYPES
    from sim.base.spelling import nearest
    from sim.cli.get_columns import ALIASES
    from sim.export.cluster_state import resources_recorded

    word, _, group = text.lower().partition(".")
    kinds = {kind.lower(): plural for kind, plural in KIND_TO_PLURAL.items()}
    word = ALIASES.get(word, word)
    word = kinds.get(word, word)
    known = list(dict.fromkeys((*RESOURCE_TYPES, *resources_recorded(facts))))
    own_group = RESOURCE_TYPES[word].group if word in RESOURCE_TYPES else ""
    if word in known and (not group or own_group == group or group.endswith(f".{own_group}")):
        return word
    near = nearest(text.lower(), (*known, *kinds, *ALIASES))
    hint = f"; did you mean {near!r}?" if near else ""
    raise click.UsageError(f'the server doesn\'t have a resource type "{text}"{hint}')


def _items(plural: str, facts: StoredFacts, now: float) -> list[Any]:
    from sim.export.cluster_state import events_at, objects_at, pods_at

    if plural == "pods":
        return list(pods_at(facts, now))
    if plural == "events":
        return list(events_at(facts, now))
    return list(objects_at(facts, plural, now))


# ------------------------------------------------------------------------------ selecting, sorting
def _label_requirements(text: str) -> tuple[Requirement, ...]:
    from sim.export.selectors import SelectorError, parse_label_selector

    try:
        return parse_label_selector(text)
    except SelectorError as error:
        raise click.BadParameter(f"{text!r}: {error}", param_hint="--selector") from error


def _check_labels_recorded(facts: StoredFacts) -> None:
    """Raise UserError if the run comes from a version that did not record labels."""
    from sim.base.errors import Problem, UserError

    if any(any(facts[name].categories("labels")) for name in ("pods", "objects")):
        return
    if len(facts["pods"]) or len(facts["objects"]):
        raise UserError(Problem(
            code="E041", message="the run recorded no labels", file="--selector",
            hint="run it again with this version, or use --field-selector",
        ))  # fmt: skip


def _by_labels(items: list[Any], requirements: Sequence[Requirement]) -> list[Any]:
    if not requirements:
        return items
    return [
        item for item in items
        if all(wanted.matches(getattr(item, "labels", {})) for wanted in requirements)
    ]  # fmt: skip


_FIELDS: Final = {
    "metadata.name": "name", "metadata.namespace": "namespace", "spec.nodeName": "node_name",
    "status.phase": "phase", "status.podIP": "pod_ip", "type": "type", "reason": "reason",
    "involvedObject.name": "involved_name", "involvedObject.kind": "involved_kind",
    "involvedObject.namespace": "namespace", "source": "source",
}  # fmt: skip


def _by_fields(items: list[Any], text: str) -> list[Any]:
    from sim.base.spelling import nearest
    from sim.export.selectors import SelectorError, parse_field_selector

    try:
        conditions = parse_field_selector(text)
    except SelectorError as error:
        raise click.BadParameter(str(error), param_hint="--field-selector") from error
    for name, equal, value in conditions:
        attribute = _FIELDS.get(name)
        if attribute is None:
            near = nearest(name, _FIELDS)
            hint = f"did you mean {near}?" if near else f"fields are {', '.join(_FIELDS)}"
            raise click.BadParameter(f"{name!r}; {hint}", param_hint="--field-selector")
        items = [
            item for item in items
            if (str(getattr(item, attribute, "")) == value) == equal
        ]  # fmt: skip
    return items


def _sorted(plural: str, items: list[Any], path: str) -> list[Any]:
    """Sort by a field of the objects as ``-o json`` shows them; those without it come first."""
    from sim.cli.get_print import document_of

    if not path:
        return items
    steps = [step for step in path.strip("{}' ").split(".") if step]
    keyed = []
    for item in items:
        value: Any = document_of(plural, item)
        for step in steps:
            value = value.get(step) if isinstance(value, dict) else None
        keyed.append((value, item))
    if items and all(value is None for value, _ in keyed):
        raise click.BadParameter(f"no object has a field {path!r}", param_hint="--sort-by")
    keyed.sort(key=lambda pair: _order(pair[0]))
    return [item for _, item in keyed]


def _order(value: Any) -> tuple[int, float, str]:
    """Numbers before texts, absent before both."""
    if value is None:
        return (0, 0.0, "")
    if isinstance(value, bool | int | float):
        return (1, float(value), "")
    return (2, 0.0, str(value))
