"""What a task has deferred is done after its attempt, however that ends."""

import fcntl
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workers.conftest import HERE
from tests.workers.test_filestore import call
from tidemill.model.errors import StoreFullError
from tidemill.model.protocol import Claimed
from tidemill.model.states import Reason
from tidemill.testing.workers import FakeEngine, python_spec
from tidemill.workers import deferred

ALL = ["run", "task", "lambda", "Cleaner class", "method bound", "keyword", "first"]
"""The last that was registered is done first."""


def claim(engine: FakeEngine, name: str, *args: object) -> Claimed:
    spec = python_spec(name, [f"a{i}" for i in range(len(args))], module="filetasks")
    return engine.claim(engine.task(spec), *args)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def left(engine: FakeEngine) -> list[str]:
    """Files of what is still to be done."""
    return [path.name for path in engine.scratch.glob(f"{deferred.FOLDER}/*")]


def die(engine: FakeEngine) -> None:
    """Wait for the end of the worker and do what its pool does then."""
    engine.wait(lambda: bool(engine.gone))
    worker = engine.pool.workers[0]
    worker.exit_reason()
    engine.pool.clear_up(worker)
    for process in engine.pool._leftovers:
        assert process.wait(60) == 0


@pytest.mark.parametrize("how", ["return", "raise"])
def test_it_is_done_before_the_outcome_is_told(engine: FakeEngine, tmp_path: Path, how: str) -> None:
    found = tmp_path / "found"
    outcome = call(engine, "deferring", str(found), how)
    assert lines(found) == ALL
    assert left(engine) == []
    assert (outcome.failure is None) is (how == "return"), "what goes wrong in it fails nothing"
    log = outcome.log.decode()
    assert "deferred fail failed:" in log and "ValueError: deferred trouble" in log
    assert "SystemExit: 3" in log


@pytest.mark.parametrize("how", ["exit", "kill"])
def test_it_is_done_when_the_process_has_died(fresh: FakeEngine, tmp_path: Path, how: str) -> None:
    found = tmp_path / "found"
    fresh.send([claim(fresh, "deferring", str(found), how)])
    die(fresh)
    assert lines(found) == ALL
    assert left(fresh) == []


def test_it_is_done_when_the_process_is_killed_for_taking_too_long(fresh: FakeEngine, tmp_path: Path) -> None:
    found, started = tmp_path / "found", tmp_path / "started"
    os.mkfifo(started)
    fresh.send([claim(fresh, "deferring", str(found), "wait", str(started))])
    assert started.read_text() == "started"
    assert lines(found) == ["run"]
    fresh.pool.workers[0].kill()
    die(fresh)
    assert lines(found) == ALL


def test_it_is_done_when_the_pool_ends(tmp_path: Path) -> None:
    found, started = tmp_path / "found", tmp_path / "started"
    os.mkfifo(started)
    with FakeEngine(tmp_path / "own", path=[HERE]) as engine:
        engine.send([claim(engine, "deferring", str(found), "wait", str(started))])
        assert started.read_text() == "started"
        engine.pool.workers[0].kill()
        engine.pool.stop(grace=60.0)
        assert lines(found) == ALL


def test_what_ends_its_process_is_given_up(fresh: FakeEngine, tmp_path: Path) -> None:
    found = tmp_path / "found"
    fresh.send([claim(fresh, "defer_a_killer", str(found))])
    fresh.wait(lambda: bool(fresh.gone))
    fresh.pool.workers[0].exit_reason()
    folder = fresh.scratch / deferred.FOLDER
    for _ in range(deferred.TRIES):
        subprocess.run([sys.executable, "-m", "tidemill.workers.deferred", *deferred.left_over(folder)], check=False)
    assert lines(found) == ["first", *["killing"] * deferred.TRIES, "last"]
    assert not folder.exists()


def test_what_cannot_be_kept_is_refused_at_once(engine: FakeEngine) -> None:
    failure = call(engine, "defer_what_cannot_be").failure
    assert failure is not None and Reason(failure.reason) is Reason.EXCEPTION
    assert failure.kind == "UsageError" and "print cannot be deferred" in failure.message
    assert left(engine) == []


def test_it_has_no_part_in_the_attempt(engine: FakeEngine, tmp_path: Path) -> None:
    outcome = call(engine, "defer_with_files", str(tmp_path / "found"))
    assert outcome.failure is None
    assert lines(tmp_path / "found") == ["UsageError"]


def test_what_it_leaves_behind_is_not_the_next_runs(engine: FakeEngine, tmp_path: Path) -> None:
    outcome = call(engine, "defer_a_mess", str(tmp_path / "found"))
    assert outcome.failure is None and outcome.growth == b""
    after = call(engine, "has_mess")
    assert engine.value(after) == (None, False)
    assert after.growth == b""


def test_a_full_disk_breaks_nothing_that_was_promised(tmp_path: Path) -> None:
    found = tmp_path / "found"
    stack = deferred.Deferred(tmp_path / "deferred")
    stack.add("1-1.1", _note, (str(found), "before"), {})
    size = (tmp_path / "deferred" / "1-1.1").stat().st_size
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, limits[1]))
    try:
        with pytest.raises(StoreFullError):
            stack.add("1-1.1", _note, (str(found), "x" * 1000), {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    stack.add("1-1.1", _note, (str(found), "after"), {})
    stack.run()
    assert lines(found) == ["after", "before"]


def test_a_forked_child_does_nothing_of_it(engine: FakeEngine) -> None:
    outcome = call(engine, "fork")
    kept = engine.value(outcome)
    assert kept == 7
    assert left(engine) == []


# ------------------------------------------------------------------------------------------------- the files of it


def registered(folder: Path, found: Path, count: int) -> Path:
    """A file with things to do, as a process leaves it that dies."""
    stack = deferred.Deferred(folder)
    for number in range(count):
        stack.add("1-1.1", _note, (str(found), str(number)), {})
    stack.disown()
    return folder / "1-1.1"


def _note(path: str, text: str) -> None:
    with open(path, "a") as file:
        file.write(text + "\n")


def test_what_somebody_does_already_is_left_to_him(tmp_path: Path) -> None:
    path, found = registered(tmp_path / "deferred", tmp_path / "found", 2), tmp_path / "found"
    with open(path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert deferred.left_over(path.parent) == []
        deferred.main([str(path)])
        assert not found.exists()
    assert deferred.left_over(path.parent) == [str(path)]
    deferred.main([str(path)])
    assert lines(found) == ["1", "0"]
    deferred.main([str(path)])
    assert lines(found) == ["1", "0"]


def test_a_record_that_was_being_written_was_never_promised(tmp_path: Path) -> None:
    path, found = registered(tmp_path / "deferred", tmp_path / "found", 2), tmp_path / "found"
    whole = path.read_bytes()
    for cut in (len(whole) - 1, len(whole) // 2 + 3):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(whole[:cut])
        deferred.main([str(path)])
        assert lines(found) == ["0"]
        found.unlink()


def test_another_machine_does_nothing_of_it(tmp_path: Path) -> None:
    path, found = registered(tmp_path / "deferred", tmp_path / "found", 1), tmp_path / "found"
    data = path.read_bytes()
    host = os.uname().nodename.encode()
    path.write_bytes(data.replace(host, host[::-1][:-1] + b"~", 1))
    deferred.main([str(path)])
    assert not found.exists() and path.exists()


def test_nothing_is_left_over_where_nothing_was(tmp_path: Path) -> None:
    assert deferred.left_over(tmp_path / "none") == []
    deferred.main([str(tmp_path / "none" / "1-1.1")])
