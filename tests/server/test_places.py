"""Where a store's objects are: said once, known from then on, and never mistaken."""

import os
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import tidemill as tm
from tests.server.support import Bench
from tidemill.client.connection import Connection
from tidemill.model.errors import ConfigError, UsageError
from tidemill.server.addresses import place_of
from tidemill.stores.objects import open_objects
from tidemill.stores.state import meta
from tidemill.stores.state import place as places
from tidemill.stores.state.open import open_database
from tidemill.stores.state.postgres import without_password
from tidemill.testing.first_version import FIRST


def elsewhere(bench: Bench) -> Path:
    """A place outside of the store, in which its first run puts what it makes."""
    found = bench.directory / "elsewhere"
    bench.environment["TEST_OBJECTS"] = str(found)
    assert bench.start("bulky", 2).result()
    bench.quiet()
    assert any(found.glob("??/*"))
    del bench.environment["TEST_OBJECTS"]
    return found


def first_version(url: str) -> None:
    """Make a store what it would be if an earlier version had made it."""
    with closing(open_database(url)) as db, db.transaction():
        db.script(FIRST)
        meta.put(db, "schema", 1)


def test_it_is_said_once(bench: Bench) -> None:
    found = elsewhere(bench)
    assert bench.look(places.read).objects == str(found)
    assert bench.start("bulky", 3).result()
    bench.quiet()
    assert not (Path(bench.url) / "objects").exists()
    with tm.open(bench.url) as store:
        assert store.objects.url == f"file://{found}"
        assert store.result("1.1") == bytes(100_000)


def test_another_one_is_refused_with_both_names(bench: Bench) -> None:
    found = elsewhere(bench)
    other = bench.directory / "other"
    bench.environment["TEST_OBJECTS"] = str(other)
    text = bench.start("number", 1).error()
    assert "ConfigError" in text
    assert f"are in {found}, not in {other}" in text
    assert "leave out objects" in text
    with tm.open(bench.url, objects=other) as store, pytest.raises(ConfigError, match="elsewhere, not in"):
        _ = store.objects
    (bench.directory / "link").symlink_to(found)
    bench.environment["TEST_OBJECTS"] = str(bench.directory / "link")
    assert bench.start("number", 2).result() == 2


def test_a_running_engine_refuses_another_one_too(bench: Bench) -> None:
    gate = bench.gate("a")
    program = bench.start("gates", ["a"])
    gate.reached()
    other = Connection(place_of(bench.url, str(bench.directory / "other")), 0, [])
    with closing(other), pytest.raises(ConfigError, match=r"store/objects, not in .*other"):
        other.welcome()
    with closing(Connection(place_of(bench.url, f"{bench.url}/objects"), 0, [])) as ours:
        ours.welcome()
    gate.open()
    assert program.result() == ["a"]


def test_the_default_place_moves_with_the_store(bench: Bench) -> None:
    assert bench.start("bulky", 2).result()
    bench.quiet()
    assert bench.look(places.read).objects == ""
    moved = bench.directory / "moved"
    shutil.move(bench.url, moved)
    with tm.open(moved) as store:
        assert store.objects.url == f"file://{moved}/objects"
        assert store.result("1.1") == bytes(100_000)


def test_a_store_from_before_places_says_once_where_they_are(bench: Bench) -> None:
    found = elsewhere(bench)
    first_version(bench.url)
    text = bench.start("number", 1).error()
    assert "ConfigError" in text
    assert "say once where they are" in text
    bench.environment["TEST_OBJECTS"] = str(found)
    assert bench.start("number", 1).result() == 1
    assert bench.look(places.read).objects == str(found)


def test_a_store_from_before_places_with_objects_of_its_own(bench: Bench) -> None:
    assert bench.start("bulky", 2).result()
    bench.quiet()
    first_version(bench.url)
    bench.environment["TEST_OBJECTS"] = str(bench.directory / "other")
    assert "store/objects, not in" in bench.start("number", 1).error()
    del bench.environment["TEST_OBJECTS"]
    assert bench.start("number", 1).result() == 1
    assert bench.look(places.read).objects == ""


def use(bench: Bench, name: str, objects: Path | None) -> tm.Store:
    """A store in which something was made."""
    bench.url = str(bench.directory / name)
    bench.environment["TEST_OBJECTS"] = str(objects or "")
    assert bench.start("bulky", 2).result()
    bench.quiet()
    return tm.open(bench.url)


