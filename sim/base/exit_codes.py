"""The exit-code table of the command line: the only place that names a number.

The numbers are k6's wherever the meaning is the same, so that a CI gate written for a load test
reads a simulated one; usage errors keep Click's 2.
"""

from __future__ import annotations

from enum import IntEnum
from types import MappingProxyType
from typing import Final


class ExitCode(IntEnum):
    """What the process says to the shell."""

    OK = 0
    INTERNAL_ERROR = 1
    USAGE = 2
    THRESHOLD_CROSSED = 99
    INVALID_INPUT = 104
    ABORTED = 105
    RUN_FAILED = 110
    REPLAY_DIFFERS = 112
    BUDGET_EXHAUSTED = 113
    SWEEP_INCOMPLETE = 114


MEANINGS: Final = MappingProxyType({
    ExitCode.OK: "finished, all thresholds hold",
    ExitCode.INTERNAL_ERROR: (
        "unexpected internal error (traceback in the log, one line on stderr)"
    ),
    ExitCode.USAGE: "wrong command-line usage",
    ExitCode.THRESHOLD_CROSSED: "at least one threshold crossed",
    ExitCode.INVALID_INPUT: "invalid experiment or configuration",
    ExitCode.ABORTED: "aborted from outside (signal)",
    ExitCode.RUN_FAILED: "run marked failed: an invariant or model limit was reached",
    ExitCode.REPLAY_DIFFERS: "replay differs from the recorded digest",
    ExitCode.BUDGET_EXHAUSTED: (
        "event, wall-clock or memory budget used up before the stop condition"
    ),
    ExitCode.SWEEP_INCOMPLETE: "sweep finished with some failed points",
})
"""One line per code, in the words of the documentation."""
