"""The JSON schema of experiment files: pydantic's, with our keys, units and descriptions."""

from __future__ import annotations

import json
from typing import Any

from sim.experiment.backend import Backend
from sim.experiment.bind import adapter
from sim.experiment.fields import field_docs, field_infos
from sim.experiment.spec import (
    API_VERSION,
    KIND,
    NAME_PATTERN,
    Metadata,
    OutputsSpec,
    RunSpec,
    SweepSpec,
)

_REF = "#/$defs/"
_UNIT_HINTS = {
    "seconds": "seconds, or a duration such as 250ms or 1m30s",
    "bytes": "bytes, or a quantity such as 512Mi",
    "millicores": "millicores, or a quantity such as 500m",
}


def experiment_schema(backend: Backend) -> dict[str, Any]:
    """Return the schema (2020-12) of files that `load_experiment` accepts with this backend."""
    definitions: dict[str, Any] = {}
    parts = {
        name: _part(cls, definitions)
        for name, cls in (
            ("metadata", Metadata), ("cluster", backend.params_type), ("run", RunSpec),
            ("sweep", SweepSpec), ("outputs", OutputsSpec),
        )
    }  # fmt: skip
    parts["metadata"] = {**parts["metadata"]}
    definitions["Metadata"]["properties"]["name"]["pattern"] = f"^{NAME_PATTERN}$"
    operations = [
        _operation(name, cls, definitions) for name, cls in backend.operation_types.items()
    ]
    imported = {
        "type": "object", "properties": {"import": {"type": "string"}}, "required": ["import"],
        "additionalProperties": False, "description": "Operations of another file.",
    }  # fmt: skip
    conditions = {"type": "array", "items": {"type": "string"}}
    spec = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "import": {"type": "string"},
            "cluster": parts["cluster"],
            "workload": {"type": "array", "items": {"anyOf": [*operations, imported]}},
            "run": parts["run"],
            "sweep": {"anyOf": [parts["sweep"], {"type": "null"}]},
            "thresholds": {
                "type": "object",
                "description": "Metric → conditions such as p(99) < 1s.",
                "additionalProperties": {"anyOf": [{"type": "string"}, conditions]},
            },
            "outputs": parts["outputs"],
            "profile": {
                "type": "string",
                "description": "Cost profile: a name or the path of a file.",
                "examples": list(backend.profiles),
            },
        },
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "kubesim experiment",
        "type": "object",
        "additionalProperties": False,
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "properties": {
            "$schema": {"type": "string"},
            "apiVersion": {"const": API_VERSION},
            "kind": {"const": KIND},
            "metadata": parts["metadata"],
            "spec": spec,
        },
        "$defs": {name: definitions[name] for name in sorted(definitions)},
    }


def schema_text(backend: Backend) -> str:
    """Return the schema as the committed file holds it."""
    return json.dumps(experiment_schema(backend), indent=2, ensure_ascii=False) + "\n"


def _part(cls: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """Add a dataclass and everything below it to the definitions; return a reference to it."""
    schema = adapter(cls).json_schema(ref_template=_REF + "{model}")
    inner = schema.pop("$defs", {})
    classes = _classes(cls)
    for name, definition in {cls.__name__: schema, **inner}.items():
        if name not in definitions:
            definitions[name] = _without_tuples(_renamed(definition, classes.get(name)))
    return {"$ref": _REF + cls.__name__}


def _operation(name: str, cls: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    reference = _part(cls, definitions)
    definition = definitions[cls.__name__]
    definition["properties"] = {
        "op": {"const": name},
        **{key: value for key, value in definition["properties"].items() if key != "op"},
    }
    definition["required"] = ["op", *(key for key in definition["required"] if key != "op")]
    return reference


def _classes(cls: Any, found: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the dataclasses below ``cls`` by name."""
    found = {} if found is None else found
    if cls.__name__ in found:
        return found
    found[cls.__name__] = cls

    def visit(kind: Any) -> None:
        if isinstance(kind, type) and hasattr(kind, "__dataclass_fields__"):
            _classes(kind, found)
        for argument in getattr(kind, "__args__", ()):
            visit(argument)

    for info in field_infos(cls).values():
        visit(info.kind)
    return found


def _renamed(definition: dict[str, Any], cls: Any) -> dict[str, Any]:
    """Return a definition with file keys, units, descriptions, and no unknown keys."""
    if cls is None or "properties" not in definition:
        return definition
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__[:-1]):
        docs.update(field_docs(base))
    properties: dict[str, Any] = {}
    required = []
    for key, info in field_infos(cls).items():
        schema = dict(definition["properties"].get(info.name, {}))
        schema.pop("title", None)
        if info.unit:
            schema = _with_unit(schema, info.unit)
        if docs.get(info.name):
            schema["description"] = docs[info.name]
        properties[key] = _plain_default(schema)
        if info.required:
            required.append(key)
    if cls is not Metadata:
        properties["import"] = {"type": "string", "description": "File whose keys are used here."}
    result: dict[str, Any] = {"type": "object", "additionalProperties": False}
    if cls.__doc__ and not cls.__doc__.startswith(f"{cls.__name__}("):
        result["description"] = " ".join(cls.__doc__.split())
    return {**result, "properties": properties, "required": required}


def _with_unit(schema: dict[str, Any], unit: str) -> dict[str, Any]:
    default = {"default": schema.pop("default")} if "default" in schema else {}
    text = {"type": "string", "description": _UNIT_HINTS[unit]}
    if schema.get("type") == "array":
        items = {"anyOf": [schema["items"], text]}
        return {**schema, "items": items, **default}
    return {"anyOf": [schema, text], **default}


def _without_tuples(schema: Any) -> Any:
    """Say "n items of these kinds" without the keyword on which drafts disagree."""
    if isinstance(schema, list):
        return [_without_tuples(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kinds = schema.get("prefixItems")
    result = {key: _without_tuples(value) for key, value in schema.items() if key != "prefixItems"}
    if isinstance(kinds, list):
        distinct = [item for index, item in enumerate(kinds) if item not in kinds[:index]]
        result["items"] = distinct[0] if len(distinct) == 1 else {"anyOf": distinct}
    return result


def _plain_default(schema: dict[str, Any]) -> dict[str, Any]:
    """Leave out defaults of nested settings: their own definitions say them."""
    if isinstance(schema.get("default"), dict):
        schema.pop("default")
    return schema
