"""What the local store does beyond the conformance suite."""

import contextlib
import mmap
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.objects.running import command, run
from tidemill.model.digest import Digest, digest
from tidemill.model.errors import IntegrityError, NewerStoreError, StoreFullError
from tidemill.stores.objects import SMALL, LocalStore, collect, open_objects
from tidemill.stores.objects.files import Lease, Lock, Temp, open_regular
from tidemill.stores.objects.pack import Pack
from tidemill.testing.objects_data import digests, make_tree, some_bytes

LARGE = some_bytes(SMALL + 100)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    store = LocalStore(tmp_path / "objects")
    yield store
    store.close()


@pytest.fixture
def public_directory() -> Iterator[Path]:
    """A directory that every user may enter, which pytest's own are not."""
    path = tempfile.mkdtemp(prefix="tidemill-test-")
    os.chmod(path, 0o777)
    yield Path(path)
    shutil.rmtree(path)


def object_files(store: LocalStore) -> list[Path]:
    return sorted(Path(store.root).glob("[0-9a-f][0-9a-f]/*"))


def damage(store: LocalStore, name: bytes, data: bytes) -> None:
    """Write other bytes where an object is."""
    store.put(b"there is a pack")
    for path in object_files(store):
        if path.parent.name + path.name == name.hex():
            path.unlink()
            path.write_bytes(data)
    with contextlib.closing(sqlite3.connect(f"{store.root}/pack.db")) as connection, connection:
        connection.execute("UPDATE pack SET data = ? WHERE digest = ?", (data, name))


def test_opening_and_reading_creates_nothing(store: LocalStore, tmp_path: Path) -> None:
    assert store.exists([digest(b"")]) == digests(store) == store.delete([digest(b"")]) == set()
    assert store.tidy(time.time()) == (0, 0)
    assert os.listdir(tmp_path) == []


def test_small_objects_are_no_files_and_large_ones_are_read_only(store: LocalStore, tmp_path: Path) -> None:
    make_tree(tmp_path / "tree")
    store.put_dir(tmp_path / "tree")
    store.put_many([b"small", some_bytes(SMALL)])
    assert len(object_files(store)) == 1
    name = store.put(LARGE)
    assert (Path(store.root) / name.hex()[:2] / name.hex()[2:]).read_bytes() == LARGE
    assert [path.stat().st_mode & 0o7777 for path in object_files(store)] == [0o444] * 2
    assert os.listdir(Path(store.root) / "tmp") == []


@pytest.mark.parametrize("name", ["plain", "with space", "100%25", "a#b?c=d", "ünïcödé"])
def test_the_address_leads_back(tmp_path: Path, name: str) -> None:
    store = open_objects(tmp_path / name)
    names = store.put_many([b"small", LARGE])
    again = open_objects(store.url)
    assert again.get_many(names) == [b"small", LARGE]
    assert again.url == store.url
    assert open_objects(f"file://localhost{store.url.removeprefix('file://')}").get_many(names) == [b"small", LARGE]
    for one in (store, again):
        one.close()


def test_what_lies_about_is_no_object(store: LocalStore) -> None:
    name = store.put(LARGE)
    for junk in ("README", "ab", "0" * 61, "A" * 62):
        (Path(store.root) / name.hex()[:2] / junk).touch()
    assert digests(store) == {name}


# ------------------------------------------------------------------------------------------------------------ damage


@pytest.mark.parametrize("data", [some_bytes(100), LARGE])
def test_damage_is_found_on_request(store: LocalStore, data: bytes, tmp_path: Path) -> None:
    name, sound = store.put_many([data, b"sound"])
    damage(store, name, data[:-1] + b"?")
    for ask in (
        lambda: store.verify(name),
        lambda: store.get(name, verify=True),
        lambda: store.get_many([sound, name], verify=True),
        lambda: b"".join(store.open(name, verify=True)),
        lambda: store.get_file(name, tmp_path / "out", verify=True),
        lambda: store.get_file(name, tmp_path / "out", verify=True, link=True),
    ):
        with pytest.raises(IntegrityError, match=name.hex()):
            ask()
    assert os.listdir(tmp_path) == ["objects"]
    assert store.get(name) == data[:-1] + b"?"
    store.delete([name])
    assert store.get(store.put(data), verify=True) == data


def test_verified_chunks_are_held_back_to_the_end(store: LocalStore) -> None:
    data = some_bytes(3_000_000)
    name = store.put(data)
    damage(store, name, data[:-1] + b"?")
    seen: list[bytes] = []
    with pytest.raises(IntegrityError):
        seen.extend(store.open(name, verify=True))
    assert b"".join(seen) == data[: 2 << 20]


