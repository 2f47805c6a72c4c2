"""Images on nodes, and the pulls that bring them there.

(first form: every image is present)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

PRESENT = "present"
PULLED = "pulled"

Answer = Callable[[Any, str, str], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageParams:
    """Image pulling of the kubelet."""

    backoff_base_seconds: float = 10.0
    backoff_max_seconds: float = 300.0


class Images:
    """Images by node."""

    def __init__(self, params: ImageParams) -> None:
        self.params = params

    def add_node(self) -> None:
        """Add a node."""

    def reset(self, node: int) -> None:
        """The node crashed."""

    def cancel(self, node: int, uid: int) -> None:
        """The pod no longer waits."""

    def ensure(
        self,
        node: int,
        uid: int,
        image: str,
        policy: str,
        answer: Answer,
        record: Any,  # noqa: ANN401
    ) -> None:
        """Make an image available."""
        answer(record, PRESENT, f'Container image "{image}" already present on machine')
