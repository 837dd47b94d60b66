"""Objects that somebody has deleted by hand: what needs them has them made again, and who reads them is told how."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import tidemill as tm
from tests.server.support import Bench
from tidemill.client.details import RunInfo
from tidemill.model.errors import NotFoundError
from tidemill.model.states import BlockState
from tidemill.stores.state import blocks

N = 3
WEIGHT = N * 100_000 + 0 + 1 + 2


@pytest.fixture
def done(bench: Bench) -> Bench:
    """A bench on which everything has been made once."""
    assert bench.start("bulky", N).result() == WEIGHT
    bench.quiet()
    (bench.directory / "log").unlink()
    return bench


def objects(bench: Bench) -> Path:
    return Path(bench.url) / "objects"


def again(bench: Bench, more: int = 1) -> list[str]:
    """Run it with another argument, so that what was made before is an input; what was executed."""
    assert bench.start("bulky", N, more, workers=2).result() == WEIGHT + more
    bench.quiet()
    return sorted(bench.log())


def test_a_deleted_file(done: Bench) -> None:
    """One maker executes again, and nobody is charged with it: no task of these has retries."""
    (gone, *_) = sorted(objects(done).glob("??/*"))
    value = gone.read_bytes()[10]
    gone.unlink()
    assert again(done) == [f"bulk {value}", "weigh 1"]
    assert gone.exists()
    assert done.look(lambda db: blocks.roots(db, 1)[0].state) == BlockState.COMPLETE


def test_a_deleted_row_of_the_pack(done: Bench) -> None:
    with closing(sqlite3.connect(objects(done) / "pack.db")) as pack:
        assert pack.execute("delete from pack where length(data) = 2").rowcount == 1
        pack.commit()
    assert again(done) == ["leaf 2", "weigh 1"]


def test_all_is_gone(done: Bench) -> None:
    """It is made again in one go, and not piece by piece."""
    shutil.rmtree(objects(done))
    made = [f"{task} {i}" for task in ("bulk", "leaf") for i in range(N)]
    assert again(done) == [*made, "weigh 1"]


def test_why_the_first_attempt_failed_stays_on_record(done: Bench) -> None:
    shutil.rmtree(objects(done))
    again(done)
    with tm.open(done.url) as store:
        (first,) = [r for r in store.runs(task="weigh").runs if "more=1" in r.arguments and r.state == "cancelled"]
        found = store.show(first.id)
        assert isinstance(found, RunInfo)
        (attempt,) = found.attempts
    assert "is gone from" in attempt.error
    assert "lost input" in attempt.error
    assert "run the workflow again" not in attempt.error


def test_who_reads_is_told_what_to_do(done: Bench) -> None:
    run = "1.1"
    with tm.open(done.url) as store:
        value = store.result(run)
        (gone,) = [path for path in objects(done).glob("??/*") if path.read_bytes()[5:] == value]
        gone.unlink()
        with pytest.raises(NotFoundError, match=rf"is gone from .*/objects; run {run} made it") as told:
            store.result(run)
        assert told.value.hint.startswith(f"tidemill invalidate {run} --store {done.url}, and then")
        assert store.command("invalidate", runs=[1]) == {"runs": [1]}
    assert done.start("bulky", N).result() == WEIGHT
    assert done.log() == ["bulk 0"]
    with tm.open(done.url) as store:
        assert store.result("1.2") == bytes([1]) * 100_000
        assert store.result(store.runs(task="bulk", block=2).runs[0].id) == value


def test_files_of_results_are_made_again_too(done: Bench) -> None:
    with tm.open(done.url) as store:
        (last,) = [r.id for r in store.runs(task="leaf").runs if r.arguments == "i=2"]
        shutil.rmtree(objects(done))
        with pytest.raises(NotFoundError, match=f"run {last} made it"):
            store.result(last)
        again(done)
    with tm.open(done.url) as store:
        assert store.result(last).read_text() == "xx"


def test_what_was_given_cannot_be_made(bench: Bench) -> None:
    """But it can be given again: its run fails and says so, and the same command works."""
    gate = bench.gate("a")
    program = bench.start("given", 1)
    gate.reached()
    shutil.rmtree(objects(bench))
    gate.open()
    text = program.error()
    assert "no run makes it" in text
    assert "run the workflow again" in text
    bench.quiet()
    assert bench.start("given", 1).result() == 100_001


def test_on_postgresql(bench: Bench, postgres_database: str) -> None:
    bench.url = postgres_database
    bench.environment["XDG_DATA_HOME"] = str(bench.directory / "data")
    assert bench.start("bulky", N).result() == WEIGHT
    bench.quiet()
    (bench.directory / "log").unlink()
    (place,) = (bench.directory / "data" / "tidemill").iterdir()
    shutil.rmtree(place / "objects")
    made = [f"{task} {i}" for task in ("bulk", "leaf") for i in range(N)]
    assert again(bench) == [*made, "weigh 1"]
