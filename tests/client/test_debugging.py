"""One step alone: with the inputs it had, in a fresh directory, and nothing of it in the store."""

import hashlib
import importlib
import io
import os
import sys
from pathlib import Path

import pytest

from tests.client.conftest import TOY
from tests.client.worked import worked
from tests.lab import Lab
from tidemill.client.debugging import Debugger, Replay, replay
from tidemill.client.store import Store
from tidemill.model.errors import NotFoundError, RunFailedError, UsageError
from tidemill.model.ids import Id
from tidemill.workers.failure import Fault

CALLS = ("sums(3)", "sums(2, True)", "files(7)")
EDITED = TOY.replace("    if fail:", "    if False:").replace("write_text(str(x))", "write_text('other')")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return worked(tmp_path_factory.mktemp("done"), *CALLS)


@pytest.fixture
def own(tmp_path: Path) -> Store:
    """A store whose project the test may edit."""
    return worked(tmp_path, "sums(2, True)", "note(7)", "dice(3)")


def find(store: Store, task: str, number: int = 0, block: int = 0) -> Id:
    page = store.runs(task=task, block=block)
    return Id("run", int(page.runs[number].id.partition(".")[2]))


def alone(store: Store, what: Id, debugger: Debugger = "none") -> Replay:
    main = sys.modules["__main__"], sys.path[:]
    try:
        return replay(store.db, lambda: store.objects, what, debugger=debugger)
    finally:
        # what a worker does to its process for good
        sys.modules["__main__"], sys.path[:] = main
        sys.modules.pop("toy", None)


def fingerprint(store: Store) -> str:
    """Of every file of a store, but for SQLite's own bookkeeping of readers."""
    found = hashlib.sha256()
    for path in sorted(store.place.directory.rglob("*")):
        if path.is_file() and not path.name.endswith(("-wal", "-shm")):
            found.update(str(path).encode() + path.read_bytes())
    return found.hexdigest()


def test_a_step_gets_the_inputs_it_had(done: Store) -> None:
    assert alone(done, find(done, "total")).values == [3]
    assert alone(done, find(done, "picky", 2)).values == [2]


def test_files_and_large_values_are_fetched(done: Store) -> None:
    found = alone(done, find(done, "read"))
    assert found.values == [100_001]
    assert (found.directory / "inputs" / "note.txt").read_text() == "7"


def test_files_it_writes_stay_in_its_directory(done: Store) -> None:
    found = alone(done, find(done, "folder"))
    assert found.values == [Path("out")]
    assert (found.directory / "out" / "a.txt").read_text() == "a" * 7


def test_the_store_is_not_touched(done: Store) -> None:
    chosen = [find(done, t) for t in ("total", "folder", "note", "read")]
    bad = find(done, "picky", 0, 2)
    before = fingerprint(done)
    here = Path.cwd()
    for what in chosen:
        assert alone(done, what).error is None
    assert alone(done, bad).error is not None
    assert fingerprint(done) == before
    assert Path.cwd() == here


def test_a_failure_is_the_users_own(done: Store) -> None:
    found = alone(done, find(done, "picky", 1, 2))
    assert isinstance(found.error, ValueError)
    assert str(found.error) == "1 is not to my taste"
    assert 'raise ValueError(f"{x} is not to my taste")' in found.traceback
    assert "tidemill" not in found.traceback


def test_edited_code_is_run_as_it_is_now(own: Store, tmp_path: Path) -> None:
    (tmp_path / "toy.py").write_text(EDITED, encoding="utf-8")
    before = fingerprint(own)
    found = alone(own, find(own, "picky", 1))
    assert found.changed
    assert found.values == [1]
    found = alone(own, find(own, "note"))
    assert (found.directory / "note.txt").read_text() == "other"
    assert fingerprint(own) == before


def test_what_a_command_writes_stays_out_of_the_store(own: Store) -> None:
    before = fingerprint(own)
    found = alone(own, find(own, "head"))
    assert (found.directory / "dice").read_bytes().endswith(b"3\n")
    assert fingerprint(own) == before


def test_code_that_is_gone_is_named(own: Store, tmp_path: Path) -> None:
    (tmp_path / "toy.py").unlink()
    with pytest.raises(Fault, match="toy"):
        alone(own, find(own, "picky"))


def test_it_says_what_it_does(done: Store) -> None:
    stream = io.StringIO()
    what = find(done, "total")
    main = sys.modules["__main__"], sys.path[:]
    replay(done.db, lambda: done.objects, what, stream=stream)
    sys.modules["__main__"], sys.path[:] = main
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith(f"total (run 1.{what.number}) in ")
    assert lines[1] == "  xs = [0, 1, 2]"


def test_a_debugger_opens_where_it_failed(
    done: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("p x * 100\nq\n"))
    found = alone(done, find(done, "picky", 1, 2), "after")
    assert found.error is not None
    output = capsys.readouterr().out
    assert "raise ValueError" in output
    assert "100" in output


def test_a_debugger_stops_at_the_first_line(
    done: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\np 'x is', x\nc\n"))
    assert alone(done, find(done, "picky", 1), "before").values == [1]
    output = capsys.readouterr().out
    assert "('x is', 1)" in output
    assert "looking at 1" in output


def test_a_run_that_is_not_there(done: Store) -> None:
    with pytest.raises(NotFoundError):
        alone(done, Id("run", 999))


def test_inputs_that_are_not_there_yet(toy: Path) -> None:
    module = importlib.import_module("toy")
    (toy / "store").mkdir()
    lab = Lab(str(toy / "store"))
    block = lab.submit(module.sums(2))
    lab.close()
    with Store(toy / "store") as store, pytest.raises(RunFailedError, match="input xs of total"):
        alone(store, find(store, "total", 0, block))


def test_a_given_directory_is_used(done: Store, tmp_path: Path) -> None:
    here = tmp_path / "here"
    with pytest.raises(UsageError, match="is no directory"):
        replay(done.db, lambda: done.objects, find(done, "note"), directory=here)
    here.mkdir()
    main = sys.modules["__main__"], sys.path[:]
    found = replay(done.db, lambda: done.objects, find(done, "note"), directory=here)
    sys.modules["__main__"], sys.path[:] = main
    assert found.directory == here
    assert os.listdir(here) == ["note.txt"]
