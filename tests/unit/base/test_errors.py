"""Problems as text, the exception tree, exit codes, spelling and digests."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.base.error_codes import CODES
from sim.base.errors import (
    BudgetError,
    InvariantError,
    KubesimError,
    MissingExtraError,
    ModelLimitError,
    Problem,
    ReplayError,
    UserError,
    render_problem,
    render_problems,
)
from sim.base.exit_codes import MEANINGS, ExitCode
from sim.base.ids import canonical_json, digest, short_digest
from sim.base.spelling import edit_distance, nearest


def test_problem_shows_place_line_caret_and_what_to_do() -> None:
    problem = Problem(
        code="E010", message='unknown key "replicaz"', file="a.yaml", line=14, column=7,
        text="      replicaz: 3", span=8, allowed=("replicas", "template"), nearest="replicas",
        hint="see the schema",
    )  # fmt: skip
    assert render_problem(problem).split("\n") == [
        'a.yaml:14:7: error E010: unknown key "replicaz"',
        "  14 |       replicaz: 3",
        "     |       ^^^^^^^^",
        "  did you mean: replicas",
        "  allowed: replicas, template",
        "  hint: see the schema",
        "  more: kubesim explain E010",
    ]
    assert str(problem) == 'a.yaml:14:7: E010: unknown key "replicaz"'


def test_problem_without_place_and_many_allowed() -> None:
    problem = Problem(code="W001", message="m", allowed=tuple(f"k{i}" for i in range(35)))
    text = render_problem(problem)
    assert text.startswith("warning W001: m\n")
    assert "k29 and 5 more" in text
    assert problem.place == ""


def test_long_lines_are_cut_around_the_caret() -> None:
    problem = Problem(
        code="E002", message="m", file="f", line=1, column=1001, text="a" * 1000 + "b" + "c" * 99
    )
    shown, caret = render_problem(problem).split("\n")[1:3]
    assert len(shown) < 200
    assert shown[caret.index("^")] == "b"


def test_all_problems_at_once_with_a_count() -> None:
    error = Problem(code="E001", message="a")
    warning = Problem(code="W003", message="b")
    assert render_problems([error, error, warning]).endswith("2 errors and 1 warning found")
    assert render_problems([error]) == render_problem(error)


def test_tree_and_exit_codes() -> None:
    error = UserError([Problem(code="E001", message="a"), Problem(code="E002", message="b")])
    assert str(error) == "E001: a; E002: b"
    assert UserError(error.problems[0]).problems == error.problems[:1]
    wanted = {
        UserError: 104, ModelLimitError: 110, InvariantError: 110, BudgetError: 113,
        ReplayError: 112, KubesimError: 1, MissingExtraError: 104,
    }  # fmt: skip
    assert {cls: int(cls.exit_code) for cls in wanted} == wanted
    assert "pip install 'kubesim[report]'" in render_problems(
        MissingExtraError("the page", "report").problems
    )


def test_every_exit_code_has_a_meaning() -> None:
    assert set(MEANINGS) == set(ExitCode)
    assert sorted(map(int, ExitCode)) == [0, 1, 2, 99, 104, 105, 110, 112, 113, 114]


def test_undocumented_codes_are_refused() -> None:
    with pytest.raises(AssertionError):
        Problem(code="E999", message="")


def test_codes_used_in_the_source_are_documented(repository_dir: Path) -> None:
    used = {
        code
        for path in (repository_dir / "sim").rglob("*.py")
        for code in re.findall(r'"([EW]\d{3})"', path.read_text(encoding="utf-8"))
    }
    assert used
    assert used <= set(CODES)
    assert all(re.fullmatch(r"[EW]\d{3}", code) for code in CODES)
    assert all(info.title and info.explanation.endswith(".") for info in CODES.values())


@pytest.mark.parametrize(
    ("left", "right", "distance"),
    [("kitten", "sitting", 3), ("ca", "ac", 1), ("", "abc", 3), ("same", "same", 0),
     ("saturday", "sunday", 3), ("ca", "abc", 3)],
)  # fmt: skip
def test_edit_distance(left: str, right: str, distance: int) -> None:
    assert edit_distance(left, right, 9) == distance
    assert edit_distance(right, left, 9) == distance
    assert edit_distance(left, right, 0) == min(distance, 1)


@pytest.mark.parametrize(
    ("word", "answer"),
    [("replicaz", "replicas"), ("Replicas", "replicas"), ("node-count", "nodeCount"),
     ("nodecuont", "nodeCount"), ("zzz", None), ("", None), ("template", "template")],
)  # fmt: skip
def test_nearest(word: str, answer: str | None) -> None:
    assert nearest(word, ["replicas", "nodeCount", "template"]) == answer


def test_canonical_json() -> None:
    assert canonical_json({"b": [1, 1.0, None], "a": {"ä": True}}) == (
        '{"a":{"ä":true},"b":[1,1.0,null]}'
    )
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 1, "b": 2.0})
    # SHA-256 of the two bytes {} (FIPS 180-4 implementations agree on it).
    assert short_digest({}) == "44136fa3"
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match="not JSON compliant"):
            canonical_json([bad])
    with pytest.raises(TypeError):
        canonical_json([{1: 2}])


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False,
       allow_infinity=False) | st.text(), lambda inner: st.lists(inner) | st.dictionaries(
       st.text(), inner), max_leaves=8))  # fmt: skip
def test_digest_ignores_the_order_of_keys(value: object) -> None:
    def reverse(inner: object) -> object:
        if isinstance(inner, dict):
            return {key: reverse(inner[key]) for key in reversed(list(inner))}
        return [reverse(item) for item in inner] if isinstance(inner, list) else inner

    assert digest(reverse(value)) == digest(value)


def test_digest_is_the_same_in_another_process(repository_dir: Path) -> None:
    code = "from sim.base.ids import digest; print(digest({'x': [1, 'ü', 0.1], 'a': {}}))"
    seen = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True,
            cwd=repository_dir, env={"PYTHONHASHSEED": seed, "PYTHONPATH": "."},
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(seen) == 1
