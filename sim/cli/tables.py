"""kubectl-like tables: upper-case headers, three blanks between columns, no borders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click


def table_text(
    header: Sequence[str], rows: Sequence[Sequence[Any]], *, headers: bool = True
) -> str:
    """Return a table as kubectl prints it: columns padded to their widest cell plus three."""
    lines = [list(header)] if headers else []
    lines += [[str(cell) for cell in row] for row in rows]
    if not lines:
        return ""
    widths = [max(len(line[index]) for line in lines) for index in range(len(header))]
    return "".join(
        "   ".join(
            cell if index == len(line) - 1 else f"{cell:<{widths[index]}}"
            for index, cell in enumerate(line)
        ).rstrip() + "\n"
        for line in lines
    )  # fmt: skip


def print_table(
    header: Sequence[str], rows: Sequence[Sequence[Any]], *, headers: bool = True
) -> None:
    """Print a table on standard output."""
    click.echo(table_text(header, rows, headers=headers), nl=False)
