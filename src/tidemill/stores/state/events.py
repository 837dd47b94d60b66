"""Events: an append-only record, one row per transaction; `data` is encoded by `model.events`."""

from tidemill.stores.state.database import Database, Row, Statement

_INSERT = Statement("insert into event(t, engine, n, data) values (?, ?, ?, ?)")
_AFTER = Statement("select seq, t, engine, n, data from event where seq > ? order by seq limit ?")
_LAST = Statement("select coalesce(max(seq), 0) from event")
_TOLD = Statement("select answer from told where key = ?")
_TELL = Statement("insert into told(key, t, answer) values (?, ?, ?)")


def add(db: Database, t: float, engine: int, count: int, data: bytes) -> None:
    db.run(_INSERT, t, engine, count, data)


def after(db: Database, seq: int, limit: int = 1000) -> list[Row]:
    """(seq, t, engine, n, data) of the events after `seq`."""
    return db.rows(_AFTER, seq, limit)


def last(db: Database) -> int:
    row = db.one(_LAST)
    return int(row[0]) if row else 0


def told(db: Database, key: str) -> bytes | None:
    """The answer that a message with this idempotency key was given before, or None."""
    row = db.one(_TOLD, key)
    return bytes(row[0]) if row else None


def tell(db: Database, key: str, t: float, answer: bytes) -> None:
    db.run(_TELL, key, t, answer)
