"""A page and a CSV file from the JSON that pytest-benchmark writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from sim.base.errors import Problem, UserError
from sim.report.page import environment
from sim.report.style import seconds_text

_HEADER: Final = (
    "group", "name", "rounds", "min_seconds", "median_seconds", "mean_seconds", "iqr_seconds",
    "max_seconds", "operations_per_second",
)  # fmt: skip


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = error.strerror or "unreadable"
        raise UserError(Problem(code="E001", message=reason, file=str(path))) from error
    except ValueError as error:
        raise UserError(
            Problem(code="E041", message=f"not JSON: {error}", file=str(path))
        ) from error
    if not isinstance(data, dict) or not isinstance(data.get("benchmarks"), list):
        raise UserError(
            Problem(code="E041", message="not written by pytest-benchmark", file=str(path))
        )
    return data


def benchmark_rows(data: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one row per benchmark, by group and name."""
    rows = []
    for item in data["benchmarks"]:
        stats = item["stats"]
        rows.append({
            "group": item.get("group") or "", "name": item["name"], "rounds": stats["rounds"],
            "min_seconds": stats["min"], "median_seconds": stats["median"],
            "mean_seconds": stats["mean"], "iqr_seconds": stats["iqr"],
            "max_seconds": stats["max"], "operations_per_second": stats["ops"],
            "extra": item.get("extra_info") or {},
        })  # fmt: skip
    return sorted(rows, key=lambda row: (row["group"], row["name"]))


def write_benchmark_report(source: Path, folder: Path) -> list[Path]:
    """Write ``<stem>.csv`` and ``<stem>.html`` into ``folder``; return their paths.

    Raises:
        UserError: the file is missing or not pytest-benchmark's.
    """
    data = _read(source)
    rows = benchmark_rows(data)
    extras = sorted({key for row in rows for key in row["extra"]})
    lines = [",".join((*_HEADER, *extras))]
    for row in rows:
        cells = [row[name] for name in _HEADER] + [row["extra"].get(key, "") for key in extras]
        lines.append(",".join(_cell(cell) for cell in cells))
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / f"{source.stem}.csv"
    table.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    page = folder / f"{source.stem}.html"
    page.write_text(_page(data, rows), encoding="utf-8", newline="\n")
    return [table, page]


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return repr(value)
    text = json.dumps(value) if isinstance(value, dict | list) else str(value)
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\n') else text


def _page(data: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    machine = data.get("machine_info") or {}
    cpu = (machine.get("cpu") or {}).get("brand_raw") or machine.get("machine", "unknown machine")
    commit = (data.get("commit_info") or {}).get("id") or ""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        longest = max(item["median_seconds"] for item in rows if item["group"] == row["group"])
        groups.setdefault(row["group"] or "(no group)", []).append({
            "name": row["name"], "rounds": f"{row['rounds']:,}",
            **{
                name: seconds_text(row[f"{name}_seconds"]) for name in ("min", "median", "iqr")
            },
            "rate": f"{row['operations_per_second']:,.0f}/s",
            "percent": f"{100.0 * row['median_seconds'] / longest:.0f}",
            "extra": ", ".join(f"{key} {_extra(value)}" for key, value in row["extra"].items()),
        })  # fmt: skip
    return str(environment().get_template("benchmarks.html").render(
        groups=groups, cpu=cpu, commit=commit[:12], count=len(rows),
        python=machine.get("python_version", ""),
    ))  # fmt: skip


def _extra(value: Any) -> str:
    return f"{value:,.6g}" if isinstance(value, float) else f"{value:,}" if (
        isinstance(value, int) and not isinstance(value, bool)
    ) else str(value)  # fmt: skip
