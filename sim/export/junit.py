"""JUnit XML: one case per threshold and one per phase of the run, as CI systems read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr


@dataclass(frozen=True, slots=True)
class Case:
    """One test case."""

    group: str
    """thresholds or run."""
    name: str
    failure: str = ""
    """What is wrong; empty if the case passed."""
    skipped: str = ""
    """Why the case says nothing; empty if it does."""


def junit_xml(suite: str, simulated_seconds: float, cases: Sequence[Case]) -> str:
    """Return the XML of one suite; its time is simulated time."""
    failures = sum(bool(case.failure) for case in cases)
    skipped = sum(bool(case.skipped) for case in cases)
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        (
            f'<testsuite name={quoteattr(suite)} tests="{len(cases)}" failures="{failures}"'
            f' errors="0" skipped="{skipped}" time="{simulated_seconds:.6f}">'
        ),
    ]
    for case in cases:
        head = f"  <testcase classname={quoteattr(case.group)} name={quoteattr(case.name)}"
        if case.failure:
            lines.append(f"{head}><failure>{escape(case.failure)}</failure></testcase>")
        elif case.skipped:
            lines.append(f"{head}><skipped message={quoteattr(case.skipped)}/></testcase>")
        else:
            lines.append(f"{head}/>")
    lines.append("</testsuite>")
    return "\n".join(lines) + "\n"
