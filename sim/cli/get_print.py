"""How ``kubesim get`` prints what it found: kubectl's tables, documents, CSV and names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import click

from sim.cli.get_columns import COLUMNS, GENERIC, Columns


@dataclass(frozen=True, slots=True)
class Found:
    """The objects of one resource that a command asked for."""

    plural: str
    items: list[Any]

    @property
    def columns(self) -> Columns:
        """How the resource is printed."""
        return COLUMNS.get(self.plural, GENERIC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What the options say about the form of the output."""

    output_format: str
    now_seconds: float
    headers: bool
    with_namespace: bool
    """Whether a column tells the namespace."""
    with_kind: bool
    """Whether names are written kind/name, as kubectl does for several resources."""
    single: bool
    """Whether one object was asked for by name, so that documents are not wrapped in a list."""
    label_columns: tuple[str, ...] = ()
    show_labels: bool = False


def kind_name(plural: str) -> str:
    """Return the name in front of an object's own: pod, deployment.apps."""
    from sim.base.api_object import RESOURCE_TYPES

    kind = RESOURCE_TYPES.get(plural)
    if kind is None:
        return plural
    return kind.kind.lower() + (f".{kind.group}" if kind.group else "")


def print_found(found: Sequence[Found], layout: Layout) -> None:
    """Print all objects in the form asked for."""
    if layout.output_format in {"json", "yaml"}:
        _print_documents(found, layout)
        return
    shown = [group for group in found if group.items or layout.output_format == "csv"]
    for index, group in enumerate(shown):
        if layout.output_format == "name":
            for item in group.items:
                click.echo(f"{kind_name(group.plural)}/{item.name}")
        elif layout.output_format == "csv":
            _print_csv(group.columns, group.items)
        else:
            _print_table(group, layout)
            if index < len(shown) - 1:
                click.echo()


def _print_table(group: Found, layout: Layout) -> None:
    from sim.cli.tables import print_table

    columns, items, now = group.columns, group.items, layout.now_seconds
    wide = layout.output_format == "wide"
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
    for key in layout.label_columns:
        header.append(key.rpartition("/")[2].upper())
        rows = [[*row, _labels(item).get(key, "")] for row, item in zip(rows, items, strict=True)]
    if layout.show_labels:
        header.append("LABELS")
        rows = [[*row, _labels_text(item)] for row, item in zip(rows, items, strict=True)]
    if layout.with_kind and "NAME" in header:
        place, kind = header.index("NAME"), kind_name(group.plural)
        for row in rows:
            row[place] = f"{kind}/{row[place]}"
    if layout.with_namespace and columns.namespaced:
        header.insert(0, "NAMESPACE")
        rows = [[item.namespace, *row] for row, item in zip(rows, items, strict=True)]
    print_table(header, rows, headers=layout.headers)


def _labels(item: Any) -> dict[str, str]:
    labels: dict[str, str] = getattr(item, "labels", {})
    return labels


def _labels_text(item: Any) -> str:
    return ",".join(f"{key}={value}" for key, value in _labels(item).items()) or "<none>"


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


def _print_documents(found: Sequence[Found], layout: Layout) -> None:
    items = [document_of(group.plural, item) for group in found for item in group.items]
    document = items[0] if layout.single and len(items) == 1 else {
        "apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items,
    }  # fmt: skip
    if layout.output_format == "json":
        click.echo(json.dumps(document, indent=4))
    else:
        from sim.experiment.yaml_text import yaml_text

        click.echo(yaml_text(document), nl=False)


def _timestamp(seconds: float) -> str:
    from sim.export.openmetrics import EPOCH_UNIX_SECONDS

    moment = datetime.fromtimestamp(EPOCH_UNIX_SECONDS + seconds, tz=UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def document_of(plural: str, item: Any) -> dict[str, Any]:
    """Return an object as the API would, as far as the run recorded it."""
    from sim.base.api_object import RESOURCE_TYPES
    from sim.export.cluster_state import EventState, PodState

    kind = RESOURCE_TYPES.get(plural)
    head = {
        "apiVersion": kind.api_version if kind is not None else "v1",
        "kind": kind.kind if kind is not None else plural,
    }
    if isinstance(item, EventState):
        return {
            **head, "metadata": {"name": item.name, "namespace": item.namespace}, "type": item.type,
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
    if item.labels:
        metadata["labels"] = dict(item.labels)
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
