"""Runs: one task applied to one combination of data.

Stored state 0 (LIVE) covers waiting, ready and running: what is pending and whether there is a lease tell them apart.
Every change names the states it may start from; a change that touches fewer rows than asked was illegal for the others.
"""

from typing import NamedTuple

from tidemill.model.states import RunState, RunView
from tidemill.stores.state.database import Column, Database, Row, Statement, insert, update

LIVE, COMPLETE, ERROR, SKIPPED, CANCELLED = 0, 3, 4, 5, 6
HELD = int(RunState.HELD)
GREW = 1 << 8
"""Flag of a run that returned calls: its result is in a block it owns."""
SUPERSEDED = 1 << 13
"""Flag of a run with a newer generation: it counts in its block only if it was complete, and nothing brings it back to
life.
"""

_INSERT = insert(
    "run",
    "id:i task:i block:i class:i state:i pending:i attempt:i tries:i losses:i flags:i out:i key:b args:b",
)
_COMPLETE = update(
    "run", "state = 3, attempt = {fence}, key = {key}, flags = {flags}", "id = {id} and state = 0 and pending <= 0",
    "id:i fence:i key:b flags:i",
)  # fmt: skip
_REUSE = update(
    "run",
    "state = 3, key = {key}, flags = {flags}",
    "id = {id} and state = 0 and not exists (select 1 from lease where lease.run = {id})",
    "id:i key:b flags:i",
)
_END = update(
    "run",
    "state = {state}, attempt = {fence}, cause = {cause}",
    "id = {id} and (state = 0 or state = 9 and {state} = 6)",
    "id:i state:i fence:i cause:i",
)  # fmt: skip
_END_WAITING = update(
    "run",
    "state = {state}, attempt = {fence}, cause = {cause}",
    "id = {id} and state = 0 and pending > 0",
    "id:i state:i fence:i cause:i",
)
_RELEASE = Statement(
    "update run set pending = pending - x.n from (select e.run r, count(*) n from {ids} cross join edge e "
    "on e.datum = j.value group by 1) x where run.id = x.r "
    "returning id, pending, state, key, class, flags, task, args",
    "with x as (select e.run r, count(*) n from {ids} join edge e on e.datum = j.value group by 1), "
    "l as (select run.id, x.n from run join x on run.id = x.r order by run.id for no key update of run) "
    "update run set pending = pending - l.n from l where run.id = l.id "
    "returning run.id, pending, state, key, class, flags, task, args",
)
_FOR_CLAIM = Statement(
    "select r.id, r.task, r.block, r.class, r.out, r.attempt, r.tries, r.losses, r.flags, r.key, r.args "
    "from {ids} {join} run r on r.id = j.value where r.state = 0 and r.pending <= 0",
    "select r.id, r.task, r.block, r.class, r.out, r.attempt, r.tries, r.losses, r.flags, r.key, r.args "
    "from unnest(?::bigint[]) with ordinality j(value, n) join run r on r.id = j.value "
    "where r.state = 0 and r.pending <= 0 order by j.n",
)
_GET = Statement(
    "select r.id, r.task, r.block, r.class, r.state, r.pending, r.attempt, r.tries, r.losses, r.flags, r.cause, "
    "r.out, r.key, "
    "r.args from {ids} {join} run r on r.id = j.value"
)
_VIEW = Statement(
    "select r.id, r.state, r.pending, (select count(*) from lease l where l.run = r.id) from {ids} "
    "{join} run r on r.id = j.value"
)
_LOCK = Statement(
    "select 1",
    "select 1 from run where id in (select value from {ids}) order by id for no key update",
)
_LIVE_IN = Statement(
    "select id, block, pending, flags, out, task from run where id >= ? and id < ? and state in (0, 9) order by id "
    "limit ?"
)
_LAST = Statement("select id, out, task from run where id >= ? and id < ? order by id desc limit 1")
_OF_BLOCKS = Statement("select id, block from run where id >= ? and id < ? order by id")
_RANGE = Statement(
    "select id, task, block, class, state, pending, attempt, tries, losses, flags, cause, out, key, args "
    "from run where id >= ? and id < ? order by id limit ?"
)
_REARM = update(
    "run", "state = 0, pending = {pending}, cause = null, flags = {flags}, tries = 0, losses = 0",
    "id = {id} and state in (4, 5, 6)", "id:i pending:i flags:i",
)  # fmt: skip
_HELD_HUBS = Statement(
    f"select distinct b.hub from run r join block b on b.id = r.block where r.state = {HELD} and b.state in (0, 1)"
)
_HOLD = Statement(
    "update run set state = 9 where id in (select value from {ids}) and state = 0 "
    "and not exists (select 1 from lease where lease.run = run.id) returning id"
)
_WAIT = update("run", "pending = {pending}", "id = {id} and state in (0, 9)", "id:i pending:i")
_UNHOLD = Statement(
    "update run set state = 0 where id in (select value from {ids}) and state = 9 "
    "returning id, pending, state, key, class, flags, task, args"
)
_INVALIDATE = Statement(
    "update run set state = 7 where id in (select value from {ids}) and state in (3, 4, 5, 6) returning id"
)
_DELETE = Statement(
    "update run set state = 8 where id in (select value from {ids}) and state in (3, 4, 5, 6, 7) returning id"
)
_BUMP = update(
    "run", "attempt = {fence}, tries = tries + {tried}, losses = losses + {lost}", "id = {id} and state = 0",
    "id:i fence:i tried:i lost:i",
)  # fmt: skip
_CLASS = update("run", "class = {class}", "id = {id}", "id:i class:i")
_FLAG = update("run", "flags = {flags}", "id = {id}", "id:i flags:i")
_LOCK_LIVE = Statement("select state, flags, out, task, pending from run where id = ? {share}")
_TASK_COUNTS = Statement("select r.task, r.state, count(*) from run r where r.id >= ? and r.id < ? group by 1, 2")


