"""Small objects in one SQLite file: a durable row is some sixty times cheaper than a durable file.

The rows stand in the order in which they came, and a separate index finds them by the first eight bytes of the
digest, as an integer. (A table clustered by digest writes a random page per object and takes several times the space;
an index over the whole digest is three times larger, and beyond some 10^5 objects it is the index that is written.)
Two digests with the same eight bytes are told apart by the row.

Writers of all processes and threads take the store's lock first: waiting for it is fair and wakes at once, whereas
SQLite's own waiting polls.
"""

import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from tidemill.model.digest import Digest
from tidemill.model.errors import NewerStoreError
from tidemill.stores.objects.failures import refused, sqlite_failure
from tidemill.stores.objects.files import Lock, sync_dir
from tidemill.stores.objects.interface import Data, Stored

VERSION = 1
"""Of the schema, kept in SQLite's `user_version`."""

_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE pack (
    id INTEGER PRIMARY KEY, head INTEGER NOT NULL, digest BLOB NOT NULL, put_at REAL NOT NULL, data BLOB NOT NULL);
CREATE INDEX pack_by_head ON pack (head);
PRAGMA user_version = {VERSION};
COMMIT;
"""

_BATCH_BYTES = 16 << 20
_WIDTHS = (1, 20, 500)
"""Digests per statement: a few fixed numbers, so that SQLite's prepared statements are used again."""

_VACUUM_PAGES = 10_000

_SETTINGS = """
PRAGMA synchronous = FULL;
PRAGMA cache_size = -16000;
PRAGMA wal_autocheckpoint = 10000;
PRAGMA journal_size_limit = 67108864;
"""


def _head(digest: Digest) -> int:
    return int.from_bytes(digest[:8], "big", signed=True)


def _find(connection: sqlite3.Connection, columns: str, digests: Sequence[Digest]) -> Iterator[tuple[Any, ...]]:
    """Rows that begin with the same eight bytes as one of `digests`; the caller compares the rest."""
    heads = list(map(_head, digests))
    first = 0
    while first < len(heads):
        left = len(heads) - first
        width = next((width for width in _WIDTHS if width >= left), _WIDTHS[-1])
        part = heads[first : first + width]
        part += part[-1:] * (width - len(part))
        yield from connection.execute(f"SELECT {columns} FROM pack WHERE head IN ({','.join('?' * width)})", part)
        first += width


