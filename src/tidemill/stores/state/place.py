"""What a store is called, and where its objects are."""

from typing import NamedTuple

from tidemill.stores.state import schema
from tidemill.stores.state.database import Database, Statement

_READ = Statement("select name, value from place")
_SETTLE = Statement("insert into place(name, value) values ('objects', ?) on conflict (name) do nothing")
_SET = Statement("update place set value = ? where name = 'objects'")
_SINCE = 2
"""The schema version that brought the table."""


class Recorded(NamedTuple):
    """What a store knows of itself.

    Attributes:
        store: its random name, which it keeps wherever it is moved; "" in a store from before there were names.
        objects: URL of the place of its objects, "" for the default place, None if that is not settled yet.
    """

    store: str
    objects: str | None


def read(db: Database) -> Recorded:
    """What is recorded, also in a store that has not been brought to this schema yet."""
    if schema.version(db) < _SINCE:
        return Recorded("", None)
    found: dict[str, str] = dict(db.rows(_READ))
    return Recorded(found.get("store", ""), found.get("objects"))


def settle(db: Database, objects: str) -> str:
    """Record where objects are, unless somebody has; what is recorded now."""
    db.run(_SETTLE, objects)
    found = read(db).objects
    assert found is not None
    return found


def change(db: Database, objects: str) -> None:
    """Record another way to reach the same place."""
    db.run(_SET, objects)
