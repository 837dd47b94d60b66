"""Counters and constants of the store: the next ids, the merge mark of the key index."""

from typing import NamedTuple

from tidemill.stores.state.database import Database, Statement

_READ = Statement("select name, value from meta")
_TAKE = Statement("update meta set value = value + ? where name = ? returning value")
_SET = Statement("insert into meta(name, value) values (?, ?) on conflict (name) do update set value = excluded.value")


def read(db: Database) -> dict[str, int]:
    """All counters by name."""
    return dict(db.rows(_READ))


def take(db: Database, name: str, count: int) -> int:
    """Reserve `count` ids; the first of them. Ids start at 1 and may have gaps."""
    row = db.one(_TAKE, count, name)
    assert row is not None
    return int(row[0]) - count + 1


def put(db: Database, name: str, value: int) -> None:
    db.run(_SET, name, value)


_BUMP = Statement("update meta set value = value + 1 where name = ?")
_PULSE = Statement(
    "select (select value from meta where name = 'schema'), (select value from meta where name = 'shares'), "
    "exists (select 1 from forward where open = 1), exists (select 1 from lifetime), exists (select 1 from doom), "
    "0, exists (select 1 from file where temporary = 1 and state = 2), (select min(at) from timer)",
    "select (select value from meta where name = 'schema'), (select value from meta where name = 'shares'), "
    "exists (select 1 from forward where open = 1), exists (select 1 from lifetime), exists (select 1 from doom), "
    "exists (select 1 from block_delta), exists (select 1 from file where temporary = 1 and state = 2), "
    "(select min(at) from timer)",
)


class Pulse(NamedTuple):
    """What several engines of one store tell each other through its rows.

    Attributes:
        schema: the store's schema version.
        shares: moves whenever a hub or a class changes.
        forwards, lifetimes, doomed, unfolded, temporary: whether there are any.
        timer: when the next timer is due, or None.
    """

    schema: int
    shares: int
    forwards: bool
    lifetimes: bool
    doomed: bool
    unfolded: bool
    temporary: bool
    timer: float | None


def bump(db: Database, name: str) -> None:
    """Move a mark, so that other engines look again."""
    db.run(_BUMP, name)


def pulse(db: Database) -> Pulse:
    row = db.one(_PULSE)
    assert row is not None
    return Pulse(row[0] or 0, row[1] or 0, bool(row[2]), bool(row[3]), bool(row[4]), bool(row[5]), bool(row[6]), row[7])
