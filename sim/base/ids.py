"""Identity by content: one canonical JSON text per value, and its digest."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

SHORT_DIGEST_LENGTH: Final = 8


def canonical_json(value: Any) -> str:
    """The one JSON text of ``value``: sorted keys, no blanks, shortest round-trip numbers.

    ``value`` consists of dicts with string keys, lists, tuples, strings, booleans, integers,
    finite floats and ``None``. Equal values give equal text in every process; ``1`` and ``1.0``
    differ, since they do in a file.

    Raises:
        ValueError: a float is not finite.
        TypeError: the value holds something JSON has no word for, or a key is not a string.
    """
    _check_keys(value)
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON, 64 hexadecimal digits. Raises as `canonical_json`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def short_digest(value: Any) -> str:
    """The first eight digits of `digest`, for names of folders."""
    return digest(value)[:SHORT_DIGEST_LENGTH]


def _check_keys(value: Any) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise TypeError(f"keys of canonical JSON are strings, not {key!r}")
            _check_keys(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            _check_keys(inner)
