"""How figures look: size, colours, axes; and how numbers are shown to people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from sim.base.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PALETTE: Final = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f6d00", "#5b5b5b",
)  # fmt: skip
"""Distinguishable with any colour vision. **Source:** Okabe and Ito 2008, last two added."""
INK: Final = "#24292f"
MUTED: Final = "#57606a"
FAINT: Final = "#8c959f"
GRID: Final = "#e6e8eb"
BAD: Final = "#c62828"
DPI: Final = 110
_MINUTES_FROM_SECONDS: Final = 300.0


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of that many inches. Raises MissingExtraError without matplotlib."""
    try:
        import matplotlib as mpl
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("drawing figures", "report") from error
    mpl.rcParams.update({
        "font.family": "DejaVu Sans", "font.size": 9.0, "text.color": INK,
        "axes.labelcolor": INK, "axes.edgecolor": FAINT, "axes.titlesize": 10.0,
        "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.linewidth": 0.8,
        "xtick.color": INK, "ytick.color": INK, "legend.frameon": False, "legend.fontsize": 8.0,
        "path.simplify": True, "path.simplify_threshold": 0.6, "agg.path.chunksize": 0,
    })  # fmt: skip
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def tidy(axes: Axes, title: str, x_label: str, subtitle: str) -> None:
    """Give axes their title, what is drawn upwards as a subtitle, and a light grid."""
    axes.set_title(title, pad=20)
    axes.annotate(subtitle, (0.0, 1.0), (0.0, 7.0), xycoords="axes fraction",
                  textcoords="offset points", color=MUTED, fontsize=8.0)  # fmt: skip
    axes.set_xlabel(x_label)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)


def legend(axes: Axes, **options: Any) -> None:
    """Draw a legend if there is something to tell apart."""
    handles, _ = axes.get_legend_handles_labels()
    if handles:
        axes.legend(**{"loc": "best", "handlelength": 1.4, "borderpad": 0.2, **options})


def empty_note(axes: Axes, text: str) -> None:
    """Say in the axes why there is nothing to see."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=FAINT)
    axes.set_xticks([])
    axes.set_yticks([])


def time_scale(end_seconds: float) -> tuple[float, str]:
    """Return (seconds per unit, axis label) for simulated time."""
    if end_seconds > _MINUTES_FROM_SECONDS:
        return 60.0, "simulated time (minutes)"
    return 1.0, "simulated time (seconds)"


def seconds_text(value: float, _position: object = None) -> str:
    """Return a duration for an axis or a table: ``12 ms``, ``1.5 s``, ``250 µs``, ``2m05s``."""
    if value == 0.0:
        return "0"
    size = abs(value)
    if size < 1e-3:
        return f"{value * 1e6:.3g} µs"
    if size < 0.9995:
        return f"{value * 1e3:.3g} ms"
    if size < 120.0:
        return f"{value:.3g} s"
    minutes, seconds = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m{seconds:02d}s" if hours else f"{minutes}m{seconds:02d}s"


def log_seconds(axis: Any, low: float, high: float) -> None:
    """Label a logarithmic axis of durations: powers of ten, and 2 and 5 on a short one."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

    steps = (1.0, 2.0, 5.0) if high / low < 30.0 else (1.0, 3.0) if high / low < 300.0 else (1.0,)
    ticks = [step * 10.0**power for power in range(-7, 6) for step in steps]
    ticks = [tick for tick in ticks if low / 1.5 <= tick <= high * 1.6]
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FuncFormatter(seconds_text))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def seconds_axis(axis: Any) -> None:
    """Label a linear axis of durations with units."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(6))
    axis.set_major_formatter(FuncFormatter(seconds_text))


def number_text(value: float, unit: str = "") -> str:
    """Return any number of the summary for a table, with its unit."""
    if unit == "seconds":
        return seconds_text(value)
    if unit == "bytes":
        for name, size in (("GiB", 2.0**30), ("MiB", 2.0**20), ("KiB", 2.0**10)):
            if abs(value) >= size:
                return f"{value / size:.3g} {name}"
        return f"{value:.0f} B"
    if unit == "ratio":
        return f"{100.0 * value:.3g} %"
    text = f"{value:,.0f}" if abs(value) >= 1000.0 or float(value).is_integer() else f"{value:.3g}"
    return f"{text} {unit}".strip()


def colours(names: Sequence[str]) -> dict[str, str]:
    """Return a colour per name, in order."""
    return {name: PALETTE[index % len(PALETTE)] for index, name in enumerate(names)}
