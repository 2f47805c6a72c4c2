"""Strict YAML: scalars in both dialects, places, and every way a file can be broken."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sim.base.errors import Problem, UserError, render_problems
from sim.base.yaml_scalars import Dialect, Fault, resolve_plain
from sim.base.yaml_strict import (
    Document,
    ends_without_newline,
    load_document,
    load_documents,
    read_document,
    read_text,
)

CORE, KUBE = Dialect.EXPERIMENT, Dialect.KUBERNETES


def problems_of(text: str, dialect: Dialect = CORE) -> tuple[Problem, ...]:
    with pytest.raises(UserError) as caught:
        read(text, dialect)
    return caught.value.problems


def read(text: str, dialect: Dialect) -> None:
    if dialect is CORE:
        load_document("f.yaml", text)
    else:
        list(load_documents("f.yaml", text))


def places_of(text: str, dialect: Dialect = CORE) -> list[tuple[str, int | None, int | None]]:
    return [(p.code, p.line, p.column) for p in problems_of(text, dialect)]


# YAML 1.2.2 section 10.3.2, and the strictness that the module promises on top.
CORE_SCALARS: list[tuple[str, Any]] = [
    ("", None), ("null", None), ("~", None), ("true", True), ("False", False),
    ("yes", "yes"), ("no", "no"), ("on", "on"), ("off", "off"), ("y", "y"), ("n", "n"),
    ("0", 0), ("-19", -19), ("+12", 12), ("0o14", 12), ("0xC", 12), ("0x3A", 58),
    ("1e3", 1000.0), ("1E-2", 0.01), ("-1.5", -1.5), (".5", 0.5), ("5.", 5.0), ("12e03", 12000.0),
    ("12:30:00", "12:30:00"), ("190:20:30.15", "190:20:30.15"), ("1_000", "1_000"),
    ("0b1010", "0b1010"), ("2001-12-14", "2001-12-14"), ("1.2.3", "1.2.3"), ("500m", "500m"),
    ("512Mi", "512Mi"), ("1m30s", "1m30s"), (".", "."), ("=", "="), ("0x", "0x"),
    ("nullish", "nullish"),
]  # fmt: skip

# goyaml.v2 decode_test.go (unmarshalTests), after the way through JSON.
KUBE_SCALARS: list[tuple[str, Any]] = [
    ("y", True), ("Y", True), ("yes", True), ("on", True), ("On", True), ("True", True),
    ("n", False), ("NO", False), ("off", False), ("FALSE", False),
    ("yEs", "yEs"), ("~", None), ("NULL", None), ("", None),
    ("10", 10), ("-10", -10), ("0b10", 2), ("0xA", 10), ("4294967296", 4294967296),
    ("0.1", 0.1), (".1", 0.1), ("-.1", -0.1), ("+685_230", 685230), ("02472256", 685230),
    ("0o14", 12), ("0x_0A_74_AE", 685230), ("0b1010_0111_0100_1010_1110", 685230),
    ("-0b101010", -42), ("-9223372036854775808", -(1 << 63)),
    ("18446744073709551615", (1 << 64) - 1), ("6.8523e+5", 685230), ("685.230_15e+03", 685230.15),
    ("685_230.15", 685230.15), ("123456e1", 1234560), ("1e3", 1000), ("1.0", 1), ("08", 8),
    ("1e22", 1e22), ("-b_c", "-b_c"), ("+b_c", "+b_c"), ("50cent_of_dollar", "50cent_of_dollar"),
    ("1:1", "1:1"), ("190:20:30", "190:20:30"), ("2015-01-01", "2015-01-01"),
    ("2015-02-24T18:19:39Z", "2015-02-24T18:19:39Z"), ("3s", "3s"), ("500m", "500m"),
    ("1.2.3.4", "1.2.3.4"), ("<foo>", "<foo>"), ("..", ".."),
]  # fmt: skip


def same(left: object, right: object) -> bool:
    return type(left) is type(right) and left == right


@pytest.mark.parametrize(("text", "value"), CORE_SCALARS)
def test_core_scalars(text: str, value: object) -> None:
    assert same(resolve_plain(text, CORE), value)
    assert same(load_document("f", f"a: {text}\n").data["a"], value)
    assert load_document("f", f"a: '{text}'\n").data["a"] == text


@pytest.mark.parametrize(("text", "value"), KUBE_SCALARS)
def test_kubernetes_scalars(text: str, value: object) -> None:
    assert same(resolve_plain(text, KUBE), value)
    (document,) = load_documents("f", f"a: {text}\nb: ['{text}']\n")
    assert same(document.data["a"], value)
    assert document.data["b"] == [text]


@pytest.mark.parametrize(
    ("text", "dialect"),
    [("010", CORE), ("-007", CORE), (".inf", CORE), ("-.Inf", CORE), (".NaN", CORE),
     ("1e999", CORE), ("9" * 5000, CORE), (".inf", KUBE), ("-.INF", KUBE), (".nan", KUBE),
     ("1e999", KUBE), ("9" * 5000, KUBE)],
)  # fmt: skip
def test_numbers_refused(text: str, dialect: Dialect) -> None:
    assert isinstance(resolve_plain(text, dialect), Fault)
    assert places_of(f"x: 1\na:  {text}\n", dialect) == [("E008", 2, 5)]


def test_tags_of_yaml_itself_are_understood() -> None:
    text = (
        "a: !!str 5\nb: !!float 1\nc: !!int '7'\nd: !!null ''\ne: ! 12\nf: !!map {}\n"
        "g: !!seq [!!bool true]\n"
    )
    assert load_document("f", text).data == {
        "a": "5", "b": 1.0, "c": 7, "d": None, "e": "12", "f": {}, "g": [True],
    }  # fmt: skip


@pytest.mark.parametrize("value", ["!!python/name:os.system x", "!x 1", "!!int abc", "!!set {a}",
                                   "!!binary gIGC", "!!timestamp 2001-01-01"])  # fmt: skip
def test_other_tags_are_refused(value: str) -> None:
    assert places_of(f"a: {value}\n") == [("E009", 1, 4)]


def test_kubernetes_keys_become_strings() -> None:
    (document,) = load_documents("f", "1: a\n1.5: b\ny: c\n'y': d\nnormal: e\n")
    assert document.data == {"1": "a", "1.5": "b", "true": "c", "y": "d", "normal": "e"}


def test_experiment_keys_must_be_strings() -> None:
    text = "1: a\nok: b\n? [x]\n: c\n{a: b}: d\ntrue: e\n"
    assert places_of(text) == [("E007", 1, 1), ("E007", 3, 3), ("E007", 5, 1), ("E007", 6, 1)]


# ---------------------------------------------------------------------------- keys, aliases, merges
def test_a_container_as_key_does_not_shift_what_follows() -> None:
    text = "? {a: 1}\n: {a: 2}\nb: 1\nc: 3\nb: 2\n"
    assert places_of(text) == [("E007", 1, 3), ("E004", 5, 1)]


def test_repeated_keys_show_both_places() -> None:
    text = "a: 1\nb:\n  - {x: 1, y: 2, x: 3}\n'a': 4\n"
    first, second = problems_of(text)
    assert (first.code, first.line, first.column) == ("E004", 3, 18)
    assert "f.yaml:3:6" in first.message
    assert (second.line, second.column, second.span) == (4, 1, 3)
    assert "f.yaml:1:1" in second.message


def test_aliases_repeat_the_value() -> None:
    data = load_document("f", "a: &x {k: [1, &y 2]}\nb: *x\nc: *y\nd: &k e\n*k : 5\n").data
    assert data == {"a": {"k": [1, 2]}, "b": {"k": [1, 2]}, "c": 2, "d": "e", "e": 5}
    assert data["a"] is data["b"]


def test_broken_aliases() -> None:
    assert places_of("a: &x [1, *x]\n") == [("E006", 1, 11)]
    assert places_of("a: *nope\n") == [("E002", 1, 4)]


def test_aliases_that_multiply_are_refused() -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    assert [code for code, _, _ in places_of("\n".join(lines) + "\n")] == ["E006"]


@pytest.mark.parametrize("text", ["[" * 100_000, "- " * 100_000 + "x", "{a: " * 3000])
def test_deep_nesting_is_refused_and_does_not_crash(text: str) -> None:
    assert [code for code, _, _ in places_of(text)] == ["E006"]


def test_merge_keys() -> None:
    text = "base: &b {x: 1, k: 2}\nmore: &m {k: 3, z: 4}\nv: {<<: [*b, *m], x: 9}\n"
    (document,) = load_documents("f", text)
    assert document.data["v"] == {"x": 9, "k": 2, "z": 4}
    assert [code for code, _, _ in places_of(text)] == ["E009"]
    assert places_of("v: {<<: 5}\n", KUBE) == [("E009", 1, 10)]
    (document,) = load_documents("f", "'<<': plain\n")
    assert document.data == {"<<": "plain"}


# ------------------------------------------------------------------------------------- broken files
@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: [1, 2\n", ("E003", 1, 9)),
        ('a: "xx\n', ("E003", 1, 7)),
        ("a: {b: 1", ("E003", 1, 9)),
        ("spec:\n  containers:\n    - name: x\n      imag", ("E003", 4, 11)),
        ("a:\n\tb: 1\n", ("E002", 2, 1)),
        ("a: b: c\n", ("E002", 1, 5)),
        ("a: 1\n  b: 2\n", ("E002", 2, 4)),
        ("a: {b: 1\nc: 2}\nd: }\n", ("E002", 2, 2)),
        ("a: @b\n", ("E002", 1, 4)),
        ("a: ok\nb: x\x07y\n", ("E002", 2, 5)),
        ("", ("E005", None, None)),
        ("# only a comment\n", ("E005", None, None)),
        ("- 1\n", ("E005", 1, 1)),
        ("just text\n", ("E005", 1, 1)),
        ("a: 1\n---\nb: 2\n", ("E005", 3, 1)),
    ],
)
def test_broken_experiment(text: str, place: tuple[str, int | None, int | None]) -> None:
    assert places_of(text) == [place]
    assert "f.yaml" in render_problems(problems_of(text))


def test_reading_goes_on_after_a_broken_document() -> None:
    text = (
        "a: 1\n---\nb: [1\n---\nc: 'x\n---\nok: y\nq: .nan\n---\nz: 1\nz: 2\n--- {x: 1}\n---\n- 5\n"
    )
    assert places_of(text, KUBE) == [
        ("E002", 4, 1), ("E002", 6, 1), ("E008", 8, 4), ("E004", 11, 1), ("E005", 14, 1)
    ]  # fmt: skip
    seen: list[Any] = []
    with pytest.raises(UserError):
        seen.extend(document.data for document in load_documents("f", text))
    assert seen == [{"a": 1}, {"x": 1}]


def test_empty_documents_are_left_out() -> None:
    text = "a: 1\n---\n---\n# nothing\n---\nb: 2\n...\n"
    assert [document.data for document in load_documents("f", text)] == [{"a": 1}, {"b": 2}]


def test_documents_that_are_no_mappings() -> None:
    assert places_of("a: 1\n---\n- 5\n---\ntext\n", KUBE) == [("E005", 3, 1), ("E005", 5, 1)]


def test_a_hopeless_file_is_not_read_to_its_end() -> None:
    assert 100 <= len(problems_of("".join(f"a{i}: .nan\n---\n" for i in range(500)), KUBE)) < 110


def test_files(tmp_path: Path) -> None:
    good = tmp_path / "good.yaml"
    good.write_bytes("\ufeffa: ü\r\nb: 2\r\n".encode())
    assert load_document(good).data == {"a": "ü", "b": 2}
    assert [document.data for document in load_documents(good)] == [{"a": "ü", "b": 2}]
    (tmp_path / "latin.yaml").write_bytes("x: 1\na: ü\n".encode("latin-1"))
    cases = (("absent", "E001", None), (".", "E001", None), ("latin.yaml", "E002", 2))
    for name, code, line in cases:
        with pytest.raises(UserError) as caught:
            read_text(tmp_path / name)
        assert [(p.code, p.line) for p in caught.value.problems] == [(code, line)]


def test_a_missing_line_end_is_noticed() -> None:
    cut = list(load_documents("f", "a: 1\n---\nb: 2"))
    assert [ends_without_newline(document) for document in cut] == [False, True]
    assert not ends_without_newline(load_document("f", "a: 1\n"))


# -------------------------------------------------------------------------------------------- marks
MANIFEST = """\
# a comment
kind: Pod
metadata: {name: a, labels: {x: y}}
---
kind: Pod
spec:
  containers:
    - name: main
      resources:
        requests: {cpu: 500m, "memory": 1Gi}
