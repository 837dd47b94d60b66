"""The conformance suite of object stores: what `ObjectStore` promises, tried on any implementation.

    class TestMyStore(ObjectStoreSuite):
        @pytest.fixture
        def store(self) -> Iterator[ObjectStore]:
            yield MyStore(...)          # empty

Call `pytest.register_assert_rewrite("tidemill.testing.objects")` in a `conftest.py` to see the values in failed
assertions.
"""

import os
import stat
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tidemill.model.digest import Digest, digest, show
from tidemill.model.errors import IntegrityError, NewerStoreError, NotFoundError, UsageError
from tidemill.stores.objects import SMALL, Entry, ObjectStore, collect, decode_manifest, fetch_url, members, send_url
from tidemill.stores.objects.dirs import encode_manifest
from tidemill.testing.objects_data import ABSENT, digests, make_tree, some_bytes, tree
from tidemill.testing.objects_model import StoreBesideDictionary

SIZES = [0, 1, 1000, SMALL - 1, SMALL, SMALL + 1, 3_000_001]
"""Around every boundary that an implementation is likely to have; more belong in its own tests."""


class _Suite:
    @pytest.fixture
    def store(self) -> Iterator[ObjectStore]:
        """An empty store."""
        raise NotImplementedError


class BytesSuite(_Suite):
    """Whole objects and parts of them."""

    @pytest.mark.parametrize("size", SIZES)
    def test_what_is_put_can_be_read(self, store: ObjectStore, size: int, tmp_path: Path) -> None:
        data = some_bytes(size)
        name = store.put(data)
        assert name == digest(data)
        assert store.get(name) == store.get(name, verify=True) == data
        assert b"".join(store.open(name)) == b"".join(store.open(name, verify=True)) == data
        assert store.size(name) == size
        store.verify(name)
        store.get_file(name, tmp_path / "out")
        assert (tmp_path / "out").read_bytes() == data

    def test_the_digest_is_blake3(self, store: ObjectStore) -> None:
        # The empty input of https://github.com/BLAKE3-team/BLAKE3/blob/master/test_vectors/test_vectors.json
        assert store.put(b"").hex() == "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"

    @pytest.mark.parametrize("size", [10, SMALL + 1])
    def test_a_buffer_may_be_reused_after_put(self, store: ObjectStore, size: int) -> None:
        buffer = bytearray(some_bytes(size))
        data = bytes(buffer)
        names = [store.put(buffer), *store.put_many([memoryview(buffer), buffer])]
        buffer[:] = bytes(size)
        assert [store.get(name, verify=True) for name in names] == [data] * 3

    def test_a_view_of_other_items_counts_in_bytes(self, store: ObjectStore) -> None:
        data = some_bytes(80)
        assert store.get(store.put(memoryview(data).cast("i"))) == data

    @pytest.mark.parametrize("size", [10, SMALL + 1])
    def test_putting_again_changes_nothing(self, store: ObjectStore, size: int, tmp_path: Path) -> None:
        data = some_bytes(size)
        (tmp_path / "file").write_bytes(data)
        name = store.put(data)
        assert [store.put(data), store.put_file(tmp_path / "file")[0], store.put_stream([data])[0]] == [name] * 3
        assert [(one.digest, one.size) for one in store.list()] == [(name, size)]

    def test_many_at_once(self, store: ObjectStore) -> None:
        items = [some_bytes(size, seed) for seed in range(3) for size in SIZES[:-1]] + [b"twice", b"twice"]
        names = store.put_many(items)
        assert names == [digest(item) for item in items]
        assert store.get_many(names) == store.get_many(names, verify=True) == items
        assert store.get_many(names[::-1]) == items[::-1]
        assert store.put_many([]) == store.get_many([]) == []

    def test_hundreds_at_once(self, store: ObjectStore) -> None:
        items = [some_bytes(100, seed) for seed in range(510)]
        assert store.get_many(store.put_many(items)) == items

    def test_what_is_absent_is_not_found(self, store: ObjectStore, tmp_path: Path) -> None:
        there = store.put(b"there")
        for ask in (
            lambda: store.get(ABSENT),
            lambda: store.get_many([there, ABSENT]),
            lambda: store.open(ABSENT),
            lambda: store.read_range(ABSENT, 0, 1),
            lambda: store.read_range(ABSENT, 0, 0),
            lambda: store.size(ABSENT),
            lambda: store.verify(ABSENT),
            lambda: store.get_file(ABSENT, tmp_path / "out"),
            lambda: store.get_dir(ABSENT, tmp_path / "out"),
        ):
            with pytest.raises(NotFoundError, match=show(ABSENT)):
                ask()
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize("size", [0, 1000, SMALL + 1000])
    def test_ranges(self, store: ObjectStore, size: int) -> None:
        data = some_bytes(size)
        name = store.put(data)
        for start in {0, 1, 999, abs(size - 1), size, size + 5}:
            for length in (0, 1, 500, size, size + 7, 1 << 40):
                assert store.read_range(name, start, length) == data[start : start + length], (start, length)
        for start, length in ((-1, 1), (0, -1)):
            with pytest.raises(UsageError, match="range"):
                store.read_range(name, start, length)

    def test_a_stream_need_not_be_read_to_its_end(self, store: ObjectStore) -> None:
        name = store.put(some_bytes(3_000_001))
        assert len(next(store.open(name))) > 0
        del name
        store.open(store.put(b"small"))


