"""Workers and engines: registrations with a heartbeat. An engine is a registration without a parent; its executors
name it as theirs and live by its heartbeat."""

from typing import NamedTuple

from tidemill.model.states import WORKER, WorkerState
from tidemill.stores.state.database import Database, Row, Statement

_INSERT = Statement(
    "insert into worker(id, parent, state, name, host, boot, space, pid, start, seen, deadline) "
    "values (?, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_BEAT = Statement("update worker set seen = ?, deadline = ? where id = ? and state in (0, 1)")
_STATE = {
    state: Statement(
        f"update worker set state = {int(state)} where id in (select value from {{ids}}) "
        f"and state in ({', '.join(str(int(s)) for (s, _), to in WORKER.items() if to is state)}) returning id"
    )
    for state in (WorkerState.DRAINING, WorkerState.EXPIRED, WorkerState.GONE)
}
_ENGINES = Statement(
    "select id, parent, state, name, host, boot, space, pid, start, seen, deadline from worker "
    "where parent is null and state in (0, 1) order by id"
)
_GET = Statement(
    "select id, parent, state, name, host, boot, space, pid, start, seen, deadline from worker where id = ?"
)
_CHILDREN = Statement(
    "select id, parent, state, name, host, boot, space, pid, start, seen, deadline from worker "
    "where parent in (select value from {ids}) and state in (0, 1) order by id"
)
_NAMES = Statement("select w.id, w.name, w.host, w.pid from {ids} {join} worker w on w.id = j.value")


class Worker(NamedTuple):
    """A registration. `boot`, `space` (pid namespace), `pid` and `start` name the process beyond doubt."""

    id: int
    parent: int | None
    state: int
    name: str
    host: str
    boot: str
    space: str
    pid: int
    start: str
    seen: float
    deadline: float


def add(db: Database, worker: Worker) -> None:
    w = worker
    db.run(_INSERT, w.id, w.parent, w.name, w.host, w.boot, w.space, w.pid, w.start, w.seen, w.deadline)


def beat(db: Database, worker: int, now: float, deadline: float) -> bool:
    """Extend a registration; False if it has expired or left."""
    return db.run(_BEAT, now, deadline, worker) == 1


def set_state(db: Database, ids: list[int], state: int) -> list[int]:
    """To DRAINING, EXPIRED or GONE; those that changed."""
    return [r[0] for r in db.rows(_STATE[WorkerState(state)], db.ids(ids))]


def get(db: Database, worker: int) -> Worker | None:
    """A registration, whatever became of it."""
    row = db.one(_GET, worker)
    return Worker._make(row) if row else None


def engines(db: Database) -> list[Worker]:
    """Engines that have not left or expired."""
    return [Worker._make(r) for r in db.rows(_ENGINES)]


def executors(db: Database, engines: list[int]) -> list[Worker]:
    """Executors of these engines that have not left."""
    return [Worker._make(r) for r in db.rows(_CHILDREN, db.ids(engines))]


def names(db: Database, ids: list[int]) -> dict[int, Row]:
    """(id, name, host, pid) by id."""
    return {r[0]: r for r in db.rows(_NAMES, db.ids(ids))}


_NAME = Statement("update worker set pid = ?, start = ? where id = ?")


def name_process(db: Database, worker: int, pid: int, start: str) -> None:
    """Record which process a worker is."""
    db.run(_NAME, pid, start, worker)