"""


@pytest.fixture
def second() -> Document:
    return list(load_documents("m.yaml", MANIFEST))[1]


def test_marks_of_values_and_keys(second: Document) -> None:
    path = ["spec", "containers", 0, "resources", "requests", "cpu"]
    assert second.mark(path) == (10, 25)
    assert second.key_mark(path) == (10, 20)
    assert second.key_mark([*path[:-1], "memory"]) == (10, 31)
    assert second.mark() == (5, 1)
    assert second.mark(["spec", "containers", 0]) == (8, 7)
    first = next(load_documents("m.yaml", MANIFEST))
    assert first.mark(["metadata", "labels", "x"]) == (3, 33)


def test_a_path_that_does_not_exist_points_at_its_ancestor(second: Document) -> None:
    assert second.mark(["spec", "containers", 3]) == second.mark(["spec", "containers"])
    problem = second.problem("E011", "no image", ["spec", "containers", 0, "image"])
    assert (problem.line, problem.column, problem.text) == (8, 7, "    - name: main")
    problem = second.problem("E011", "no nodeName", ["spec", "nodeName"])
    assert (problem.line, problem.column, problem.span) == (6, 1, 4)


def test_problems_underline_the_value_or_the_key(second: Document) -> None:
    path = ["spec", "containers", 0, "resources", "requests", "cpu"]
    value = second.problem("E015", "bad", path, hint="h")
    assert (value.column, value.span, value.hint, value.file) == (25, 4, "h", "m.yaml")
    key = second.problem("E010", "bad", path, at_key=True, nearest="cpu")
    assert (key.column, key.span, key.nearest) == (20, 3, "cpu")


# ------------------------------------------------------------------------------------------ oracles
# JSON is YAML; control characters and exotic line ends are what the two write differently.
TEXTS = st.text(
    st.characters(
        exclude_characters="\x7f\x85\u2028\u2029\ufeff", exclude_categories=["Cs", "Cc", "Cn"]
    )
)


def trees(texts: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Any]]:
    numbers = st.integers(-(1 << 62), 1 << 62) | st.floats(allow_nan=False, allow_infinity=False)
    values = st.recursive(
        st.none() | st.booleans() | numbers | texts,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
        max_leaves=12,
    )
    return st.dictionaries(texts, values, min_size=1, max_size=4)


def assert_read_back(text: str, data: dict[str, Any]) -> None:
    assert normal(load_document("f", text).data) == normal(data)
    (document,) = load_documents("f", text)
    assert normal(document.data) == normal(data)


@given(trees(TEXTS))
def test_reads_json(data: dict[str, Any]) -> None:
    assert_read_back(json.dumps(data, ensure_ascii=False), data)


@given(trees(TEXTS.map("s{}".format)), st.booleans())
def test_reads_what_a_yaml_writer_wrote(data: dict[str, Any], flow: bool) -> None:
    """Texts start with a letter: PyYAML leaves ``y`` and ``1e3`` unquoted, which mean more here."""
    assert_read_back(yaml.safe_dump(data, default_flow_style=flow, allow_unicode=True), data)


def normal(value: Any) -> Any:
    """Floats as the nearest integer where Kubernetes' way through JSON makes them one."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return int(value)
    if isinstance(value, list):
        return [normal(item) for item in value]
    if isinstance(value, dict):
        return {key: normal(item) for key, item in value.items()}
    assert not isinstance(value, float) or math.isfinite(value)
    return value