def test_a_file_of_the_wrong_size_is_replaced_by_a_put(store: LocalStore) -> None:
    name = store.put(LARGE)
    damage(store, name, LARGE[:-1])
    assert store.put(LARGE) == name
    assert store.get(name, verify=True) == LARGE


def test_a_broken_pack_says_so(store: LocalStore) -> None:
    Path(store.root).mkdir()
    (Path(store.root) / "pack.db").write_bytes(b"no database " * 1000)
    with pytest.raises(IntegrityError, match=r"pack\.db is damaged"):
        store.get(digest(b""))


def test_a_pack_from_a_later_version_is_refused(store: LocalStore) -> None:
    name = store.put(b"small")
    store.close()
    with contextlib.closing(sqlite3.connect(f"{store.root}/pack.db")) as connection:
        connection.execute("PRAGMA user_version = 7")
    asks: list[Callable[[], object]] = [lambda: store.get(name), lambda: store.put(b"more")]
    for ask in asks:
        with pytest.raises(NewerStoreError, match="layout 7"):
            ask()


# -------------------------------------------------------------------------------------------------------------- pack


@pytest.fixture
def pack(tmp_path: Path) -> Iterator[Pack]:
    pack = Pack(str(tmp_path / "pack.db"), Lock(str(tmp_path / "lock")))
    yield pack
    pack.close()


def test_digests_with_the_same_first_bytes_are_told_apart(pack: Pack) -> None:
    one, other, third = (b"the same" + bytes([number]) * 24 for number in range(3))
    pack.put([one, other], [b"one", b"other"])
    pack.put([other], [b"other"])
    assert pack.get([one, third])[one] == b"one"
    assert third not in pack.get([third])
    assert pack.delete([third, other], None) == {other}
    assert pack.get([one, other]) == {one: b"one"}


def test_heads_are_signed_numbers(pack: Pack) -> None:
    names = [bytes([first]) + bytes(31) for first in range(256)]
    pack.put(names, names)
    assert pack.get(names) == {name: name for name in names}


def test_large_batches_are_cut(pack: Pack) -> None:
    items = [some_bytes(SMALL, seed) for seed in range(600)]
    names = [digest(item) for item in items]
    pack.put(names, items)
    assert pack.get(names) == dict(zip(names, items, strict=True))


def test_the_pack_is_durable_and_gives_space_back(store: LocalStore) -> None:
    store.put_many([some_bytes(1000, seed) for seed in range(5000)])
    with store._pack._connection() as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    collect(store, [], grace_s=3600, now=time.time())
    full = os.path.getsize(f"{store.root}/pack.db") + os.path.getsize(f"{store.root}/pack.db-wal")
    assert full > 5_000_000
    assert collect(store, [], grace_s=0, now=time.time() + 60).count == 5000
    assert os.path.getsize(f"{store.root}/pack.db") < full / 20
    assert os.path.getsize(f"{store.root}/pack.db-wal") == 0


# ------------------------------------------------------------------------------------------------------------ moving


def test_a_moved_file_is_not_copied(store: LocalStore, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(LARGE)
    os.utime(path, (1, 1))
    inode = path.stat().st_ino
    store.put_file(path, move=True)
    (stored,) = object_files(store)
    assert (stored.stat().st_ino, stored.stat().st_mode & 0o777, stored.stat().st_nlink) == (inode, 0o444, 1)
    assert time.time() - stored.stat().st_mtime < 60


def test_a_file_that_somebody_could_still_change_is_copied(store: LocalStore, tmp_path: Path) -> None:
    def linked(path: Path) -> Iterator[Path]:
        os.link(path, tmp_path / "other name")
        yield tmp_path / "other name"

    def opened(path: Path) -> Iterator[int]:
        with path.open("r+b") as file:
            yield file.fileno()

    def mapped(path: Path) -> Iterator[mmap.mmap]:
        with path.open("r+b") as file:
            memory = mmap.mmap(file.fileno(), 0)
        with memory:
            yield memory

    def change(holder: object) -> None:
        if isinstance(holder, mmap.mmap):
            holder[:7] = b"changed"
        elif isinstance(holder, Path):
            holder.write_bytes(b"changed")
        else:
            assert isinstance(holder, int)
            os.pwrite(holder, b"changed", 0)

    for number, hold in enumerate((linked, opened, mapped)):
        data = some_bytes(SMALL + 100, number)
        path = tmp_path / "file"
        path.write_bytes(data)
        path.chmod(0o640)
        with contextlib.contextmanager(hold)(path) as holder:
            name, _ = store.put_file(path, move=True)
            assert not path.exists()
            change(holder)
        assert store.get(name, verify=True) == data
        if isinstance(holder, Path):
            assert holder.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("through", ["store", "cache"])
def test_whoever_opens_a_file_while_it_is_taken_cannot_change_it(through: str, tmp_path: Path) -> None:
    run("attacked.py", tmp_path, through)


def test_who_reads_a_file_that_is_being_taken_waits_for_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"tide")
    fd, found = os.open(path, os.O_RDONLY), list[bytes]()

    def read() -> None:
        other = open_regular(path)
        found.append(os.read(other, 10))
        os.close(other)

    with Lease(fd) as lease:
        if not lease.sole():
            pytest.skip("this file system has no leases")
        reader = threading.Thread(target=read)
        reader.start()
        reader.join(0.1)
        assert not found
    reader.join(60)
    os.close(fd)
    assert found == [b"tide"]


