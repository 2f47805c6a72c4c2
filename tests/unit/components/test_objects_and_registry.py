"""What is written out by hand for speed, field by field, must know every field."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from sim.base import objects
from sim.base.api_object import APIObject
from sim.base.pod_template import PodTemplate
from sim.components import registry

TEMPLATE = PodTemplate(manifest={})
KINDS = [
    kind
    for kind in vars(objects).values()
    if isinstance(kind, type) and issubclass(kind, APIObject) and kind is not APIObject
]
NOT_STORED = {"resource_version", "manifest", "stored_key"}


def make(kind: type[APIObject]) -> Any:
    needed = {item.name: TEMPLATE for item in fields(kind) if item.type == "PodTemplate"}
    return kind(name="a", **needed)


def another(value: Any) -> Any:
    """Return a value of the same type that is not equal."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, PodTemplate):
        return PodTemplate(manifest={}, namespace="other")
    if isinstance(value, objects.LabelSelector):
        return objects.LabelSelector((("key", "value"),))
    if isinstance(value, tuple):
        return (*value, "x")
    return {"key": "value"}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_clone_has_every_field(kind: type[APIObject]) -> None:
    item = make(kind)
    for one in fields(kind):
        if one.name != "owner" and one.name != "selector":
            setattr(item, one.name, another(getattr(item, one.name)))
    copy = item.clone()
    assert type(copy) is kind
    assert copy is not item
    for one in fields(kind):
        assert getattr(copy, one.name) is getattr(item, one.name), one.name


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_change_of_any_stored_field_is_a_change(kind: type[APIObject]) -> None:
    item = make(kind)
    compiled = registry.compile_same(kind)
    assert registry.same_state(item.clone(), item)
    for one in fields(kind):
        changed = item.clone()
        setattr(changed, one.name, another(getattr(item, one.name)))
        same = one.name in NOT_STORED
        assert registry.same_state(changed, item) is same, one.name
        assert compiled(changed, item) is same, one.name
