"""How much an attempt has on its disk: allocated bytes of a directory, looked at in slices."""

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

_BLOCK = 512
"""Bytes in one unit of `st_blocks` (stat(2))."""
_OFTEN = 64
"""Entries between two looks at the clock."""


class DiskUse:
    """Measures a directory that may be large and change meanwhile, without stopping its caller for long.

    A file that has links from elsewhere is not counted: it is an input, and the object store's. Symbolic links are not
    followed.

    Args:
        path: the directory.

    Attributes:
        total: bytes found so far in the walk under way, and when `step` has returned True those of all.
    """

    def __init__(self, path: Path) -> None:
        self.total = 0
        self._files = self._walk(str(path))

    def step(self, seconds: float) -> bool:
        """Go on for about so long; whether everything has been looked at."""
        end = time.monotonic() + seconds
        for number, found in enumerate(self._files, 1):
            self.total += found
            if number % _OFTEN == 0 and time.monotonic() >= end:
                return False
        return True

    @staticmethod
    def _walk(top: str) -> Iterator[int]:
        """Bytes of one entry after the other."""
        linked: dict[tuple[int, int], int] = {}
        pending = [top]
        while pending:
            try:
                with os.scandir(pending.pop()) as entries:
                    for entry in entries:
                        try:
                            found = entry.stat(follow_symlinks=False)
                        except OSError:  # it is gone
                            continue
                        if stat.S_ISDIR(found.st_mode):
                            pending.append(entry.path)
                        elif found.st_nlink > 1:
                            key = found.st_dev, found.st_ino
                            linked[key] = linked.get(key, 0) + 1
                            if linked[key] < found.st_nlink:
                                yield 0
                                continue
                        yield found.st_blocks * _BLOCK
            except OSError:
                continue


def disk_use(path: Path) -> int:
    """Allocated bytes of what is in a directory."""
    found = DiskUse(path)
    found.step(float("inf"))
    return found.total
