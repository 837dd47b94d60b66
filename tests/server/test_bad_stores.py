"""Stores that cannot be written, are full, are damaged or belong to a newer version: clear errors, and nothing lost."""

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.server.support import Bench
from tidemill.model.states import RunState
from tidemill.stores.state import meta
from tidemill.stores.state.open import open_database
from tidemill.testing.crash import every_run

OVERRIDE = "-dac_override,-dac_read_search"


def bound() -> tuple[str, ...]:
    """What to put before a command so that permissions bind it, whoever runs the tests."""
    if os.geteuid() != 0:
        return ()
    return ("setpriv", "--bounding-set", OVERRIDE, "--inh-caps", OVERRIDE)


@pytest.fixture
def locked(bench: Bench) -> Iterator[Bench]:
    """A bench whose permissions will be given back."""
    yield bench
    subprocess.run(["chmod", "-R", "u+rwX", bench.directory], check=True)


def test_a_directory_that_cannot_be_written(locked: Bench) -> None:
    bench = locked
    (bench.directory / "store").mkdir(mode=0o555)
    text = bench.start("number", 1, prefix=bound()).error()
    assert "StoreFullError" in text
    assert "cannot be written" in text
    assert "permissions" in text
    assert os.listdir(bench.directory / "store") == []


def test_a_store_that_may_be_read_but_not_written(locked: Bench) -> None:
    bench = locked
    assert bench.start("number", 1).result() == 1
    bench.quiet()
    subprocess.run(["chmod", "-R", "a-w,a+rX", bench.url], check=True)
    text = bench.start("number", 2, prefix=bound()).error()
    assert "StoreFullError" in text
    assert bench.url in text
    subprocess.run(["chmod", "-R", "u+w", bench.url], check=True)
    assert bench.start("number", 2).result() == 2


def test_a_store_below_a_file(bench: Bench) -> None:
    (bench.directory / "file").write_text("not a directory")
    bench.url = str(bench.directory / "file" / "store")
    text = bench.start("number", 1).error()
    assert "StoreFullError" in text
    assert bench.url in text


def test_a_full_disk_loses_nothing(bench: Bench) -> None:
    """No file may become larger than some megabytes: to the database that is a disk that takes no more."""
    limit = 3 << 20
    count = 120
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        program = bench.start("filling", count, workers=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    text = program.error()
    assert "StoreFullError" in text
    assert "nothing" in text
    bench.quiet()
    done = [r.id for r in bench.look(lambda db: list(every_run(db))) if r.state == RunState.COMPLETE]
    assert 0 < len(done) < count
    executed = len(bench.log())
    assert bench.start("filling", count, workers=2).result() == count * 60_000
    assert len(bench.log()) == executed + count - len(done), "what was acknowledged was executed again"


def test_a_database_that_is_none(bench: Bench) -> None:
    store = Path(bench.url)
    store.mkdir()
    garbage = b"this is not a database, and longer than a header is" * 100
    (store / "state.db").write_bytes(garbage)
    text = bench.start("number", 1).error()
    assert "StoreError" in text
    assert "not a Tidemill store, or it is damaged" in text
    assert (store / "state.db").read_bytes() == garbage


def test_a_store_of_a_newer_version_is_refused_by_its_name(bench: Bench) -> None:
    assert bench.start("number", 1).result() == 1
    bench.quiet()
    with closing(open_database(bench.url)) as db, db.transaction():
        meta.put(db, "schema", 999)
    text = bench.start("number", 2).error()
    assert "NewerStoreError" in text
    assert "999" in text
    assert "upgrade" in text


def test_a_store_that_goes_away_while_it_is_used(bench: Bench) -> None:
    """Its files are removed under the server: the client is told, and nothing hangs."""
    gate = bench.gate("a")
    program = bench.start("gates", ["a"])
    gate.reached()
    subprocess.run(["rm", "-rf", bench.url], check=True)
    gate.open()
    assert program.ended() == 1
    bench.quiet()


def test_workers_that_cannot_be_started_are_an_error(bench: Bench) -> None:
    Path(bench.url).mkdir()
    (Path(bench.url) / "work").write_text("in the way")
    text = bench.start("number", 1).error()
    assert "EngineLostError" in text
    assert "no worker can be started" in text
    bench.quiet()
    (Path(bench.url) / "work").unlink()
    assert bench.start("number", 1).result() == 1


def test_workers_that_do_not_come_up_are_an_error_that_says_why(bench: Bench) -> None:
    """Where their directories should be, there are files. The host does not try for ever."""
    for engine in (1, 10):
        pool = Path(bench.url) / "work" / f"engine-{engine}-0"
        pool.mkdir(parents=True)
        for worker in range(30):
            (pool / f"w{worker}").write_text("in the way")
    text = bench.start("number", 1, workers=2).error()
    assert "the workers of this store do not come up" in text
    assert "in the way" in text or "Error" in text
    bench.quiet()
