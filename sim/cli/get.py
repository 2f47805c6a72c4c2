"""``kubesim get``: what ``kubectl get`` would have shown at one moment of a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from sim.base.exit_codes import ExitCode

if TYPE_CHECKING:
    from sim.cli.get_columns import Columns
    from sim.export.reader import StoredFacts

_FORMATS: Final = ("table", "wide", "json", "yaml", "csv", "name")


@click.command("get")
@click.argument("resource")
@click.argument("names_and_run", nargs=-1, required=True, metavar="[NAME]... RUN_DIR")
@click.option("--namespace", "-n", default="default", show_default=True, help="Namespace.")
@click.option("--all-namespaces", "-A", is_flag=True, help="All namespaces.")
@click.option("--at", "at", metavar="TIME", help="Simulated time, such as 30s; default: the end.")
@click.option("--output", "-o", "output_format", type=click.Choice(_FORMATS), default="table",
              show_default=True, help="Form of the output.")
@click.option("--field-selector", metavar="FIELD=VALUE[,…]", default="",
              help="Fields: metadata.name, metadata.namespace, spec.nodeName, status.phase.")
@click.option("--selector", "-l", metavar="LABEL=VALUE", default="",
              help="Not available: runs do not record labels; use --field-selector.")
@click.option("--no-headers", is_flag=True, help="Leave the header line out.")
def command(
    resource: str, names_and_run: tuple[str, ...], namespace: str, all_namespaces: bool,
    at: str | None, output_format: str, field_selector: str, selector: str, no_headers: bool,
) -> int:  # fmt: skip
    """List RESOURCE (pods, nodes, services, endpointslices, events …) of a run.

    Columns, short names and habits are kubectl's: kubesim get po -n kube-system -o wide RUN_DIR.
    """
    from sim.cli.get_columns import ALIASES, COLUMNS, GENERIC
    from sim.export.reader import open_run

    if selector:
        raise click.UsageError("runs do not record labels; use --field-selector")
    run = open_run(Path(names_and_run[-1]))
    facts = run.require_facts()
    now = _time(at, float(run.manifest["totals"]["simulated_seconds"]))
    plural = _plural(resource, ALIASES, facts)
    if plural is None:
        click.echo(f'error: the server doesn\'t have a resource type "{resource}"', err=True)
        return ExitCode.INTERNAL_ERROR
    columns = COLUMNS.get(plural, GENERIC)
    items = _items(plural, facts, now)
    if columns.namespaced and not all_namespaces:
        items = [item for item in items if item.namespace == namespace]
    items = _by_fields(items, field_selector)
    names = names_and_run[:-1]
    if names:
        missing = [name for name in names if all(item.name != name for item in items)]
        for name in missing:
            click.echo(f'Error from server (NotFound): {plural} "{name}" not found', err=True)
        items = [item for item in items if item.name in names]
        if missing:
            if not items:
                return ExitCode.INTERNAL_ERROR
            _print(plural, columns, items, now, output_format, all_namespaces, no_headers)
            return ExitCode.INTERNAL_ERROR
    if not items and output_format in {"table", "wide", "name"}:
        where = "" if all_namespaces or not columns.namespaced else f" in {namespace} namespace."
        click.echo(f"No resources found{where}", err=True)
        return ExitCode.OK
    _print(plural, columns, items, now, output_format, all_namespaces, no_headers)
    return ExitCode.OK


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


def _plural(text: str, aliases: Any, facts: StoredFacts) -> str | None:
    from sim.base.objects import KIND_TO_PLURAL, RESOURCE_TYPES
    from sim.export.cluster_state import resources_recorded

    word = text.lower().partition(".")[0]
    word = aliases.get(word, word)
    kinds = {kind.lower(): plural for kind, plural in KIND_TO_PLURAL.items()}
    word = kinds.get(word, word)
    known = {*RESOURCE_TYPES, *resources_recorded(facts)}
    return word if word in known else None


def _items(plural: str, facts: StoredFacts, now: float) -> list[Any]:
    from sim.export.cluster_state import events_at, objects_at, pods_at

    if plural == "pods":
        return list(pods_at(facts, now))
    if plural == "events":
        return list(events_at(facts, now))
    return list(objects_at(facts, plural, now))


_FIELDS: Final = {
    "metadata.name": "name", "metadata.namespace": "namespace", "spec.nodeName": "node_name",
    "status.phase": "phase", "type": "type", "reason": "reason",
    "involvedObject.name": "involved_name", "involvedObject.kind": "involved_kind",
}  # fmt: skip


def _by_fields(items: list[Any], text: str) -> list[Any]:
    for part in filter(None, text.split(",")):
        name, sign, value = part.partition("!=" if "!=" in part else "=")
        attribute = _FIELDS.get(name.strip())
        if attribute is None or not sign:
            raise click.BadParameter(
                f"{part!r}; fields are {', '.join(_FIELDS)}", param_hint="--field-selector"
            )
        wanted = value.lstrip("=").strip()
        items = [
            item for item in items
            if (str(getattr(item, attribute, "")) == wanted) == (sign == "=")
        ]  # fmt: skip
    return items


def _print(
    plural: str, columns: Columns, items: Sequence[Any], now: float, output_format: str,
    all_namespaces: bool, no_headers: bool,
) -> None:  # fmt: skip
    if output_format == "name":
        from sim.base.objects import RESOURCE_TYPES

        kind = RESOURCE_TYPES[plural].kind.lower() if plural in RESOURCE_TYPES else plural
        for item in items:
            click.echo(f"{kind}/{getattr(item, 'name', None) or item.involved_name}")
    elif output_format in {"json", "yaml"}:
        _print_documents(plural, items, output_format)
    elif output_format == "csv":
        _print_csv(columns, items)
    else:
        _print_table(columns, items, now, output_format == "wide", all_namespaces, no_headers)


def _print_table(
    columns: Columns, items: Sequence[Any], now: float, wide: bool, all_namespaces: bool,
    no_headers: bool,
) -> None:  # fmt: skip
    from sim.cli.tables import print_table

    header = list(columns.header)
    rows = [columns.cells(item, now) for item in items]
    if wide and columns.wide_cells is not None and columns.wide_replaces:
        header = list(columns.wide_header)
        rows = [columns.wide_cells(item, now) for item in items]
    elif wide and columns.wide_cells is not None:
        header += columns.wide_header
        rows = [
            row + columns.wide_cells(item, now) for row, item in zip(rows, items, strict=True)
        ]
    if all_namespaces and columns.namespaced:
        header.insert(0, "NAMESPACE")
        rows = [[item.namespace, *row] for row, item in zip(rows, items, strict=True)]
    print_table(header, rows, headers=not no_headers)


def _print_csv(columns: Columns, items: Sequence[Any]) -> None:
    """Print every field, times as numbers in seconds, as the fact tables do."""
    from dataclasses import asdict

    from sim.export.csv_ import csv_text

    rows = []
    for item in items:
        row = asdict(item)
        row.update(row.pop("detail", {}))
        rows.append(row)
    header = list(dict.fromkeys(key for row in rows for key in row))
    if not rows:
        header = [name.lower().replace(" ", "_") for name in columns.header]

    def cell(value: Any) -> Any:
        return json.dumps(value) if isinstance(value, list | dict) else value

    click.echo(csv_text(header, ([cell(row.get(key)) for key in header] for row in rows)), nl=False)


def _print_documents(plural: str, items: Sequence[Any], output_format: str) -> None:
    document = {
        "apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""},
        "items": [_document(plural, item) for item in items],
    }  # fmt: skip
    if output_format == "json":
        click.echo(json.dumps(document, indent=4))
    else:
        from sim.experiment.yaml_text import yaml_text

        click.echo(yaml_text(document), nl=False)


def _timestamp(seconds: float) -> str:
    from sim.export.openmetrics import EPOCH_UNIX_SECONDS

    moment = datetime.fromtimestamp(EPOCH_UNIX_SECONDS + seconds, tz=UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _document(plural: str, item: Any) -> dict[str, Any]:
    from sim.base.objects import RESOURCE_TYPES
    from sim.export.cluster_state import EventState, PodState

    kind = RESOURCE_TYPES.get(plural)
    head = {
        "apiVersion": kind.api_version if kind is not None else "v1",
        "kind": kind.kind if kind is not None else plural,
    }
    if isinstance(item, EventState):
        return {
            **head, "metadata": {"namespace": item.namespace}, "type": item.type,
            "reason": item.reason, "message": item.message, "count": item.count,
            "involvedObject": {"kind": item.involved_kind, "name": item.involved_name,
                               "namespace": item.namespace},
            "source": {"component": item.source},
            "firstTimestamp": _timestamp(item.first_seconds),
            "lastTimestamp": _timestamp(item.last_seconds),
        }  # fmt: skip
    metadata: dict[str, Any] = {"name": item.name}
    if item.namespace:
        metadata["namespace"] = item.namespace
    metadata["creationTimestamp"] = _timestamp(item.created_seconds)
    if not isinstance(item, PodState):
        return {**head, "metadata": metadata, "status": item.detail}
    metadata["uid"] = str(item.uid)
    if item.owner_kind:
        metadata["ownerReferences"] = [
            {"kind": item.owner_kind, "name": item.owner_name, "controller": True}
        ]
    status: dict[str, Any] = {
        "phase": item.phase,
        "conditions": [{"type": "Ready", "status": "True" if item.ready else "False"}],
    }
    if item.pod_ip:
        status["podIP"] = item.pod_ip
    return {
        **head, "metadata": metadata,
        "spec": {"nodeName": item.node_name, "priority": item.priority}, "status": status,
    }  # fmt: skip
