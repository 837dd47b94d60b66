"""The state store on SQLite: WAL, `synchronous=FULL`, short `BEGIN IMMEDIATE` transactions, one writer."""

import sqlite3
import time
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

import msgspec

from tidemill.model.errors import NotFoundError, StoreError, StoreFullError
from tidemill.stores.state.database import Column, Database, Many, Row, Statement

_json = msgspec.json.Encoder().encode

PAGE = 4096
CACHE_KB = 65536
CHECKPOINT_PAGES = 20000
BUSY_S = 60.0
"""How long to wait for another process that writes."""

_ERRORS = (sqlite3.Error, OverflowError, UnicodeEncodeError)
"""What the driver raises; the last two for a number beyond 64 bits and for half a character."""

_EXPLANATIONS: tuple[tuple[tuple[str, ...], type[StoreError], str], ...] = (
    (
        ("SQLITE_FULL",),
        StoreFullError,
        "no space left for the store {url}; nothing is lost: free some space and run the same command again",
    ),
    (
        ("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM"),
        StoreFullError,
        "the store {url} cannot be written ({error}): check the permissions of the directory and the file system",
    ),
    (
        ("SQLITE_IOERR",),
        StoreFullError,
        "input/output error in the store {url} ({error}): check the disk; nothing that was acknowledged is lost",
    ),
    (("SQLITE_NOTADB", "SQLITE_CORRUPT"), StoreError, "{url} is not a Tidemill store, or it is damaged ({error})"),
)


class SqliteDatabase(Database):
    """One connection to a SQLite file.

    Args:
        path: the database file; its directory must exist.
        read_only: refuse every change.
        durable: False turns `synchronous` to NORMAL: a power failure (not a killed process) may lose the last commits.

    Raises:
        NotFoundError: `read_only` and there is no file.
        StoreError: the file is not a database.
    """

    dialect = "sqlite"

    def __init__(self, path: Path, *, read_only: bool = False, durable: bool = True) -> None:
        self.url = str(path)
        if read_only and not path.exists():
            raise NotFoundError(f"there is no store at {path.parent}", hint="run a workflow with this store first")
        try:
            self._connection = sqlite3.connect(
                f"file:{quote(str(path))}?mode={'ro' if read_only else 'rwc'}",
                uri=True,
                isolation_level=None,
                timeout=BUSY_S,
                cached_statements=512,
                check_same_thread=False,
            )
            self._execute = self._connection.execute
            self._executemany = self._connection.executemany
            self._pragmas(read_only, durable)
        except sqlite3.Error as error:
            raise self._explain(error) from error

    def _pragmas(self, read_only: bool, durable: bool) -> None:
        if not read_only:
            self._execute(f"pragma page_size = {PAGE}")
            self._write_ahead()
            self._execute(f"pragma synchronous = {'full' if durable else 'normal'}")
            self._execute(f"pragma wal_autocheckpoint = {CHECKPOINT_PAGES}")
        self._execute(f"pragma cache_size = -{CACHE_KB}")
        self._execute("pragma temp_store = memory")

    def _write_ahead(self) -> None:
        """Turn a new file to WAL. SQLite does not wait with this for somebody who is doing the same, but a transaction
        does: after it, the file is as he left it.
        """
        end = time.monotonic() + BUSY_S
        while True:
            try:
                self._execute("pragma journal_mode = wal")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorname != "SQLITE_BUSY" or time.monotonic() > end:
                    raise
            self._execute("begin immediate")
            self._execute("rollback")

    def rows(self, statement: Statement, *params: object) -> list[Row]:
        try:
            return self._execute(statement.sqlite, params).fetchall()
        except _ERRORS as error:
            raise self._explain(error) from error

    def run(self, statement: Statement, *params: object) -> int:
        try:
            return self._execute(statement.sqlite, params).rowcount
        except _ERRORS as error:
            raise self._explain(error) from error

    def many(self, statement: Many, *columns: Column) -> int:
        try:
            return self._executemany(statement.sqlite, zip(*columns, strict=True)).rowcount
        except _ERRORS as error:
            raise self._explain(error) from error

    def ids(self, values: Iterable[int]) -> object:
        return _json(values if isinstance(values, list) else list(values)).decode()

    def begin(self, *, write: bool = True) -> None:
        try:
            self._execute("begin immediate" if write else "begin")
        except sqlite3.Error as error:
            raise self._explain(error) from error

    def commit(self) -> None:
        try:
            self._execute("commit")
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                self._execute("rollback")
            raise self._explain(error) from error

    def rollback(self) -> None:
        if self._connection.in_transaction:
            self._execute("rollback")

    def script(self, text: str) -> None:
        for part in text.split(";"):
            if part.strip():
                self.run(Statement(part))

    def checkpoint(self) -> None:
        """Move what the write-ahead log holds into the database file, as far as readers allow."""
        self._execute("pragma wal_checkpoint(passive)")

    def close(self) -> None:
        self._connection.close()

    def _explain(self, error: Exception) -> StoreError:
        if not isinstance(error, sqlite3.Error):
            return StoreError(f"the store {self.url} cannot hold a value: {error}")
        code = getattr(error, "sqlite_errorname", "") or ""
        for prefixes, kind, text in _EXPLANATIONS:
            if code.startswith(prefixes):
                return kind(text.format(url=self.url, error=error))
        return StoreError(f"{error} ({code}) in the store {self.url}")
