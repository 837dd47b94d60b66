"""The cache within one process: accounts, eviction, jobs, uploads, errors."""

import os
import random
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cache.lab import Place, Remote
from tidemill.model.digest import Digest, digest
from tidemill.model.errors import (
    CacheError,
    CacheFullError,
    CacheReferenceError,
    CacheSourceError,
    ConfigError,
    IntegrityError,
    NotFoundError,
    StoreError,
    UsageError,
)
from tidemill.stores.cache import ENTRY, CachedStore, EntryState, NodeCache, RefKind, open_cached
from tidemill.stores.cache.records import Entry
from tidemill.stores.cache.settings import cache_directory, limit_told
from tidemill.stores.cache.space import victims
from tidemill.stores.objects import SMALL, LocalStore, open_objects
from tidemill.stores.objects.interface import Path as AnyPath
from tidemill.testing.objects_data import ABSENT, make_tree, some_bytes, tree

K = SMALL


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def cache(place: Place) -> Iterator[NodeCache]:
    cache = place.cache()
    yield cache
    cache.close()


def content(cache: NodeCache, name: Digest) -> bytes:
    with open(cache.open(name), "rb") as file:
        return file.read()


def put(place: Place, *sizes: int) -> list[Digest]:
    return [place.remote.put(some_bytes(size, seed)) for seed, size in enumerate(sizes)]


# ------------------------------------------------------------------------------------------------------------- reading


def test_an_object_is_downloaded_once(place: Place, cache: NodeCache) -> None:
    (name,) = put(place, 3 * K)
    assert not cache.is_cached(name)
    assert [content(cache, name) for _ in range(3)] == [some_bytes(3 * K)] * 3
    assert place.downloads(name) == 1
    assert cache.is_cached(name)
    path = Path(cache._stock.path(name))
    assert path.stat().st_mode & 0o777 == 0o444
    cache.close()
    assert content(place.cache(), name) == some_bytes(3 * K)
    assert place.downloads(name) == 1


def test_what_is_not_there_leaves_nothing(place: Place, cache: NodeCache) -> None:
    with pytest.raises(NotFoundError):
        cache.open(ABSENT)
    assert cache.figures().used == 0
    assert [p for p in Path(cache.directory).rglob("*") if p.is_file() and p.parent.name in ("temp", "locks")] == []


def test_a_file_that_was_removed_by_hand_is_downloaded_again(place: Place, cache: NodeCache) -> None:
    (name,) = put(place, 3 * K)
    content(cache, name)
    Path(cache._stock.path(name)).unlink()
    assert content(cache, name) == some_bytes(3 * K)
    assert cache.figures().used == 3 * K


def test_a_file_that_is_too_large_evicts_nothing_and_is_not_begun_again(place: Place) -> None:
    """As long as it is too large."""
    *small, name = put(place, K, K, 3 * K)
    cache = place.cache(2 * K, unmeasured=2 * K)
    for one in small:
        content(cache, one)
    for _ in range(3):
        with pytest.raises(CacheFullError, match="no room for"):
            cache.open(name)
        assert all(cache.is_cached(one) for one in small)
    assert CachedStore(cache).get(name) == some_bytes(3 * K, 2)
    assert place.downloads(name) == 1
    cache.adjust(3 * K)
    assert content(cache, name) == some_bytes(3 * K, 2)
    assert cache.figures() == (3 * K, 3 * K, 0, 0, 3 * K)
    cache.close()


def test_what_comes_longer_than_it_is_said_to_be_is_damaged(place: Place) -> None:
    class Lying(Remote):
        def size(self, digest: Digest) -> int:
            return 2 * K + 1

        def open(self, digest: Digest, verify: bool = False) -> Iterator[bytes]:
            return iter([b"x" * 2 * K, b"x", b"x"])

    (name,) = put(place, 3 * K)
    cache = NodeCache(place.directory / "cache", Lying(place.directory / "remote"), 10 * K, unmeasured=K)
    with pytest.raises(IntegrityError):
        cache.open(name)
    assert cache.figures().used == 0
    cache.close()


