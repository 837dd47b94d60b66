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
_ALL = Statement("select name, value from setting order by name")


def get(db: Database, name: str) -> str:
    """A setting, "" if there is none of this name."""
    row = db.one(_GET, name) if schema.version(db) >= _SINCE else None
    return str(row[0]) if row else ""


def put(db: Database, name: str, value: str) -> None:
    """Record a setting in place of an earlier one of this name."""
    db.run(_PUT, name, value)


def all(db: Database) -> dict[str, str]:  # noqa: A001 — of this table
    """Every setting by name."""
    return dict(db.rows(_ALL)) if schema.version(db) >= _SINCE else {}
