"""The store's own configuration: texts by name."""

from tidemill.stores.state import schema
from tidemill.stores.state.database import Database, Statement

WORKERS = "workers"
"""Name of a setting: workers for those who do not say how many."""
STARTED = "started:"
"""Begin of the names of settings that say how a workflow was started: its root block follows."""
HALT = "halt:"
"""Begin of the names of requests to an engine that another one wrote down: its id follows."""

_SINCE = 3
"""The schema version that brought the table."""
_GET = Statement("select value from setting where name = ?")
_PUT = Statement(
    "insert into setting(name, value) values (?, ?) on conflict (name) do update set value = excluded.value"
)
_REMOVE = Statement("delete from setting where name = ?")
_EVERY = Statement("select name, value from setting order by name")


def get(db: Database, name: str) -> str:
    """A setting, "" if there is none of this name."""
    row = db.one(_GET, name) if schema.version(db) >= _SINCE else None
    return str(row[0]) if row else ""


def put(db: Database, name: str, value: str) -> None:
    """Record a setting in place of an earlier one of this name."""
    db.run(_PUT, name, value)


def remove(db: Database, name: str) -> bool:
    """Take one back; whether there was one."""
    return db.run(_REMOVE, name) == 1


def every(db: Database) -> dict[str, str]:
    """All settings by name."""
    return dict(db.rows(_EVERY)) if schema.version(db) >= _SINCE else {}
