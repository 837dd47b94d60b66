"""A clock for tests of what really takes time: files on disks have ages."""

import time

from tidemill.testing.engine import StandingClock


class RunningClock(StandingClock):
    """It cannot be moved."""

    @property
    def now(self) -> float:
        return time.time()

    @now.setter
    def now(self, _: float) -> None: ...