def test_what_is_kept_is_not_asked_for(place: Place) -> None:
    class Deaf(Remote):
        def size(self, digest: Digest) -> int:
            raise AssertionError("it is known")

    data = some_bytes(3 * K)
    cache = NodeCache(place.directory / "cache", Deaf(place.directory / "remote"), 3 * K, unmeasured=K)
    cache.keep(digest(data), data)
    assert cache.is_cached(digest(data))
    cache.close()


def test_threads_share_a_download(place: Place, cache: NodeCache) -> None:
    (name,) = put(place, 3 * K)
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(content(cache, name))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [some_bytes(3 * K)] * 6
    assert place.downloads(name) == 1


# --------------------------------------------------------------------------------------------------------------- room


@pytest.mark.parametrize(("asked", "left"), [(10, 30), (30, 0), (60, None)])
@pytest.mark.parametrize("local", [False, True])
def test_a_job_that_asks_for_disk_evicts(tmp_path: Path, asked: int, left: int | None, local: bool) -> None:
    """Files of 20 and 30 in a cache of 50, also where the store is on the same file system."""
    place = Place(tmp_path)
    store = LocalStore(tmp_path / "objects") if local else place.remote
    cache = NodeCache(tmp_path / "cache", store, limit=50 * K, free=False)
    names = [store.put(some_bytes(size * K, size)) for size in (20, 30)]
    for name in names:
        content(cache, name)
    assert cache.figures() == (50 * K, 50 * K, 0, 0, 50 * K)
    if left is None:
        with pytest.raises(CacheFullError, match=f"{50 * K:,}") as caught:
            cache.job(disk=asked * K).__enter__()
        assert "limit" in caught.value.hint
        assert cache.figures().used == 50 * K
    else:
        with cache.job(disk=asked * K) as job:
            assert cache.figures().used == left * K
            assert job.unused == asked * K
            assert cache.figures() == (50 * K, left * K, asked * K, (50 - left - asked) * K, (50 - asked) * K)
        assert cache.figures().reserved == 0
    cache.close()


def test_the_least_recently_read_goes_first(place: Place) -> None:
    names = put(place, K, K, K)
    cache = place.cache(limit=3 * K)
    for age, name in enumerate(names):
        content(cache, name)
        os.utime(cache._stock.path(name), (age, age))
    with cache._stock.records.transaction():
        cache._stock.records._execute("UPDATE entries SET used = id")
    os.utime(cache._stock.path(names[0]), (10, 10))
    with cache.job(disk=K):
        assert [cache.is_cached(name) for name in names] == [True, False, True]
    cache.close()


def test_limits_change_while_running(place: Place, cache: NodeCache) -> None:
    names = put(place, K, 2 * K)
    for name in names:
        content(cache, name)
    measured = cache.figures()
    assert measured.used == 3 * K
    assert measured.limit > 3 * K
    cache.adjust(2 * K)
    assert cache.figures().used <= 2 * K
    other = place.cache()
    assert other.figures().limit == 2 * K
    other.adjust(0)
    assert cache.figures() == (0, 0, 0, 0, 0)
    other.adjust(None)
    content(cache, names[1])
    assert other.figures().limit > 3 * K
    other.close()


def test_a_limit_that_was_set_by_hand_holds_for_who_comes_with_another(place: Place) -> None:
    with closing(place.cache(5 * K)) as first:
        assert first.figures().limit == 5 * K
        with closing(place.cache(7 * K)) as second:
            assert second.figures().limit == 7 * K
        first.adjust(2 * K)
        with closing(place.cache(7 * K)) as third:
            assert third.figures().limit == first.figures().limit == 2 * K
        first.adjust(None)
        with closing(place.cache(7 * K)) as fourth:
            assert fourth.figures().limit == 7 * K


