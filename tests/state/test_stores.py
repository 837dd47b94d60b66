"""The conformance suite on every implementation."""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from functools import partial

import pytest

from tidemill.stores.state import classes
from tidemill.stores.state.open import open_database
from tidemill.stores.state.postgres import PostgresDatabase
from tidemill.testing import state
from tidemill.testing.postgres import drop_database, fresh_database, fresh_schema
from tidemill.testing.state import MakeStore, SeveralWritersSuite, StateStoreSuite


class Sqlite:
    @pytest.fixture(scope="class")
    @classmethod
    def make_store(cls, tmp_path_factory: pytest.TempPathFactory) -> MakeStore:
        return lambda: partial(open_database, str(tmp_path_factory.mktemp("state")), durable=False)


class Postgres:
    @pytest.fixture(scope="class")
    @classmethod
    def make_store(cls, postgres_url: str) -> Iterator[MakeStore]:
        database = fresh_database(postgres_url)
        yield lambda: partial(open_database, fresh_schema(database))
        drop_database(database)


class TestSqlite(Sqlite, StateStoreSuite):
    pass


class TestPostgres(Postgres, StateStoreSuite, SeveralWritersSuite):
    def test_engines_wake_each_other_when_they_commit(self, postgres_database: str) -> None:
        open_database(postgres_database).close()
        with closing(PostgresDatabase(postgres_database)) as one, closing(PostgresDatabase(postgres_database)) as other:
            other.listen()
            one.begin()
            classes.notify(one)
            one.rollback()
            assert other.time() > 0  # what had been sent before would have come with the answer
            assert not other.heard()
            with one.transaction():
                classes.notify(one)
                assert other.time() > 0
                assert not other.heard()
            assert other.time() > 0
            assert other.heard()


@pytest.mark.long
class TestSqliteForLong(Sqlite, state.RandomSuite):
    examples = 500


@pytest.mark.long
class TestPostgresForLong(Postgres, state.RandomSuite):
    examples = 500


def test_no_test_of_the_suite_hides_another() -> None:
    parts = [part for part in SeveralWritersSuite.__mro__ + StateStoreSuite.__mro__ if part.__module__ != "builtins"]
    names = Counter(name for part in set(parts) for name in vars(part) if name.startswith("test_"))
    assert [name for name, n in names.items() if n > 1] == []
    assert len(names) > 100
