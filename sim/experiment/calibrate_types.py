"""What every fit of a calibration returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """One parameter with a new value."""

    name: str
    """Dotted name in the profile."""
    value: Any
    source: str
    """What it was fitted to."""
    quality: str
    """How well, in words and numbers."""
    tolerance_ratio: float
    """How far the value may be off, relative: two standard errors, or the spread of the data."""
