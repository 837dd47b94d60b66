"""The local workers of a host: started, watched, ended and replaced. Nothing here decides what they do."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tidemill.engine import reclaim, retry
from tidemill.engine.engine import Engine
from tidemill.engine.turn import Turn
from tidemill.launchers.local import LocalPool, LocalWorker
from tidemill.model import protocol
from tidemill.model.errors import EngineLostError
from tidemill.model.protocol import Failure, Setup, Started
from tidemill.model.states import Reason
from tidemill.server.hosting import Hosting
from tidemill.server.sampling import Sampler, Used
from tidemill.server.slots import Ending, Slot, Slots
from tidemill.server.takeover import do_left_over, pool_directory, tidy
from tidemill.stores.cache import cache_directory
from tidemill.stores.state.workers import Worker

LOG_TAIL = 65536
"""Bytes of what a dead worker had printed that are kept."""
SETTLED = 0.05
"""Seconds into a run after which a worker looks at its socket when the run ends."""
STILLBORN = 5
"""Workers that may end in a row before one of them comes up."""


class Death(NamedTuple):
    """A worker's process that ended: whom to charge with it (None: nobody), and with what."""

    slot: Slot
    started: Started | None
    failure: Failure
    log: bytes
    charge: bool
    peak: Used = Used()


class Crew:
    """The workers that one host started.

    Args:
        engine: the host's.
        me: the engine's registration.
        store: directory for workers' files.
        objects: URL of the object store, for workers.
        slots: the workers as the engine sees them.
        watch: called with each new one.

    Attributes:
        sampler: looks at what they use.
        hosting: looks after the services among what they run.
    """

    def __init__(
        self, engine: Engine, me: Worker, store: Path, objects: str, slots: Slots, watch: Callable[[Slot], None]
    ) -> None:
        self._engine = engine
        self._me = me
        self._store = store
        self._objects = objects
        self._slots = slots
        self._watch = watch
        self._cache = cache_directory(objects, str(store / "cache"))
        self._path: list[str] = []
        self._pools: list[LocalPool] = []
        self._setups: dict[tuple[int, int], int] = {}
        self._stillborn = 0
        self.sampler = Sampler(engine)
        self.hosting = Hosting(engine, slots)

    # ------------------------------------------------------------------------------------------------- starting

    def learn_path(self, path: list[str]) -> None:
        """Entries of `sys.path` for all workers, those that run already too."""
        fresh = [p for p in path if p not in self._path]
        if fresh:
            self._path += fresh
            for slot in self._slots.all:
                slot.worker.channel.send(protocol.encode(self._setup(slot.pool, slot.worker, slot.id)))

    def start(self, count: int) -> None:
        """Start workers until there are `count`, those that are ending not counted.

        Raises:
            EngineLostError: they cannot be started.
        """
        missing = count - self._slots.regular()
        if missing <= 0:
            return
        number = len(self._pools)
        if not number:
            do_left_over(self._store)
        names = [f"local-{number}-{i}" for i in range(missing)]
        ids = self._engine.transact(lambda turn: [reclaim.register_worker(turn, name, self._me) for name in names])
        self._setups.update({(number, i): one for i, one in enumerate(ids)})
        directory = pool_directory(self._store, self._engine.id, number)
        pool = LocalPool(missing, lambda w: self._setup(pool, w, self._setups[number, w.number]), directory)
        self._pools.append(pool)
        self._slots.cpus = max(self._slots.cpus, float(count))
        try:
            pool.start()
        except OSError as error:
            raise EngineLostError(f"no worker can be started: {error}", hint="free what is short") from error
        for worker, one in zip(pool.workers, ids, strict=True):
            self._add(Slot(pool, worker, one))

    def replace(self, dead: list[Slot], count: int) -> None:
        """Start workers in the place of dead ones while there are fewer than `count`.

        Raises:
            EngineLostError: they cannot be started.
        """
        for slot in dead:
            if self._slots.regular() >= count:
                return
            number = slot.worker.number
            one = self._engine.transact(lambda turn: reclaim.register_worker(turn, f"local-{number}", self._me))  # noqa: B023
            self._setups[self._pools.index(slot.pool), number] = one
            try:
                worker = slot.pool.respawn(slot.worker)
            except OSError as error:
                raise EngineLostError(f"no worker can be started: {error}", hint="free what is short") from error
            self._add(Slot(slot.pool, worker, one))

    def _setup(self, pool: LocalPool, worker: LocalWorker, registration: int) -> Setup:
        return Setup(registration, self._objects, str(pool.run_dir), worker.index, self._path, cache=self._cache)

    def _add(self, slot: Slot) -> None:
        worker = slot.worker
        self._engine.transact(lambda turn: reclaim.name_process(turn, slot.id, worker.pid, worker.start))
        self._slots.all.append(slot)
        self._watch(slot)

    def came_up(self, slot: Slot) -> None:
        """A worker has said hello."""
        slot.ready = True
        self._stillborn = 0

    # ------------------------------------------------------------------------------------------------- ending

    def ended(self, slot: Slot) -> Death:
        """A worker's connection has ended: wait for the end of its process, and find out why.

        Raises:
            EngineLostError: several in a row did not even come up.
        """
        reason, kind = slot.worker.exit_reason()
        started = slot.worker.started()
        message = "the worker's process ended while it executed this run"
        charge = reason is not Reason.WORKER_DIED
        if slot.ending is not None:
            if started is not None and started.run == slot.ending.run:
                reason, message = slot.ending.reason, slot.ending.message
                kind, charge = reason.name.lower().replace("_", " "), True
            else:
                started = None
        scratch = slot.worker.salvage(started.run, started.fence) if started else ""
        log = slot.worker.log_tail(LOG_TAIL) if started else b""
        slot.pool.clear_up(slot.worker)
        self._slots.all.remove(slot)
        if not slot.ready and slot.ending is None:
            self._stillborn += 1
            if self._stillborn >= STILLBORN:
                last = slot.worker.startup_log().decode(errors="replace").strip() or kind
                raise EngineLostError(f"the workers of this store do not come up: {last}")
        peak = self.sampler.used(slot, started.run, started.fence) if started else Used()
        return Death(slot, started, Failure(int(reason), kind, message, "", scratch), log, charge, peak)

    def bury(self, turn: Turn, death: Death) -> None:
        """Charge the run under way, free what else the worker held, end its registration."""
        started, failure = death.started, death.failure
        retry.worker_died(turn, death.slot.id, started, failure, death.log, charge=death.charge, peak=death.peak)
        reclaim.worker_left(turn, death.slot.id)

    def end(self, slot: Slot, ending: Ending) -> None:
        """Kill a worker's process tree; its end is dealt with when its channel ends."""
        if not slot.killed:
            slot.ending, slot.killed = ending, True
            slot.worker.kill()

    def drain(self, hubs: set[int]) -> None:
        """Let workers that hold runs of these hubs finish what has started and end; the rest goes back free."""
        for slot in self._holders(hubs):
            if slot.ending is None and slot.service:
                slot.ending = Ending(Reason.STOPPED, "stopped by hand")  # when nobody uses it any more
            elif slot.ending is None:
                slot.ending = Ending(Reason.STOPPED, "stopped by hand")
                slot.draining = (time.monotonic(), slot.started())
                slot.worker.channel.send(protocol.encode(protocol.Stop()))

    def _release_rest(self, slot: Slot) -> bool:
        """Free what a draining worker has not started, once it is certain that it will not; whether there was any.

        The run under way has lasted so long that the worker looks at its socket, where the request to end waits, before
        it starts another.
        """
        if slot.draining is None or slot.killed:
            return False
        since, started = slot.draining
        if started is None or slot.started() != started or time.monotonic() - since < SETTLED:
            return False
        flight = self._engine.flight
        rest = [(run, flight[run].fence) for run in slot.held if run != started.run and run in flight]
        if rest:
            self._engine.transact(lambda turn: retry.release(turn, rest, worker=slot.id))
            slot.over([run for run, _ in rest])
        return bool(rest)

    def stop_now(self, hubs: set[int]) -> None:
        """End workers that hold runs of these hubs; those go back free."""
        for slot in self._holders(hubs):
            self.end(slot, Ending(Reason.STOPPED, "stopped by hand"))

    def holds(self, hubs: set[int]) -> bool:
        """Whether any worker holds runs of these hubs."""
        return bool(self._holders(hubs))

    def _holders(self, hubs: set[int]) -> list[Slot]:
        classes = self._engine.classes
        return [s for s in self._slots.all if any(classes[cls].hub in hubs for cls, _ in s.held.values())]

    def void(self, run: int, worker: int) -> None:
        """A lease was voided under a worker: drop the run there, or end the process if it has started."""
        for slot in self._slots.all:
            if slot.id != worker or run not in slot.held:
                continue
            started = slot.started()
            if run == slot.service and slot.ending is None and not self.hosting.starts_again(run):
                slot.ending = Ending(Reason.CANCELLED, "cancelled", run)
                self.hosting.bring_down(slot)
            elif run == slot.service or (started is not None and started.run == run):
                self.end(slot, Ending(Reason.CANCELLED, "cancelled", run))
            else:
                slot.worker.channel.send(protocol.encode(protocol.Forget([run])))
                slot.over([run])

    def leave(self, grace: float) -> None:
        """End all: politely for `grace` seconds, then by killing them."""
        for pool in self._pools:
            with contextlib.suppress(OSError):
                pool.stop(grace)
            tidy(pool.run_dir)

    # ------------------------------------------------------------------------------------------------- limits

    def check_limits(self) -> bool:
        """End what takes longer, or more memory or disk, than it declared; whether runs were freed that others may
        take.
        """
        freed = False
        for slot in self._slots.all:
            freed |= self._release_rest(slot)
        for slot, ending in self.sampler.check(self._slots.all):
            self.end(slot, ending)
        for slot, ending in self.hosting.check(self._slots.all):
            self.end(slot, ending)
        return freed

    def renew(self, stale: list[Slot]) -> None:
        """End idle workers whose processes may hold on to accelerators that others have now; fresh ones take their
        place.
        """
        for slot in stale:
            if slot.open and not slot.held:
                self.end(slot, Ending(Reason.STOPPED, "replaced for the sake of other accelerators"))
