"""Garbage: what nothing names goes after its grace time, everything else stays readable."""

import fcntl
import os
import time
from pathlib import Path

import pytest

from tests.client.worked import copied, worked
from tests.engine.tasks import NUMBER
from tidemill.client.garbage import Collected, collect_garbage, live_digests
from tidemill.client.store import Store
from tidemill.launchers.local import ALIVE
from tidemill.model.errors import UsageError
from tidemill.stores.objects import LocalStore
from tidemill.stores.state import overview
from tidemill.testing.engine import EngineDriver, StandingClock

DAY = 86400.0
LATER = time.time() + 30 * DAY


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return worked(tmp_path_factory.mktemp("once"), "files(7)")


@pytest.fixture
def done(once: Store, tmp_path: Path) -> Store:
    return copied(once, tmp_path / "store")


def collect(store: Store, *, now: float = LATER, grace: float = DAY, dry_run: bool = False) -> Collected:
    return collect_garbage(
        store.db, store.objects, store.place.directory, grace=grace, dry_run=dry_run, served=False, now=now
    )


def test_what_results_and_arguments_name_stays(done: Store) -> None:
    found = collect(done)
    assert (found.objects, found.missing) == (0, 0)
    # the file, the directory's manifest and its file, the large argument
    assert found.live == 4
    number, note, folder = done.result(1)
    assert number == 100_001
    assert note.read_text() == "7"
    assert (folder / "a.txt").read_text() == "a" * 7


def test_what_nothing_names_goes_after_its_time(done: Store) -> None:
    orphan = done.objects.put(b"nobody wants me" * 1000)
    assert collect(done, now=time.time()).young == 1
    assert done.objects.exists([orphan])
    assert collect(done, dry_run=True).objects == 1
    assert done.objects.exists([orphan])
    found = collect(done)
    assert (found.objects, found.object_bytes) == (1, 15_000)
    assert not done.objects.exists([orphan])


def test_the_members_of_an_unwanted_directory_go_too(done: Store, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    for i in range(3):
        (tmp_path / "tree" / str(i)).write_text(f"leaf {i}")
    manifest, _ = done.objects.put_dir(tmp_path / "tree")
    assert collect(done).objects == 4
    assert not done.objects.exists([manifest])


def test_nothing_is_kept_for_no_time_while_somebody_works(done: Store) -> None:
    with pytest.raises(UsageError, match="grace time must be positive"):
        collect_garbage(done.db, done.objects, done.place.directory, grace=0, served=True)
    with pytest.raises(UsageError, match="grace time must be positive"):
        collect(done, grace=-1)
    done.objects.put(b"x" * 100)
    assert collect(done, now=time.time() + 1, grace=0).objects == 1


def test_what_an_attempt_under_way_may_have_written_stays(tmp_path: Path) -> None:
    """However long ago that was, and however short the grace time is."""
    (tmp_path / "store").mkdir()
    now, clock = time.time(), StandingClock(time.time() - 2 * DAY)
    driver = EngineDriver(str(tmp_path / "store"), [NUMBER], clock=clock)
    objects = LocalStore(tmp_path / "objects")
    before, written = objects.put(b"b" * 100_000), objects.put(b"w" * 100_000)
    for one, days in ((before, 2.5), (written, 1.5)):
        os.utime(str(objects.file_of(one)), (now - days * DAY,) * 2)
    graph = driver.graph()
    graph.run("number", 1)
    driver.submit(graph)
    (claimed,) = driver.take()

    def look(grace: float) -> Collected:
        return collect_garbage(driver.engine.db, objects, tmp_path / "store", grace=grace, served=True, now=now)

    for grace in (DAY, 1.0):
        look(grace)
        assert objects.exists([before, written]) == {written}
    outcome = driver.execute(claimed)
    assert outcome is not None
    driver.hand_in(outcome)
    look(DAY)
    assert not objects.exists([written])
    driver.close()


def test_whole_logs_named_by_shortened_ones_stay(tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text(
        "import tidemill as tm\n@tm.task\ndef loud() -> int:\n    print('words ' * 50_000)\n    return 1\n", "utf-8"
    )
    store = worked(tmp_path, "__import__('loud').loud()")
    (whole,) = live_digests(store.db)
    collect(store)
    assert store.objects.get(whole).count(b"words") == 50_000


def pool(store: Store, engine: int) -> Path:
    made = store.place.directory / "work" / f"engine-{engine}-0"
    (made / "w9" / "now").mkdir(parents=True)
    (made / ALIVE).touch()
    (made / "w9" / "now" / "left.txt").write_text("x" * 50)
    return made


def kept(where: Path, name: str, age: float) -> Path:
    made = where / name
    made.mkdir()
    (made / "core").write_text("y" * 50)
    for path in (made / "core", made):
        os.utime(path, (LATER - age, LATER - age))
    return made


def test_directories_of_engines_that_have_gone_are_removed(done: Store) -> None:
    (gone,) = overview.stopped_engines(done.db)
    old, foreign = pool(done, gone), pool(done, gone + 100)
    found = collect(done)
    assert not old.exists()
    assert foreign.exists()
    assert found.directories >= 1
    assert found.directory_bytes >= 50


def test_failed_runs_keep_their_directories_for_the_grace_time(done: Store) -> None:
    (gone,) = overview.stopped_engines(done.db)
    where = pool(done, gone)
    young, old = kept(where, "12.1", 0.5 * DAY), kept(where, "13.2", 3 * DAY)
    assert collect(done, dry_run=True).directories == 3
    found = collect(done)
    assert found.kept == 1
    assert young.exists()
    assert not old.exists()
    assert not (where / "w9").exists()


def test_directories_in_use_are_left_alone(done: Store) -> None:
    (gone,) = overview.stopped_engines(done.db)
    where = pool(done, gone)
    with (where / ALIVE).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        collect(done)
        assert (where / "w9").exists()
    collect(done)
    assert not where.exists()


def test_it_reads_well(done: Store) -> None:
    done.objects.put(b"z" * 2000)
    text = str(collect(done, dry_run=True))
    assert "objects would be deleted" in text
    assert "2 kB" in text
    collect(done)
    assert "deleted" not in str(collect(done))
