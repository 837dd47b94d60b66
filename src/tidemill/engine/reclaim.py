"""Reclaim and upkeep: leases of the dead, timers, and the work the engine owes itself, a slice per turn."""

import math
from collections.abc import Callable

from tidemill.engine import close, control, grow, restore, retry
from tidemill.engine.turn import Dead, Turn
from tidemill.model.events import Kind
from tidemill.model.states import WorkerState
from tidemill.stores.state import blocks, leases, queues, workers
from tidemill.stores.state.workers import Worker

SLICE = 1000

LEASE_SECONDS = 60.0
"""How long an engine that is not heard of keeps its leases."""


def upkeep(turn: Turn) -> None:
    """One slice of everything that is due."""
    engine = turn.engine
    if engine.doomed:
        rows = queues.doomed(turn.db, SLICE)
        turn.dead += [Dead(*r) for r in rows]
        engine.doomed = len(rows) == SLICE
    if not turn.shared:
        if engine.next_timer <= engine.clock.monotonic():
            fire(turn)
        if engine.unexpanded:
            grow.expand_slice(turn)
        if engine.sweeps:
            control.sweep(turn)
    if engine.unfolded:
        close.fold(turn)


def fire(turn: Turn) -> None:
    """Timers that are due."""
    engine = turn.engine
    rows = queues.due(turn.db, engine.clock.monotonic(), SLICE)
    at = queues.next_timer(turn.db)
    engine.next_timer = math.inf if at is None else at
    retry.requeue(turn, [i for _, kind, i in rows if kind == queues.BACKOFF])
    turn.revive += [i for _, kind, i in rows if kind == queues.REVIVE]
    restore.make_again(turn, [i for _, kind, i in rows if kind == queues.RESTORE])


def register(turn: Turn, me: Worker, lease: float = LEASE_SECONDS) -> None:
    """This engine joins the store; `me` names its process, its id and times are filled in here.

    If it is not heard of for `lease` seconds, it counts as gone.
    """
    engine = turn.engine
    engine.id = engine.reserve("worker", 1)
    now = engine.clock.monotonic()
    workers.add(turn.db, me._replace(id=engine.id, parent=None, seen=now, deadline=now + lease))
    turn.event(Kind.ENGINE_STARTED, [engine.id])


def register_worker(turn: Turn, name: str, like: Worker) -> int:
    """An executor joins; its id. It lives by its engine's heartbeat."""
    worker = turn.engine.reserve("worker", 1)
    workers.add(turn.db, like._replace(id=worker, parent=turn.engine.id, name=name, state=0))
    turn.event(Kind.WORKER_STARTED, [worker])
    return worker


def name_process(turn: Turn, worker: int, pid: int, start: str) -> None:
    """Which process an executor is, so that another engine can end what is left of it."""
    workers.name_process(turn.db, worker, pid, start)


def worker_left(turn: Turn, worker: int) -> None:
    """An executor is gone."""
    turn.event(Kind.WORKER_GONE, workers.set_state(turn.db, [worker], int(WorkerState.GONE)))


def beat(turn: Turn, lease: float = LEASE_SECONDS) -> bool:
    """Extend this engine's registration; False if others have given it up."""
    now = turn.engine.clock.monotonic()
    return workers.beat(turn.db, turn.engine.id, now, now + lease)


def registered(turn: Turn) -> bool:
    """Whether this engine has not been given up by others: if it has, nobody would ever take back what it claims."""
    me = workers.get(turn.db, turn.engine.id)
    return me is not None and me.state in (WorkerState.REGISTERED, WorkerState.DRAINING)


def leave(turn: Turn) -> None:
    """This engine goes: its leases are released free, its registration ends.

    Where others may serve the store, and it leaves growths to expand or blocks to sweep, its registration stays and is
    overdue at once: who takes over from it looks for that work, of which nothing else would tell.
    """
    engine = turn.engine
    mine = [w.id for w in workers.executors(turn.db, [engine.id])]
    retry.release(turn, [(r, f) for r, f, _, _ in leases.of_workers(turn.db, mine)])
    growing = engine.unexpanded and blocks.unexpanded(turn.db) is not None
    if not engine.alone and (growing or engine.sweeps):
        workers.set_state(turn.db, mine, int(WorkerState.GONE))
        workers.beat(turn.db, engine.id, engine.clock.monotonic(), 0.0)
    else:
        workers.set_state(turn.db, [*mine, engine.id], int(WorkerState.GONE))
    turn.event(Kind.ENGINE_STOPPED, [engine.id])


def dead_engines(turn: Turn, gone: Callable[[Worker], bool]) -> list[Worker]:
    """Engines whose leases may be taken back: every other one if this engine is alone, else those past their deadline
    and those whose processes are known to be `gone`.
    """
    now = turn.engine.clock.monotonic()
    others = [w for w in workers.engines(turn.db) if w.id != turn.engine.id]
    return others if turn.engine.alone else [w for w in others if w.deadline < now or gone(w)]


def reap(turn: Turn, dead: list[Worker]) -> int:
    """Void the leases of dead engines and look for what else they have left; how many leases there were.

    Nobody is charged, whatever was executing: who kills an engine with everything below it, or cuts the power, must not
    use up the losses of runs. The caller has made sure that the processes of these engines are gone.
    """
    if not dead:
        return 0
    ids = [w.id for w in dead]
    mine = [w.id for w in workers.executors(turn.db, ids)]
    held = leases.of_workers(turn.db, mine)
    retry.release(turn, [(r, f) for r, f, _, _ in held])
    gone = workers.set_state(turn.db, [*mine, *ids], int(WorkerState.EXPIRED))
    turn.event(Kind.ENGINE_REAPED, [i for i in ids if i in gone])
    turn.engine.adopt()
    return len(held)
