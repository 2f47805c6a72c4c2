"""Built-in profiles: every constant says what it rests on, published figures are quoted right."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from sim.base.errors import UserError
from sim.costs.disk import DiskLaw
from sim.costs.profile import MARKS, PROFILES, Profile, mark_of, parameters, profile_names
from sim.engine.engine import Engine
from sim.experiment.calibrate_profile import load_profile, profile_path
from sim.experiment.profile_text import (
    changed_constants,
    constants_markdown,
    profile_explained,
    quoted_rows,
)

FILES = tuple(name for name in profile_names() if name not in PROFILES)


def test_the_default_is_first_and_the_others_are_files() -> None:
    assert profile_names()[0] == "measured-2-core"
    assert {"control-plane-64-core", "managed-eks", "managed-gke"} <= set(FILES)
    assert load_profile("measured-2-core") is PROFILES["measured-2-core"]
    assert profile_path("measured-2-core") is None


@pytest.mark.parametrize("name", FILES)
def test_every_constant_of_a_file_has_a_well_formed_source(name: str) -> None:
    """A mark, then for published ones the ids of rows that the file quotes in full."""
    rows = quoted_rows(name)
    for row in rows.values():
        assert set(row) == {
            "system", "metric", "value", "unit", "statistic", "conditions", "source", "year",
        }  # fmt: skip
        assert re.fullmatch(r"https://\S+", row["source"])
        assert re.fullmatch(r"20\d\d", row["year"])
    changed = changed_constants(name)
    assert changed
    for key, _, _, source in changed:
        mark, colon, rest = source.partition(": ")
        assert colon == ": ", f"{name}: {key}: {source!r}"
        assert mark in MARKS, f"{name}: {key}: {source!r}"
        if mark == "published":
            for word in rest.partition(" (")[0].split(", "):
                assert word in rows, f"{name}: {key} names {word}, which is not quoted"


@pytest.mark.parametrize("name", FILES)
def test_quoted_rows_are_those_of_the_published_table(name: str, shared_dir: Path) -> None:
    with (shared_dir / "facts" / "published.csv").open(encoding="utf-8", newline="") as stream:
        table = {row["id"]: row for row in csv.DictReader(stream)}
    for key, row in quoted_rows(name).items():
        original = table[key]
        assert row == {
            "system": original["system"], "metric": original["metric"], "value": original["value"],
            "unit": original["unit"], "statistic": original["percentile_or_stat"],
            "conditions": original["conditions"], "source": original["source_url"],
            "year": original["year"],
        }  # fmt: skip


@pytest.mark.parametrize("name", profile_names())
def test_profiles_are_usable_laws(name: str) -> None:
    profile = load_profile(name)
    assert isinstance(profile, Profile)
    law = DiskLaw(profile.disk, Engine(1).stream("disk"))
    assert law.mean_seconds() > 0.0
    marks = [mark_of(source) for _, _, source in parameters(profile)]
    assert set(marks) <= set(MARKS)
    assert profile_explained(name).startswith(f"{name}: ")


def test_marks() -> None:
    assert mark_of("fitted: apiserver_list.csv, per item") == "measured"
    assert mark_of("groundtruth/idle_heartbeats.csv: intercept") == "measured"
    assert mark_of("published: dns-int (33,669 q/s)") == "published"
    assert mark_of("upstream containerd pkg/cri/config") == "upstream"
    assert mark_of("assumed") == mark_of("") == "assumed"


def test_files_may_build_on_files_and_tell_all_their_faults(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("based_on: managed-eks\nparameters: {etcd.guard_seconds: 1.0e-5}\n")
    profile = load_profile(str(mine))
    assert (profile.name, profile.etcd.guard_seconds) == ("mine", 1e-5)
    assert profile.disk == load_profile("managed-eks").disk
    assert mark_of(profile.sources["etcd.guard_seconds"]) == "assumed"
    mine.write_text(
        "based_on: managed-ekx\nparametres: {}\nparameters:\n  etcd.gard_seconds: 1\n"
        "  etcd.apply_seconds: {value: fast, sorce: x}\n  etcd.apply_seconds: -1.0\n"
    )
    with pytest.raises(UserError) as caught:
        load_profile(str(mine))
    assert sorted((item.line, item.code) for item in caught.value.problems) == [
        (1, "E025"), (2, "E010"), (4, "E010"), (6, "E004"), (6, "E013"),
    ]  # fmt: skip


def test_the_page_of_constants_is_up_to_date(repository_dir: Path) -> None:
    page = (repository_dir / "docs" / "profile-constants.md").read_text(encoding="utf-8")
    assert page == constants_markdown(profile_names()), "kubesim list profiles --markdown"
