"""Overviews: what commands and pages ask of many runs at once, always by range and page, never all of a store."""

from typing import NamedTuple

from tidemill.model.states import RunState
from tidemill.stores.state import blocks
from tidemill.stores.state.blocks import Block
from tidemill.stores.state.database import Database, Row, Statement

_BLOCK = ", ".join(Block._fields)
_RUN = (
    "r.id, r.task, r.block, r.class, r.state, r.pending, r.attempt, r.tries, r.losses, r.flags, r.cause, r.out, "
    "(select count(*) from lease l where l.run = r.id)"
)
_ROOTS = Statement(f"select {_BLOCK} from block where parent is null and id < ? order by id desc limit ?")
_COUNTS = Statement(
    "select r.task, r.state, case when r.pending > 0 then 1 else 0 end, case when r.attempt > 0 then 1 else 0 end, "
    "count(*) from block b {join} run r on r.id >= b.run_lo and r.id < b.run_lo + b.run_n "
    "where b.root = ? and b.run_n > 0 and (r.state = 3 or r.flags & ? = 0) group by 1, 2, 3, 4"
)
_RUNNING = Statement(
    "select b.root, r.task, count(*) from lease l {join} run r on r.id = l.run {join} block b on b.id = r.block "
    "group by 1, 2"
)
_IN_ROOT = "exists (select 1 from block b where b.id = r.block and b.root = ?)"
_IN_NAMED = (
    "exists (select 1 from block b {join} block w on w.id = b.root "
    "where b.id = r.block and w.parent is null and w.name = ?)"
)
_BOUNDS = Statement("select min(run_lo), max(run_lo + run_n) from block where root = ? and run_n > 0")
_BELOW = Statement(
    "with recursive a(id) as (select id from block where id = ? union "
    "select b.id from a {join} block b on b.parent = a.id) "
    "select id from a"
)
_STATES: dict[str, str] = {
    "waiting": "r.state = 0 and r.pending > 0",
    "ready": "r.state = 0 and r.pending <= 0 and not exists (select 1 from lease l where l.run = r.id)",
    "running": "r.state = 0 and exists (select 1 from lease l where l.run = r.id)",
    **{s.name.lower(): f"r.state = {int(s)}" for s in RunState if s is not RunState.LIVE},
}
_LEASE = Statement(
    "select l.fence, l.worker, l.t, w.name, w.host, w.pid, w.parent from lease l {join} worker w on w.id = l.worker "
    "where l.run = ?"
)
_WORKERS = Statement("select w.id, w.name, w.host, w.pid, w.parent from {ids} {join} worker w on w.id = j.value")
_STOPPED_WORKERS = Statement("select id from worker where parent is null and state in (2, 3) order by id")
_LONG_LOGS = Statement("select body from log where length(body) >= ?")
_UNFINISHED = Statement("select block from delta where sealed = 0 and key is null")
_NAMED = Statement("select digest from content where datum = ?")
_HUB = Statement("select id, active from hub")

STATES = tuple(_STATES)
"""States that runs can be listed by."""


class Listed(NamedTuple):
    """A run in a list. `leases` is 1 while a worker has it."""

    id: int
    task: int
    block: int
    cls: int
    state: int
    pending: int
    attempt: int
    tries: int
    losses: int
    flags: int
    cause: int | None
    out: int
    leases: int


class Held(NamedTuple):
    """The lease of a run, and who holds it. `t` is when it was given, seconds since the epoch."""

    fence: int
    worker: int
    t: float
    name: str
    host: str
    pid: int
    engine: int | None


def roots(db: Database, before: int, limit: int) -> list[Block]:
    """Workflow blocks with an id below `before`, the newest first."""
    return [Block._make(r) for r in db.rows(_ROOTS, before, limit)]


def counts(db: Database, root: int, aside: int) -> list[Row]:
    """(task, stored state, 1 if inputs are pending, 1 if it was attempted, number) over all runs of a workflow.

    Runs with a flag in `aside` count only if they are complete. Reads each of them: some 3 million a second.
    """
    return db.rows(_COUNTS, root, aside)


def running(db: Database) -> list[Row]:
    """(root block, task, number) of the runs that workers have."""
    return db.rows(_RUNNING)


def active_hubs(db: Database) -> set[int]:
    """Hubs that give out work."""
    return {h for h, active in db.rows(_HUB) if active}


def listed(
    db: Database,
    *,
    state: str = "",
    tasks: list[int] | None = None,
    block: int = 0,
    name: str = "",
    own: bool = False,
    after: int = 0,
    limit: int = 50,
) -> list[Listed]:
    """Runs in the order of their ids.

    Args:
        db: the store.
        state: one of `STATES`, or "".
        tasks: only runs of these tasks.
        block: only runs of this block and those below it.
        name: only runs of workflows of this name.
        own: only runs that ended as they did by themselves, not because of another.
        after: only ids above this one.
        limit: how many at most.
    """
    conditions = ["r.id > ?"]
    params: list[object] = [after]
    if state:
        conditions.append(_STATES[state])
    if tasks is not None:
        conditions.append("r.task in (select value from {ids})")
        params.append(db.ids(tasks))
    if block:
        found = blocks.get(db, block)
        root = found.root if found is not None else 0
        low, high = db.rows(_BOUNDS, root)[0]
        conditions.append("r.id >= ? and r.id < ?")
        params += [low or 0, high or 0]
        conditions.append(_IN_ROOT if root == block else "r.block in (select value from {ids})")
        params.append(block if root == block else db.ids(below(db, block)))
    if own:
        conditions.append("(r.cause is null or r.cause = r.id)")
    if name:
        conditions.append(_IN_NAMED)
        params.append(name)
    statement = Statement(f"select {_RUN} from run r where {' and '.join(conditions)} order by r.id limit ?")
    return [Listed._make(r) for r in db.rows(statement, *params, limit)]


_CONTAINED = Statement(
    "with recursive t(id) as (select id from block where root = ? and flags & 16 <> 0 union "
    "select b.id from block b join t on b.parent = t.id) select id from t"
)


def contained(db: Database, root: int) -> set[int]:
    """The blocks of a workflow that are contained or lie in one that is: what fails in them is not its failure."""
    return {r[0] for r in db.rows(_CONTAINED, root)}


def below(db: Database, block: int) -> list[int]:
    """A block and all below it."""
    return [r[0] for r in db.rows(_BELOW, block)]


def lease(db: Database, run: int) -> Held | None:
    """Who is executing a run, or has it next."""
    row = db.one(_LEASE, run)
    return Held._make(row) if row else None


def workers(db: Database, ids: list[int]) -> dict[int, Row]:
    """(id, name, host, pid, engine) by id."""
    return {r[0]: r for r in db.rows(_WORKERS, db.ids(ids))}


def stopped_engines(db: Database) -> list[int]:
    """Engines that have left or were given up."""
    return [r[0] for r in db.rows(_STOPPED_WORKERS)]


def long_logs(db: Database, size: int) -> list[bytes]:
    """What runs printed, of at least so many bytes."""
    return [bytes(r[0]) for r in db.rows(_LONG_LOGS, size)]


def unfinished(db: Database) -> list[int]:
    """Blocks of growths whose stored chunks are not all expanded."""
    return [r[0] for r in db.rows(_UNFINISHED)]


def objects_of(db: Database, datum: int) -> list[bytes]:
    """Digests of the stored objects that a datum's value names."""
    return [bytes(r[0]) for r in db.rows(_NAMED, datum)]
