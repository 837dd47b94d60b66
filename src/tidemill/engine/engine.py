"""The engine: one connection to a store, what is derived from its rows, and turns.

On SQLite an engine is alone (the store directory's OS lock says so); on PostgreSQL several serve one store. Everything
kept in memory is derived: `reload` rebuilds it, and a turn that fails rolls back and reloads.
"""

import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

from tidemill.engine import activate, claim, control, keyindex, reclaim, stand
from tidemill.engine.clock import Clock, SystemClock
from tidemill.engine.ids import Ids
from tidemill.engine.lease import Leased
from tidemill.engine.submit import Facts, Layout
from tidemill.engine.turn import Turn
from tidemill.model import events as model_events
from tidemill.model.delta import ClassSpec
from tidemill.model.errors import NotFoundError
from tidemill.model.spec import TaskSpec, decode_spec, encode_spec
from tidemill.stores.state import blocks, classes, data, events, files, gathers, memo, meta, queues, schema, tasks
from tidemill.stores.state.classes import Class, Hub
from tidemill.stores.state.database import ContentionError, Database

T = TypeVar("T")
MANY = 1 << 40
"""Stands for a number of rows that others change too."""
FACTS = 200_000
"""Blocks whose facts are kept in memory, before the older half is forgotten. A recursion has many open at once."""
ATTEMPTS = 8
"""How often a transaction is tried that meets another engine's."""


class Known(dict[int, T]):
    """What this engine knows of a table that others add to: it looks again when it meets an id it does not know."""

    def __init__(self, learn: Callable[[], None]) -> None:
        super().__init__()
        self._learn = learn

    def __missing__(self, key: int) -> T:
        self._learn()
        if key in self:
            return self[key]
        raise KeyError(key)


