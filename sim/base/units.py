"""Named conversion constants; nothing else.

Simulated time is float64 seconds, CPU integer millicores, memory and sizes integer bytes; every
other unit is converted at the border (input files, exports) with the factors below.
"""

from __future__ import annotations

from typing import Final

NANOSECONDS_PER_SECOND: Final = 1_000_000_000
MICROSECONDS_PER_SECOND: Final = 1_000_000
MILLISECONDS_PER_SECOND: Final = 1_000
SECONDS_PER_MINUTE: Final = 60
SECONDS_PER_HOUR: Final = 3_600
SECONDS_PER_DAY: Final = 86_400

MILLICORES_PER_CORE: Final = 1_000

BYTES_PER_KIB: Final = 1 << 10
BYTES_PER_MIB: Final = 1 << 20
BYTES_PER_GIB: Final = 1 << 30
BITS_PER_BYTE: Final = 8