class FilesSuite(_Suite):
    """Files and streams, in and out."""

    @pytest.mark.parametrize("size", SIZES)
    @pytest.mark.parametrize("move", [False, True])
    def test_files(self, store: ObjectStore, size: int, move: bool, tmp_path: Path) -> None:
        data = some_bytes(size)
        path = tmp_path / "file"
        path.write_bytes(data)
        assert store.put_file(path, move=move) == (digest(data), size)
        assert path.exists() is not move
        assert store.get(digest(data), verify=True) == data

    @pytest.mark.parametrize("size", SIZES)
    def test_streams(self, store: ObjectStore, size: int, tmp_path: Path) -> None:
        data = some_bytes(size)
        path = tmp_path / "file"
        path.write_bytes(data)
        expected = (digest(data), size)
        step = max(1, size // 7)
        assert store.put_stream(data[at : at + step] for at in range(0, size, step)) == expected
        assert store.put_stream([b"", memoryview(data), bytearray()]) == expected
        with open(path, "rb") as file:
            assert store.put_stream(file) == expected
        assert store.get(digest(data), verify=True) == data

    @pytest.mark.parametrize("size", [10, SMALL + 1, 20 << 20])
    def test_a_stream_that_fails_leaves_nothing(self, store: ObjectStore, size: int) -> None:
        def source() -> Iterator[bytes]:
            yield some_bytes(size)
            raise OSError("the source's own error")

        with pytest.raises(OSError, match="the source's own error"):
            store.put_stream(source())
        assert digests(store) == set()
        assert store.tidy(before=time.time() + 3600, dry_run=True) == (0, 0)

    def test_only_regular_files_are_stored(self, store: ObjectStore, tmp_path: Path) -> None:
        with pytest.raises(NotFoundError, match="missing"):
            store.put_file(tmp_path / "missing")
        with pytest.raises(UsageError, match="put_dir"):
            store.put_file(tmp_path)
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(UsageError, match="not a regular file"):
            store.put_file(tmp_path / "pipe")

    def test_a_link_to_a_file_stores_the_file(self, store: ObjectStore, tmp_path: Path) -> None:
        data = some_bytes(SMALL + 1)
        (tmp_path / "file").write_bytes(data)
        (tmp_path / "link").symlink_to("file")
        assert store.put_file(tmp_path / "link", move=True)[0] == digest(data)
        assert os.listdir(tmp_path) == ["file"]
        assert (tmp_path / "file").read_bytes() == data

    @pytest.mark.parametrize("size", [10, SMALL + 1])
    @pytest.mark.parametrize("link", [False, True])
    @pytest.mark.parametrize("mode", [0o644, 0o755])
    def test_user_code_cannot_change_what_it_was_given(
        self, store: ObjectStore, size: int, link: bool, mode: int, tmp_path: Path
    ) -> None:
        name = store.put(some_bytes(size))
        path = tmp_path / "given"
        how = store.get_file(name, path, link=link, mode=mode)
        assert link or how != "link"
        assert not mode & 0o111 or os.access(path, os.X_OK)
        for _ in range(2):
            for change in (lambda: path.write_bytes(b"changed"), lambda: os.truncate(path, 3)):
                try:
                    change()
                except PermissionError:
                    assert how == "link"
            # What clean-up code does to be able to remove everything.
            subprocess.run(["chmod", "-R", "u+w", tmp_path], check=True)
        path.unlink()
        store.verify(name)

    @pytest.mark.parametrize("size", [10, SMALL + 1])
    @pytest.mark.parametrize("name", ["x" * 255, "ж" * 127, "潮" * 85], ids=["one", "two", "three"])
    def test_a_name_may_be_as_long_as_names_can_be(
        self, store: ObjectStore, size: int, name: str, tmp_path: Path
    ) -> None:
        """255 bytes."""
        file = store.put(some_bytes(size))
        place = tmp_path / name
        for link in (False, True):
            store.get_file(file, place, link=link)
            assert place.read_bytes() == some_bytes(size)
        place.unlink()
        store.get_dir(store.put_dir(make_tree(tmp_path / "source"))[0], place)
        assert tree(place) == tree(tmp_path / "source")

    def test_a_given_file_replaces_what_was_there(self, store: ObjectStore, tmp_path: Path) -> None:
        names = store.put_many([b"new", some_bytes(SMALL + 1)])
        for name in names:
            for link in (False, True):
                path = tmp_path / "out"
                path.write_bytes(b"something much longer than the new content")
                store.get_file(name, path, link=link)
                assert path.read_bytes() == store.get(name)
        assert os.listdir(tmp_path) == ["out"]
        with pytest.raises(NotFoundError, match="no directory"):
            store.get_file(names[0], tmp_path / "absent" / "out")
        with pytest.raises(UsageError, match="is a directory"):
            store.get_file(names[0], tmp_path)

    @pytest.mark.parametrize("size", [0, 10, SMALL + 1])
    def test_import_and_export(self, store: ObjectStore, size: int, tmp_path: Path) -> None:
        data = some_bytes(size)
        (tmp_path / "a file").write_bytes(data)
        expected = (digest(data), size, "a file")
        assert fetch_url(store, str(tmp_path / "a file")) == fetch_url(store, f"file://{tmp_path}/a%20file")
        assert fetch_url(store, str(tmp_path / "a file"))[:3] == expected
        send_url(store, digest(data), f"file://{tmp_path}/out")
        assert (tmp_path / "out").read_bytes() == data


class SurveySuite(_Suite):
    """What is there, how old it is, and many askers at once."""

    def test_exists_list_and_delete(self, store: ObjectStore) -> None:
        items = [some_bytes(size) for size in SIZES]
        names = store.put_many(items)
        assert store.exists([*names, ABSENT, names[0]]) == set(names)
        assert store.exists([]) == store.exists([ABSENT]) - {ABSENT} == set()
        assert sorted((one.digest, one.size) for one in store.list()) == sorted(
            zip(names, map(len, items), strict=True)
        )
        removed = store.delete([names[0], names[-1], ABSENT])
        assert removed >= {names[0], names[-1]}
        assert store.exists(names) == digests(store) == set(names[1:-1])
        store.delete(names)
        assert digests(store) == set()
        assert store.put_many(items) == names
        assert store.get_many(names, verify=True) == items

    @pytest.mark.parametrize("size", [10, SMALL + 1])
    def test_delete_spares_what_is_young(self, store: ObjectStore, size: int) -> None:
        name = store.put(some_bytes(size))
        assert store.delete([name], before=time.time() - 60) == set()
        assert store.exists([name]) == {name}
        assert store.delete([name, ABSENT], before=time.time() + 60) == {name}
        assert store.exists([name]) == set()

    def test_the_age_counts_from_the_last_put(self, store: ObjectStore) -> None:
        start = time.time()
        store.put_many([b"small", some_bytes(SMALL + 1)])
        # To within the resolution of a server's clock, which may be another machine's.
        assert all(abs(one.mtime - start) < 60 for one in store.list())

    def test_threads(self, store: ObjectStore) -> None:
        items = [some_bytes(size, seed) for seed in range(5) for size in (100, SMALL + 1)]

        def work(number: int) -> bool:
            own = items[number:] + items[:number]
            return (
                [store.get(store.put(item), verify=True) for item in own] == own == store.get_many(store.put_many(own))
            )

        with ThreadPoolExecutor(6) as threads:
            assert all(threads.map(work, range(6)))
        assert len(list(store.list())) == len(items)

    def test_a_closed_store_opens_again(self, store: ObjectStore) -> None:
        names = store.put_many([b"one", b"two", some_bytes(SMALL + 1)])
        store.close()
        assert len(store.get_many(names)) == 3


class UsersSuite(_Suite):
    """Who keeps objects in the store."""

    def test_users(self, store: ObjectStore) -> None:
        assert store.users() == {}
        store.add_user("0af3", "the first, on ä machine")
        store.add_user("B-_9", "")
        assert store.users() == {"0af3": "the first, on ä machine", "B-_9": ""}
        store.add_user("0af3", "moved")
        assert store.users() == {"0af3": "moved", "B-_9": ""}

    @pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "ä", "a\n"])
    def test_what_is_no_name_is_refused(self, store: ObjectStore, name: str) -> None:
        with pytest.raises(UsageError, match="no name"):
            store.add_user(name, "somebody")
        assert store.users() == {}

    def test_users_are_no_objects(self, store: ObjectStore) -> None:
        orphan = store.put(b"orphan")
        store.add_user("me", "orphan")
        assert [one.digest for one in store.list()] == [orphan]
        later = time.time() + 1e6
        assert collect(store, [], grace_s=0, now=later).count == 1
        store.tidy(later)
        assert store.users() == {"me": "orphan"}
        assert store.put(b"orphan") == orphan