class Pack:
    """The objects in the SQLite file at `path`, which is made by the first put."""

    def __init__(self, path: str, lock: Lock) -> None:
        self._path = path
        self._lock = lock
        self._idle: list[sqlite3.Connection] = []
        self._inherited: list[list[sqlite3.Connection]] = []
        self._pid = os.getpid()
        self._made = False

    # ------------------------------------------------------------------------------------------------ connections

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """A connection of this process that no other thread uses meanwhile."""
        if os.getpid() != self._pid:
            # SQLite connections must not be used, nor closed, in a forked child.
            self._inherited.append(self._idle)
            self._idle, self._pid = [], os.getpid()
        try:
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._connect()
            try:
                yield connection
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            finally:
                self._idle.append(connection)
        except sqlite3.Error as error:
            raise sqlite_failure(error, self._path) from error

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=60)
        try:
            self._check_version(connection)
            connection.executescript(_SETTINGS)
        except sqlite3.OperationalError as error:
            connection.close()
            if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
                raise
            return self._connect_read_only()
        except BaseException:
            connection.close()
            raise
        return connection

    def _check_version(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise NewerStoreError(
                f"{self._path} has layout {version}; this version of Tidemill knows {VERSION}",
                hint="Upgrade Tidemill.",
            )

    def _connect_read_only(self) -> sqlite3.Connection:
        """For a directory that may not be written, where SQLite cannot make the files that processes share."""
        log = self._path + "-wal"
        option = "mode=ro" if os.path.exists(log) and os.path.getsize(log) else "immutable=1"
        uri = f"file:{quote(self._path)}?{option}"
        return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=60)

    def _make(self) -> None:
        """Create the file and its tables, if nobody has yet. The caller holds the lock."""
        with self._connection() as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version == 0:
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(_SCHEMA)
                sync_dir(os.path.dirname(self._path))
        self._made = True

    def _there(self) -> bool:
        """Whether there is something to read."""
        if not self._made and os.path.exists(self._path):
            with self._connection() as connection:
                (version,) = connection.execute("PRAGMA user_version").fetchone()
                self._made = version != 0
        return self._made

    @contextmanager
    def _locked(self) -> Iterator[sqlite3.Connection]:
        """A connection that is the only one to write."""
        try:
            with self._lock.hold():
                if not self._there():
                    self._make()
                with self._connection() as connection:
                    yield connection
        except OSError as error:
            raise refused(error, self._path) from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """The only writing transaction on the file, durable at the end of the block."""
        with self._locked() as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")

    def close(self) -> None:
        """Close the connections that no thread is using."""
        while self._idle:
            self._idle.pop().close()

    # ----------------------------------------------------------------------------------------------------- objects

    def put(self, digests: Sequence[Digest], items: Sequence[Data]) -> None:
        """Store objects; those that are there already become young again. Durable on return."""
        first = size = 0
        for number, item in enumerate(items):
            size += len(item)
            if size >= _BATCH_BYTES:
                self._put_batch(digests[first : number + 1], items[first : number + 1])
                first, size = number + 1, 0
        if first < len(items):
            self._put_batch(digests[first:], items[first:])

    def _put_batch(self, digests: Sequence[Digest], items: Sequence[Data]) -> None:
        with self._transaction() as connection:
            now = time.time()
            known = dict(_find(connection, "digest, id", digests))
            old = [(now, row) for digest in digests if (row := known.get(digest))]
            connection.executemany("UPDATE pack SET put_at = ? WHERE id = ?", old)
            new = {
                digest: (_head(digest), digest, now, item)
                for digest, item in zip(digests, items, strict=True)
                if digest not in known
            }
            connection.executemany("INSERT INTO pack (head, digest, put_at, data) VALUES (?, ?, ?, ?)", new.values())

    def get(self, digests: Sequence[Digest]) -> dict[Digest, bytes]:
        """Those objects that are here, and perhaps others that nobody asked for."""
        return self._look_up("data", digests)

    def sizes(self, digests: Sequence[Digest]) -> dict[Digest, int]:
        """The sizes in bytes of those objects that are here, and perhaps others that nobody asked for."""
        return self._look_up("length(data)", digests)

    def read_range(self, digest: Digest, start: int, length: int) -> bytes | None:
        """Part of an object, None if it is not here."""
        # SQLite counts in 32 bits here, no row is longer than this, and it takes no part of nothing for null.
        start, length = min(start, 1 << 30), min(length, 1 << 30)
        return self._look_up(f"ifnull(substr(data, {start + 1}, {length}), x'')", [digest]).get(digest)

    def _look_up(self, column: str, digests: Sequence[Digest]) -> dict[Digest, Any]:
        if not digests or not self._there():
            return {}
        with self._connection() as connection:
            return dict(_find(connection, f"digest, {column}", digests))

    def delete(self, digests: Sequence[Digest], before: float | None) -> set[Digest]:
        """Remove objects, sparing those put at or after `before`; returns those removed."""
        if not digests or not self._there():
            return set()
        wanted = set(digests)
        with self._transaction() as connection:
            rows = [
                (row, digest)
                for row, digest, put_at in _find(connection, "id, digest, put_at", list(wanted))
                if digest in wanted and (before is None or put_at < before)
            ]
            connection.executemany("DELETE FROM pack WHERE id = ?", [(row,) for row, _ in rows])
        return {digest for _, digest in rows}

    def shrink(self) -> None:
        """Give the space of removed objects back to the file system."""
        last = 0
        # In slices, so that writers wait for none of them long.
        while (free := self._free_pages()) not in (0, last):
            last = free
            with self._locked() as connection:
                # As a script: `execute` would stop this statement after its first step, which is one page.
                connection.executescript(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})")
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _free_pages(self) -> int:
        if not self._there():
            return 0
        with self._connection() as connection:
            (free,) = connection.execute("PRAGMA freelist_count").fetchone()
        return int(free)

    def list(self) -> Iterator[Stored]:
        """Every object here, read in slices so that no transaction stays open between them."""
        last = 0
        while self._there():
            with self._connection() as connection:
                rows = connection.execute(
                    "SELECT id, digest, length(data), put_at FROM pack WHERE id > ? ORDER BY id LIMIT 1000", (last,)
                ).fetchall()
            if not rows:
                return
            last = rows[-1][0]
            for _, digest, size, put_at in rows:
                yield Stored(digest, size, put_at)