def test_that_holds_for_a_store_as_it_is_opened_and_not_for_a_sealed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEMILL_SEAL_LAB", "6b" * 32)
    store = open_objects(tmp_path / "objects")
    name = store.put(some_bytes(300_000))
    cache = NodeCache(tmp_path / "cache", store, limit=100)
    assert cache.free
    assert content(cache, name) == some_bytes(300_000)
    assert cache.figures().used == 0
    cache.close()
    assert not NodeCache(tmp_path / "cache", open_objects(f"seal:lab:{tmp_path / 'sealed'}")).free


def test_a_store_on_the_same_file_system_is_read_in_place(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "objects")
    name, small = store.put(some_bytes(3 * K)), store.put(b"small")
    before = os.stat(str(store.file_of(name)))
    cache = NodeCache(tmp_path / "cache", store, limit=100)
    assert cache.free
    assert content(cache, name) == some_bytes(3 * K)
    assert content(cache, small) == b"small"
    assert cache.figures().used == 5
    assert os.stat(str(store.file_of(name))).st_mtime_ns == before.st_mtime_ns
    with cache.job(disk=90) as job:
        job.read(name, tmp_path / "copy", mutable=True)
        assert (tmp_path / "copy").read_bytes() == some_bytes(3 * K)
        assert cache.readers(name) == 1
    store.delete([name])
    with pytest.raises(NotFoundError):
        cache.open(name)
    cache.close()
    assert not NodeCache("/dev/shm/cache", store).free
    assert not Place(tmp_path).cache().free


sizes = st.lists(st.integers(1, 1000), max_size=30)


@given(sizes, st.randoms(use_true_random=False), st.floats(0, 1))
def test_victims_are_those_of_the_rule(costs: list[int], chance: random.Random, share: float) -> None:
    entries = [
        Entry(n, b"", cost, cost, EntryState.CACHED, None, float(n), str(n), doubt=False)
        for n, cost in enumerate(costs)
    ]
    # Some were used after their rows were written.
    uses = {one.id: one.used + chance.choice([0, 0, 0, 40, 5]) for one in entries}
    missing = int(sum(costs) * share)
    chosen = victims(entries, missing, lambda one: uses[one.id])
    expected: list[Entry] = []
    pool = sorted(entries, key=lambda one: uses[one.id])
    while missing > sum(one.cost for one in expected):
        short = missing - sum(one.cost for one in expected)
        pick = next((one for one in pool if one.cost * 16 >= short), pool[0])
        pool.remove(pick)
        expected.append(pick)
    assert sum(one.cost for one in chosen) >= missing
    if len(set(uses.values())) == len(uses):
        assert [one.id for one in chosen] == [one.id for one in expected]


def test_small_files_are_spared_where_large_ones_do(place: Place) -> None:
    names = put(place, *[100] * 10, 10 * K)
    cache = place.cache(limit=10 * K + 1000)
    for name in names:
        content(cache, name)
    with cache.job(disk=9 * K):
        assert [cache.is_cached(name) for name in names] == [True] * 10 + [False]
    cache.close()


# --------------------------------------------------------------------------------------------------------------- jobs


def test_reading_and_forgetting(place: Place, cache: NodeCache, tmp_path: Path) -> None:
    (name,) = put(place, 3 * K)
    with cache.job(disk=10 * K) as job:
        assert job.read(name, tmp_path / "a", mutable=True) in ("copy", "clone")
        assert job.read(name, tmp_path / "b", mode=0o755) in ("copy", "clone")
        assert os.access(tmp_path / "b", os.X_OK)
        assert cache.readers(name) == 2
        (tmp_path / "a").write_bytes(b"changed")
        with pytest.raises(UsageError, match="there already"):
            job.read(name, tmp_path / "a")
        with pytest.raises(NotFoundError, match="no file of"):
            job.forget(ABSENT)
        with pytest.raises(NotFoundError, match="elsewhere"):
            job.forget(name, tmp_path / "elsewhere")
        job.forget(name, tmp_path / "a")
        assert not (tmp_path / "a").exists()
        assert cache.readers(name) == 1
        (tmp_path / "b").unlink()
        with pytest.raises(CacheReferenceError, match="by hand"):
            job.forget(name)
        with pytest.raises(NotFoundError):
            job.forget(name)
        assert job.unused == 10 * K
    assert content(cache, name) == some_bytes(3 * K)


