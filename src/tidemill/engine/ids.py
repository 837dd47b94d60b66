"""Ids: reserved in memory and saved with the turn where the engine is alone; in strides of their own where it is
not.
"""

from tidemill.stores.state import meta
from tidemill.stores.state.database import Database

STRIDE = 10_000


class Ids:
    """Counters of runs, data, blocks, hubs, classes and workers. Ids ascend from 1 and may have gaps."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._next: dict[str, int] = {}
        self._end: dict[str, int] = {}
        self._changed: set[str] = set()

    def forget(self) -> None:
        """Read the counters again: after a rollback, what was reserved in it is free."""
        self._end.clear()
        self._changed.clear()
        self._next = {k: v + 1 for k, v in meta.read(self._db).items()} if self._db.dialect == "sqlite" else {}

    def untouched(self, name: str) -> bool:
        """Whether no id was ever taken, as far as is known without asking."""
        return self._next.get(name) == 1

    def take(self, name: str, count: int) -> int:
        """The first of `count` consecutive fresh ids."""
        if self._db.dialect == "sqlite":
            first = self._next[name]
            self._next[name] = first + count
            self._changed.add(name)
            return first
        return self._take_shared(name, count)

    def _take_shared(self, name: str, count: int) -> int:
        first = self._next.get(name, 0)
        if first + count > self._end.get(name, 0):
            stride = max(count, STRIDE if name in ("run", "datum") else 100)
            first = meta.take(self._db, name, stride)
            self._end[name] = first + stride
        self._next[name] = first + count
        return first

    def save(self) -> None:
        """Write the counters that changed; call before the commit."""
        for name in self._changed:
            meta.put(self._db, name, self._next[name] - 1)
        self._changed.clear()
