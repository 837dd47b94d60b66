"""Work the engine owes itself, durable so that a crash forgets none of it: timers, and data that ended without a value and whose
consumers have not been told yet."""

from tidemill.stores.state.database import Column, Database, Row, Statement, insert

BACKOFF, SWEEP = 1, 2

_TIMER = insert("timer", "at:r kind:i id:i", ignore=True)
_DUE = Statement("select at, kind, id from timer where at <= ? order by at limit ?")
_NEXT = Statement("select min(at) from timer")
_FIRE = Statement("delete from timer where at <= ?")
_CANCEL = Statement("delete from timer where kind = ? and id in (select value from {ids})")
_DOOM = insert("doom", "datum:i state:i cause:i", ignore=True)
_DOOMED = Statement("select datum, state, cause from doom order by datum limit ?")
_DONE = Statement("delete from doom where datum in (select value from {ids})")


def wake_at(db: Database, at: Column, kinds: Column, ids: Column) -> None:
    """Set timers; `at` in engine seconds."""
    db.many(_TIMER, at, kinds, ids)


def due(db: Database, now: float) -> list[Row]:
    """(at, kind, id) of the timers that are due; they are removed."""
    rows = db.rows(_DUE, now, 10000)
    if rows:
        db.run(_FIRE, rows[-1][0])
    return rows


def next_timer(db: Database) -> float | None:
    row = db.one(_NEXT)
    return row[0] if row else None


def cancel(db: Database, kind: int, ids: list[int]) -> None:
    db.run(_CANCEL, kind, db.ids(ids))


def doom(db: Database, data: Column, states: Column, causes: Column) -> None:
    """These data ended without a value; their consumers will be told."""
    db.many(_DOOM, data, states, causes)


def doomed(db: Database, limit: int) -> list[Row]:
    """(datum, state, cause), at most `limit`; they are removed."""
    rows = db.rows(_DOOMED, limit)
    if rows:
        db.run(_DONE, db.ids([r[0] for r in rows]))
    return rows