class Engine:
    """The six transactions over one store.

    Args:
        db: an open, migrated database; the engine's own from now on.
        clock: where time comes from.

    Attributes:
        alone: no other engine serves this store.
        ready: ready runs per class, as far as this engine knows (1 for "some" where it is not alone).
        spilled: runs came to stand ready that no claim of their turn took; who claims takes that back.
        flight: leases given by this engine.
        sweeps: deltas with blocks being stopped, and the run at which their sweep goes on.
        random: draws hubs and classes.
        conflicts: transactions that met another engine's and were tried again.
        memory: bytes of this machine, beyond which no request is raised; 0 if that is unknown.
        peaks: task -> until when an answer of `auto` holds, and that answer.
        temporary, journaled: whether there are temporary files, and bytes that may have to be deleted.
        stale_hubs: hubs that were suspended and came back: their ready runs are looked up again when claimed.
    """

    def __init__(self, db: Database, clock: Clock | None = None) -> None:
        self.db = db
        self.alone = db.dialect == "sqlite"
        # machines disagree about the time; engines of one store go by its server's
        self.clock: Clock = clock or SystemClock(None if self.alone else db.time())
        self.id = 0
        self.ids = Ids(db)
        self.index = keyindex.KeyIndex(self.ports, shared=not self.alone)
        self.flight: dict[int, Leased] = {}
        self.layouts: dict[int, Layout] = {}
        self.classes: Known[Class] = Known(self.learn_shares)
        self.hubs: Known[Hub] = Known(self.learn_shares)
        self.random = random.Random()
        self.conflicts = 0
        self.spilled = False
        self.memory = 0
        self.peaks: dict[str, tuple[float, tuple[int, int]]] = {}
        self._clear()
        self.reload()

    def _clear(self) -> None:
        self._specs: dict[int, TaskSpec] = {}
        self._encoded: dict[bytes, int] = {}
        self._class_ids: dict[tuple[object, ...], int] = {}
        self._facts: dict[int, Facts] = {}
        self.classes.clear()
        self.hubs.clear()
        self._shares = -1
        self.ready: dict[int, int] = {}
        self.levels: set[int] = set()
        self.stale_hubs: set[int] = set()
        self.sweeps: dict[int, int] = {}
        self.forwards = self.follows = self.lifetimes = 0
        self.doomed = self.unexpanded = self.unfolded = False
        self.temporary = self.journaled = False
        self.next_timer = math.inf

    def reload(self) -> None:
        """Derive what is kept in memory from the rows again."""
        self._clear()
        self.layouts.clear()
        db = self.db
        with db.transaction(write=False):
            self.learn_shares()
            self.refresh_ready()
            self.levels = gathers.levels(db)
            self.forwards = data.any_forward(db)
            self.follows = memo.any_follow(db)
            self.lifetimes = data.any_lifetime(db)
            self.temporary, self.journaled = files.any_temporary(db), files.any_journaled(db)
            self._learn_timer(queues.next_timer(db))
            self.adopt()
            self.ids.forget()
            self.index.load(db)
            self.flight = claim.leased(self)

    def adopt(self) -> None:
        """Look for work of engines that are gone (or of ours before a restart): ends to tell, growths to expand,
        blocks to sweep.
        """
        self.doomed = self.unexpanded = True
        self.unfolded = not self.alone
        self.sweeps = control.sweeps(self.db)

    def learn_shares(self) -> None:
        """Read hubs and classes."""
        for c in classes.every(self.db):
            self.remember_class(c)
        for h in classes.hubs(self.db):
            self.hubs[h.id] = h

    def _learn_timer(self, at: float | None) -> None:
        self.next_timer = math.inf if at is None else at

    def refresh_ready(self) -> None:
        """Count the ready runs per class; with several engines, learn what the others added."""
        if self.alone:
            self.ready = classes.counts(self.db)
        else:
            self.ready = dict.fromkeys(classes.standing(self.db), 1)

    # ------------------------------------------------------------------------------------------------- turns

    @contextmanager
    def turn(self, *, shared: bool = False) -> Iterator[Turn]:
        """One transaction. On leaving, the work lists are settled, events written and everything committed.

        Args:
            shared: other engines' shared turns may run at the same time. For turns that only complete and claim: what
                submits or controls must be alone, so that it misses no completion and no completion misses it.

        Raises:
            ContentionError: another engine's transaction met this one; nothing happened, and it may be tried again.
            NewerStoreError: the store was migrated by a newer engine meanwhile; this one must end.
            StoreError: the database refused; nothing of the turn happened.
        """
        turn = Turn(self, self.clock.time())
        self.db.begin()
        try:
            if not self.alone:
                self._meet(turn, shared)
            yield turn
            self.finish(turn)
            self.db.commit()
        except BaseException:
            self.db.rollback()
            self.reload()
            raise

    def transact(self, work: Callable[[Turn], T], *, shared: bool = False) -> T:
        """Do `work` in a turn, again if it met another engine's.

        Raises:
            ContentionError: it met others every time.
            TidemillError: what `work` or the store raises.
        """
        for _ in range(ATTEMPTS - 1):
            try:
                with self.turn(shared=shared) as turn:
                    return work(turn)
            except ContentionError:
                self.conflicts += 1
        with self.turn() as turn:
            return work(turn)

    def _meet(self, turn: Turn, shared: bool) -> None:
        """PostgreSQL: keep the turns of several engines apart as far as needed, and learn what the others changed."""
        own = self.sweeps or self.unexpanded or self.next_timer <= self.clock.monotonic()
        turn.shared = shared and not own
        classes.lock_graph(self.db, exclusive=not turn.shared)
        pulse = meta.pulse(self.db)
        schema.refuse_newer(self.db, pulse.schema)
        if pulse.shares != self._shares:
            self.learn_shares()
            self._shares = pulse.shares
        self.levels |= gathers.levels(self.db)
        self.forwards, self.lifetimes = pulse.forwards * MANY, pulse.lifetimes * MANY
        self.follows = MANY  # another engine may let one of its runs follow one of ours at any time
        self.doomed |= pulse.doomed
        self.unfolded |= pulse.unfolded
        self.temporary = pulse.temporary
        self._learn_timer(pulse.timer)

    def finish(self, turn: Turn) -> None:
        """Settle and write what the turn gathered."""
        activate.settle(turn)
        stand.spill(turn)
        if self.alone:
            self.index.merge(self.db)
        else:
            self.index.tell(self.db)
        self.ids.save()
        if turn.events:
            events.add(self.db, turn.now, self.id, turn.size, model_events.encode(turn.events))

    def settle(self, turn: Turn) -> None:
        """Work off the turn's lists now, because what follows must see their effect."""
        activate.settle(turn)

    def upkeep(self, turn: Turn) -> None:
        """The engine's own work, a slice at a time: timers, stored growth, ends to be told, sweeps, folding."""
        reclaim.upkeep(turn)

    @property
    def busy(self) -> bool:
        """Whether `upkeep` has work that should not wait."""
        return self.owes or self.next_timer <= self.clock.monotonic()

    @property
    def owes(self) -> bool:
        """Whether there is work of the store's own that must not be left lying: ends to be told, blocks being
        stopped.
        """
        return self.doomed or self.unexpanded or self.unfolded or bool(self.sweeps)

    # ------------------------------------------------------------------------------------------------- what is derived

    def spec(self, db: Database, task: int) -> TaskSpec:
        """The specification of a task.

        Raises:
            NotFoundError: there is no such task.
        """
        found = self._specs.get(task)
        if found is None:
            encoded = tasks.spec(db, task)
            if encoded is None:
                raise NotFoundError(f"there is no task {task}")
            found = self._specs[task] = decode_spec(encoded)
        return found

    def encoded_spec(self, task: int) -> bytes:
        """The specification of a task as workers get it."""
        return encode_spec(self.spec(self.db, task))

    def ports(self, task: int) -> int:
        """How many outputs a task has."""
        return len(self.spec(self.db, task).outputs)

    def put_task(self, db: Database, encoded: bytes) -> int:
        """The id of a task, stored if it is new."""
        known = self._encoded.get(encoded)
        if known is None:
            spec = decode_spec(encoded)
            known = self._encoded[encoded] = tasks.put(db, spec.digest, spec.name, encoded)
            self._specs[known] = spec
        return known

    def remember_class(self, c: Class) -> None:
        old = self.classes.get(c.id)
        if old is not None and old != c:
            self._class_ids.pop(old[1:], None)
        self.classes[c.id] = c
        self._class_ids[c[1:]] = c.id

    def class_id(self, db: Database, hub: int, spec: ClassSpec) -> int:
        """The id of the class of a hub, stored if it is new."""
        wanted = classes.made_of(0, hub, spec)
        known = self._class_ids.get(wanted[1:])
        if known is None:
            known = classes.find(db, *wanted[1:])
            if known is None:
                known = self.reserve("class", 1)
                classes.add(db, wanted._replace(id=known))
            self.remember_class(wanted._replace(id=known))
        return known

    def add_hub(self, turn: Turn, name: str, block: int | None, weight: float = 1.0, *, active: bool = True) -> int:
        """A new hub."""
        hub = self.reserve("hub", 1)
        classes.add_hub(turn.db, hub, name, weight, active, block)
        self.hubs[hub] = Hub(hub, name, weight, int(active), block)
        return hub

    def reserve(self, name: str, count: int) -> int:
        """The first of `count` fresh ids."""
        return self.ids.take(name, count)

    def facts(self, db: Database, block: int) -> Facts:
        """Root, scope and hub of a block."""
        found = self._facts.get(block)
        if found is None:
            row = blocks.get(db, block)
            assert row is not None
            found = Facts(row.root, row.scope, row.hub, row.flags & blocks.HANDED_DOWN)
            self.remember_facts(block, found)
        return found

    def remember_facts(self, block: int, facts: Facts) -> None:
        if len(self._facts) >= FACTS:
            for old in list(islice(self._facts, FACTS // 2)):
                del self._facts[old]
        self._facts[block] = facts
