"""Deleting a state store in a database: its own tables, and nothing else that is there."""

import re

from tidemill.stores.state import schema
from tidemill.stores.state.database import Database, Statement

_TABLE = re.compile(r"create table (\w+)")
_LOCK = Statement("select 1", "select pg_advisory_xact_lock(7412)")


def tables() -> list[str]:
    """Every table of every version of the schema."""
    scripts = [text for scripts in schema.MIGRATIONS.values() for text in scripts.values()]
    return sorted({name for text in scripts for name in _TABLE.findall(text)})


def drop(db: Database) -> None:
    """Drop the tables of a store, as many of them as there are."""
    with db.transaction():
        db.rows(_LOCK)
        for name in tables():
            db.run(Statement(f"drop table if exists {name}"))