class Run(NamedTuple):
    """A run's row."""

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
    key: bytes
    args: bytes


class Fresh(NamedTuple):
    """A run some of whose inputs have just come; `pending <= 0` means it may start."""

    id: int
    pending: int
    state: int
    key: bytes
    cls: int
    flags: int
    task: int
    args: bytes


class Candidate(NamedTuple):
    """What a claim reads of a run."""

    id: int
    task: int
    block: int
    cls: int
    out: int
    attempt: int
    tries: int
    losses: int
    flags: int
    key: bytes
    args: bytes


def add(db: Database, *columns: Column) -> None:
    """Insert runs: id, task, block, class, state, pending, attempt, tries, losses, flags, out, key, args."""
    db.many(_INSERT, *columns)


def complete(db: Database, ids: Column, fences: Column, keys: Column, flags: Column) -> int:
    """RUNNING -> COMPLETE for runs whose leases were just given back; how many were."""
    return db.many(_COMPLETE, ids, fences, keys, flags)


def reuse(db: Database, ids: Column, keys: Column, flags: Column) -> int:
    """WAITING or READY -> COMPLETE, because an equal run has been done."""
    return db.many(_REUSE, ids, keys, flags)


def end(db: Database, ids: Column, states: Column, fences: Column, causes: Column) -> int:
    """Live -> ERROR, SKIPPED or CANCELLED, held -> CANCELLED, with the root cause (a run id); how many were."""
    return db.many(_END, ids, states, fences, causes)


def end_waiting(db: Database, ids: Column, states: Column, fences: Column, causes: Column) -> int:
    """WAITING -> ERROR or SKIPPED because of an input, with the root cause (a run id); how many were."""
    return db.many(_END_WAITING, ids, states, fences, causes)


def release(db: Database, data: list[int]) -> list[Fresh]:
    """Count down the consumers of complete data; every consumer touched."""
    return [Fresh._make(r) for r in db.rows(_RELEASE, db.ids(data))]


def for_claim(db: Database, ids: list[int]) -> list[Candidate]:
    """What a claim needs of these runs, in their order; runs that may not start are left out."""
    return [Candidate._make(r) for r in db.rows(_FOR_CLAIM, db.ids(ids))]


def lock(db: Database, ids: list[int]) -> None:
    """PostgreSQL: other engines wait with changes of these runs until the transaction ends."""
    if db.dialect == "postgres":
        db.rows(_LOCK, db.ids(sorted(ids)))


def get(db: Database, ids: list[int]) -> dict[int, Run]:
    """Rows by id."""
    return {r[0]: Run._make(r) for r in db.rows(_GET, db.ids(ids))}


def views(db: Database, ids: list[int]) -> dict[int, RunView]:
    """The state of each run as users see it."""
    return {i: view(s, p, n) for i, s, p, n in db.rows(_VIEW, db.ids(ids))}


def view(state: int, pending: int, leases: int) -> RunView:
    """Unfold a stored state."""
    if state != LIVE:
        return RunView[RunState(state).name]
    if leases:
        return RunView.RUNNING
    return RunView.WAITING if pending > 0 else RunView.READY


def live_between(db: Database, low: int, high: int, limit: int) -> list[Row]:
    """(id, block, pending, flags, out, task) of live or held runs with `low <= id < high`, at most `limit`."""
    return db.rows(_LIVE_IN, low, high, limit)


def between(db: Database, low: int, high: int, limit: int) -> list[Run]:
    """Rows with `low <= id < high` in id order, at most `limit`."""
    return [Run._make(r) for r in db.rows(_RANGE, low, high, limit)]


def last_between(db: Database, low: int, high: int) -> Row | None:
    """(id, out, task) of the last run with `low <= id < high`."""
    return db.one(_LAST, low, high)


def blocks_between(db: Database, low: int, high: int) -> list[Row]:
    """(id, block) of the runs with `low <= id < high`."""
    return db.rows(_OF_BLOCKS, low, high)


def rearm(db: Database, ids: Column, pending: Column, flags: Column) -> int:
    """ERROR, SKIPPED or CANCELLED -> live again, tries and losses forgotten; how many were."""
    return db.many(_REARM, ids, pending, flags)


