"""The key index in memory: recent keys, keys under way, and the sorted merge into the table.

Derived data. A key written per run in random order is the dearest row of all, so recent keys stay in memory and go to
the table in sorted slices; after a crash those not merged yet are read back from the events since the mark.
"""

from collections.abc import Callable
from typing import NamedTuple

from tidemill.engine.flags import FORCED, GREW
from tidemill.model import events as model_events
from tidemill.model.delta import RunFlag
from tidemill.model.events import Kind
from tidemill.model.states import DatumState
from tidemill.stores.state import data, events, memo, meta, runs
from tidemill.stores.state.data import Datum
from tidemill.stores.state.database import Database, Row

RECENT = 50_000
SLICE = 2_048
"""Keys divided in one transaction, or more where more than `RECENT` have gathered."""
_PARTS = 32
UNDER_WAY = 100_000
PortsOf = Callable[[int], int]
_DONE = int(Kind.COMPLETED)


class Source(NamedTuple):
    """A complete run that may be reused, with its complete outputs (none if it grew)."""

    run: int
    flags: int
    outputs: tuple[Datum, ...]


class _Merge:
    """Keys on their way into the table in ascending order of their first 64 bits, a little in each transaction.

    Attributes:
        keys: all of them, until the last is in the table.
        mark: the last event before the first that is not among them.
    """

    def __init__(self, keys: dict[bytes, int], mark: int) -> None:
        self.keys = keys
        self.mark = mark
        self._left = list(keys.items())
        self._slice = max(SLICE, len(keys) * SLICE // RECENT)
        self._parts: list[list[tuple[int, int]]] = [[] for _ in range(_PARTS)]

    def step(self, db: Database) -> bool:
        """Divide some by their highest bits, or else put a part in order and into the table; whether that was all."""
        if self._left:
            parts, short = self._parts, memo.short
            for key, run in self._left[-self._slice :]:
                parts[(key[7] ^ 0x80) >> 3].append((short(key), run))
            del self._left[-self._slice :]
            return False
        part = self._parts.pop(0)
        if part:
            part.sort()
            memo.add(db, *zip(*part, strict=True))
        return not self._parts


class KeyIndex:
    """Maps run keys to complete runs, and to runs under way of this engine.

    Args:
        ports: number of outputs of a task id.
        shared: several engines serve the store, so keys go to the table at once, those of runs under way too.
    """

    def __init__(self, ports: PortsOf, *, shared: bool) -> None:
        self._ports = ports
        self._shared = shared
        self._recent: dict[bytes, int] = {}
        self._merge: _Merge | None = None
        self._unsound: dict[bytes, int] = {}
        self._under_way: dict[bytes, int] = {}
        self._led_by: dict[int, bytes] = {}
        self._elsewhere: dict[bytes, int] = {}
        self._untold: list[tuple[int, int]] = []

    def load(self, db: Database) -> None:
        """Read back the keys that were complete but not merged when the store was last left."""
        self._recent.clear()
        self._merge = None
        self._unsound.clear()
        self._under_way.clear()
        self._led_by.clear()
        self._elsewhere.clear()
        self._untold.clear()
        if self._shared:
            return
        seq = meta.read(db).get("memo", 0)
        while rows := events.after(db, seq):
            seq = rows[-1][0]
            ids = [i for r in rows for e in model_events.decode(r[4]) if e.kind == _DONE for i in e.ids]
            found = [row for row in memo.keys(db, ids) if row[2] == runs.COMPLETE and not row[3] & RunFlag.NO_CACHE]
            self._recent.update((bytes(key), run) for run, key, _, flags in found if not flags & FORCED)
            for run, key, _, flags in found:
                if flags & FORCED and not self.lookup(db, [bytes(key)]):  # else the first result stays
                    self._recent[bytes(key)] = run

    def add(self, keys: list[bytes], ids: list[int], untold: list[tuple[bytes, int]]) -> None:
        """These runs are complete under these keys.

        Args:
            keys: in the order of `ids`.
            ids: the runs.
            untold: those of them that were never asked whether they lead.
        """
        if self._shared:
            self._untold += [(memo.short(key), run) for key, run in untold]
            if len(self._recent) > RECENT:
                self._recent.clear()
        self._recent.update(zip(keys, ids, strict=True))

    def _add(self, db: Database, pairs: list[tuple[int, int]]) -> None:
        if pairs:
            memo.add(db, *zip(*sorted(pairs), strict=True))

    def tell(self, db: Database) -> None:
        """Let other engines know of the runs that lead since the last time; call inside a transaction."""
        self._add(db, self._untold)
        self._untold.clear()

    @property
    def leading(self) -> bool:
        """Whether any run under way is noted."""
        return bool(self._under_way)

    def known(self, key: bytes) -> int | None:
        """The run that completed with a recent key (not looked up in the table)."""
        return self._recent.get(key) or self._merging.get(key) or self._unsound.get(key)

    @property
    def _merging(self) -> dict[bytes, int]:
        return self._merge.keys if self._merge is not None else {}

    def lead(self, key: bytes, run: int) -> int | None:
        """The run under way with this key, or None after noting that `run` is it now. Look its key up first."""
        leader = self._under_way.get(key) or self._elsewhere.get(key)
        if leader is not None and leader != run:
            return leader
        if self._shared and run not in self._led_by:
            self._untold.append((memo.short(key), run))
        if len(self._under_way) < UNDER_WAY:
            self._under_way[key] = run
            self._led_by[run] = key
        return None

    def insist(self, key: bytes, run: int) -> None:
        """This run leads, whoever did before."""
        if self._shared:
            self._untold.append((memo.short(key), run))

    def forget(self, ids: list[int]) -> None:
        """These runs ended without a result: they lead nobody any more."""
        for run in ids:
            key = self._led_by.pop(run, None)
            if key is not None:
                self._under_way.pop(key, None)

    def lookup(self, db: Database, keys: list[bytes]) -> dict[bytes, Source]:
        """Reusable runs by key: complete, with complete outputs."""
        known: list[int] = []
        missing: list[int] = []
        recent, merging = self._recent, self._merging
        for key in keys:
            run = recent.get(key) or merging.get(key)
            if run is not None:
                known.append(run)
            else:
                missing.append(memo.short(key))
        self._elsewhere.clear()
        rows = memo.sources(db, known) if known else []
        if missing:
            rows += memo.sources_by_key(db, missing)
        return self._sound(db, rows, set(keys)) if rows else {}

    def _sound(self, db: Database, rows: list[Row], wanted: set[bytes]) -> dict[bytes, Source]:
        """Of complete runs with a wanted key those whose outputs are complete; the first of each key."""
        if self._shared:
            self._look_elsewhere(rows, wanted)
        found = [
            (run, key, flags, (Datum(out, run, 0, first, kind, size, src, None, digest, None),))
            if self._ports(task) == 1
            else (run, key, flags, self._outputs(db, out, self._ports(task)))
            for run, key, out, state, flags, task, first, kind, size, src, digest in rows
            if state == runs.COMPLETE and key in wanted
        ]
        aliased = [d.src for *_, outputs in found for d in outputs if d.src]
        # an alias is as good as what it points at
        sound = data.states(db, aliased) if aliased else {}
        result: dict[bytes, Source] = {}
        for run, key, flags, outputs in found:
            if any(d.state != data.COMPLETE or (d.src and sound.get(d.src) != data.COMPLETE) for d in outputs):
                if len(self._unsound) < RECENT:
                    self._unsound[key] = run
            elif key not in result or run < result[key].run:
                result[key] = Source(run, flags, outputs)
        return result

    def _look_elsewhere(self, rows: list[Row], wanted: set[bytes]) -> None:
        """Remember who may be under way with a wanted key: live runs, and such that grew and wait for their results."""
        for run, key, _, state, flags, _, first, *_ in rows:
            waits = state == runs.LIVE or (state == runs.COMPLETE and flags & GREW and first != data.COMPLETE)
            if waits and key in wanted and run < self._elsewhere.get(key, run + 1):
                self._elsewhere[key] = run

    def _outputs(self, db: Database, out: int, ports: int) -> tuple[Datum, ...]:
        ids = range(out, out + ports)
        rows = data.get(db, list(ids), values=False) if ports else {}
        absent = Datum(0, None, 0, int(DatumState.PENDING), 0, 0, None, None, None, None)
        return tuple(rows.get(i, absent) for i in ids)

    def merge(self, db: Database, *, everything: bool = False) -> None:
        """Merge a slice of what has gathered into the table; call inside a transaction."""
        if self._merge is None and (len(self._recent) >= RECENT or (everything and self._recent)):
            self._merge = _Merge(self._recent, events.last(db))
            self._recent = {}
        while self._merge is not None:
            if self._merge.step(db):
                meta.put(db, "memo", self._merge.mark)
                self._merge = None
            if not everything:
                return