class DirectoriesSuite(_Suite):
    """Directories and their manifests."""

    def test_directories(self, store: ObjectStore, tmp_path: Path) -> None:
        source = make_tree(tmp_path / "source")
        name, size = store.put_dir(source)
        assert size == sum(
            path.stat().st_size for path in source.rglob("*") if path.is_file() and not path.is_symlink()
        )
        for link in (False, True):
            target = tmp_path / f"target{link}"
            store.get_dir(name, target, link=link)
            assert tree(target) == tree(source)
        (tmp_path / "empty").mkdir()
        store.get_dir(name, tmp_path / "empty")
        assert tree(tmp_path / "empty") == tree(source)
        assert members(store, name) | {name} == digests(store)

    def test_equal_directories_have_equal_digests(self, store: ObjectStore, tmp_path: Path) -> None:
        one, other = make_tree(tmp_path / "one"), make_tree(tmp_path / "other", reverse=True)
        (other / "small").chmod(0o600)
        os.utime(other / "small", (1, 1))
        assert store.put_dir(one) == store.put_dir(other)
        (other / "small").chmod(0o700)
        assert store.put_dir(one) != store.put_dir(other)

    def test_what_cannot_be_in_a_directory_is_named(self, store: ObjectStore, tmp_path: Path) -> None:
        source = tmp_path / "source"
        (source / "deep" / "er").mkdir(parents=True)
        (source / "absolute").symlink_to(source / "deep")
        (source / "out").symlink_to("../elsewhere")
        (source / "deep" / "up").symlink_to("../..")
        (source / "back").symlink_to("deep/er/root/..")
        (source / "deep" / "er" / "root").symlink_to("../..")
        os.mkfifo(source / "pipe")
        with pytest.raises(UsageError) as caught:
            store.put_dir(source)
        for problem in ("absolute", "out", "deep/up", "back", "pipe"):
            assert f"{source}/{problem} is" in str(caught.value)
        assert "deep/er/root is" not in str(caught.value)
        assert digests(store) == set()
        with pytest.raises(NotFoundError, match="missing"):
            store.put_dir(tmp_path / "missing")
        (tmp_path / "file").touch()
        with pytest.raises(UsageError, match="put_file"):
            store.put_dir(tmp_path / "file")

    def test_a_directory_goes_only_where_nothing_is(self, store: ObjectStore, tmp_path: Path) -> None:
        name, _ = store.put_dir(make_tree(tmp_path / "source"))
        before = tree(tmp_path)
        with pytest.raises(UsageError, match="there already"):
            store.get_dir(name, tmp_path / "source")
        with pytest.raises(NotFoundError, match="no directory"):
            store.get_dir(name, tmp_path / "absent" / "target")
        lost = next(entry.digest for entry in decode_manifest(store.get(name)) if entry.size > SMALL)
        store.delete([lost])
        with pytest.raises(NotFoundError, match=show(lost)):
            store.get_dir(name, tmp_path / "target")
        assert tree(tmp_path) == before

    @pytest.mark.parametrize(
        "entries",
        [
            [Entry(b"../out", stat.S_IFREG | 0o644, digest(b"x"), 1)],
            [Entry(b"/out", stat.S_IFREG | 0o644, digest(b"x"), 1)],
            [Entry(b"a//b", stat.S_IFREG | 0o644, digest(b"x"), 1)],
            [Entry(b"a", stat.S_IFLNK, target=b"..")],
            [Entry(b"a", stat.S_IFLNK, target=b"/etc")],
            [Entry(b"a", stat.S_IFLNK, target=b"b/c/.."), Entry(b"b/c", stat.S_IFLNK, target=b"..")],
            [Entry(b"a", stat.S_IFLNK, target=b"b"), Entry(b"a/x", stat.S_IFREG | 0o644, digest(b"x"), 1)],
        ],
    )
    def test_a_hostile_manifest_writes_nothing_outside(
        self, store: ObjectStore, entries: list[Entry], tmp_path: Path
    ) -> None:
        store.put(b"x")
        name = store.put(encode_manifest(entries))
        with pytest.raises(IntegrityError, match="directory manifest"):
            store.get_dir(name, tmp_path / "target")
        assert os.listdir(tmp_path) == []

    def test_what_is_no_manifest_is_refused(self, store: ObjectStore, tmp_path: Path) -> None:
        later = msgspec.msgpack.encode(["tidemill.dir", 2, "a new layout"])
        for data, error in ((b"text", IntegrityError), (b"", IntegrityError), (later, NewerStoreError)):
            with pytest.raises(error, match="manifest"):
                store.get_dir(store.put(data), tmp_path / "target")


