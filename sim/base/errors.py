"""Problems a user can mend, the exception tree, and the printer with file, line and caret.

Three kinds of failure exist: a *user error* carries one `Problem` per fault and is shown as text; a
*model limit* or a broken invariant ends a run with its own exit code; everything else is a
programmer's error and is never caught.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from sim.base.error_codes import CODES
from sim.base.exit_codes import ExitCode

ALLOWED_SHOWN_MAX: Final = 30
LINE_WIDTH_MAX: Final = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One fault in something a user wrote.

    ``line`` and ``column`` count from one. ``text`` is the source line they point into, and
    ``span`` the number of characters to underline. ``allowed`` lists what would have been
    accepted, ``nearest`` the spelling that was probably meant.
    """

    code: str
    message: str
    file: str | None = None
    line: int | None = None
    column: int | None = None
    text: str | None = None
    span: int = 1
    allowed: tuple[str, ...] = ()
    nearest: str | None = None
    hint: str | None = None

    def __post_init__(self) -> None:
        if self.code not in CODES:
            raise AssertionError(f"undocumented code {self.code}")

    @property
    def is_warning(self) -> bool:
        """Whether the run goes on."""
        return self.code.startswith("W")

    @property
    def place(self) -> str:
        """``file:line:column`` as far as it is known."""
        known = [self.file or ""] if self.file else []
        if self.line is not None:
            known.append(str(self.line))
            if self.column is not None:
                known.append(str(self.column))
        return ":".join(known)

    def __str__(self) -> str:
        place = f"{self.place}: " if self.place else ""
        return f"{place}{self.code}: {self.message}"


class KubesimError(Exception):
    """Root of everything this program raises on purpose."""

    exit_code: ClassVar[ExitCode] = ExitCode.INTERNAL_ERROR


class UserError(KubesimError):
    """Invalid input: every problem found, in the order of the text."""

    exit_code: ClassVar[ExitCode] = ExitCode.INVALID_INPUT

    def __init__(self, problems: Problem | Iterable[Problem]) -> None:
        found = (problems,) if isinstance(problems, Problem) else tuple(problems)
        assert found, "a UserError without a problem"
        self.problems: tuple[Problem, ...] = found
        super().__init__("; ".join(str(problem) for problem in found))


class ModelLimitError(KubesimError):
    """A bound of the model was reached and the run cannot mean anything beyond it."""

    exit_code: ClassVar[ExitCode] = ExitCode.RUN_FAILED


class InvariantError(KubesimError):
    """A conservation law was broken: the run is invalid."""

    exit_code: ClassVar[ExitCode] = ExitCode.RUN_FAILED


class BudgetError(KubesimError):
    """Events, wall time or memory ran out before the stop condition."""

    exit_code: ClassVar[ExitCode] = ExitCode.BUDGET_EXHAUSTED


class ReplayError(KubesimError):
    """A replay differs from its recorded digest."""

    exit_code: ClassVar[ExitCode] = ExitCode.REPLAY_DIFFERS


class MissingExtraError(UserError):
    """An optional dependency is absent; the message is the command that installs it."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(
            Problem(
                code="E043",
                message=f"{feature} needs the extra '{extra}'",
                hint=f"python -m pip install 'kubesim[{extra}]'",
            )
        )


def render_problem(problem: Problem) -> str:
    """One problem as text: place, code, message, the line with a caret, what is allowed.

    No trailing line end, no colour; columns are characters, tabs shown as one blank.
    """
    kind = "warning" if problem.is_warning else "error"
    place = f"{problem.place}: " if problem.place else ""
    lines = [f"{place}{kind} {problem.code}: {problem.message}"]
    if problem.text is not None and problem.line is not None and problem.column is not None:
        lines += _caret_lines(problem)
    if problem.nearest is not None:
        lines.append(f"  did you mean: {problem.nearest}")
    if problem.allowed:
        shown = ", ".join(problem.allowed[:ALLOWED_SHOWN_MAX])
        more = len(problem.allowed) - ALLOWED_SHOWN_MAX
        lines.append(f"  allowed: {shown}" + (f" and {more} more" if more > 0 else ""))
    if problem.hint is not None:
        lines.append(f"  hint: {problem.hint}")
    lines.append(f"  more: kubesim explain {problem.code}")
    return "\n".join(lines)


def render_problems(problems: Sequence[Problem]) -> str:
    """All problems, a blank line between two, and a closing count when there are several."""
    blocks = [render_problem(problem) for problem in problems]
    errors = sum(not problem.is_warning for problem in problems)
    warnings = len(problems) - errors
    if len(problems) > 1:
        parts = []
        if errors:
            parts.append(f"{errors} error{'s' if errors > 1 else ''}")
        if warnings:
            parts.append(f"{warnings} warning{'s' if warnings > 1 else ''}")
        blocks.append(" and ".join(parts) + " found")
    return "\n\n".join(blocks)


def _caret_lines(problem: Problem) -> list[str]:
    assert problem.text is not None
    assert problem.line is not None
    assert problem.column is not None
    text = problem.text.rstrip("\r\n").expandtabs(1)
    start = max(problem.column - 1, 0)
    cut = max(0, start - LINE_WIDTH_MAX // 2) if len(text) > LINE_WIDTH_MAX else 0
    shown = text[cut : cut + LINE_WIDTH_MAX]
    span = max(1, min(problem.span, len(shown) - (start - cut)))
    margin = " " * len(str(problem.line))
    return [
        f"  {problem.line} | {shown}",
        f"  {margin} | {' ' * (start - cut)}{'^' * span}",
    ]
