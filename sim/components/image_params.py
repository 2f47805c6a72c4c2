"""Parameters of image pulls, by the names of the KubeletConfiguration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Ge, Gt


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageParams:
    """Image pulling of every kubelet, and the links it uses."""

    serialize_image_pulls: bool = True
    max_parallel_image_pulls_count: Annotated[int, Ge(0)] = 0
    """With ``serialize_image_pulls`` false; 0 means no limit."""
    registry_pull_qps: Annotated[float, Ge(0)] = 5.0
    """0 means no limit."""
    registry_burst: Annotated[int, Gt(0)] = 10
    backoff_base_seconds: Annotated[float, Gt(0)] = 10.0
    backoff_max_seconds: Annotated[float, Gt(0)] = 300.0
    node_bandwidth_bytes_per_second: Annotated[float, Ge(0)] = 125e6
    """Assumed: 1 Gbit/s per node; 0 means unlimited."""
    registry_bandwidth_bytes_per_second: Annotated[float, Ge(0)] = 1250e6
    """Assumed: 10 Gbit/s for the registry; 0 means unlimited."""
    layer_bytes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Images that have to be pulled: name of the image → name of a layer → compressed size. Layers
    of one name are shared between images. Every other image is present on every node."""
