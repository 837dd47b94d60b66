"""Leases: a worker's right to a run under a fencing number (the attempt), as long as the worker is alive."""

from tidemill.stores.state.database import Column, Database, Row, Statement, delete, insert

_INSERT = insert("lease", "run:i fence:i worker:i t:r")
_DELETE = delete("lease", "run = {run} and fence = {fence}", "run:i fence:i")
_CURRENT = Statement("select l.run, l.fence, l.worker from {ids} {join} lease l on l.run = j.value")
_OF_WORKERS = Statement(
    "select run, fence, worker, t from lease where worker in (select value from {ids}) order by run"
)
_OF_RUNS = Statement("select l.run, l.fence, l.worker, l.t from {ids} {join} lease l on l.run = j.value")
_ANY = Statement("select count(*) from lease")
_EVERY = Statement("select run, fence, worker, t from lease order by run")


def add(db: Database, runs: Column, fences: Column, workers: Column, times: Column) -> None:
    db.many(_INSERT, runs, fences, workers, times)


def give_back(db: Database, runs: Column, fences: Column) -> int:
    """Delete leases; fewer than asked means that some fences were not current."""
    return db.many(_DELETE, runs, fences)


def current(db: Database, runs: list[int]) -> dict[int, tuple[int, int]]:
    """(fence, worker) of the leases that runs have."""
    return {r: (f, w) for r, f, w in db.rows(_CURRENT, db.ids(runs))}


def of_runs(db: Database, runs: list[int]) -> list[Row]:
    """(run, fence, worker, time) of the leases that runs have."""
    return db.rows(_OF_RUNS, db.ids(runs))


def of_workers(db: Database, workers: list[int]) -> list[Row]:
    """(run, fence, worker, time) of all leases of workers."""
    return db.rows(_OF_WORKERS, db.ids(workers))


def every(db: Database) -> list[Row]:
    """(run, fence, worker, time) of all leases."""
    return db.rows(_EVERY)


def number(db: Database) -> int:
    row = db.one(_ANY)
    return int(row[0]) if row else 0
