"""Time, injectable: wall clock for records, monotonic for leases and timers."""

import time
from typing import Protocol


class Clock(Protocol):
    """Seconds."""

    def time(self) -> float:
        """Since the epoch; may jump."""

    def monotonic(self) -> float:
        """Never jumps back; comparable between processes of one machine since its start."""


class SystemClock:
    """The machine's clocks. Timers in a store must outlive a restart, so their time base is the epoch as it was known
    when this clock was made, carried on monotonically: a wall clock set back fires nothing twice.

    Args:
        now: seconds since the epoch by somebody else's clock, to be carried on instead of this machine's.
    """

    def __init__(self, now: float | None = None) -> None:
        self._offset = (time.time() if now is None else now) - time.monotonic()

    def time(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic() + self._offset
