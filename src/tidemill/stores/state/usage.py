"""What complete attempts used, per task."""

from typing import NamedTuple

from tidemill.stores.state.database import Database, Statement

METRICS = {"wall": "a.t1 - a.t0", "cpu": "a.cpu", "memory": "a.rss", "disk": "a.disk"}
"""What is told of an attempt, and where it stands: seconds, seconds, bytes, bytes."""

_SPREAD = {
    name: Statement(
        "select name, n, min(v), avg(case when k = (n + 1) / 2 or k = (n + 2) / 2 then v end), avg(v), max(v), "
        "sum(cast(v as {real})) from (select t.name as name, cast(" + column + " as {real}) as v, "
        "row_number() over (partition by t.name order by " + column + ") as k, "
        "count(*) over (partition by t.name) as n "
        "from attempt a {join} run r on r.id = a.run {join} task t on t.id = r.task "
        "where a.state = 3 and " + column + " is not null and "
        "(? = 0 or r.block in (select id from block where root = ?))) x group by name, n order by name"
    )
    for name, column in METRICS.items()
}
_NUMBERS = Statement(
    "select t.name, count(*) from attempt a {join} run r on r.id = a.run {join} task t on t.id = r.task "
    "where a.state = 3 and (? = 0 or r.block in (select id from block where root = ?)) group by t.name order by t.name"
)
_PEAKS = Statement(
    "select max(x.rss), max(x.disk) from (select a.rss, a.disk from run r {join} attempt a on a.run = r.id "
    "where r.id > (select coalesce(max(id), 0) from run) - ? and r.task in (select id from task where name = ?) "
    "and a.state = 3 order by r.id desc limit ?) x"
)


class Spread(NamedTuple):
    """How a figure is spread over the attempts for which it is known."""

    task: str
    number: int
    least: float
    median: float
    mean: float
    most: float
    total: float


def spread(db: Database, metric: str, root: int = 0) -> list[Spread]:
    """One of `METRICS` by task name, over the complete attempts of a workflow (0: of the store)."""
    return [Spread._make(r) for r in db.rows(_SPREAD[metric], root, root)]


def numbers(db: Database, root: int = 0) -> dict[str, int]:
    """Complete attempts by task name."""
    return dict(db.rows(_NUMBERS, root, root))


def peaks(db: Database, task: str, runs: int, attempts: int) -> tuple[int, int]:
    """(memory, disk) in bytes that the newest complete attempts of tasks of this name used at most, 0 where nothing is
    known.

    Args:
        task: its name.
        runs: so many of the store's newest runs are looked at.
        attempts: so many attempts are counted.
    """
    row = db.one(_PEAKS, runs, task, attempts)
    return (int(row[0] or 0), int(row[1] or 0)) if row else (0, 0)
