# ruff: noqa: INP001
"""Times the scheduling core and plots it beside the real scheduler's measured curve.

Run from the root of the checkout: ``python results/published/scheduling-core/make.py``. Writes
``cost_per_decision.csv`` and ``cost_per_decision.png`` beside this file. The measured curve comes
from ``groundtruth/scheduler_core_speed.csv`` of the measured data beside the checkout (or
``$KUBESIM_MEASURED_DATA``); without it only our own curve is drawn.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import time
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from sim.scheduling import speed_cases  # noqa: E402

HERE = Path(__file__).resolve().parent
NODE_COUNTS = (100, 300, 1000, 2000, 5000, 15_000, 50_000, 100_000)
PERCENTAGES = (0, 100)
PODS_COUNT = 400
ROUNDS_COUNT = 5
COLUMNS = (
    "nodes",
    "family",
    "percentage",
    "pods_timed",
    "us_per_pod_min",
    "us_per_pod_median",
    "checksum",
    "real_us_per_pod_median",
    "ratio_to_real",
)


def measured() -> dict[tuple[int, str, int], float]:
    """Median of the real scheduler's cycle on one core (GOMAXPROCS 1), microseconds per pod."""
    shared = Path(os.environ.get("KUBESIM_MEASURED_DATA", ROOT.parent / "shared"))
    path = shared / "groundtruth" / "scheduler_core_speed.csv"
    if not path.exists():
        sys.stderr.write("measured data absent: only our own curve\n")
        return {}
    with path.open(newline="") as lines:
        return {
            (int(r["nodes"]), r["family"], int(r["percentage"])): float(r["us_per_pod_median"])
            for r in csv.DictReader(lines)
            if r["gomaxprocs"] == "1"
        }


def time_case(node_count: int, family: str, percentage: int) -> tuple[list[float], int]:
    """Microseconds per pod of every round (schedule and assume), and a checksum of decisions."""
    state, core, shapes = speed_cases.build(node_count, family, percentage)
    speed_cases.place(state, core, shapes, 100, "warm-")
    costs: list[float] = []
    checksum = 0
    for number in range(ROUNDS_COUNT):
        begin = time.process_time()  # other work on the machine does not count
        checksum = speed_cases.place(state, core, shapes, PODS_COUNT, f"round-{number}-")
        costs.append((time.process_time() - begin) / PODS_COUNT * 1e6)
    return sorted(costs), checksum


def collect(node_counts: tuple[int, ...]) -> list[dict[str, object]]:
    """One row per case."""
    real = measured()
    rows: list[dict[str, object]] = []
    for family in speed_cases.FAMILIES:
        for percentage in PERCENTAGES:
            for node_count in node_counts:
                costs, checksum = time_case(node_count, family, percentage)
                known = real.get((node_count, family, percentage))
                rows.append(
                    {
                        "nodes": node_count,
                        "family": family,
                        "percentage": percentage,
                        "pods_timed": PODS_COUNT,
                        "us_per_pod_min": round(costs[0], 2),
                        "us_per_pod_median": round(costs[len(costs) // 2], 2),
                        "checksum": checksum,
                        "real_us_per_pod_median": "" if known is None else known,
                        "ratio_to_real": "" if known is None else round(known / costs[0], 1),
                    }
                )
                sys.stderr.write(f"{rows[-1]}\n")
    return rows


def plot(rows: list[dict[str, object]], path: Path) -> None:
    """Cost per decision against nodes: one panel per family, ours and the real scheduler's."""
    families = speed_cases.FAMILIES
    figure, panels = plt.subplots(1, len(families), figsize=(4 * len(families), 4.2), sharey=True)
    for panel, family in zip(panels, families, strict=True):
        for percentage, style in ((0, "-"), (100, "--")):
            label = "adaptive" if percentage == 0 else "100 %"
            mine = [r for r in rows if (r["family"], r["percentage"]) == (family, percentage)]
            nodes = [r["nodes"] for r in mine]
            panel.plot(nodes, [r["us_per_pod_min"] for r in mine], "o" + style, color="C0",
                       label=f"this core, {label}")  # fmt: skip
            known = [r for r in mine if r["real_us_per_pod_median"] != ""]
            real = [r["real_us_per_pod_median"] for r in known]
            panel.plot([r["nodes"] for r in known], real, "s" + style, color="C3",
                       label=f"kube-scheduler v1.36.2, {label}")  # fmt: skip
        panel.set(xscale="log", yscale="log", title=family, xlabel="nodes")
        panel.grid(visible=True, which="major", alpha=0.3)
    panels[0].set_ylabel("µs per decision, one core")
    panels[0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})


def main() -> None:
    """Measure, write the table, draw the plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes-max", type=int, default=NODE_COUNTS[-1])
    arguments = parser.parse_args()
    rows = collect(tuple(n for n in NODE_COUNTS if n <= arguments.nodes_max))
    with (HERE / "cost_per_decision.csv").open("w", newline="") as out:
        writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    plot(rows, HERE / "cost_per_decision.png")


if __name__ == "__main__":
    main()
