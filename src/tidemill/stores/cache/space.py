"""How much room there is in a cache, and what makes room for more."""

import os
import time
from bisect import insort
from collections.abc import Callable
from operator import attrgetter
from typing import NamedTuple

from tidemill.model.errors import CacheFullError
from tidemill.stores.cache.records import Entry, Sums

LOOK_AGAIN_S = 5.0
"""Seconds after which free disk is measured again, where no limit is set."""

_SPARE = 20
"""Of the disk, one part in so many is left alone where no limit is set."""

_SMALL_SHARE = 16
"""Entries of less than one part in so many of what is missing are evicted last."""


class Figures(NamedTuple):
    """How full a cache is, in bytes.

    Attributes:
        limit: what was set; where nothing was, what the cache holds and what it could still put on the disk.
        used: what is in it.
        reserved: what jobs asked for beyond the files of the cache that they link to.
        available: what could come without anything being evicted; negative where jobs asked for more than there is.
        usable: what further jobs could ask for if nothing were cached.
    """

    limit: int
    used: int
    reserved: int
    available: int
    usable: int


class Limit:
    """The limit of a cache in `directory`: what was set, or what the disk has, measured again now and then."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._looked = -LOOK_AGAIN_S
        self._capacity = 0

    def figures(self, sums: Sums) -> Figures:
        limit = self._measured(sums.used) if sums.limit is None else sums.limit
        return Figures(limit, sums.used, sums.reserved, limit - sums.used - sums.reserved, limit - sums.asked)

    def _measured(self, used: int) -> int:
        """What the cache has, and could still put on the disk."""
        now = time.monotonic()
        if now - self._looked >= LOOK_AGAIN_S:
            disk = os.statvfs(self._directory)
            self._looked = now
            self._capacity = used + max(0, disk.f_bavail - disk.f_blocks // _SPARE) * disk.f_frsize
        return self._capacity


def victims(entries: list[Entry], missing: int, last_use: Callable[[Entry], float]) -> list[Entry]:
    """What to evict so that `missing` bytes come free; all together must be enough.

    At each step that is, of the entries with at least a sixteenth of what is still missing, the least recently used;
    where there is none, the least recently used of all. Smaller ones would hardly help, and each of them costs a
    request of its own to come back.

    Args:
        entries: what may be evicted, in the order of their last use as far as the rows know it.
        missing: bytes.
        last_use: when an entry was really used last, never before its `used`; asked only of what would be evicted.
    """
    pool = list(entries)
    largest = max((entry.cost for entry in pool), default=0)
    chosen: list[Entry] = []
    while missing > 0:
        place = 0
        if largest * _SMALL_SHARE >= missing:
            place = next((i for i, entry in enumerate(pool) if entry.cost * _SMALL_SHARE >= missing), 0)
        entry = pool.pop(place)
        used = last_use(entry)
        if used > entry.used:
            insort(pool, entry._replace(used=used), key=attrgetter("used"))
            continue
        chosen.append(entry)
        missing -= entry.cost
        if entry.cost == largest:
            largest = max((entry.cost for entry in pool), default=0)
    return chosen


def full(directory: str, needed: int, figures: Figures) -> CacheFullError:
    """The error for what does not fit, with the figures."""
    return CacheFullError(
        f"the cache in {directory} has no room for {needed:,} bytes: of {figures.limit:,} bytes, {figures.used:,} hold "
        f"files, of which not enough can go, and jobs have reserved {figures.reserved:,}",
        hint="Raise its limit, ask for less disk, or wait until jobs that read from it have ended.",
    )
