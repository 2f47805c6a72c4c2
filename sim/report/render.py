"""Renders a run: figures as PNG files, and one page that holds them all."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sim.metrics.bottleneck import Bottleneck
from sim.metrics.derive import Derivation
from sim.metrics.summary import SummaryRow
from sim.report.figure_kit import Context
from sim.report.figures import DRAWINGS
from sim.report.page import run_page

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def png_bytes(figure: Figure) -> bytes:
    """Return a figure as PNG without anything that changes between equal figures."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def render_run(
    folder: Path,
    manifest: dict[str, Any],
    derivation: Derivation,
    rows: Sequence[SummaryRow],
    bottleneck: Bottleneck,
    *,
    figures: bool = True,
    page: bool = True,
) -> None:
    """Write ``figures/*.png`` and ``report.html`` into a run directory.

    Raises:
        MissingExtraError: matplotlib or Jinja2 is absent.
    """
    settings = {item["setting"]: item["value"] for item in manifest["settings_changed"]}
    end_seconds = max(manifest["totals"]["simulated_seconds"], 1e-3)
    context = Context(derivation, bottleneck, end_seconds, settings)
    images = []
    for drawing in DRAWINGS:
        if not drawing.wanted(context):
            continue
        content = png_bytes(drawing.draw(context))
        images.append((drawing, base64.b64encode(content).decode("ascii")))
        if figures:
            target = folder / "figures"
            target.mkdir(parents=True, exist_ok=True)
            (target / f"{drawing.name}.png").write_bytes(content)
    if page:
        html = run_page(manifest, derivation, bottleneck, rows, images)
        (folder / "report.html").write_text(html, encoding="utf-8", newline="\n")
