"""The engine: one connection to a store, what is derived from its rows, and turns.

On SQLite an engine is alone (the store directory's OS lock says so); on PostgreSQL several serve one store. Everything kept in
memory is derived: `reload` rebuilds it, and a turn that fails rolls back and reloads.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from tidemill.engine import activate, keyindex, reclaim
from tidemill.engine.clock import Clock, SystemClock
from tidemill.engine.ids import Ids
from tidemill.engine.lease import Leased
from tidemill.engine.submit import Facts, Layout
from tidemill.engine.turn import Turn
from tidemill.model import events as model_events
from tidemill.model.delta import ClassSpec
from tidemill.model.errors import NotFoundError
from tidemill.model.spec import TaskSpec, decode_spec, encode_spec
from tidemill.stores.state import blocks, classes, data, events, gathers, memo, queues, schema, tasks
from tidemill.stores.state.classes import Class, Hub
from tidemill.stores.state.database import Database

_pack = msgspec.msgpack.Encoder().encode


class Engine:
    """The six transactions over one store.

    Args:
        db: an open, migrated database; the engine's own from now on.
        clock: where time comes from.

    Attributes:
        alone: no other engine serves this store.
        ready: ready runs per class, as far as this engine knows.
        flight: leases given by this engine.
        stale_hubs: hubs that were suspended and came back: their ready runs are looked up again when claimed.
    """

    def __init__(self, db: Database, clock: Clock | None = None) -> None:
        self.db = db
        self.clock: Clock = clock or SystemClock()
        self.alone = db.dialect == "sqlite"
        self.id = 0
        self.ids = Ids(db)
        self.index = keyindex.KeyIndex(self.ports, shared=not self.alone)
        self.flight: dict[int, Leased] = {}
        self.layouts: dict[int, Layout] = {}
        self._clear()
        self.reload()

    def _clear(self) -> None:
        self._specs: dict[int, TaskSpec] = {}
        self._encoded: dict[bytes, int] = {}
        self._class_ids: dict[tuple[int, int, float, float, int], int] = {}
        self._facts: dict[int, Facts] = {}
        self.classes: dict[int, Class] = {}
        self.hubs: dict[int, Hub] = {}
        self.ready: dict[int, int] = {}
        self.levels: set[int] = set()
        self.stale_hubs: set[int] = set()
        self.sweeps: dict[int, int] = {}
        self.forwards = self.follows = self.lifetimes = 0
        self.doomed = self.unexpanded = self.unfolded = False
        self.next_timer = math.inf

    def reload(self) -> None:
        """Derive what is kept in memory from the rows again."""
        self._clear()
        self.layouts.clear()
        db = self.db
        with db.transaction(write=False):
            for c in classes.every(db):
                self._remember_class(c)
            self.hubs = {h.id: h for h in classes.hubs(db)}
            self.refresh_ready()
            self.levels = gathers.levels(db)
            self.forwards = data.any_forward(db)
            self.follows = memo.any_follow(db)
            self.lifetimes = data.any_lifetime(db)
            self.next_timer = queues.next_timer(db) or math.inf
            self.sweeps = dict.fromkeys(blocks.stopping(db), 0)
            self.ids.forget()
            self.index.load(db)
        self.doomed = self.unexpanded = True
        self.unfolded = not self.alone

    def refresh_ready(self) -> None:
        """Count the ready runs per class; with several engines, learn what the others added."""
        if self.alone:
            self.ready = classes.counts(self.db)
        else:
            for c in classes.every(self.db):
                self._remember_class(c)
            self.hubs = {h.id: h for h in classes.hubs(self.db)}
            self.ready = dict.fromkeys(classes.standing(self.db), 1)
            if not self.forwards:
                self.forwards = data.any_forward(self.db)
            if not self.follows:
                self.follows = memo.any_follow(self.db)
            self.levels |= gathers.levels(self.db)

    # ------------------------------------------------------------------------------------------------- turns

    @contextmanager
    def turn(self) -> Iterator[Turn]:
        """One transaction. On leaving, the work lists are settled, events written and everything committed.

        Raises:
            NewerStoreError: the store was migrated by a newer engine meanwhile; this one must end.
            StoreError: the database refused; nothing of the turn happened.
        """
        turn = Turn(self, self.clock.time())
        self.db.begin()
        try:
            if not self.alone:
                schema.check(self.db)
            yield turn
            self.finish(turn)
            self.db.commit()
        except BaseException:
            self.db.rollback()
            self.flight.clear()
            self.reload()
            raise

    def finish(self, turn: Turn) -> None:
        """Settle and write what the turn gathered."""
        activate.settle(turn)
        activate.spill(turn)
        if self.alone:
            self.index.merge(self.db)
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
        due = self.next_timer <= self.clock.monotonic()
        return self.doomed or self.unexpanded or self.unfolded or bool(self.sweeps) or due

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

    def _remember_class(self, c: Class) -> None:
        self.classes[c.id] = c
        self._class_ids[(c.hub, c.priority, c.weight, c.cpus, c.memory)] = c.id

    def class_id(self, db: Database, hub: int, spec: ClassSpec) -> int:
        """The id of the class of a hub, stored if it is new."""
        key = (hub, spec.priority, spec.weight, spec.resources.cpus, spec.resources.memory)
        known = self._class_ids.get(key)
        if known is None:
            known = classes.find_or_add(db, self.reserve("class", 1), *key)
            self._remember_class(Class(known, *key))
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
            found = Facts(row.root, row.scope, row.hub)
            self.remember_facts(block, found)
        return found

    def remember_facts(self, block: int, facts: Facts) -> None:
        if len(self._facts) > 50_000:
            self._facts.clear()
        self._facts[block] = facts

    def lock_graph(self, turn: Turn, *, exclusive: bool) -> None:
        """PostgreSQL: a chunk that refers to data of others must not miss their completion, see `classes.lock_graph`."""
        if not self.alone:
            classes.lock_graph(turn.db, exclusive=exclusive)

    def pack(self, value: object) -> bytes:
        return _pack(value)
