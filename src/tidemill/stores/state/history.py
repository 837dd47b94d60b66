"""History: earlier runs to compare with, how long tasks took, and what a run under way waits for."""

from typing import NamedTuple

from tidemill.stores.state.blocks import Block
from tidemill.stores.state.database import Database, Row, Statement

_BLOCK = ", ".join(Block._fields)
_EARLIER = Statement(
    f"select {_BLOCK} from block where parent is null and name = ? and id < ? and run_n > 0 order by id desc limit ?"
)
_DELTA_OF = Statement(f"select {_BLOCK} from block where id <= ? and run_n > 0 order by id desc limit 1")
_WITH_ARGS = Statement(
    "select id from run where id >= ? and id < ? and args = ? and task in (select value from {ids}) "
    "order by id desc limit 1"
)
_LATEST = Statement("select id from run where id < ? and task in (select value from {ids}) order by id desc limit 1")
_NUMBER = Statement("select count(*) from run where id >= ? and id < ? and task in (select value from {ids})")
_NTH = Statement(
    "select id from run where id >= ? and id < ? and task in (select value from {ids}) order by id limit 1 offset ?"
)
_HEADS = Statement(
    "select id, task, state, pending, attempt, flags, out, args from run where id >= ? and id < ? order by id limit ?"
)
_PICK = Statement(
    "select r.id, r.task, r.state, r.pending, r.attempt, r.flags, r.out, r.args "
    "from {ids} {join} run r on r.id = j.value"
)
_OLDER = Statement("select old from supersede where kind = 2 and new = ?")
_DELTAS = Statement(f"select {_BLOCK} from block where root = ? and run_n > 0 order by id")
_FOLLOWING = Statement("select run from follow where run >= ? and run < ?")
_LEADER = Statement("select leader from follow where run = ?")
_WAKES = Statement("select min(at) from timer where kind = 1 and id = ?")
_SECONDS = Statement(
    "select r.task, count(*), avg(a.t1 - a.t0) from "
    "(select run, t0, t1 from attempt where state = 3 and run > ? order by run desc limit ?) a "
    "{join} run r on r.id = a.run group by r.task"
)


class Earlier(NamedTuple):
    """A run as far as it matters for comparing; `task`, `state`, … as in `runs.Run`."""

    id: int
    task: int
    state: int
    pending: int
    attempt: int
    flags: int
    out: int
    args: bytes


def earlier_blocks(db: Database, name: str, before: int, limit: int) -> list[Block]:
    """Workflow blocks of this name with an id below `before`, the newest first."""
    return [Block._make(r) for r in db.rows(_EARLIER, name, before, limit)]


def delta_block(db: Database, block: int) -> Block | None:
    """The block whose delta a block belongs to: itself, or the one it was submitted in."""
    row = db.one(_DELTA_OF, block)
    return Block._make(row) if row else None


def with_args(db: Database, low: int, high: int, args: bytes, tasks: list[int]) -> int | None:
    """The newest run with `low <= id < high` of one of these tasks with these arguments; reads the whole range."""
    row = db.one(_WITH_ARGS, low, high, args, db.ids(tasks))
    return int(row[0]) if row else None


def number_of(db: Database, low: int, run: int, tasks: list[int]) -> int:
    """How many runs of these tasks have an id from `low` to below `run`."""
    row = db.one(_NUMBER, low, run, db.ids(tasks))
    return int(row[0]) if row else 0


def nth(db: Database, low: int, high: int, tasks: list[int], number: int) -> int | None:
    """Run `number` (from 0) of these tasks with `low <= id < high`."""
    row = db.one(_NTH, low, high, db.ids(tasks), number)
    return int(row[0]) if row else None


def deltas(db: Database, root: int) -> list[Block]:
    """The blocks of a workflow that have runs in a delta of their own: itself, and what its runs grew."""
    return [Block._make(r) for r in db.rows(_DELTAS, root)]


def following(db: Database, low: int, high: int) -> set[int]:
    """Runs with `low <= id < high` that wait for an equal one."""
    return {r[0] for r in db.rows(_FOLLOWING, low, high)}


def latest(db: Database, before: int, tasks: list[int]) -> int | None:
    """The newest run of one of these tasks with an id below `before`."""
    row = db.one(_LATEST, before, db.ids(tasks))
    return int(row[0]) if row else None


def between(db: Database, low: int, high: int, limit: int) -> list[Earlier]:
    """Runs with `low <= id < high` in order, at most `limit`."""
    return [Earlier._make(r) for r in db.rows(_HEADS, low, high, limit)]


def pick(db: Database, ids: list[int]) -> dict[int, Earlier]:
    """Runs by id."""
    return {r[0]: Earlier._make(r) for r in db.rows(_PICK, db.ids(ids))}


def older(db: Database, run: int) -> int | None:
    """The run whose newer generation this one is."""
    row = db.one(_OLDER, run)
    return int(row[0]) if row else None


def leader(db: Database, run: int) -> int | None:
    """The run of equal key that this one waits for."""
    row = db.one(_LEADER, run)
    return int(row[0]) if row else None


def wakes(db: Database, run: int) -> float | None:
    """When the backoff of a failed attempt ends, in engine seconds."""
    row = db.one(_WAKES, run)
    return row[0] if row else None


def seconds(db: Database, after: int, limit: int) -> list[Row]:
    """(task, number, mean wall seconds) over the newest `limit` complete attempts of runs with an id above `after`."""
    return db.rows(_SECONDS, after, limit)