class CollectSuite(_Suite):
    """Garbage collection."""

    def test_collect(self, store: ObjectStore, tmp_path: Path) -> None:
        directory, _ = store.put_dir(make_tree(tmp_path / "source"))
        live = store.put_many([b"live", some_bytes(SMALL + 1, 1)])
        dead = store.put_many([b"dead", some_bytes(SMALL + 1, 2)])
        everything = digests(store)
        later = time.time() + 7200 + store.fresh_s

        for dry_run in (True, False):
            young = collect(store, live, dirs=[directory], grace_s=3600, now=time.time(), dry_run=dry_run)
            assert (young.count, young.young, young.lost) == (0, 2, ())
        tried = collect(store, set(live).intersection, dirs=[directory], grace_s=3600, now=later, dry_run=True)
        assert digests(store) == everything
        done = collect(store, set(live).intersection, dirs=[directory], grace_s=3600, now=later)
        assert (tried.count, tried.bytes, tried.dry_run) == (2, 4 + SMALL + 1, True) == (done.count, done.bytes, True)
        assert (done.live, done.young, done.dry_run) == (len(everything) - 2, 0, False)
        assert digests(store) == everything - set(dead)
        store.get_dir(directory, tmp_path / "target")

        lost = collect(store, [], dirs=[ABSENT], grace_s=0, now=later)
        assert (lost.count, lost.lost) == (len(everything) - 2, (ABSENT,))
        assert digests(store) == set()

    def test_collect_asks_in_slices(self, store: ObjectStore) -> None:
        names = store.put_many([some_bytes(8, seed) for seed in range(1100)])
        asked: list[list[Digest]] = []

        def live(candidates: list[Digest]) -> set[Digest]:
            asked.append(candidates)
            return set(candidates) & set(names[::2])

        report = collect(store, live, grace_s=0, now=time.time() + 60)
        assert (report.count, report.live) == (550, 550)
        assert sorted(chain.from_iterable(asked)) == sorted(names)
        assert max(map(len, asked)) <= 1000

    def test_collect_stops_at_what_is_no_manifest(self, store: ObjectStore) -> None:
        names = store.put_many([b"text", b"other"])
        with pytest.raises(IntegrityError, match="manifest"):
            collect(store, [], dirs=names[:1], grace_s=0, now=time.time() + 60)
        assert digests(store) == set(names)


class ObjectStoreSuite(BytesSuite, FilesSuite, SurveySuite, UsersSuite, DirectoriesSuite, CollectSuite):
    """Everything: inherit from this and give the fixture `store`."""

    def test_against_a_dictionary(self, store: ObjectStore) -> None:
        machine = type("Machine", (StoreBesideDictionary,), {"store": store})
        limits = settings(
            max_examples=15, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
        )
        run_state_machine_as_test(machine, settings=limits)
