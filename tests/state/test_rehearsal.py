"""A store to try something in: it has what the store has, and what is done to it is lost."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tidemill.model.errors import NewerStoreError, NotFoundError
from tidemill.stores.state import blocks, classes, meta, runs, schema, tasks
from tidemill.stores.state.open import open_database
from tidemill.stores.state.rehearsal import rehearsal
from tidemill.testing.postgres import drop_database, fresh_database, fresh_schema
from tidemill.testing.state_rows import a_block, a_run, add_blocks, add_runs
from tidemill.testing.state_transactions import contents, write_everything


@pytest.fixture(scope="module")
def database(postgres_url: str) -> Iterator[str]:
    found = fresh_database(postgres_url)
    yield found
    drop_database(found)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty store; copies of it are made in a directory of the test's own."""
    (tmp_path / "copies").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "copies"))
    if request.param == "sqlite":
        (tmp_path / "store").mkdir()
        return str(tmp_path / "store")
    return fresh_schema(request.getfixturevalue("database"))


def test_everything_is_there_and_nothing_stays(url: str, tmp_path: Path) -> None:
    with closing(open_database(url)) as db:
        with db.transaction():
            write_everything(db)
        before = contents(db)
        with rehearsal(url) as tried:
            assert contents(tried) == before
            with tried.transaction():
                add_runs(tried, [a_run(100)])
                classes.stand(tried, [1], [100])
                tasks.put(tried, b"n" * 32, "new", b"")
            with tried.transaction():
                add_blocks(tried, [a_block(100)])
                assert blocks.count(tried, {100: [1, 0, 0, 0, 0, 0, 0]}) or blocks.fold(tried)
            assert runs.get(tried, [100]) == {100: a_run(100)}
            assert classes.take(tried, 1, 10) == [1, 100]
            assert contents(db) == before
        assert contents(db) == before
    assert os.listdir(tmp_path / "copies") == []


def test_the_store_goes_on_meanwhile(url: str) -> None:
    with closing(open_database(url)) as db, rehearsal(url) as tried:
        with tried.transaction():
            classes.lock_graph(tried, exclusive=True)
            meta.bump(tried, "shares")
            add_runs(tried, [a_run(1)])
        with db.transaction():
            classes.lock_graph(db, exclusive=True)
            meta.bump(db, "shares")
            add_runs(db, [a_run(2)])
        assert runs.get(db, [1, 2]) == {2: a_run(2)}


def test_a_new_store_is_an_empty_one_and_stays_new(url: str) -> None:
    with rehearsal(url) as tried:
        assert schema.version(tried) == schema.VERSION
        assert blocks.roots(tried) == []
        with tried.transaction():
            add_runs(tried, [a_run(1)])
    with pytest.raises(NotFoundError, match="no store"):
        open_database(url, read_only=True)


def interrupted(url: str) -> None:
    with rehearsal(url) as tried:
        with tried.transaction():
            add_runs(tried, [a_run(1)])
        raise KeyboardInterrupt


def test_nothing_stays_of_one_that_fails(url: str, tmp_path: Path) -> None:
    with closing(open_database(url)) as db:
        before = contents(db)
        with pytest.raises(KeyboardInterrupt):
            interrupted(url)
        assert contents(db) == before
    assert os.listdir(tmp_path / "copies") == []


def test_a_newer_store_is_refused(url: str) -> None:
    with closing(open_database(url)) as db, db.transaction():
        meta.put(db, "schema", schema.VERSION + 1)
    with pytest.raises(NewerStoreError, match=str(schema.VERSION + 1)):
        rehearsal(url).__enter__()