@pytest.mark.parametrize("dry_run", [False, True])
def test_garbage_is_not_collected_where_others_keep_objects(bench: Bench, dry_run: bool) -> None:
    common = bench.directory / "common"
    with use(bench, "a", common) as first, use(bench, "b", common) as second:
        for store, other in ((first, second), (second, first)):
            with pytest.raises(ConfigError, match=rf"other stores too.*: {other.url}, used from") as told:
                store.gc(grace=0, dry_run=dry_run)
            name = places.read(other.db).store
            assert f"delete users/{name} there" in told.value.hint
        (common / "users" / places.read(second.db).store).unlink()
        first.objects.put(b"orphan")
        assert first.gc(grace=0, dry_run=True).objects > 0


def test_garbage_is_collected_in_a_place_of_its_own(bench: Bench) -> None:
    with use(bench, "a", bench.directory / "own") as store:
        orphan = store.objects.put(b"orphan")
        assert store.gc(grace=0).objects == 1
        assert not store.objects.exists([orphan])
        assert store.result("1.1") == bytes(100_000)


def test_garbage_is_not_collected_inside_another_store(bench: Bench) -> None:
    with use(bench, "a", None) as owner, use(bench, "b", bench.directory / "a" / "objects") as guest:
        with pytest.raises(ConfigError, match=f"other stores too.*{guest.url}"):
            owner.gc(grace=0)
        with pytest.raises(ConfigError, match="inside of another store"):
            guest.gc(grace=0, dry_run=True)
        assert owner.result("1.1") == guest.result("1.1")
        (Path(owner.url) / "objects" / "users" / places.read(guest.db).store).unlink()
        assert owner.gc(grace=0).objects == 0


def test_a_place_that_cannot_be_used_is_told_before_anything_is_stored(bench: Bench) -> None:
    (bench.directory / "file").write_text("")
    bench.environment["TEST_OBJECTS"] = str(bench.directory / "file" / "objects")
    text = bench.start("number", 1).error()
    assert "StoreError" in text
    assert "Not a directory" in text
    assert bench.look(places.read).objects is None


@pytest.mark.parametrize(
    "objects", ["ftp://x", "s3:/bucket", "s3://", "s3://a:b@bucket", "s3://b?colour=red", "memory://m"]
)
def test_addresses_that_are_none(tmp_path: Path, objects: str) -> None:
    with pytest.raises(ConfigError):
        tm.open(tmp_path / "store", objects=objects)
    assert not (tmp_path / "store").exists()


def test_no_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="empty"):
        tm.open("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TIDEMILL_STORE", "")
    assert tm.open().url == ".tidemill"


@pytest.mark.parametrize("workers", ["2", 0, -1, True, 1.5])
def test_workers_that_are_no_number(tmp_path: Path, workers: Any) -> None:
    with tm.open(tmp_path / "store") as store, pytest.raises(UsageError, match="workers must be a positive integer"):
        store.run(None, workers=workers)
    assert not (tmp_path / "store").exists()


def test_on_postgresql_the_default_place_has_its_user_too(bench: Bench, postgres_database: str) -> None:
    """Whoever uses it as his place cannot see whose it is."""
    bench.url = postgres_database
    bench.environment["XDG_DATA_HOME"] = str(bench.directory / "data")
    assert bench.start("number", 1).result() == 1
    (place,) = (bench.directory / "data" / "tidemill").iterdir()
    ((user, about),) = open_objects(place / "objects").users().items()
    assert user == bench.look(places.read).store
    assert about.startswith(without_password(postgres_database))


def test_a_password_is_nowhere_to_be_seen(bench: Bench, postgres_database: str) -> None:
    bench.url = bench.environment["TIDEMILL_STORE"] = postgres_database
    bench.environment["XDG_DATA_HOME"] = str(bench.directory / "data")
    password = postgres_database.split(":")[2].partition("@")[0].encode()
    assert len(password) > 8
    gate = bench.gate("a")
    program = bench.start("gates", ["a"])
    gate.reached()
    (host,), workers = bench.processes("host"), bench.processes("worker")
    arguments = Path(f"/proc/{host}/cmdline").read_bytes()
    assert b"postgresql://" in arguments
    assert password not in arguments
    assert os.readlink(f"/proc/{host}/fd/0") == os.devnull
    for worker in workers:
        assert password not in Path(f"/proc/{worker}/cmdline").read_bytes()
        assert password not in Path(f"/proc/{worker}/environ").read_bytes()
    gate.open()
    assert program.result() == ["a"]