@given(st.text(alphabet="ab:-[]{},&*!|>'\"#%@ \n\t0123.e_~?", max_size=60))
def test_garbage_never_escapes_as_another_exception(text: str) -> None:
    for read in (lambda: load_document("f", text), lambda: list(load_documents("f", text))):
        try:
            read()
        except UserError as error:
            assert error.problems  # noqa: PT017


def test_real_manifests_equal_pyyaml_and_cost_little(shared_dir: Path) -> None:
    path = shared_dir / "data" / "k8s-sims" / "nodes-100.yaml"
    wanted = list(yaml.load_all(path.read_text(), Loader=yaml.CSafeLoader))
    assert [document.data for document in load_documents(path)] == wanted
    assert len(wanted) == 100


def test_faulty_documents_can_still_be_checked() -> None:
    """Repeated keys: the last value counts, mappings are joined, places lead to each."""
    text = "a: 1\na: 2\nb: {x: 1, y: {p: 1}}\nb: {z: 010, y: {q: 2}}\nb: {w: 4}\n"
    document, problems = read_document("f.yaml", text)
    assert [(item.code, item.line) for item in problems] == [
        ("E008", 4), ("E004", 2), ("E004", 4), ("E004", 5),
    ]  # fmt: skip
    assert all("first at f.yaml:3:1" in item.message for item in problems[2:])
    assert document.data == {
        "a": 2, "b": {"w": 4, "z": None, "y": {"q": 2}, "x": 1},
    }  # fmt: skip
    assert [document.mark(("b", key)).line for key in "wzx"] == [5, 4, 3]
    with pytest.raises(UserError):
        load_document("f.yaml", text)
    with pytest.raises(UserError):
        read_document("f.yaml", "a: [1\n")