def hold(db: Database, ids: list[int]) -> list[int]:
    """WAITING or READY -> HELD; those that were."""
    return [r[0] for r in db.rows(_HOLD, db.ids(ids))]


def held_hubs(db: Database) -> list[int]:
    """The hubs of blocks that have not ended and in which runs are held back."""
    return [r[0] for r in db.rows(_HELD_HUBS)]


def unhold(db: Database, ids: list[int]) -> list[Fresh]:
    """HELD -> WAITING (or READY where nothing is pending); those that were."""
    return [Fresh._make(r) for r in db.rows(_UNHOLD, db.ids(ids))]


def set_pending(db: Database, ids: Column, pending: Column) -> None:
    """Live or held runs wait for so many inputs."""
    db.many(_WAIT, ids, pending)


def invalidate(db: Database, ids: list[int]) -> list[int]:
    """COMPLETE, ERROR, SKIPPED or CANCELLED -> INVALID; those that were."""
    return [r[0] for r in db.rows(_INVALIDATE, db.ids(ids))]


def remove(db: Database, ids: list[int]) -> list[int]:
    """COMPLETE, ERROR, SKIPPED, CANCELLED or INVALID -> DELETED; those that were."""
    return [r[0] for r in db.rows(_DELETE, db.ids(ids))]


def bump(db: Database, ids: Column, fences: Column, tried: Column, lost: Column) -> int:
    """Void a lease: move the fence and charge a try or a loss."""
    return db.many(_BUMP, ids, fences, tried, lost)


def set_class(db: Database, ids: Column, classes: Column) -> None:
    db.many(_CLASS, ids, classes)


def set_flags(db: Database, ids: Column, flags: Column) -> None:
    db.many(_FLAG, ids, flags)


def pin(db: Database, run: int) -> Row | None:
    """(state, flags, first output, task, pending) of a run, which on PostgreSQL stay so until the transaction ends."""
    return db.one(_LOCK_LIVE, run)


def counts(db: Database, low: int, high: int) -> list[tuple[int, int, int]]:
    """(task, stored state, number) over runs with `low <= id < high`."""
    return [(t, s, n) for t, s, n in db.rows(_TASK_COUNTS, low, high)]


_COUNT_DOWN = update("run", "pending = pending - {n}", "id = {id} and state in (0, 9)", "id:i n:i")
_AS_FRESH = Statement(
    "select r.id, r.pending, r.state, r.key, r.class, r.flags, r.task, r.args from {ids} {join} run r on r.id = j.value"
)


def count_down(db: Database, ids: list[int], by: list[int]) -> list[Fresh]:
    """Count inputs as arrived though they have no value; the runs afterwards."""
    db.many(_COUNT_DOWN, ids, by)
    return [Fresh._make(r) for r in db.rows(_AS_FRESH, db.ids(ids))]


def fresh(db: Database, ids: list[int]) -> list[Fresh]:
    """The same view of runs without changing them."""
    return [Fresh._make(r) for r in db.rows(_AS_FRESH, db.ids(ids))]


_OF_ROOT = Statement(
    "select r.task, r.state, count(*) from block b join run r on r.block = b.id where b.root = ? group by 1, 2"
)


def counts_of_root(db: Database, root: int) -> list[tuple[int, int, int]]:
    """(task, stored state, number) of all runs of a root block; reads every run of the store once."""
    return [(t, s, n) for t, s, n in db.rows(_OF_ROOT, root)]


_ENDED_BADLY = Statement(
    "select id, block, state, cause from run where id >= ? and id < ? and state in (4, 6) "
    f"and flags & {SUPERSEDED} = 0 order by state, id limit 1000"
)


def ended_badly(db: Database, low: int, high: int) -> list[Row]:
    """(id, block, state, cause) of the first failures and cancellations among the runs with `low <= id < high`."""
    return db.rows(_ENDED_BADLY, low, high)


_CANCELLED_BY = Statement(
    "select r.id from block b join run r on r.block = b.id where b.root = ? and r.state = 6 and r.cause = ? order by "
    "r.id"
)


def cancelled_by(db: Database, root: int, cause: int) -> list[int]:
    """Runs of a root block that were cancelled because of a run; reads every run of the store once."""
    return [r[0] for r in db.rows(_CANCELLED_BY, root, cause)]


_FAILED_OF_ROOT = Statement(
    "select r.id, r.task, r.block, r.class, r.state, r.pending, r.attempt, r.tries, r.losses, r.flags, r.cause, "
    "r.out, r.key, "
    "r.args from block b join run r on r.block = b.id where b.root = ? and r.state = 4 and (r.cause is null or "
    "r.cause = r.id) "
    "order by r.id limit ?"
)


def failed_of_root(db: Database, root: int, limit: int) -> list[Run]:
    """Runs of a root block that ended with an error of their own, the first ones."""
    return [Run._make(r) for r in db.rows(_FAILED_OF_ROOT, root, limit)]
