"""Logs: of ended attempts from the store, of the one under way from the worker's file, followed to the end."""

from pathlib import Path

import pytest

from tests.client.worked import worked
from tests.lab import Lab
from tidemill.client import logs as client_logs
from tidemill.client.store import Store
from tidemill.model.errors import NotFoundError
from tidemill.model.ids import Id
from tidemill.stores.state import attempts
from tidemill.workers import staging


def test_each_attempt_has_its_log(tmp_path: Path) -> None:
    store = worked(tmp_path, "picky.options(retries=1, backoff=0.0)(5, True)")
    found = store.logs("1.1")
    assert [(one.attempt, one.live) for one in found] == [(1, False), (2, False)]
    assert found[0].text == "looking at 5\nand thinking\n"
    assert [one.text for one in client_logs.logs(store.db, store.place, Id("run", 1), 2)] == [found[1].text]
    assert client_logs.tail(found, 1)[0].text == "and thinking"


def test_a_run_that_printed_nothing_has_none(tmp_path: Path) -> None:
    store = worked(tmp_path, "total([1, 2])")
    assert store.logs("1.1") == []


def test_there_must_be_such_a_run(tmp_path: Path) -> None:
    store = worked(tmp_path, "total([1, 2])")
    with pytest.raises(NotFoundError):
        store.logs("1.99")


@pytest.fixture
def live(toy: Path) -> tuple[Lab, Store, Path]:
    """A run that a worker has, and the file into which that worker prints."""
    import toy as module  # type: ignore[import-not-found]

    (toy / "store").mkdir()
    lab = Lab(str(toy / "store"))
    lab.submit(module.number(1))
    store = Store(toy / "store")
    path = staging.log_file(str(store.place.directory / "work" / "engine-1-0"), lab.worker)
    path.parent.mkdir(parents=True)
    return lab, store, path


def test_what_is_being_printed_is_shown(live: tuple[Lab, Store, Path]) -> None:
    lab, store, path = live
    (claimed,) = lab.claim()
    path.write_text("half a li")
    (found,) = store.logs(f"run:{claimed.run}")
    assert (found.text, found.live, found.attempt) == ("half a li", True, claimed.fence)
    lab.close()


def test_following_ends_with_the_run_and_misses_nothing(live: tuple[Lab, Store, Path]) -> None:
    lab, store, path = live
    claimed = lab.claim()
    path.write_text("one\n")
    following = client_logs.follow(store.db, store.place, Id("run", claimed[0].run))
    assert next(following) == "one\n"
    with path.open("a") as file:
        file.write("two\n")
    assert next(following) == "two\n"
    lab.turn(lambda turn: attempts.log(turn.db, [(claimed[0].run, claimed[0].fence, b"one\ntwo\nthree\n")]))
    lab.finish(claimed)
    assert "".join(following) == "three\n"
    lab.close()


def test_following_what_has_ended_prints_it_once(tmp_path: Path) -> None:
    store = worked(tmp_path, "picky(5, False)")
    assert "".join(client_logs.follow(store.db, store.place, Id("run", 1))) == "looking at 5\nand thinking\n"
