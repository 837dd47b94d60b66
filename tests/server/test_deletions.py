"""Deleted bytes go when somebody serves the store; bytes that somebody needs, or may be putting, stay."""

import os
import selectors
import time
from contextlib import closing
from pathlib import Path

import pytest

from tidemill.client.store import Store
from tidemill.engine import files as engine_files
from tidemill.engine.engine import Engine
from tidemill.model.errors import NotFoundError
from tidemill.model.fileid import FileId
from tidemill.server.deletions import Deletions
from tidemill.stores.objects import local_path
from tidemill.stores.state import files
from tidemill.stores.state.open import open_database
from tidemill.testing.crash import wait_for

LARGE = 100_000
AGE = 3600.0


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    url = str(tmp_path / "store") if request.param == "sqlite" else request.getfixturevalue("postgres_database")
    return Store(url, objects=tmp_path / "objects")


def old(store: Store, one: FileId) -> FileId:
    """The same file, long after it was put."""
    place = Path(local_path(store.objects.url)) / one.digest.hex()[:2] / one.digest.hex()[2:]
    then = time.time() - AGE
    os.utime(place, (then, then))
    return one


def test_what_is_deleted_goes_and_what_is_needed_stays(store: Store) -> None:
    gone = old(store, store.files.write(b"g" * LARGE))
    named = old(store, store.files.write(b"n" * LARGE))
    store.names.put("n", named)
    old(store, named)
    for one in (gone, named):
        store.files.delete(one)
    wait_for(lambda: not store.objects.exists([gone.digest]), "the bytes to go")
    wait_for(lambda: not files.any_journaled(store.db), "the journal to be worked off")
    assert store.names.open("n").read() == b"n" * LARGE
    store.close()


def test_what_a_name_stood_for_stays_until_garbage_is_collected(store: Store, tmp_path: Path) -> None:
    """Also when it was put by the id of a file that is deleted later."""
    one, gone = (old(store, store.files.write(letter * LARGE)) for letter in (b"1", b"2"))
    assert [store.names.put("n", one), store.names.put("n", b"new")] == [1, 2]
    for file in (old(store, one), gone):
        store.files.delete(file)
    wait_for(lambda: not files.any_journaled(store.db), "the journal to be worked off")
    assert not store.objects.exists([gone.digest])
    store.send(store.names.history("n")[0], str(tmp_path / "copy"))
    assert (tmp_path / "copy").read_bytes() == b"1" * LARGE
    with pytest.raises(NotFoundError, match="there is no file"):
        store.names.put("n", one)
    store.close()


def test_what_was_left_over_is_deleted_by_who_serves_the_store_next(store: Store) -> None:
    gone = old(store, store.files.write(b"g" * LARGE))
    engine = Engine(open_database(store.place.state))
    with engine.turn() as turn:
        engine_files.delete(turn, gone)
    engine.db.close()
    assert store.objects.exists([gone.digest])
    store.command("sync")
    wait_for(lambda: not store.objects.exists([gone.digest]), "the bytes to go")
    wait_for(lambda: not files.any_journaled(store.db), "the journal to be worked off")
    store.close()


def test_who_leaves_also_deletes_what_came_while_it_was_deleting(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "store")) as store, selectors.DefaultSelector() as selector:
        first, second = (old(store, store.files.write(letter * LARGE)) for letter in (b"1", b"2"))
        engine = Engine(open_database(store.place.state))
        deletions = Deletions(engine, store.objects.url, selector)
        with engine.turn() as turn:
            engine_files.delete(turn, first)
        deletions.look(time.time())
        with engine.turn() as turn:
            engine_files.delete(turn, second)
        deletions.last(60)
        assert not files.any_journaled(engine.db)
        assert not store.objects.exists([first.digest, second.digest])
        engine.db.close()
        deletions.close()