def test_moving_what_is_there_already_removes_the_file(store: LocalStore, tmp_path: Path) -> None:
    store.put(LARGE)
    (tmp_path / "file").write_bytes(LARGE)
    assert store.put_file(tmp_path / "file", move=True) == (digest(LARGE), len(LARGE))
    assert os.listdir(tmp_path) == ["objects"]


# -------------------------------------------------------------------------------------------- other users, processes


def test_several_processes_write_the_same_objects(store: LocalStore) -> None:
    commands = [command("put_all.py", store.root, number) for number in range(4)]
    writers = [subprocess.Popen(one, stderr=subprocess.PIPE) for one in commands]
    assert [(writer.communicate()[1], writer.returncode) for writer in writers] == [(b"", 0)] * 4
    everything = list(store.list())
    assert len(everything) == len(digests(store)) == 330
    for one in everything:
        store.verify(one.digest)


def test_a_link_cannot_be_written_through(public_directory: Path) -> None:
    run("ordinary_user.py", "link", public_directory)


def test_a_store_that_may_not_be_written_can_be_read(public_directory: Path) -> None:
    run("ordinary_user.py", "read_only", public_directory)


def test_the_local_store_does_without_obstore(tmp_path: Path) -> None:
    code = (
        "import sys; from tidemill.stores.objects import open_objects\n"
        f"store = open_objects({str(tmp_path / 'o')!r}); store.get_many(store.put_many([b'a', bytes(10**6)]))\n"
        "assert not {'obstore', 'urllib.request', 'http.client', 'tempfile', 'concurrent.futures'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ----------------------------------------------------------------------------------------------------------- clean-up


def test_only_what_dead_writers_left_is_swept(store: LocalStore) -> None:
    name = store.put(LARGE)
    temps = Path(store.root) / "tmp"
    (temps / "old").write_bytes(b"12345")
    os.utime(temps / "old", (1000, 1000))
    (temps / "young").write_bytes(b"123")
    with Temp(str(temps)) as live:
        live.write(b"1")
        os.utime(live.path, (1000, 1000))
        now = time.time() + 60
        tried = collect(store, [name], grace_s=3600, now=now, dry_run=True)
        assert (tried.leftovers, tried.leftover_bytes, len(os.listdir(temps))) == (1, 5, 3)
        swept = collect(store, [name], grace_s=3600, now=now)
        assert (swept.leftovers, swept.leftover_bytes, len(os.listdir(temps))) == (1, 5, 2)
        assert store.tidy(now) == (1, 3)
        assert os.listdir(temps) == [os.path.basename(live.path)]
    assert store.get(name) == LARGE


@pytest.mark.parametrize("data", [b"small", LARGE])
def test_what_is_put_again_is_young_again(store: LocalStore, data: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(data)
    puts: list[Callable[[], Digest]] = [
        lambda: store.put(data),
        lambda: store.put_stream([data])[0],
        lambda: store.put_file(tmp_path / "file")[0],
        lambda: store.put_file(tmp_path / "file", move=True)[0],
    ]
    name = store.put(data)
    for put in puts:
        with store._pack._transaction() as connection:
            connection.execute("UPDATE pack SET put_at = 1000")
        for path in object_files(store):
            os.utime(path, (1000, 1000))
        assert collect(store, [], grace_s=3600, now=time.time(), dry_run=True).count == 1
        assert put() == name
        assert collect(store, [], grace_s=3600, now=time.time()).young == 1


def test_a_forked_child_uses_connections_of_its_own(store: LocalStore) -> None:
    name = store.put(b"small")
    connections = list(store._pack._idle)
    assert connections
    child = os.fork()
    if child == 0:
        try:
            ok = store.get(name) == b"small" and store.put(b"other") == digest(b"other")
            ok = ok and not set(connections) & set(store._pack._idle)
            os._exit(0 if ok else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert store.get_many([name, digest(b"other")]) == [b"small", b"other"]


def test_a_place_where_no_directory_can_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = LocalStore(tmp_path / "file" / "objects")
    for data in (b"small", LARGE):
        with pytest.raises(Exception, match="Not a directory") as caught:
            store.put(data)
        assert type(caught.value).__module__ == "tidemill.model.errors"
    assert not isinstance(caught.value, StoreFullError)
