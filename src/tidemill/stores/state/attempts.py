"""Attempts: one row per try, written once when it ends; what went wrong and what was printed stand beside it."""

from typing import NamedTuple

from tidemill.stores.state.database import Column, Database, Row, Statement, insert, update

_INSERT = insert("attempt", "run:i n:i worker:i state:i t0:r t1:r cpu:r rss:i", ignore=True)
_FAILURE = insert("failure", "run:i n:i reason:i body:b", ignore=True)
_LOG = insert("log", "run:i n:i body:b", ignore=True)
_DISK = update("attempt", "disk = {disk}", "run = {run} and n = {n}", "run:i n:i disk:i")
_OF = Statement(
    "select a.run, a.n, a.worker, a.state, a.t0, a.t1, a.cpu, a.rss, f.reason, f.body, a.disk from {ids} "
    "{join} attempt a on a.run = j.value left join failure f on f.run = a.run and f.n = a.n order by a.run, a.n"
)
_LOGS = Statement("select n, body from log where run = ? order by n")


class Attempt(NamedTuple):
    """One try. Times in seconds since the epoch, cpu in seconds, rss and disk in bytes."""

    run: int
    n: int
    worker: int
    state: int
    t0: float | None
    t1: float | None
    cpu: float | None
    rss: int | None
    reason: int | None
    body: bytes | None
    disk: int | None = None


def add(db: Database, *columns: Column) -> None:
    """Insert attempts: run, n, worker, state, t0, t1, cpu, rss."""
    db.many(_INSERT, *columns)


def note_disk(db: Database, rows: list[Row]) -> None:
    """Record (run, n, peak bytes in its directory) of attempts that wrote files."""
    db.many(_DISK, *zip(*rows, strict=True))


def fail(db: Database, rows: list[Row]) -> None:
    """Record (run, n, reason, encoded failure)."""
    db.many(_FAILURE, *zip(*rows, strict=True))


def log(db: Database, rows: list[Row]) -> None:
    """Record (run, n, captured output)."""
    db.many(_LOG, *zip(*rows, strict=True))


def of(db: Database, runs: list[int]) -> list[Attempt]:
    """All attempts of runs, in order."""
    return [Attempt._make(r) for r in db.rows(_OF, db.ids(runs))]


def logs(db: Database, run: int) -> list[tuple[int, bytes]]:
    """(attempt, captured output) of a run."""
    return [(n, bytes(b)) for n, b in db.rows(_LOGS, run)]
