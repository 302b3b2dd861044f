"""Times between Python's seconds and the library's nanoseconds."""

import math
from typing import Optional

_MOST = 2**62  # for ever


def nanoseconds(seconds: float, least: int = 0) -> int:
    """Seconds as nanoseconds, at least `least`; rounded up, so that nothing is early."""
    return min(max(least, math.ceil(seconds * 1e9)), _MOST)


def deadline(seconds: Optional[float]) -> int:
    """Seconds as the library takes a deadline or a period: at least a nanosecond; 0 is none."""
    return 0 if seconds is None else nanoseconds(seconds, 1)


def limit(seconds: Optional[float]) -> int:
    """Seconds as the library takes the limit of a wait: -1 is none."""
    return -1 if seconds is None else nanoseconds(seconds)
