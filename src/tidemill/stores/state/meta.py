"""Counters and constants of the store: the next ids, the merge mark of the key index."""

from tidemill.stores.state.database import Database, Statement

_READ = Statement("select name, value from meta")
_TAKE = Statement("update meta set value = value + ? where name = ? returning value")
_SET = Statement("insert into meta(name, value) values (?, ?) on conflict (name) do update set value = excluded.value")


def read(db: Database) -> dict[str, int]:
    """All counters by name."""
    return {name: value for name, value in db.rows(_READ)}


def take(db: Database, name: str, count: int) -> int:
    """Reserve `count` ids; the first of them. Ids start at 1 and may have gaps."""
    row = db.one(_TAKE, count, name)
    assert row is not None
    return int(row[0]) - count + 1


def put(db: Database, name: str, value: int) -> None:
    db.run(_SET, name, value)