def test_only_files_of_its_own_directory_are_taken_from_a_job(place: Place, cache: NodeCache, tmp_path: Path) -> None:
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "file").write_bytes(b"content")
    (tmp_path / "other").write_bytes(b"other")
    (tmp_path / "job" / "link").symlink_to("../other")
    with cache.job(directory=tmp_path / "job") as job:
        assert job.write(tmp_path / "job" / "file") == (digest(b"content"), 7)
        for path in ("other", "job/link"):
            with pytest.raises(CacheSourceError, match="not in the directory of the job"):
                job.write(tmp_path / path)
    with cache.job() as job, pytest.raises(CacheSourceError, match="has none"):
        job.write(tmp_path / "job" / "file")
    cache.flush()
    assert place.remote.get(digest(b"content")) == b"content"


# ------------------------------------------------------------------------------------------------------------ writing


@pytest.mark.parametrize("move", [False, True])
def test_a_file_is_taken_at_once_and_sent_later(place: Place, cache: NodeCache, tmp_path: Path, move: bool) -> None:
    data = some_bytes(3 * K)
    path = tmp_path / "file"
    path.write_bytes(data)
    with place.held_up("put") as gate:
        assert cache.put_file(path, move) == (digest(data), 3 * K)
        gate.wait()
        assert path.exists() is not move
        assert content(cache, digest(data)) == data
        assert place.remote.exists([digest(data)]) == set()
        assert not cache.is_cached(digest(data))
        # It must not go before it is sent, whatever is asked for.
        cache.adjust(3 * K)
        with pytest.raises(CacheFullError):
            cache.job(disk=1).__enter__()
        gate.open()
    cache.flush()
    assert cache.is_cached(digest(data))
    assert place.remote.get(digest(data)) == data
    with cache.job(disk=1):
        assert not cache.is_cached(digest(data))


