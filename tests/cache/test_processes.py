"""Several processes and one cache: one download for all, nothing left of who was killed."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cache.lab import Member, Place, members
from tidemill.model.digest import Digest
from tidemill.stores.cache import EntryState, NodeCache
from tidemill.stores.objects import SMALL
from tidemill.testing.objects_data import some_bytes

SIZE = 3 * SMALL


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def waiting_for_locks(pids: set[int]) -> set[int]:
    """Those of these processes that wait for a lock, as the kernel tells (proc_locks(5))."""
    with open("/proc/locks") as locks:
        fields = [line.split() for line in locks]
    return {int(one[5]) for one in fields if one[1] == "->"} & pids


def states(cache: NodeCache) -> list[EntryState]:
    records = cache._stock.records
    cache.figures()
    with records.transaction():
        return [EntryState(row[0]) for row in records._execute("SELECT state FROM entries ORDER BY id")]


def on_disk(cache: NodeCache) -> int:
    """Bytes in the cache's files, whatever they are."""
    folders = ("files", "doubtful", "temp")
    files = [path for folder in folders for path in (Path(cache.directory) / folder).rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files)


def test_one_download_for_many_readers_who_are_woken(place: Place) -> None:
    name = place.remote.put(some_bytes(SIZE))
    with members(place, 4) as readers, place.held_up(f"get-{name.hex()}") as gate:
        readers[0].tell("read", name)
        gate.wait()
        for reader in readers[1:]:
            reader.tell("read", name)
        others = {reader.process.pid for reader in readers[1:]}
        while waiting_for_locks(others) != others:
            pass
        gate.open()
        assert [reader.hear() for reader in readers] == [name.hex()] * 4
    assert place.downloads(name) == 1
    assert os.listdir(place.directory / "cache" / "locks") == []


def test_when_the_downloader_dies_another_one_downloads(place: Place) -> None:
    name = place.remote.put(some_bytes(SIZE))
    with members(place, 2) as (first, second), place.held_up(f"get-{name.hex()}") as gate:
        first.tell("read", name)
        gate.wait()
        second.tell("read", name)
        while not waiting_for_locks({second.process.pid}):
            pass
        first.kill()
        assert second.hear() == name.hex()
    assert place.downloads(name) == 2
    cache = place.cache()
    cache.reap()
    assert states(cache) == [EntryState.CACHED]
    assert cache.figures().used == on_disk(cache) == SIZE
    cache.close()


def test_when_a_download_fails_another_one_begins(place: Place) -> None:
    name = place.remote.put(some_bytes(SIZE))
    with members(place, 2) as (first, second), place.held_up(f"get-{name.hex()}") as gate:
        first.tell("read", name)
        gate.wait()
        second.tell("read", name)
        while not waiting_for_locks({second.process.pid}):
            pass
        gate.open(fail=True)
        assert first.hear() == "AssertionError"
        assert second.hear() == name.hex()


def downloading(place: Place, member: Member, name: Digest) -> None:
    with place.held_up(f"get-{name.hex()}") as gate:
        member.tell("read", name)
        gate.wait()
        member.kill()


def uploading(place: Place, member: Member, name: Digest) -> None:
    with place.held_up("put") as gate:
        assert member.ask("put", place.directory / "file") == name.hex()
        gate.wait()
        member.kill()


def uploadable(place: Place, member: Member, name: Digest) -> None:
    """Of more files than there are threads, the last one waits."""
    for number in range(4):
        (place.directory / f"{number}").write_bytes(bytes([number]) * 10)
    gates = []
    for number in range(4):
        with place.held_up("put") as gate:
            member.ask("put", place.directory / f"{number}")
            gate.wait()
            gates.append((gate, gate._fd))
            gate._fd = -1
    assert member.ask("put", place.directory / "file") == name.hex()
    member.kill()
    for _, fd in gates:
        os.close(fd)


def deleting(place: Place, member: Member, name: Digest) -> None:
    """Killed before the file of what was evicted is removed: as its row says it then."""
    assert member.ask("read", name) == name.hex()
    cache = place.cache()
    records = cache._stock.records
    cache.figures()
    owners = os.listdir(Path(cache.directory) / "processes")
    with records.transaction():
        entry = records.find(name)
        assert entry is not None
        condemned = cache._stock.condemn(entry, "evict")
        other = next(one for one in owners if one != cache._stock.join())
        records._execute("UPDATE entries SET owner = ?", other)
    assert (Path(cache.directory) / condemned.name).exists()
    member.kill()
    cache.close()


@pytest.mark.parametrize(
    ("get_into", "before", "after"),
    [
        (downloading, EntryState.DOWNLOADING, None),
        (uploading, EntryState.UPLOADING, EntryState.CACHED),
        (uploadable, EntryState.UPLOADABLE, EntryState.CACHED),
        (deleting, EntryState.DELETING, None),
    ],
)
def test_what_a_killed_process_owned_is_adopted(
    place: Place,
    get_into: Callable[[Place, Member, Digest], None],
    before: EntryState,
    after: EntryState | None,
) -> None:
    data = some_bytes(SIZE)
    (place.directory / "file").write_bytes(data)
    name = place.remote.put(data)
    with members(place, 1) as (member,):
        get_into(place, member, name)
    cache = place.cache()
    assert states(cache)[-1] == before
    assert cache.reap()
    assert not cache.reap()
    left = [state for state in states(cache) if state == EntryState.CACHED]
    assert (left[-1] if left else None) == after
    assert cache.figures().used == on_disk(cache)
    asked = place.downloads(name)
    assert not cache.is_cached(name)
    with open(cache.open(name), "rb") as file:
        assert file.read() == data
    assert cache.is_cached(name)
    # What was taken in and not sent is hashed, and then believed.
    assert place.downloads(name) == asked + (after is None)
    cache.close()


