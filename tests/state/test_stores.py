"""The conformance suite on every implementation."""

from collections.abc import Iterator
from functools import partial

import pytest

from tidemill.stores.state.open import open_database
from tidemill.testing.postgres import drop_database, fresh_database, fresh_schema
from tidemill.testing.state import MakeStore, SeveralWritersSuite, StateStoreSuite


class TestSqlite(StateStoreSuite):
    @pytest.fixture(scope="class")
    @classmethod
    def make_store(cls, tmp_path_factory: pytest.TempPathFactory) -> MakeStore:
        return lambda: partial(open_database, str(tmp_path_factory.mktemp("state")), durable=False)


class TestPostgres(StateStoreSuite, SeveralWritersSuite):
    @pytest.fixture(scope="class")
    @classmethod
    def make_store(cls, postgres_url: str) -> Iterator[MakeStore]:
        database = fresh_database(postgres_url)
        yield lambda: partial(open_database, fresh_schema(database))
        drop_database(database)
