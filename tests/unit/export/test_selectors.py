"""Selectors as kubectl reads them; cases of apimachinery/pkg/labels/selector_test.go."""

from __future__ import annotations

import pytest

from sim.export.selectors import SelectorError, parse_field_selector, parse_label_selector

LABELS = {"x": "y", "z": "3", "baz": "blah", "empty": "", "a.io/b": "c"}


@pytest.mark.parametrize(
    "text",
    [
        "", "x=y", "x==y", "x=y,z=3", "x!=a", "none!=y", "x in (a,y)", "x notin (a, b)", "x",
        "!none", "z>2", "z<4", "none notin (a)", "empty=", "empty in ()", "a.io/b=c",
        " x = y , z notin (1,2) ", "x in (y),!no",
    ],
)  # fmt: skip
def test_what_matches(text: str) -> None:
    assert all(item.matches(LABELS) for item in parse_label_selector(text))


@pytest.mark.parametrize(
    "text", ["x=a", "x!=y", "x in (a)", "x notin (y)", "!x", "none", "z>3", "x<1", "empty=a"]
)
def test_what_does_not_match(text: str) -> None:
    assert not all(item.matches(LABELS) for item in parse_label_selector(text))


@pytest.mark.parametrize(
    "text",
    [
        "x=a||y=b", "x==a==b", "!x=a", "x<a", "x in", "x in (a", "x in (a b)", "x,", ",x", "=a",
        "x in a", "-x=a", "x=a b", "x=-a", "(x)", "!", "x y",
    ],
)  # fmt: skip
def test_what_is_refused(text: str) -> None:
    with pytest.raises(SelectorError):
        parse_label_selector(text)


def test_fields() -> None:
    found = parse_field_selector("a.b=c,d!=e,f==")
    assert found == (("a.b", True, "c"), ("d", False, "e"), ("f", True, ""))
    with pytest.raises(SelectorError):
        parse_field_selector("a")
