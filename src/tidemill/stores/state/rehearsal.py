"""A store to try something in: a copy of a SQLite store, or a transaction on PostgreSQL that is never committed."""

import functools
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tidemill.model.errors import StoreError
from tidemill.stores.state import schema
from tidemill.stores.state.database import Column, Database, Many, Row, Statement
from tidemill.stores.state.open import FILE, is_postgres
from tidemill.stores.state.postgres import PostgresDatabase
from tidemill.stores.state.sqlite import SqliteDatabase

GRAPH_LOCK = "pg_advisory_xact_lock(7413)"
"""What `classes.lock_graph` takes alone."""

_CARELESS = "pragma synchronous = off"


@contextmanager
def rehearsal(url: str) -> Iterator[Database]:
    """A database with everything the store has, in which changes are lost at the end. A new store is an empty one.

    Raises:
        NewerStoreError: the store was written by a newer Tidemill.
        StoreError: it cannot be read.
    """
    if is_postgres(url):
        with _transaction(url) as db:
            yield db
        return
    directory = Path(tempfile.mkdtemp(prefix="tidemill-plan-"))
    try:
        _copy(Path(url.removeprefix("file://")) / FILE, directory / FILE)
        copy = SqliteDatabase(directory / FILE, durable=False)
        try:
            copy.script(_CARELESS)
            schema.migrate(copy)
            yield copy
        finally:
            copy.close()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _copy(source: Path, target: Path) -> None:
    """A consistent copy, also while the store is being written."""
    if not source.exists():
        return
    try:
        reading = sqlite3.connect(f"file:{source}?mode=ro", uri=True, timeout=60)
        writing = sqlite3.connect(target)
        try:
            reading.backup(writing)
        finally:
            writing.close()
            reading.close()
    except sqlite3.Error as error:
        raise StoreError(f"the store {source.parent} cannot be copied to {target.parent}: {error}") from error


@contextmanager
def _transaction(url: str) -> Iterator[Database]:
    db = PostgresDatabase(url)
    try:
        schema.check(db)
        db.begin()
        try:
            within = _Within(db)
            schema.migrate(within)
            yield within
        finally:
            db.rollback()
    finally:
        db.close()


class _Within(Database):
    """A database whose transactions are parts of one that is open already.

    Engines tell each other what they change by a lock and by marks in one row. Both would make them wait for the end of
    a rehearsal, and nobody is to hear of it, so it leaves them out.
    """

    dialect = "postgres"

    def __init__(self, db: Database) -> None:
        self._db = db
        self.url = db.url

    def rows(self, statement: Statement, *params: object) -> list[Row]:
        return [] if _concerns_others(statement) else self._db.rows(statement, *params)

    def run(self, statement: Statement, *params: object) -> int:
        return 0 if _concerns_others(statement) else self._db.run(statement, *params)

    def many(self, statement: Many, *columns: Column) -> int:
        return self._db.many(statement, *columns)

    def ids(self, values: Iterable[int]) -> object:
        return self._db.ids(values)

    def begin(self, *, write: bool = True) -> None:
        """Nothing: it has begun."""

    def commit(self) -> None:
        """Nothing: it will not be."""

    def rollback(self) -> None:
        """Nothing: all of it will be."""

    def script(self, text: str) -> None:
        self._db.script(text)

    def close(self) -> None:
        """Nothing: whoever began it closes it."""


@functools.cache
def _concerns_others(statement: Statement) -> bool:
    return any(part in statement.postgres for part in (GRAPH_LOCK, "update meta "))
