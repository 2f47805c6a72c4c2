"""Picture and page of an accuracy report: predicted against measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt

Point = tuple[str, str, float, float]
"""(file, kind, measured, predicted)."""

_COLUMNS = (
    ("file", "---"),
    ("rows", "---:"),
    ("median ratio", "---:"),
    ("typical in 0.80-1.25", "---:"),
    ("typical in 0.66-1.50", "---:"),
    ("tail in 0.66-1.50", "---:"),
    ("exact", "---:"),
    ("bars", "---"),
    ("worst value", "---"),
)


def plot(points: Sequence[Point], path: Path) -> int:
    """Draw all points with both axes logarithmic; return how many were drawn.

    Values of all units share the axes: what counts is the distance from the diagonal. Points that
    are zero or not predicted are left out.
    """
    figure, axes = plt.subplots(figsize=(8.0, 8.0))
    files = list(dict.fromkeys(point[0] for point in points))
    colours = plt.get_cmap("tab20")
    drawn_count = 0
    low, high = np.inf, 0.0
    for index, name in enumerate(files):
        pairs = np.array(
            [(p[2], p[3]) for p in points if p[0] == name and p[2] > 0.0 and p[3] > 0.0]
        )
        if len(pairs) == 0:
            continue
        drawn_count += len(pairs)
        low, high = min(low, float(pairs.min())), max(high, float(pairs.max()))
        axes.scatter(
            pairs[:, 0],
            pairs[:, 1],
            s=9,
            alpha=0.6,
            color=colours(index % 20),
            label=f"{name.removesuffix('.csv')} ({len(pairs)})",
        )
    if drawn_count:
        line = np.array([low, high])
        axes.plot(line, line, color="black", linewidth=0.8)
        axes.fill_between(line, line * 0.8, line * 1.25, color="grey", alpha=0.25, linewidth=0)
        axes.fill_between(line, line * 0.66, line * 1.5, color="grey", alpha=0.15, linewidth=0)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.legend(fontsize=7, loc="upper left")
    axes.set_xlabel("measured (each value in its own unit)")
    axes.set_ylabel("predicted")
    axes.set_title("Predicted against measured; bands 0.80-1.25 and 0.66-1.50")
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None} if path.suffix == ".png" else None)
    plt.close(figure)
    return drawn_count


def markdown_page(lines: Sequence[Sequence[str]]) -> str:
    """Return a Markdown page with one table line per file."""
    head = "| " + " | ".join(name for name, _ in _COLUMNS) + " |"
    rule = "|" + "|".join(mark for _, mark in _COLUMNS) + "|"
    body = ["| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines]
    return "\n".join(["# Predicted against measured", "", head, rule, *body, ""])
