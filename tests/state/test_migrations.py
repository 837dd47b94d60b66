"""Stores as earlier versions made them, brought to this one step by step."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import cast

import pytest

from tidemill.client.store import Store
from tidemill.model.errors import StoreError
from tidemill.stores.state import meta, place, schema
from tidemill.stores.state.database import Database
from tidemill.stores.state.open import FILE, open_database
from tidemill.stores.state.postgres import PostgresDatabase, without_password
from tidemill.stores.state.sqlite import SqliteDatabase
from tidemill.testing.postgres import fresh_schema
from tidemill.testing.state_base import rows, table
from tidemill.testing.state_transactions import WRITTEN, write_everything

Made = tuple[str, Callable[[], Database]]


@pytest.fixture(params=["sqlite", "postgres"])
def first(request: pytest.FixtureRequest, tmp_path: Path) -> Made:
    """Address of an empty place for a store, and what opens it as it is."""
    if request.param == "sqlite":
        return str(tmp_path), lambda: SqliteDatabase(tmp_path / FILE)
    url = fresh_schema(request.getfixturevalue("postgres_database"))
    return url, lambda: PostgresDatabase(url)


def test_a_store_of_the_first_version(first: Made) -> None:
    url, plain = first
    with closing(plain()) as db, db.transaction():
        db.script(schema.MIGRATIONS[1][db.dialect])
        meta.put(db, "schema", 1)
        write_everything(db)
        before = {name: table(db, name) for name in WRITTEN if name != "meta"}
    with closing(open_database(url, read_only=True)) as db:
        assert place.read(db) == ("", None)
    with closing(open_database(url)) as db:
        assert schema.version(db) == schema.VERSION
        assert {name: table(db, name) for name in WRITTEN if name != "meta"} == before
        assert len(place.read(db).store) == 32


def test_who_looks_into_an_older_store_is_told_what_to_do(first: Made) -> None:
    url, plain = first
    with closing(plain()) as db, db.transaction():
        db.script(schema.MIGRATIONS[1][db.dialect])
        meta.put(db, "schema", 1)
    with pytest.raises(StoreError, match="older Tidemill") as caught, Store(url) as store:
        store.status()
    assert "tidemill run" in caught.value.hint
    open_database(url).close()
    with Store(url) as store:
        assert store.status().blocks == []


def test_a_new_store_is_never_seen_half_made(first: Made) -> None:
    url, plain = first
    with closing(plain()) as seen, closing(plain()) as db:
        versions: list[int] = []
        schema.migrate(cast(Database, _Watched(db, lambda: versions.append(schema.version(seen)))))
    assert len(versions) == schema.VERSION and set(versions) == {0}
    with Store(url) as store:
        assert store.status().blocks == []


class _Watched:
    """A database into which somebody looks before each script."""

    def __init__(self, db: Database, look: Callable[[], None]) -> None:
        self._db = db
        self._look = look

    def __getattr__(self, name: str) -> object:
        return getattr(self._db, name)

    def script(self, text: str) -> None:
        self._look()
        self._db.script(text)


def test_it_has_the_tables_of_a_new_one(first: Made, tmp_path: Path) -> None:
    url, plain = first
    with closing(plain()) as db, db.transaction():
        db.script(schema.MIGRATIONS[1][db.dialect])
        meta.put(db, "schema", 1)
    with closing(open_database(url)) as db:
        if db.dialect == "sqlite":
            with closing(SqliteDatabase(tmp_path / "new.db")) as new:
                schema.migrate(new)
                query = "select name, sql from sqlite_master order by name"
                assert rows(db, query) == rows(new, query)
        assert rows(db, "select name from place") == [("store",)]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:word@host:5/db", "postgresql://me@host:5/db"),
        ("postgresql://host/db?user=me&password=word", "postgresql://host/db?user=me"),
        ("postgresql://host/db?password=word", "postgresql://host/db"),
        ("postgresql://me:word@host/db?options=a@b:c", "postgresql://me@host/db?options=a@b:c"),
        ("postgresql:///db", "postgresql:///db"),
    ],
)
def test_passwords_are_not_shown(url: str, shown: str) -> None:
    assert without_password(url) == shown
