"""The nearest spelling: what a mistyped name was probably meant to be."""

from __future__ import annotations

from collections.abc import Iterable


def edit_distance(left: str, right: str, limit: int) -> int:
    """Optimal-string-alignment distance of two words, or ``limit + 1`` when it is larger.

    Insertions, deletions, substitutions and swaps of neighbours cost one each.

    **Source:** the textbook dynamic programme (Boytsov 2011, restricted Damerau-Levenshtein).
    """
    if abs(len(left) - len(right)) > limit:
        return limit + 1
    before: list[int] = []
    previous = list(range(len(right) + 1))
    for row, a in enumerate(left, start=1):
        current = [row]
        for column, b in enumerate(right, start=1):
            cost = min(
                previous[column] + 1,
                current[column - 1] + 1,
                previous[column - 1] + (a != b),
            )
            if row > 1 and column > 1 and a == right[column - 2] and left[row - 2] == b:
                cost = min(cost, before[column - 2] + 1)
            current.append(cost)
        if min(current) > limit:
            return limit + 1
        before, previous = previous, current
    return min(previous[-1], limit + 1)


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate spelled most like ``word``, or ``None`` when none is close.

    Upper and lower case and the separators ``-``, ``_`` and blank do not count as differences.
    Close means at most one edit per three characters (at least one, at most four); among equals
    the first candidate wins, so the answer never depends on a set's order as long as the caller
    passes a sequence.
    """
    wanted = _normal(word)
    limit = min(max(1, len(wanted) // 3), 4)
    best: str | None = None
    for candidate in candidates:
        distance = edit_distance(wanted, _normal(candidate), limit)
        if distance <= limit:
            best, limit = candidate, distance - 1
            if distance == 0:
                break
    return best


def _normal(word: str) -> str:
    return word.lower().replace("-", "").replace("_", "").replace(" ", "")
