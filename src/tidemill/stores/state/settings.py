"""The store's own configuration: texts by name."""

from tidemill.stores.state import schema
from tidemill.stores.state.database import Database, Statement

_SINCE = 3
_GET = Statement("select value from setting where name = ?")
_SET = Statement(
    "insert into setting(name, value) values (?, ?) on conflict (name) do update set value = excluded.value"
)
_REMOVE = Statement("delete from setting where name = ?")
_EVERY = Statement("select name, value from setting order by name")


def get(db: Database, name: str) -> str | None:
    """A setting, None if there is none; also from a store that has not been brought to this schema yet."""
    row = db.one(_GET, name) if schema.version(db) >= _SINCE else None
    return str(row[0]) if row else None


def put(db: Database, name: str, value: str) -> None:
    """Set one, new or changed."""
    db.run(_SET, name, value)


def remove(db: Database, name: str) -> bool:
    """Take one back; whether there was one."""
    return db.run(_REMOVE, name) == 1


def every(db: Database) -> dict[str, str]:
    """All settings."""
    return dict(db.rows(_EVERY))
