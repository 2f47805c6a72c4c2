"""The JSON schema says what the loader does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sim.experiment.backend import load_backend
from sim.experiment.fields import field_infos
from sim.experiment.schema import experiment_schema, schema_text
from sim.experiment.spec import OutputsSpec, RunSpec, SweepSpec
from tests.support.fake_cluster import CreatePods, FakeParams, backend


def test_committed_schema_is_the_code_s(repository_dir: Path) -> None:
    committed = repository_dir / "docs" / "schema" / "experiment.schema.json"
    assert committed.read_text(encoding="utf-8") == schema_text(load_backend()), (
        "out of date: kubesim schema > docs/schema/experiment.schema.json"
    )


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        found = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return found.union(*(references(inner) for inner in value.values()))
    if isinstance(value, list):
        return set().union(*(references(inner) for inner in value))
    return set()


@pytest.mark.parametrize("make", [backend, load_backend], ids=["stand-in", "real"])
def test_references_resolve_and_nothing_is_left_open(make) -> None:
    schema = experiment_schema(make())
    names = {reference.removeprefix("#/$defs/") for reference in references(schema)}
    assert names <= set(schema["$defs"])
    for name, definition in schema["$defs"].items():
        if "properties" in definition:
            assert definition["additionalProperties"] is False, name
    assert json.loads(json.dumps(schema)) == schema


def test_keys_units_bounds_and_words() -> None:
    definitions = experiment_schema(backend())["$defs"]
    for cls in (FakeParams, RunSpec, SweepSpec, OutputsSpec):
        assert set(definitions[cls.__name__]["properties"]) == {*field_infos(cls), "import"}
    fsync = definitions["FakeEtcdParams"]["properties"]["fsyncSeconds"]
    assert [item["type"] for item in fsync["anyOf"]] == ["number", "string"]
    assert fsync["anyOf"][0]["exclusiveMinimum"] == 0
    assert fsync["default"] == 0.002
    assert fsync["description"] == "Mean duration of an fsync."
    assert definitions["FakeParams"]["properties"]["topology"]["enum"] == ["stacked", "external"]
    pods = definitions[CreatePods.__name__]
    assert pods["properties"]["op"] == {"const": "createPods"}
    assert pods["required"] == ["op", "count"]


def test_draft_7_readers_understand_it() -> None:
    """Tuple keywords mean different things in draft-07 and 2020-12: they must not occur."""
    assert "prefixItems" not in schema_text(load_backend())
