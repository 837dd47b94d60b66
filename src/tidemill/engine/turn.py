"""A turn: one transaction of the engine, and the work lists that connect its parts.

Completing a datum, ending one without a value, making a run ready and counting in a block each cause more of the same.
They put their consequences on these lists; `activate.settle` works them off until none is left, then the turn commits.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from tidemill.model.events import Event, Kind
from tidemill.model.protocol import Failure
from tidemill.model.states import BlockState
from tidemill.stores.state import queues
from tidemill.stores.state.database import Database

if TYPE_CHECKING:
    from tidemill.engine.engine import Engine


class Ready(NamedTuple):
    """A run with nothing pending. `key` is its base key; `keyed` says that it is its final key too."""

    id: int
    key: bytes
    cls: int
    flags: int
    task: int
    keyed: bool


class Dead(NamedTuple):
    """A datum that ended without a value: its state and the run that is the root cause."""

    datum: int
    state: int
    cause: int


class Regrow(NamedTuple):
    """A reused run, its block and first output, and the run whose growth it repeats."""

    run: int
    block: int
    out: int
    source: int


class Closed(NamedTuple):
    block: int
    state: BlockState


class Failed(NamedTuple):
    """A run that ended with an error of its own."""

    run: int
    block: int
    task: int
    failure: Failure


OPEN, DONE, REUSED, FAILED, SKIPPED, CANCELLED, TOTAL = range(7)


class Turn:
    """One transaction. Made by `Engine.turn`, which begins and commits it.

    Attributes:
        done: data that became complete and whose consumers have not been counted down.
        dead: data that ended without a value and whose consumers have not been told.
        hear: (datum, run, port, state) of inputs that had ended without a value when the run was inserted.
        fresh: runs with nothing pending that are neither reused nor queued yet.
        unwanted: runs that came for a block which is being stopped: they are cancelled.
        ended: runs that ended and whose outputs have ended too: who waited for them because of an equal key goes on.
        stop: (block, root cause) of blocks in which nothing new shall start, because something failed.
        promised: complete data that pending ones were just promised as.
        regrow: reused runs that grew, to grow again.
        revive: runs that ended without a result and are to live again; each holds its block open meanwhile.
        arming: those of them whose outputs are pending again.
        unserved: blocks that had ended, and whose services with them, which are open again.
        hot: runs per class that became ready in this turn and stand in no table yet.
        counts: changes of block counters, per block [open, done, reused, failed, skipped, cancelled, total].
        closed: blocks that closed in this turn.
        stopped: (run, worker) of leases voided while the worker may be executing them.
        failures: runs that ended with an error, for messages.
        over: (run, fence, worker) of services that run and of which no user is left.
        shared: other engines' turns may run at the same time.
        progress: (block, task, what) -> number of runs, for displays.
    """

    def __init__(self, engine: "Engine", now: float) -> None:
        self.engine = engine
        self.db: Database = engine.db
        self.now = now
        self.done: list[int] = []
        self.dead: list[Dead] = []
        self.hear: list[tuple[int, int, int, int]] = []
        self.fresh: list[Ready] = []
        self.hot: dict[int, list[int]] = {}
        self.ended: list[int] = []
        self.unwanted: list[int] = []
        self.stop: list[tuple[int, int | None]] = []
        self.promised: list[int] = []
        self.regrow: list[Regrow] = []
        self.revive: list[int] = []
        self.revived = 0
        self.arming: list[int] = []
        self.unserved: list[int] = []
        self.shared = False
        self.counts: dict[int, list[int]] = {}
        self.closed: list[Closed] = []
        self.stopped: list[tuple[int, int]] = []
        self.failures: list[Failed] = []
        self.over: list[tuple[int, int, int]] = []
        self.progress: dict[tuple[int, int, int], int] = {}
        self.events: list[Event] = []
        self.size = 0

    def untold(self, found: list[int]) -> set[int]:
        """Data, `found` among them, that have ended while their consumers have yet to be told: nobody may count them
        before.
        """
        aside = {*self.done, *(d.datum for d in self.dead)}
        if self.engine.doomed:
            aside |= queues.doomed_among(self.db, found)
        return aside

    def event(self, kind: Kind, ids: list[int], *, actor: int = 0, note: object = None, who: str = "") -> None:
        """Record what happened; written with the commit."""
        if ids:
            self.events.append(Event(kind, ids, actor, note, who))
            self.size += len(ids)

    def count(self, block: int, what: int, n: int = 1) -> None:
        """`n` runs (or child blocks) of a block ended as `what`: they are open no more."""
        row = self.counts.get(block)
        if row is None:
            row = self.counts[block] = [0] * 7
        row[OPEN] -= n
        row[what] += n

    def change(self, block: int, what: int, n: int) -> None:
        """Change one counter only."""
        row = self.counts.get(block)
        if row is None:
            row = self.counts[block] = [0] * 7
        row[what] += n

    def note_progress(self, what: int, where: Iterable[tuple[int, int]], n: int = 1) -> None:
        """Count runs by (block, task) for displays; `n` is -1 where they no longer count."""
        progress = self.progress
        for block, task in where:
            key = (block, task, what)
            progress[key] = progress.get(key, 0) + n
