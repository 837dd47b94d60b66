"""One small interface over the two databases, and statements written once for both.

A statement is text with `?` for values and a few words in braces for what the dialects spell differently:

* `{ids}` one parameter, a list of integers, as a table `j(value)`: `from {ids}`;
* `{join}` a join whose order the planner must keep (it starts from the list, never from the big table);
* `{blob}`, `{int}`, `{real}` column types; `{strict}`, `{norowid}` table options.

`many` makes a statement that runs once per row of some columns: an `executemany` on SQLite, one set-based statement
over `unnest` on PostgreSQL. Both report how many rows they touched.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from tidemill.model.errors import ConflictError


class ContentionError(ConflictError):
    """A transaction met another engine's at the same rows: nothing of it happened, and it may simply be tried again."""


Dialect = Literal["sqlite", "postgres"]
Row = tuple[Any, ...]
Column = Sequence[Any]

_WORDS = {
    "sqlite": {
        "ids": "json_each(?) j",
        "join": "cross join",
        "blob": "blob",
        "int": "integer",
        "real": "real",
        "strict": "strict",
        "norowid": "strict, without rowid",
        "skip_locked": "",
        "share": "",
    },
    "postgres": {
        "ids": "unnest(?::bigint[]) j(value)",
        "join": "join",
        "blob": "bytea",
        "int": "bigint",
        "real": "double precision",
        "strict": "",
        "norowid": "",
        "skip_locked": "for update skip locked",
        "share": "for share",
    },
}
_TYPES = {"i": "bigint", "b": "bytea", "r": "double precision", "t": "text"}


def _spell(text: str, dialect: Dialect) -> str:
    words = _WORDS[dialect]
    text = re.sub(r"\{(\w+)\}", lambda m: words[m.group(1)], text)
    if dialect == "postgres":
        text = text.replace("%", "%%").replace("?", "%s")
    return text


class Statement:
    """A statement in both dialects."""

    __slots__ = ("postgres", "sqlite")

    def __init__(self, text: str, postgres: str | None = None) -> None:
        self.sqlite = _spell(text, "sqlite")
        self.postgres = _spell(postgres if postgres is not None else text, "postgres")


class Many:
    """A statement that runs once per row of `columns` (name:type with type i, b, r or t).

    Attributes:
        reals: which of the columns, from 0, are of type r.
    """

    __slots__ = ("postgres", "reals", "sqlite")

    def __init__(self, text: str, postgres: str, columns: str) -> None:
        names = [c.split(":")[0] for c in columns.split()]
        types = [c.split(":")[1] for c in columns.split()]
        self.reals = tuple(i for i, kind in enumerate(types) if kind == "r")
        arrays = ", ".join(f"?::{_TYPES[kind]}[]" for kind in types)
        for position, name in enumerate(names, 1):
            text = text.replace("{" + name + "}", f"?{position}")
            postgres = postgres.replace("{" + name + "}", f"u.{name}")
        self.sqlite = _spell(text, "sqlite")
        self.postgres = _spell(postgres.replace("{rows}", f"unnest({arrays}) u({', '.join(names)})"), "postgres")

    def followed_by(self, tail: str) -> "Many":
        """The same statement with more text behind it."""
        found = object.__new__(Many)
        found.reals = self.reals
        found.sqlite, found.postgres = self.sqlite + tail, self.postgres + tail
        return found


def insert(table: str, columns: str, *, ignore: bool = False) -> Many:
    """Insert one row per entry of the columns; with `ignore`, rows whose key exists are left as they are."""
    names = [c.split(":")[0] for c in columns.split()]
    head = f"insert into {table}({', '.join(names)}) "
    tail = " on conflict do nothing" if ignore else ""
    marks = ", ".join("{" + n + "}" for n in names)
    return Many(f"{head}values ({marks}){tail}", f"{head}select {marks} from {{rows}}{tail}", columns)


def upsert(table: str, columns: str, change: str) -> Many:
    """Insert rows; one whose `id` exists is changed instead: `change` is what follows `do update set`."""
    plain = insert(table, columns)
    tail = f" on conflict (id) do update set {change}"
    return plain.followed_by(tail)


def update(table: str, change: str, where: str, columns: str) -> Many:
    """Update rows: `change` and `where` use `{column}` for the parameters and bare names for the table's own
    columns.
    """
    own = re.sub(r"(?<![\w.{])(\w+)(?=\s*(=|in\b|<|>))", r"t.\1", where)
    return Many(
        f"update {table} set {change} where {where}",
        f"update {table} t set {change} from {{rows}} where {own}",
        columns,
    )


def delete(table: str, where: str, columns: str) -> Many:
    """Delete rows; `where` as in `update`."""
    own = re.sub(r"(?<![\w.{])(\w+)(?=\s*(=|in\b|<|>))", r"t.\1", where)
    return Many(f"delete from {table} where {where}", f"delete from {table} t using {{rows}} where {own}", columns)


_NOW = Statement(
    "select (julianday('now') - 2440587.5) * 86400.0", "select extract(epoch from clock_timestamp())::double precision"
)


class Database(ABC):
    """A connection with one transaction at a time. Not thread-safe: one thread owns it.

    Integers have 64 bits, texts are Unicode without NUL, floats are finite or infinite; what a database cannot hold it
    refuses with a `StoreError`, and changes nothing silently. After an error the transaction has to be rolled back.
    `tidemill.testing.state` has the suite that an implementation must pass.
    """

    dialect: Dialect
    url: str

    @abstractmethod
    def rows(self, statement: Statement, *params: object) -> list[Row]:
        """All rows of a query (or of a change with `returning`)."""

    @abstractmethod
    def run(self, statement: Statement, *params: object) -> int:
        """Execute a change; the number of rows it touched."""

    @abstractmethod
    def many(self, statement: Many, *columns: Column) -> int:
        """Execute once per row of columns; the number of rows touched in all.

        Raises:
            ValueError: the columns are not equally long.
        """

    @abstractmethod
    def ids(self, values: Iterable[int]) -> object:
        """A list of integers as a parameter for `{ids}`."""

    @abstractmethod
    def begin(self, *, write: bool = True) -> None:
        """Begin a transaction. One that may write waits here until it can.

        Raises:
            StoreError: there is one already.
        """

    @abstractmethod
    def commit(self) -> None:
        """End the transaction so that what it wrote stays, whatever happens from now on.

        Raises:
            StoreError: nothing of it stays.
        """

    @abstractmethod
    def rollback(self) -> None:
        """End the transaction so that nothing of it stays; without one, do nothing."""

    @abstractmethod
    def script(self, text: str) -> None:
        """Execute several statements without parameters, written with the words above."""

    @abstractmethod
    def close(self) -> None: ...

    def time(self) -> float:
        """Seconds since the epoch, by the clock of the machine that has the rows."""
        row = self.one(_NOW)
        assert row is not None
        return float(row[0])

    def one(self, statement: Statement, *params: object) -> Row | None:
        """The first row, or None."""
        rows = self.rows(statement, *params)
        return rows[0] if rows else None

    @contextmanager
    def transaction(self, *, write: bool = True) -> Iterator[None]:
        """Commit at the end, roll back on an exception."""
        self.begin(write=write)
        try:
            yield
        except BaseException:
            self.rollback()
            raise
        self.commit()