class Full:
    """A connection to rows on a disk that is full when it comes to the end of a transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.left = 0

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        if statement == "COMMIT" and self.left:
            self.left -= 1
            raise sqlite3.OperationalError("database or disk is full")
        return self._connection.execute(statement, *values)

    def close(self) -> None:
        self._connection.close()


@pytest.mark.parametrize("move", [False, True])
def test_a_file_is_where_it_was_if_the_rows_cannot_be_written(place: Place, tmp_path: Path, move: bool) -> None:
    cache, path = place.cache(10 * K), tmp_path / "file"
    path.write_bytes(some_bytes(3 * K))
    path.chmod(0o640)
    cache.figures()
    records = cache._stock.records
    disk = Full(cast("sqlite3.Connection", records._connection))
    records._connection = cast("sqlite3.Connection", disk)
    disk.left = 1
    with pytest.raises(CacheError, match="disk is full"):
        cache.put_file(path, move)
    assert path.read_bytes() == some_bytes(3 * K)
    assert path.stat().st_mode & 0o777 == 0o640
    assert not os.path.lexists(cache._stock.path(digest(some_bytes(3 * K))))
    assert cache.figures().used == 0
    # The next one finds it as if nothing had been.
    name, _ = cache.put_file(path, move)
    cache.flush()
    assert cache.is_cached(name)
    cache.close()


@pytest.mark.parametrize("lacking", [OSError(5, "Input/output error"), KeyboardInterrupt()])
def test_what_goes_wrong_after_a_download_is_there_leaves_it_there(place: Place, lacking: BaseException) -> None:
    one, two = put(place, 2 * K, 3 * K)
    cache = place.cache(4 * K)
    content(cache, one)
    remove = cache._stock.remove

    def fails(doomed: list[Entry]) -> None:
        if doomed:
            raise lacking
        remove(doomed)

    cache._stock.remove = fails  # type: ignore[method-assign]
    with suppress(KeyboardInterrupt):
        os.close(cache.open(two))
    cache._stock.remove = remove  # type: ignore[method-assign]
    assert cache.is_cached(two)
    assert content(cache, two) == some_bytes(3 * K, 1)
    cache.close()
    assert not list(Path(cache.directory, "temp").iterdir())


class Refusing(Remote):
    def put_file(self, path: AnyPath, move: bool = False) -> tuple[Digest, int]:
        raise StoreError("refused")


def two_senders(place: Place, fails: str) -> tuple[NodeCache, NodeCache]:
    return tuple(  # type: ignore[return-value]
        NodeCache(place.directory / "cache", (Refusing if bad == "x" else Remote)(place.directory / "remote"), 10 * K)
        for bad in fails
    )


@pytest.mark.parametrize("fails", ["x ", " x", "xx", "  "])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("read", [False, True])
def test_whoever_is_the_last_to_send_a_file_ends_it(
    place: Place, tmp_path: Path, fails: str, order: tuple[int, int], read: bool
) -> None:
    """Of two processes with the same file, each of which may be refused; perhaps while somebody reads it by a link."""
    path = tmp_path / "file"
    path.write_bytes(some_bytes(3 * K))
    caches = two_senders(place, fails)
    starts = [cache._uploads._start for cache in caches]
    held: list[tuple[Digest, int]] = []
    for cache in caches:
        cache._uploads._start = lambda digest, ref: held.append((digest, ref))  # type: ignore[method-assign]
        cache.put_file(path)
    name = held[0][0]
    with closing(place.cache()) as reader:
        reader.figures()
        with reader._stock.records.transaction():
            entry = reader._stock.records.find(name)
            assert entry is not None
            if read:
                reader._stock.records.refer(entry, reader._stock.own_job(), "link", RefKind.LINKED)
        for n in order:
            starts[n](*held[n])
            with suppress(StoreError):
                caches[n].flush()
        assert os.path.exists(reader._stock.path(name)) is (read or fails != "xx")
    assert bool(place.remote.exists([name])) is (fails != "xx")
    caches[0].adjust(0)
    assert caches[0].figures().used == 0
    for cache in caches:
        cache.close()


def test_what_another_process_still_sends_is_its_business_when_the_first_is_gone(place: Place, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(some_bytes(3 * K))
    first, second = two_senders(place, "  ")
    held: list[tuple[Digest, int]] = []
    start = second._uploads._start
    for cache in (first, second):
        cache._uploads._start = lambda digest, ref: held.append((digest, ref))  # type: ignore[method-assign]
        cache.put_file(path)
    first.close()
    start(*held[1])
    second.flush()
    assert second.is_cached(held[1][0])
    second.close()


def test_what_cannot_be_sent_is_told_once(place: Place, cache: NodeCache, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    for forgotten in (False, True):
        with place.held_up("put") as gate:
            name, _ = cache.put_file(tmp_path / "file")
            gate.wait()
            if forgotten:
                cache.abandon()
            gate.open(fail=True)
        if not forgotten:
            with pytest.raises(AssertionError, match="the store fails"):
                cache.flush()
        cache.flush()
        cache._uploads.close()
        assert not cache.is_cached(name)
        assert cache.figures().used == 0
    cache.put_file(tmp_path / "file")
    cache.flush()
    assert place.remote.get(name) == b"content"


def test_a_link_in_the_cache_is_no_way_in(place: Place, cache: NodeCache, tmp_path: Path) -> None:
    """A file that somebody holds open for writing is copied, not taken."""
    data = some_bytes(3 * K)
    path = tmp_path / "file"
    path.write_bytes(data)
    os.link(path, tmp_path / "second")
    with path.open("r+b") as file:
        name, _ = cache.put_file(path, move=True)
        file.write(b"changed")
    (tmp_path / "second").write_bytes(b"changed")
    cache.flush()
    assert content(cache, name) == data
    assert place.remote.get(name) == data


# -------------------------------------------------------------------------------------------------- the store in front


def test_directories_come_through_the_cache(place: Place, cache: NodeCache, tmp_path: Path) -> None:
    store = CachedStore(cache, write_back=True)
    name, _ = store.put_dir(make_tree(tmp_path / "source"))
    store.flush()
    for number in range(2):
        store.get_dir(name, tmp_path / f"{number}", link=True)
        assert tree(tmp_path / f"{number}") == tree(tmp_path / "source")
    store.release()
    assert place.log.count("put") == 1
    assert not [line for line in place.log if line.startswith("get-") and line != f"get-{name.hex()}"]


def test_a_broken_cache_costs_no_result(place: Place, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file in the place of the directory")
    store = CachedStore(place.cache(), write_back=True)
    name = store.put(some_bytes(3 * K))
    (tmp_path / "file").write_bytes(b"content")
    assert store.put_file(tmp_path / "file") == (digest(b"content"), 7)
    assert store.get(name) == b"".join(store.open(name)) == some_bytes(3 * K)
    assert store.get_many([name, digest(b"content")]) == [some_bytes(3 * K), b"content"]
    assert store.read_range(name, 1, 5) == some_bytes(3 * K)[1:6]
    store.get_file(name, tmp_path / "out")
    store.flush()
    store.release()
    with pytest.raises(CacheError):
        store.cache.figures()


def test_damage_on_the_disk_of_the_node_is_repaired(place: Place, cache: NodeCache, tmp_path: Path) -> None:
    store = CachedStore(cache)
    name = store.put(some_bytes(3 * K))
    path = Path(cache._stock.path(name))
    path.chmod(0o644)
    path.write_bytes(b"rotten")
    assert store.get(name) == b"rotten"
    store.get_file(name, tmp_path / "out", verify=True)
    assert (tmp_path / "out").read_bytes() == store.get(name, verify=True) == store.get(name) == some_bytes(3 * K)


# ------------------------------------------------------------------------------------------------------------ settings


def test_only_what_is_elsewhere_is_cached(tmp_path: Path) -> None:
    assert not isinstance(open_cached(str(tmp_path / "objects"), str(tmp_path / "caches")), CachedStore)
    url = "s3://bucket/prefix"
    assert type(open_cached(url, "")) is type(open_objects(url))
    one, other = (open_cached(f"{url}{n}", str(tmp_path / "caches")) for n in range(2))
    assert isinstance(one, CachedStore) and isinstance(other, CachedStore)
    assert one.cache.directory != other.cache.directory
    assert not (tmp_path / "caches").exists()


def test_the_environment_says_where_and_how_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TIDEMILL_CACHE", raising=False)
    monkeypatch.delenv("TIDEMILL_CACHE_LIMIT", raising=False)
    assert cache_directory("s3://bucket", "/default") == "/default"
    assert cache_directory("/local", "/default") == cache_directory("memory://x", "/default") == ""
    assert limit_told() is None
    monkeypatch.setenv("TIDEMILL_CACHE", "/fast/disk")
    assert cache_directory("s3://bucket", "/default") == "/fast/disk"
    monkeypatch.setenv("TIDEMILL_CACHE", "off")
    assert cache_directory("s3://bucket", "/default") == ""
    for text, size in (("50G", 50 * 10**9), ("1.5 GiB", 3 << 29), ("1000", 1000), ("2kb", 2000)):
        monkeypatch.setenv("TIDEMILL_CACHE_LIMIT", text)
        assert limit_told() == size
    monkeypatch.setenv("TIDEMILL_CACHE_LIMIT", "much")
    with pytest.raises(ConfigError, match="no size"):
        limit_told()


def test_every_transition_leads_to_a_state_with_a_way_out() -> None:
    for state in EntryState:
        assert any(source is state for source, _ in ENTRY)
        assert any(end is state for end in ENTRY.values())
    owned = {EntryState.DOWNLOADING, EntryState.UPLOADABLE, EntryState.UPLOADING, EntryState.DELETING}
    assert {source for source, event in ENTRY if event == "adopt"} == owned
