"""What attempts used, of many runs at once: a page at a time in the order of their key."""

from typing import NamedTuple

from tidemill.stores.state.database import Database, Statement

PAGE = 100_000
"""Attempts read at a time."""

_COLUMNS = "a.run, a.n, r.task, r.block, r.state, a.state, a.worker, a.t0, a.t1, a.cpu, a.rss, a.disk"
_ALL = Statement(
    f"select {_COLUMNS} from attempt a {{join}} run r on r.id = a.run "
    "where (a.run, a.n) > (?, ?) order by a.run, a.n limit ?"
)
_OF_ROOT = Statement(
    f"select {_COLUMNS} from attempt a {{join}} run r on r.id = a.run {{join}} block b on b.id = r.block "
    "where b.root = ? and a.run < ? and (a.run, a.n) > (?, ?) order by a.run, a.n limit ?"
)
_BOUNDS = Statement("select min(run_lo), max(run_lo + run_n) from block where root = ? and run_n > 0")


class Used(NamedTuple):
    """One attempt and its run. Times in seconds since the epoch, cpu in seconds, rss and disk in bytes; None where that
    was not measured."""

    run: int
    n: int
    task: int
    block: int
    run_state: int
    state: int
    worker: int
    t0: float | None
    t1: float | None
    cpu: float | None
    rss: int | None
    disk: int | None


def used(db: Database, root: int = 0, after: tuple[int, int] = (0, 0)) -> list[Used]:
    """A page of the attempts of a workflow, or of the whole store, after this run and attempt."""
    if not root:
        return [Used._make(row) for row in db.rows(_ALL, *after, PAGE)]
    low, high = db.rows(_BOUNDS, root)[0]
    start = max(after, ((low or 0) - 1, 1 << 62))
    return [Used._make(row) for row in db.rows(_OF_ROOT, root, high or 0, *start, PAGE)]
