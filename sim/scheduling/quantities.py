"""Exact resource quantities, as integers of 10^-9 units.

The API server rounds every quantity up to nano units, so an integer count of nano units holds each
quantity exactly; sums are formed there and rounded up once, as the scheduler does.

**Source:** Kubernetes v1.36 ``pkg/scheduler/framework/types.go`` ``Resource.Add`` (milli units for
cpu, whole units otherwise).
"""

from __future__ import annotations

from functools import lru_cache

from sim.base.quantity import NANOS_PER_MILLI, NANOS_PER_UNIT, parse_quantity


@lru_cache(maxsize=1 << 16)
def parse_nano(quantity: str | int | float) -> int:
    """Nano units of a quantity such as ``500m``, ``1536Mi``, ``1e10`` or the number 2, rounded up.

    Raises:
        QuantityError: the text is no quantity.
    """
    return parse_quantity(quantity).nanos


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
    return -(-nano // (NANOS_PER_MILLI if name == "cpu" else NANOS_PER_UNIT))
