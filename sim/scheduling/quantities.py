"""Exact resource quantities, as integers of 10^-9 units.

The API server rounds every quantity up to nano units, so an integer count of nano units holds each
quantity exactly; sums are formed there and rounded up once, as the scheduler does.

**Source:** Kubernetes v1.36 ``apimachinery/pkg/api/resource`` (suffixes, rounding up),
``pkg/scheduler/framework/types.go`` ``Resource.Add`` (milli units for cpu, whole units otherwise).
"""

from __future__ import annotations

from fractions import Fraction

NANO = 1_000_000_000
_NANO_PER_MILLI = 1_000_000

_SUFFIX: dict[str, Fraction] = {
    "": Fraction(1),
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 10**3),
    "k": Fraction(10**3),
    "M": Fraction(10**6),
    "G": Fraction(10**9),
    "T": Fraction(10**12),
    "P": Fraction(10**15),
    "E": Fraction(10**18),
    "Ki": Fraction(2**10),
    "Mi": Fraction(2**20),
    "Gi": Fraction(2**30),
    "Ti": Fraction(2**40),
    "Pi": Fraction(2**50),
    "Ei": Fraction(2**60),
}

_cache: dict[str, int] = {}
_CACHE_ENTRIES_MAX = 65_536


def parse_nano(quantity: object) -> int:
    """Nano units of a quantity such as ``500m``, ``1536Mi``, ``1e10`` or the number 2, rounded up.

    Raises ``ValueError`` when the text is no quantity.
    """
    text = quantity if isinstance(quantity, str) else str(quantity)
    known = _cache.get(text)
    if known is not None:
        return known
    value = _exact(text) * NANO
    nano = -((-value.numerator) // value.denominator)
    if len(_cache) >= _CACHE_ENTRIES_MAX:
        _cache.clear()
    _cache[text] = nano
    return nano


def _exact(text: str) -> Fraction:
    stripped = text.strip()
    digits = len(stripped)
    while digits and not (stripped[digits - 1].isdigit() or stripped[digits - 1] == "."):
        digits -= 1
    number, suffix = stripped[:digits], stripped[digits:]
    try:
        # Fraction reads "1e3"; the bare suffix "E" (exa) never follows digits with digits after it.
        return Fraction(number) * _SUFFIX[suffix]
    except (KeyError, ValueError, ZeroDivisionError):
        raise ValueError(f"{text!r} is not a Kubernetes quantity") from None


def is_scalar_resource(name: str) -> bool:
    """Whether a resource is kept among the scalar resources of a node.

    **Source:** ``pkg/scheduler/util/utils.go`` ``IsScalarResourceName`` and
    ``pkg/apis/core/v1/helper`` (extended, hugepages, attachable volumes, prefixed native).
    """
    return (
        is_extended_resource(name)
        or name.startswith(("hugepages-", "attachable-volumes-"))
        or "kubernetes.io/" in name
    )


def is_extended_resource(name: str) -> bool:
    """Whether a resource is an extended one (a domain prefix other than kubernetes.io)."""
    return "/" in name and "kubernetes.io/" not in name and not name.startswith("requests.")


def round_up(name: str, nano: int) -> int:
    """Integer amount the scheduler keeps: millicores for cpu, whole units for everything else."""
    return -(-nano // (_NANO_PER_MILLI if name == "cpu" else NANO))
