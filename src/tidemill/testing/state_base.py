"""What every part of the suite of state stores stands on: how a store is made, opened and tried."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from threading import Barrier
from typing import ClassVar, Protocol, TypeVar

import pytest
from hypothesis import HealthCheck, settings

from tidemill.stores.state.database import Database, Row, Statement

T = TypeVar("T")


class Opener(Protocol):
    """Opens one store, each time by a connection of its own. It can be pickled: other processes open the store too."""

    def __call__(self, *, read_only: bool = False) -> Database: ...


MakeStore = Callable[[], Opener]
"""Finds a place for a store and returns what opens it; nobody has opened it before."""


class StateSuite:
    """The fixtures. A subclass gives `make_store`.

    Attributes:
        examples: how many random examples each property is tried on.
    """

    examples: ClassVar[int] = 12

    @pytest.fixture(scope="class")
    @classmethod
    def make_store(cls) -> Iterator[MakeStore]:
        """What makes stores; it may clear them away at the end."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def shared(cls, make_store: MakeStore) -> Iterator[Database]:
        """A connection to a store in which nothing is ever committed."""
        with closing(make_store()()) as found:
            yield found

    @pytest.fixture
    def db(self, shared: Database) -> Iterator[Database]:
        """A connection to an empty store, inside a transaction that is rolled back at the end."""
        with undone(shared):
            yield shared

    @pytest.fixture
    def opener(self, make_store: MakeStore) -> Opener:
        """Opens a store of this test's own, which nobody has opened before."""
        return make_store()

    @pytest.fixture
    def store(self, opener: Opener) -> Iterator[Database]:
        """The first connection to a store of this test's own."""
        with closing(opener()) as found:
            yield found

    @classmethod
    def limits(cls, steps: int = 25) -> settings:
        """How long to look for a counterexample."""
        return settings(
            max_examples=cls.examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )


@contextmanager
def undone(db: Database) -> Iterator[None]:
    """A transaction of which nothing stays."""
    db.begin()
    try:
        yield
    finally:
        db.rollback()


@contextmanager
def refused(
    db: Database, error: type[BaseException], *, match: str | None = None
) -> Iterator[pytest.ExceptionInfo[BaseException]]:
    """A transaction that ends with this error; yields what will know it."""
    with pytest.raises(error, match=match) as caught, db.transaction():
        yield caught


def throw(error: BaseException) -> None:
    """Raise it."""
    raise error


def rows(db: Database, query: str, *params: object) -> list[Row]:
    """The rows of a query, for looking inside."""
    return db.rows(Statement(query), *params)


def table(db: Database, name: str) -> list[Row]:
    """All rows of a table, in an order that depends on nothing but them."""
    return sorted(rows(db, f"select * from {name}"), key=repr)


def together(*acts: Callable[[], T]) -> list[T]:
    """What functions return that start at the same time, each in a thread of its own."""
    gate = Barrier(len(acts))

    def act(one: Callable[[], T]) -> T:
        gate.wait()
        return one()

    with ThreadPoolExecutor(len(acts)) as threads:
        return [found.result() for found in [threads.submit(act, one) for one in acts]]
