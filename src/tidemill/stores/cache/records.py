"""The rows of a node's cache, in one SQLite file: all of its SQL.

Sums are kept by triggers, so that asking for room costs the same however much is cached. Nothing is flushed to the
disk: the cache is not the truth, and after a power failure its files are looked at anew in any case.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from tidemill.model.digest import Digest
from tidemill.model.errors import CacheError
from tidemill.stores.cache.states import EntryState, RefKind, target
from tidemill.stores.objects.files import Lock

_LINKED = int(RefKind.LINKED)
_DELETING = int(EntryState.DELETING)
_CACHED = int(EntryState.CACHED)

_OTHER_LINK = f"""EXISTS (SELECT 1 FROM refs WHERE job = {{row}}.job AND entry = {{row}}.entry AND kind = {_LINKED}
                          AND id <> {{row}}.id)"""

_SCHEMA = f"""
PRAGMA journal_mode = WAL;
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS entries (
    id INTEGER PRIMARY KEY, digest BLOB NOT NULL, size INTEGER NOT NULL, cost INTEGER NOT NULL, state INTEGER NOT NULL,
    owner TEXT, used REAL NOT NULL, name TEXT NOT NULL, doubt INTEGER NOT NULL DEFAULT 0);
CREATE UNIQUE INDEX IF NOT EXISTS entries_by_digest ON entries (digest) WHERE state <> {_DELETING};
CREATE INDEX IF NOT EXISTS entries_by_use ON entries (used) WHERE state = {_CACHED};
CREATE INDEX IF NOT EXISTS entries_by_owner ON entries (owner) WHERE owner IS NOT NULL;
CREATE TABLE IF NOT EXISTS jobs (
    id INTEGER PRIMARY KEY, owner TEXT NOT NULL, disk INTEGER NOT NULL, directory TEXT NOT NULL,
    linked INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS refs (
    id INTEGER PRIMARY KEY, entry INTEGER NOT NULL, digest BLOB NOT NULL, job INTEGER NOT NULL, path TEXT NOT NULL,
    kind INTEGER NOT NULL, size INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS refs_by_entry ON refs (entry);
CREATE INDEX IF NOT EXISTS refs_by_digest ON refs (digest);
CREATE INDEX IF NOT EXISTS refs_by_job ON refs (job, entry);
CREATE TABLE IF NOT EXISTS properties (name TEXT PRIMARY KEY, value INTEGER);
INSERT OR IGNORE INTO properties VALUES ('limit', NULL), ('used', 0), ('adjusted', 0);
CREATE TRIGGER IF NOT EXISTS entry_came AFTER INSERT ON entries BEGIN
    UPDATE properties SET value = value + NEW.cost WHERE name = 'used'; END;
CREATE TRIGGER IF NOT EXISTS entry_went AFTER DELETE ON entries BEGIN
    UPDATE properties SET value = value - OLD.cost WHERE name = 'used'; END;
CREATE TRIGGER IF NOT EXISTS entry_grew AFTER UPDATE OF cost ON entries WHEN OLD.cost <> NEW.cost BEGIN
    UPDATE properties SET value = value + NEW.cost - OLD.cost WHERE name = 'used'; END;
CREATE TRIGGER IF NOT EXISTS link_came AFTER INSERT ON refs
    WHEN NEW.kind = {_LINKED} AND NOT {_OTHER_LINK.format(row="NEW")} BEGIN
    UPDATE jobs SET linked = linked + NEW.size WHERE id = NEW.job; END;
CREATE TRIGGER IF NOT EXISTS link_went AFTER DELETE ON refs
    WHEN OLD.kind = {_LINKED} AND NOT {_OTHER_LINK.format(row="OLD")} BEGIN
    UPDATE jobs SET linked = linked - OLD.size WHERE id = OLD.job; END;
COMMIT;
"""

_FREE = f"state = {_CACHED} AND NOT EXISTS (SELECT 1 FROM refs WHERE entry = entries.id AND kind <> {RefKind.COPIED:d})"


class Entry(NamedTuple):
    """A row of `entries`.

    Attributes:
        size: bytes.
        cost: bytes that it takes from the limit: none where the store's own file is read in place.
        owner: name of the process whose business it is, None while it is nobody's.
        used: seconds since the epoch when it was last read, as far as this row knows.
        name: of the file, relative to the cache's directory.
        doubt: the bytes have to be hashed before they are given to anybody.
    """

    id: int
    digest: Digest
    size: int
    cost: int
    state: EntryState
    owner: str | None
    used: float
    name: str
    doubt: bool


class Ref(NamedTuple):
    """A row of `refs`: what a job was given, as an absolute path."""

    id: int
    entry: int
    path: str
    kind: RefKind


class Sums(NamedTuple):
    """Bytes: the limit that was set (None: none), what the entries cost, what jobs asked for, and how much of that is
    not covered by files of the cache that they link to.
    """

    limit: int | None
    used: int
    asked: int
    reserved: int


_COLUMNS = "id, digest, size, cost, state, owner, used, name, doubt"


def _entry(row: tuple[Any, ...]) -> Entry:
    id, digest, size, cost, state, owner, used, name, doubt = row  # noqa: A001 (a column)
    return Entry(id, digest, size, cost, EntryState(state), owner, used, name, bool(doubt))


class _File:
    """The SQLite file at `path`, and the transactions on it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = Lock(path + ".lock")
        self._mutex = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._inherited: list[object] = []
        self._pid = os.getpid()

    @contextmanager
    def transaction(self, undo: Callable[[], None] | None = None) -> Iterator[None]:
        """The only transaction on the file; waiting for it is fair and wakes at once.

        Args:
            undo: called if the rows stay as they were, before anybody else may look at them.

        Raises:
            CacheError: if the file cannot be used.
        """
        if os.getpid() != self._pid:
            # Neither a connection nor a lock of the parent's threads may be used, or closed, in a forked child.
            self._inherited += [self._connection, self._mutex]
            self._connection, self._mutex, self._pid = None, threading.Lock(), os.getpid()
        try:
            with self._mutex, self._lock.hold():
                connection = self._connection or self._connect()
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield
                    connection.execute("COMMIT")
                except BaseException:
                    with suppress(sqlite3.Error):  # a full disk has ended it already
                        connection.execute("ROLLBACK")
                    if undo is not None:
                        undo()
                    raise
        except sqlite3.Error as error:
            raise CacheError(f"the cache cannot use {self._path}: {error}", hint="Remove its directory.") from error

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=60)
        try:
            connection.executescript(f"PRAGMA synchronous = OFF; {_SCHEMA}")
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def close(self) -> None:
        """Close the file; the next transaction opens it again."""
        with self._mutex:
            if self._connection is not None and os.getpid() == self._pid:
                self._connection.close()
            self._connection = None

    def _execute(self, statement: str, *values: object) -> sqlite3.Cursor:
        assert self._connection is not None
        return self._connection.execute(statement, values)

    def _one(self, statement: str, *values: object) -> Any:
        row = self._execute(statement, *values).fetchone()
        return row[0] if row else None


class Entries(_File):
    """Rows of what is in the cache. Every method is called within a transaction."""

    def find(self, digest: Digest) -> Entry | None:
        """The entry of an object; one that is being deleted is none."""
        row = self._execute(
            f"SELECT {_COLUMNS} FROM entries WHERE digest = ? AND state <> {_DELETING}", digest
        ).fetchone()
        return _entry(row) if row else None

    def add(self, digest: Digest, event: str, owner: str, name: str, size: int = 0) -> int:
        """A new entry, which costs `size` bytes; its id."""
        state = target(EntryState.GONE, event)
        cursor = self._execute(
            "INSERT INTO entries (digest, size, cost, state, owner, used, name) VALUES (?, ?, ?, ?, ?, ?, ?)",
            *(digest, size, size, state, owner, time.time(), name),
        )
        return int(cursor.lastrowid or 0)

    def move(self, entry: Entry, event: str, owner: str | None, name: str | None = None, doubt: bool = False) -> None:
        """Move an entry on; to nobody if `owner` is None. One that is to be deleted costs nothing any more."""
        state = target(entry.state, event)
        self._execute(
            "UPDATE entries SET state = ?, owner = ?, name = ?, doubt = ?, cost = ? WHERE id = ? AND state = ?",
            *(state, owner, name or entry.name, doubt, 0 if state == _DELETING else entry.cost, entry.id, entry.state),
        )

    def publish(self, id: int, size: int, cost: int, name: str) -> None:
        """What was downloaded is there, used a moment ago."""
        self._execute(
            "UPDATE entries SET state = ?, owner = NULL, size = ?, cost = ?, name = ?, used = ?, doubt = 0 "
            "WHERE id = ? AND state = ?",
            *(target(EntryState.DOWNLOADING, "publish"), size, cost, name, time.time(), id, EntryState.DOWNLOADING),
        )

    def entry(self, id: int) -> Entry | None:
        row = self._execute(f"SELECT {_COLUMNS} FROM entries WHERE id = ?", id).fetchone()
        return _entry(row) if row else None

    def grow(self, id: int, cost: int) -> None:
        """An entry costs so much from now on."""
        self._execute("UPDATE entries SET cost = ? WHERE id = ?", cost, id)

    def remove(self, ids: list[int]) -> None:
        """Entries whose files have been deleted are gone."""
        for one in ids:
            self._execute(f"DELETE FROM entries WHERE id = ? AND state = {_DELETING}", one)

    def evictable(self) -> list[Entry]:
        """Entries that cost something and that nobody holds, the least recently used first."""
        rows = self._execute(f"SELECT {_COLUMNS} FROM entries WHERE {_FREE} AND cost > 0 ORDER BY used, id")
        return [_entry(row) for row in rows]

    def is_free(self, id: int) -> bool:
        """Whether an entry is cached and nobody holds it."""
        return bool(self._one(f"SELECT 1 FROM entries WHERE id = ? AND {_FREE}", id))

    def held(self, id: int) -> bool:
        """Whether somebody keeps an entry from being evicted."""
        return bool(self._one("SELECT 1 FROM refs WHERE entry = ? AND kind <> ?", id, RefKind.COPIED))

    def sender(self, id: int) -> str | None:
        """A process that sends an entry to the store, None if nobody does. What a sender holds has no path."""
        statement = (
            "SELECT j.owner FROM refs r JOIN jobs j ON j.id = r.job WHERE r.entry = ? AND r.kind = ? AND r.path = ''"
        )
        name: str | None = self._one(statement, id, RefKind.COPYING)
        return name

    def give(self, id: int, owner: str) -> None:
        """An entry is the business of another process from now on."""
        self._execute("UPDATE entries SET owner = ? WHERE id = ?", owner, id)

    def whole(self) -> list[Entry]:
        """Entries that have all of their bytes."""
        states = EntryState.CACHED, EntryState.UPLOADABLE, EntryState.UPLOADING
        rows = self._execute(f"SELECT {_COLUMNS} FROM entries WHERE state IN (?, ?, ?)", *states)
        return [_entry(row) for row in rows]

    def owned(self, owner: str) -> list[Entry]:
        return [_entry(row) for row in self._execute(f"SELECT {_COLUMNS} FROM entries WHERE owner = ?", owner)]

    def doubt_all(self) -> None:
        """The machine has been started anew."""
        self._execute("DELETE FROM refs")
        self._execute("DELETE FROM jobs")
        self._execute(f"DELETE FROM entries WHERE doubt OR state <> {_CACHED}")
        self._execute("UPDATE entries SET doubt = 1, name = 'doubtful' || substr(name, 6)")


class Records(Entries):
    """All rows: entries, jobs and what these refer to. Every method is called within a transaction."""

    def owners(self) -> set[str]:
        """Processes that something here belongs to."""
        rows = self._execute("SELECT owner FROM entries WHERE owner IS NOT NULL UNION SELECT owner FROM jobs")
        return {row[0] for row in rows}

    def begin(self, owner: str, disk: int, directory: str) -> int:
        cursor = self._execute("INSERT INTO jobs (owner, disk, directory) VALUES (?, ?, ?)", owner, disk, directory)
        return int(cursor.lastrowid or 0)

    def end(self, job: int) -> None:
        """A job holds nothing any more, and has ended."""
        self.let_go(job)
        self._execute("DELETE FROM jobs WHERE id = ?", job)

    def let_go(self, job: int, kind: RefKind | None = None) -> None:
        """A job holds nothing any more, or nothing in one of the ways."""
        self._execute("DELETE FROM refs WHERE job = ? AND (? IS NULL OR kind = ?)", job, kind, kind)

    def jobs_of(self, owner: str) -> list[int]:
        return [row[0] for row in self._execute("SELECT id FROM jobs WHERE owner = ?", owner)]

    def unused(self, job: int) -> int:
        """Bytes of a job's reservation that are not covered by what it links to."""
        return int(self._one("SELECT max(0, disk - linked) FROM jobs WHERE id = ?", job) or 0)

    def refer(self, entry: Entry, job: int, path: str, kind: RefKind) -> int:
        """A job holds an entry. What costs nothing covers nothing of its reservation either."""
        cursor = self._execute(
            "INSERT INTO refs (entry, digest, job, path, kind, size) VALUES (?, ?, ?, ?, ?, ?)",
            *(entry.id, entry.digest, job, path, kind, entry.cost),
        )
        return int(cursor.lastrowid or 0)

    def copied(self, ref: int) -> None:
        """The copy is there."""
        self._execute("UPDATE refs SET kind = ? WHERE id = ?", RefKind.COPIED, ref)

    def unrefer(self, ref: int) -> None:
        self._execute("DELETE FROM refs WHERE id = ?", ref)

    def refs(self, job: int, digest: Digest | None = None) -> list[Ref]:
        """What a job was given: all of it, or of one object."""
        rows = self._execute(
            "SELECT id, entry, path, kind FROM refs WHERE job = ? AND (? IS NULL OR digest = ?) ORDER BY id",
            *(job, digest, digest),
        )
        return [Ref(row[0], row[1], row[2], RefKind(row[3])) for row in rows]

    def readers(self, digest: Digest) -> int:
        """How many references there are to an object."""
        return int(self._one("SELECT count(*) FROM refs WHERE digest = ?", digest))

    # ---------------------------------------------------------------------------------------------------------- sums

    def sums(self) -> Sums:
        found: dict[str, int | None] = dict(self._execute("SELECT name, value FROM properties").fetchall())
        asked, reserved = self._execute(
            "SELECT ifnull(sum(disk), 0), ifnull(sum(max(0, disk - linked)), 0) FROM jobs"
        ).fetchone()
        return Sums(found["limit"], found["used"] or 0, asked, reserved)

    def set_limit(self, limit: int | None, adjusted: bool) -> None:
        """Set the limit in bytes, None for none; whether that was by hand, and not what a process was told."""
        self._execute("UPDATE properties SET value = ? WHERE name = 'limit'", limit)
        self._execute("UPDATE properties SET value = ? WHERE name = 'adjusted'", adjusted)

    def adjusted(self) -> bool:
        """Whether the limit was set by hand."""
        return bool(self._one("SELECT value FROM properties WHERE name = 'adjusted'"))
