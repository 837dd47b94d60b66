"""Work the engine owes itself, durable so that a crash forgets none of it: timers, and data that ended without a value
and whose consumers have not been told yet."""

from tidemill.stores.state.database import Column, Database, Row, Statement, delete, insert

BACKOFF, REVIVE, RESTORE = 1, 2, 3
"""Kinds of timers, by what happens to the run when they fire: it may be tried again; it is to live again because what
ended it does; its inputs have to be made again."""

_TIMER = insert("timer", "at:r kind:i id:i", ignore=True)
_DUE = Statement("select at, kind, id from timer where at <= ? order by at, kind, id limit ? {skip_locked}")
_NEXT = Statement("select min(at) from timer")
_FIRE = delete("timer", "at = {at} and kind = {kind} and id = {id}", "at:r kind:i id:i")
_WAITING = Statement("select t.id from timer t where t.at = 0 and t.kind = ? and t.id in (select value from {ids})")
_CANCEL = Statement("delete from timer where kind = ? and id in (select value from {ids})")
_DOOM = insert("doom", "datum:i state:i cause:i", ignore=True)
_DOOMED = Statement(
    # materialized: the inner side of a join would be evaluated again for each row, and take others each time
    "with x as materialized (select datum from doom order by datum limit ? {skip_locked}) "
    "delete from doom where datum in (select datum from x) returning datum, state, cause"
)
_UNDOOM = Statement("delete from doom where datum in (select value from {ids}) returning datum")
_AMONG = Statement("select d.datum from {ids} {join} doom d on d.datum = j.value")


def wake_at(db: Database, at: Column, kinds: Column, ids: Column) -> None:
    """Set timers; `at` in engine seconds."""
    db.many(_TIMER, at, kinds, ids)


def due(db: Database, now: float, limit: int) -> list[Row]:
    """(at, kind, id) of at most `limit` timers that are due; they are removed."""
    rows = db.rows(_DUE, now, limit)
    if rows:
        db.many(_FIRE, *zip(*rows, strict=True))
    return rows


def next_timer(db: Database) -> float | None:
    row = db.one(_NEXT)
    return row[0] if row else None


def waiting(db: Database, kind: int, ids: list[int]) -> set[int]:
    """Which of these have a timer of a kind that has been due since the beginning of time."""
    return {r[0] for r in db.rows(_WAITING, kind, db.ids(ids))}


def cancel(db: Database, kind: int, ids: list[int]) -> None:
    db.run(_CANCEL, kind, db.ids(ids))


def doom(db: Database, data: Column, states: Column, causes: Column) -> None:
    """These data ended without a value; their consumers will be told."""
    db.many(_DOOM, data, states, causes)


def doomed(db: Database, limit: int) -> list[Row]:
    """(datum, state, cause), at most `limit`; they are removed."""
    return sorted(db.rows(_DOOMED, limit))


def undoom(db: Database, data: list[int]) -> list[int]:
    """Nobody shall be told of these data's ends; those that were still to be told."""
    return [r[0] for r in db.rows(_UNDOOM, db.ids(data))]


def doomed_among(db: Database, data: list[int]) -> set[int]:
    """Which of these data have ended while their consumers have not been told yet."""
    return {r[0] for r in db.rows(_AMONG, db.ids(data))}
