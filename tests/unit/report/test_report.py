"""Pages: self-contained, readable without styles, the same every time; figures; comparisons."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from sim.base.errors import UserError
from sim.export.reader import open_run, read_summary
from sim.metrics.bottleneck import find_bottleneck
from sim.metrics.derive import Derivation
from sim.metrics.summary import SummaryRow, summary
from sim.report.benchmarks import write_benchmark_report
from sim.report.compare import Side, compare_page, compare_sides, settings_that_differ
from sim.report.figure_kit import Context
from sim.report.figures import DRAWINGS
from sim.report.page import reproduce, verdict
from sim.report.render import png_bytes, render_run
from sim.report.shapes import BINS_MAX, band, bin_width_seconds, curve, rate
from sim.report.style import number_text, seconds_text
from tests.support.fake_cluster import filled_recorder
from tests.unit.experiment.test_run import runs


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in {"src", "href"}]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    thresholds = (
        'thresholds={sim_pod_startup_duration_seconds: p(99) < 1ms, "apiserver_request_total{'
        'verb=\\"POST\\"}": count > 3}'
    )
    (result,) = runs(folder, "outputs.report=true", "outputs.figures=true", thresholds)
    return result.folder


def wanted_names(folder: Path) -> set[str]:
    derivation = Derivation(open_run(folder).require_facts())
    context = Context(derivation, find_bottleneck(derivation), 20.0)
    return {drawing.name for drawing in DRAWINGS if drawing.wanted(context)}


def test_the_page_stands_alone(run_folder: Path) -> None:
    text = (run_folder / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert len(page.links) == len(wanted_names(run_folder))
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    assert not re.search(r"https?://", text)
    assert page.tags.index("table") < page.tags.index("img")  # tables first


def test_the_page_says_what_people_ask(run_folder: Path) -> None:
    text = (run_folder / "report.html").read_text(encoding="utf-8")
    manifest = json.loads((run_folder / "manifest.json").read_text())
    for words in (
        "Why?", "1 of 2 thresholds are crossed.", manifest["bottleneck"], "cluster.nodeCount",
        "How to reproduce", "kubesim run e.yaml", "--seed 1", "Scheduling throughput",
    ):  # fmt: skip
        assert words in text.replace("&#34;", '"').replace("&#39;", "'"), words


def test_figures_are_files_as_well_and_big_enough(run_folder: Path) -> None:
    names = {path.stem for path in (run_folder / "figures").glob("*.png")}
    assert names == wanted_names(run_folder)
    assert {drawing.name for drawing in DRAWINGS} - names == {"network_programming_published"}
    for path in (run_folder / "figures").glob("*.png"):
        content = path.read_bytes()
        assert content.startswith(b"\x89PNG")
        assert b"Software" not in content
        width = int.from_bytes(content[16:20], "big")
        assert width >= 1000


def test_rendering_again_gives_the_same_bytes(run_folder: Path, tmp_path: Path) -> None:
    run = open_run(run_folder)
    derivation = Derivation(run.require_facts())
    render_run(tmp_path, run.manifest, derivation, summary(derivation), find_bottleneck(derivation))
    first = (run_folder / "report.html").read_text()
    again = (tmp_path / "report.html").read_text()
    assert again == first


def test_figures_of_an_empty_run() -> None:
    derivation = Derivation(filled_recorder(0))
    context = Context(derivation, find_bottleneck(derivation), 1.0)
    for drawing in DRAWINGS:
        assert png_bytes(drawing.draw(context)).startswith(b"\x89PNG")


def test_lines_of_the_latency_figure_are_the_quantiles() -> None:
    derivation = Derivation(filled_recorder(100))
    context = Context(derivation, find_bottleneck(derivation), 8.0)
    drawing = next(item for item in DRAWINGS if item.name == "api_latency")
    left, right = drawing.draw(context).axes
    labels = [text.get_text().split()[0] for text in right.get_legend().get_texts()]
    assert labels == ["LIST", "PATCH", "POST"]
    post = left.lines[4]
    values = derivation.column("requests", "sli_seconds")
    times = derivation.column("requests", "end_seconds")
    codes = derivation.facts["requests"].column("verb")
    creates = derivation.facts["requests"].categories("verb").index("create")
    width = bin_width_seconds(8.0)
    chosen = values[(codes == creates) & (times >= 2 * width) & (times < 3 * width)]
    at = list(post.get_xdata()).index(2.5 * width)
    assert post.get_ydata()[at] == pytest.approx(np.quantile(chosen, 0.99))


def test_shapes() -> None:
    assert [bin_width_seconds(end) for end in (1.0, 30.0, 90.0, 91.0, 3600.0)] == [
        pytest.approx(value) for value in (0.1, 0.5, 1.0, 2.0, 50.0)
    ]
    assert 3600.0 / bin_width_seconds(3600.0) <= BINS_MAX
    values = np.arange(1.0, 1001.0)
    found = curve(values)
    assert (found.count, found.p50) == (1000, pytest.approx(500.5))
    assert np.all(np.diff(found.values) >= 0)
    assert found.values[-1] == 1000.0
    drawn = band(np.array([0.05, 0.06, 0.95]), np.array([1.0, 3.0, 7.0]), 1.0)
    assert drawn.p50[0] == 2.0
    assert np.isnan(drawn.p50[5])
    assert drawn.p99[9] == 7.0
    centres, per_second = rate(np.array([0.05, 0.06, 0.95]), 1.0)
    assert per_second[0] == pytest.approx(20.0)
    assert len(centres) == 10


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (2.5e-5, "25 µs"), (0.0123, "12.3 ms"), (0.9996, "1 s"), (1.5, "1.5 s"),
     (125.0, "2m05s"), (7265.0, "2h01m05s")],
)  # fmt: skip
def test_durations_for_people(value: float, text: str) -> None:
    assert seconds_text(value) == text


def test_numbers_for_people() -> None:
    assert number_text(3 * 2.0**20, "bytes") == "3 MiB"
    assert number_text(0.123, "ratio") == "12.3 %"
    assert number_text(12345.0, "pods") == "12,345 pods"


def manifest(**changes: object) -> dict:
    return {
        "valid": True, "complete": True, "invariants_broken": [], "thresholds": [], "detail": "",
        "file": "e.yaml", "overrides": [], "point": {}, "seed": 3, **changes,
    }  # fmt: skip


def test_verdicts() -> None:
    def with_thresholds(*verdicts: str) -> str:
        return verdict(manifest(thresholds=[{"verdict": item} for item in verdicts]))[0]

    assert with_thresholds("ok", "ok") == "good"
    assert with_thresholds("ok", "crossed") == "bad"
    assert with_thresholds("ok", "undecided") == "open"
    assert with_thresholds() == "open"
    assert verdict(manifest(valid=False))[0] == "bad"
    assert verdict(manifest(complete=False))[0] == "bad"


def test_the_command_to_reproduce() -> None:
    text = reproduce(manifest(overrides=["a.b=c d"], point={"cluster.nodeCount": 5}))
    assert text == "kubesim run e.yaml --set 'a.b=c d' --set cluster.nodeCount=5 --seed 3"


def side(name: str, values: dict[int, float], **changes: object) -> Side:
    rows = {
        (seed, 0): [SummaryRow("etcd_disk_wal_fsync_duration_seconds", "", "p99", "seconds", v, 9)]
        for seed, v in values.items()
    }
    base = {"settings_changed": [], "profile": "p", "seed": 1, "workload": []}
    return Side(name, rows, {**base, **changes})


def test_paired_comparison_finds_a_small_effect_in_a_large_spread() -> None:
    a = {seed: float(seed) for seed in range(1, 11)}
    b = {seed: seed + 0.1 + 0.01 * (seed % 2) for seed in range(1, 11)}
    (found,) = compare_sides(side("a", a), side("b", b))
    assert found.verdict == "higher"
    assert found.ci_low is not None
    assert 0.09 < found.ci_low < 0.12
    others = {seed + 100: value for seed, value in b.items()}  # other seeds: no pairs
    (unpaired,) = compare_sides(side("a", a), side("b", others))
    assert unpaired.verdict == "undecided"


def test_comparison_of_single_runs_and_of_equals() -> None:
    (found,) = compare_sides(side("a", {1: 1.0}), side("b", {1: 1.5}))
    assert (found.verdict, found.change_ratio, found.ci_low) == ("single", 0.5, None)
    (same,) = compare_sides(side("a", {1: 1.0, 2: 2.0}), side("b", {1: 1.0, 2: 2.0}))
    assert same.verdict == "equal"


def test_comparison_page_and_settings(run_folder: Path) -> None:
    change = {"setting": "cluster.x", "default": 1, "value": 2}
    left, right = side("a", {1: 1.0}), side("b", {1: 2.0}, settings_changed=[change])
    assert settings_that_differ(left, right) == [("cluster.x", 1, 2)]
    text = compare_page(left, right, compare_sides(left, right))
    assert "+100.0 %" in text
    assert "script" not in Page(text).tags
    assert len(list(read_summary(run_folder))) > 100


def test_benchmark_report(tmp_path: Path) -> None:
    stats = {"min": 0.001, "median": 0.002, "mean": 0.0021, "iqr": 1e-4, "max": 0.01,
             "rounds": 12, "ops": 480.0}  # fmt: skip
    data = {
        "machine_info": {"cpu": {"brand_raw": "A <CPU>"}, "python_version": "3.11"},
        "commit_info": {"id": "abcdef0123456789"},
        "benchmarks": [
            {"group": "scenario", "name": "test_b", "stats": stats, "extra_info": {"events": 5}},
            {"group": None, "name": "test_a", "stats": stats},
        ],
    }
    source = tmp_path / "bench.json"
    source.write_text(json.dumps(data))
    table, page = write_benchmark_report(source, tmp_path)
    lines = table.read_text().splitlines()
    assert lines[0].endswith("max_seconds,operations_per_second,events")
    assert lines[1].startswith(",test_a,12,0.001,0.002,")
    assert lines[2].endswith(",480.0,5")
    text = page.read_text()
    assert "A &lt;CPU&gt;" in text
    assert "test_b" in text
    for content in ("{", "[]", '{"a": 1}'):
        source.write_text(content)
        with pytest.raises(UserError, match="E041"):
            write_benchmark_report(source, tmp_path)
    with pytest.raises(UserError, match="E001"):
        write_benchmark_report(tmp_path / "nowhere.json", tmp_path)