def test_what_is_not_whole_is_not_believed(place: Place) -> None:
    data = some_bytes(SIZE)
    (place.directory / "file").write_bytes(data)
    name = place.remote.put(data)
    with members(place, 1) as (member,):
        uploading(place, member, name)
    cache = place.cache()
    path = Path(cache._stock.path(name))
    path.chmod(0o644)
    path.write_bytes(data[:-1] + b"?")
    assert cache.reap()
    with open(cache.open(name), "rb") as file:
        assert file.read() == data
    assert place.downloads(name) == 1
    assert cache.figures().used == on_disk(cache) == SIZE
    cache.close()


def test_after_a_restart_of_the_machine_everything_is_hashed_before_it_is_used(place: Place) -> None:
    names = [place.remote.put(some_bytes(SIZE, seed)) for seed in range(3)]
    cache = place.cache()
    for name in names:
        os.close(cache.open(name))
    cache.close()
    (Path(cache.directory) / "gate").write_text("another boot")
    path = Path(cache._stock.path(names[0]))
    path.chmod(0o644)
    path.write_bytes(b"")
    path = Path(cache._stock.path(names[1]))
    path.unlink()
    for name, seed in zip(names, range(3), strict=True):
        assert not cache.is_cached(name)
        with open(cache.open(name), "rb") as file:
            assert file.read() == some_bytes(SIZE, seed)
    assert [place.downloads(name) for name in names] == [2, 2, 1]
    assert cache.figures().used == on_disk(cache) == 3 * SIZE
    cache.close()


def test_rows_that_a_power_failure_has_spoilt_are_begun_anew(place: Place) -> None:
    name = place.remote.put(some_bytes(SIZE))
    cache = place.cache()
    os.close(cache.open(name))
    cache.close()
    (Path(cache.directory) / "gate").write_text("another boot")
    (Path(cache.directory) / "cache.db").write_bytes(b"nonsense" * 1000)
    with open(cache.open(name), "rb") as file:
        assert file.read() == some_bytes(SIZE)
    assert cache.figures().used == on_disk(cache) == SIZE
    cache.close()


def test_jobs_of_a_killed_process_end(place: Place) -> None:
    cache = place.cache(limit=10_000)
    cache.figures()
    with members(place, 1) as (member,):
        assert member.ask("begin", "one", 9_000) is None
        assert cache.figures().reserved == 9_000
        member.kill()
    # Without being told: who needs the room finds out.
    with cache.job(disk=8_000):
        assert cache.figures().reserved == 8_000
    cache.close()


def test_the_cache_is_removed_when_nobody_uses_it(place: Place) -> None:
    name = place.remote.put(some_bytes(SIZE))
    cache = place.cache()
    with members(place, 1) as (member,):
        assert member.ask("read", name) == name.hex()
        assert not cache.shutdown()
        assert cache.is_cached(name)
        member.kill()
        assert cache.shutdown()
    assert not os.path.exists(cache.directory)
    assert not cache.is_cached(name)
    assert cache.shutdown()


def test_a_forked_child_is_a_process_of_its_own(place: Place) -> None:
    name = place.remote.put(some_bytes(SIZE))
    cache = place.cache()
    os.close(cache.open(name))
    mine = cache._stock.join()
    pid = os.fork()
    if pid == 0:
        os.close(cache.open(name))
        os._exit(int(cache._stock.join() == mine))
    assert os.waitpid(pid, 0)[1] == 0
    assert cache.is_cached(name)
    assert cache._stock.join() == mine
    cache.close()


def test_an_ordinary_user_gets_links_and_cannot_write_through_them(place: Place) -> None:
    data = some_bytes(SIZE)
    name = place.remote.put(data)
    given = place.directory / "given"
    with members(place, 1, ordinary=True) as (member,):
        assert member.ask("begin", "job", SIZE + 100) is None
        assert member.ask("unused", "job") == SIZE + 100
        how = member.ask("give", "job", name, given, False)
        assert how == "link"
        assert given.is_symlink() and given.read_bytes() == data
        assert member.ask("unused", "job") == 100
        assert member.ask("hostile", given) == "refused"
        limit, used, reserved, available, usable = member.ask("figures")
        assert (used, reserved, available, usable) == (SIZE, 100, limit - SIZE - 100, limit - SIZE - 100)
        # A second link is not a second time.
        assert member.ask("give", "job", name, place.directory / "other", False) == "link"
        assert member.ask("unused", "job") == 100
        assert member.ask("forget", "job", name, place.directory / "other") is None
        assert member.ask("unused", "job") == 100
        assert member.ask("forget", "job", name, given) is None
        assert member.ask("unused", "job") == SIZE + 100
        assert member.ask("forget", "job", name, given) == "NotFoundError"
        assert member.ask("give", "job", name, given, False) == "link"
        # It is held, so there is no room for anything else.
        assert member.ask("adjust", SIZE + 100) is None
        assert member.ask("begin", "another", 1) == "CacheFullError"
        assert member.ask("give", "job", name, place.directory / "private", True) in ("clone", "copy")
        assert member.ask("hostile", place.directory / "private") == "written"
        assert member.ask("end", "job") is None
        assert not given.is_symlink()
        assert member.ask("begin", "another", 200) is None
        assert member.ask("figures")[1] == 0
    assert place.remote.get(name, verify=True) == data
