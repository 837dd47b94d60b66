"""Objects that stay where they are: what was changed there is never given out as what it was."""

import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from tests.objects.elsewhere import KINDS, Elsewhere
from tests.objects.servers import S3Server
from tests.objects.web import Web
from tidemill.model.digest import digest
from tidemill.model.errors import IntegrityError, NewerStoreError, NotFoundError, UsageError
from tidemill.stores.objects import (
    SMALL,
    LocalStore,
    ReferringStore,
    collect,
    fetch_url,
    open_objects,
    send_dir_url,
    send_url,
)
from tidemill.stores.objects.notes import FileNotes
from tidemill.stores.objects.references import References
from tidemill.testing.objects_data import digests, some_bytes

DATA = some_bytes((3 << 20) + 5)
OTHER = DATA[:-1] + bytes([DATA[-1] ^ 1])
OLD = 10 * 10**9
"""Nanoseconds: longer ago than what the clock might not tell apart."""

everywhere = pytest.mark.parametrize("elsewhere", KINDS, indirect=True)


@pytest.fixture(params=["local", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, moto: S3Server) -> Iterator[ReferringStore]:
    """An empty object store."""
    urls = {"local": str(tmp_path / "o"), "memory": f"memory://{secrets.token_hex(8)}", "s3": moto.fresh_url()}
    found = open_objects(urls[request.param])
    assert isinstance(found, ReferringStore)
    yield found
    found.close()


@pytest.fixture
def local(tmp_path: Path) -> Iterator[ReferringStore]:
    found = open_objects(str(tmp_path / "objects"))
    assert isinstance(found, ReferringStore)
    yield found
    found.close()


@pytest.fixture
def settled(tmp_path: Path) -> Iterator[ReferringStore]:
    """A store for which files that were just written count as written long ago."""
    inner = LocalStore(tmp_path / "objects")
    yield ReferringStore(inner, References(FileNotes(str(tmp_path / "objects" / "refs")), grain_s=-60.0))
    inner.close()


def put(scratch: LocalStore, elsewhere: Elsewhere, path: str, data: bytes) -> str:
    elsewhere.parent(path)
    send_url(scratch, scratch.put(data), elsewhere.url(path))
    return elsewhere.url(path)


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[LocalStore]:
    """A store to send files from."""
    found = LocalStore(tmp_path / "scratch")
    yield found
    found.close()


def readings(store: ReferringStore, name: bytes, directory: Path) -> list[Callable[[], bytes]]:
    """Every way to read a whole object."""

    def file() -> bytes:
        store.get_file(name, directory / "out", link=True)
        return (directory / "out").read_bytes()

    return [
        lambda: store.get(name),
        lambda: store.get_many([name])[0],
        lambda: b"".join(store.open(name)),
        lambda: store.read_range(name, 0, 1 << 30),
        lambda: store.read_range(name, 5, 100),
        lambda: next(store.open(name)),
        file,
    ]


@everywhere
def test_the_bytes_stay_where_they_are(
    store: ReferringStore, scratch: LocalStore, elsewhere: Elsewhere, tmp_path: Path
) -> None:
    url = put(scratch, elsewhere, "a b/file", DATA)
    found = fetch_url(store, url, in_place=True)
    name = digest(DATA)
    assert found[:3] == (name, len(DATA), "file")
    assert store.inner.exists([name]) == set()
    again = open_objects(store.url)
    assert isinstance(again, ReferringStore)
    for one in (store, again):
        assert [read() for read in readings(one, name, tmp_path)[:4]] == [DATA] * 4
        assert one.read_range(name, 5, 100) == DATA[5:105]
        assert one.read_range(name, len(DATA) - 3, 100) == DATA[-3:]
        assert one.read_range(name, len(DATA), 100) == one.read_range(name, 9, 0) == b""
        assert one.exists([name, digest(b"absent")]) == {name}
        assert one.size(name) == len(DATA)
        one.verify(name)
    small = store.put(b"small")
    assert store.get_many([name, small, name]) == [DATA, b"small", DATA]
    with pytest.raises(NotFoundError, match="no object"):
        store.get_many([name, digest(b"absent")])


@everywhere
def test_what_was_changed_is_never_given_out(
    local: ReferringStore, scratch: LocalStore, elsewhere: Elsewhere, tmp_path: Path
) -> None:
    """With the same size; also right after it was referred to, within one tick of the clock."""
    url = put(scratch, elsewhere, "file", DATA)
    name = fetch_url(local, url, in_place=True).digest
    put(scratch, elsewhere, "file", OTHER)
    for read in readings(local, name, tmp_path):
        with pytest.raises(IntegrityError, match="was changed since"):
            read()
    assert not (tmp_path / "out").exists()
    put(scratch, elsewhere, "file", DATA)
    assert [read() for read in readings(local, name, tmp_path)[:4]] == [DATA] * 4


def test_a_file_written_into_while_it_is_read(settled: ReferringStore, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    name = fetch_url(settled, str(path), in_place=True).digest
    chunks = settled.open(name)
    assert next(chunks) == DATA[: 1 << 20]
    before = path.stat().st_ctime_ns
    while path.stat().st_ctime_ns == before:
        with path.open("r+b") as file:
            file.write(b"x")
    with pytest.raises(IntegrityError, match="was changed since"):
        list(chunks)


def test_times_that_were_set_back_deceive_nobody(local: ReferringStore, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    old = time.time_ns() - OLD
    os.utime(path, ns=(old, old))
    name = fetch_url(local, str(path), in_place=True).digest
    path.write_bytes(OTHER)
    os.utime(path, ns=(old, old))
    for read in readings(local, name, tmp_path):
        with pytest.raises(IntegrityError, match="was changed since"):
            read()


def test_a_whole_file_is_held_against_its_digest_whatever_its_tag_says(settled: ReferringStore, tmp_path: Path) -> None:
    """As if it had been changed without a trace: the note about another content leads to this file."""
    (tmp_path / "file").write_bytes(DATA)
    name = fetch_url(settled, str(tmp_path / "file"), in_place=True).digest
    notes = tmp_path / "objects" / "refs"
    (notes / name.hex()).rename(notes / digest(OTHER).hex())
    every = readings(settled, digest(OTHER), tmp_path)
    for read in (*every[:3], every[-1]):
        with pytest.raises(IntegrityError, match="was changed since"):
            read()
    assert not (tmp_path / "out").exists()


def test_a_file_that_was_just_written_has_no_tag_to_trust(local: ReferringStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    noted = local.references.find(fetch_url(local, str(tmp_path / "file"), in_place=True).digest)
    assert noted is not None
    assert noted.tag == ""


def test_a_file_that_was_only_touched_is_still_the_same(settled: ReferringStore, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    name = fetch_url(settled, str(path), in_place=True).digest
    noted = settled.references.find(name)
    assert noted is not None
    assert noted.tag
    path.write_bytes(b"")
    path.write_bytes(DATA)
    os.utime(path, ns=(1, 1))
    assert settled.read_range(name, 1, 2) == DATA[1:3]
    again = settled.references.find(name)
    assert again is not None
    assert again.tag != noted.tag
    assert again.url == noted.url == str(path)


@everywhere
def test_what_is_gone_is_not_found(
    local: ReferringStore, scratch: LocalStore, elsewhere: Elsewhere, web: Web, moto: S3Server
) -> None:
    if elsewhere.kind not in ("path", "file", "http"):
        with pytest.raises(NotFoundError, match="nothing at"):
            fetch_url(local, elsewhere.url("file"), in_place=True)
        return
    url = put(scratch, elsewhere, "file", DATA)
    name = fetch_url(local, url, in_place=True).digest
    if elsewhere.kind == "http":
        web.files.clear()
    else:
        os.unlink(local.references.find(name).url)  # type: ignore[union-attr]
    with pytest.raises(NotFoundError, match="refers to"):
        local.get(name)
    assert local.exists([name]) == {name}


@pytest.mark.parametrize("store", ["local"], indirect=True)
def test_given_files_are_copies(store: ReferringStore, tmp_path: Path) -> None:
    """Whoever owns the original could change a linked one while it is read; and a task could change the original."""
    path = tmp_path / "file"
    path.write_bytes(DATA)
    path.chmod(0o444)
    name = fetch_url(store, str(path), in_place=True).digest
    assert store.get_file(name, tmp_path / "out", link=True) in ("copy", "clone")
    (tmp_path / "out").write_bytes(b"mine")
    assert path.read_bytes() == store.get(name) == DATA


def test_the_store_s_own_bytes_come_first(store: ReferringStore, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    name = fetch_url(store, str(path), in_place=True).digest
    assert store.put(DATA) == name
    path.unlink()
    assert store.get(name) == DATA
    assert digests(store) == {name}


def test_garbage_is_the_reference_and_not_the_file(store: ReferringStore, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    name = fetch_url(store, str(path), in_place=True).digest
    assert [(one.digest, one.size) for one in store.list()] == [(name, 0)]
    late = time.time() + 7200 + store.fresh_s
    assert collect(store, {name}, grace_s=3600, now=late).count == 0
    assert collect(store, set(), grace_s=3600, now=time.time()).count == 0
    assert store.exists([name]) == {name}
    assert collect(store, set(), grace_s=3600, now=late, dry_run=True).count == 1
    assert collect(store, set(), grace_s=3600, now=late).count == 1
    assert store.exists([name]) == set()
    assert path.read_bytes() == DATA


@everywhere
def test_of_a_directory_large_files_stay(
    local: ReferringStore, scratch: LocalStore, elsewhere: Elsewhere, tmp_path: Path
) -> None:
    if elsewhere.kind == "http":
        with pytest.raises(NotFoundError):
            fetch_url(local, elsewhere.url("tree/"), in_place=True)
        return
    (tmp_path / "tree" / "deep").mkdir(parents=True)
    (tmp_path / "tree" / "deep" / "large").write_bytes(DATA)
    (tmp_path / "tree" / "small").write_bytes(b"small")
    wanted, size = scratch.put_dir(tmp_path / "tree")
    send_dir_url(scratch, wanted, elsewhere.url("tree"))
    assert fetch_url(local, elsewhere.url("tree"), in_place=True)[:3] == (wanted, size, "tree")
    assert local.inner.exists([digest(DATA), digest(b"small"), wanted]) == {digest(b"small"), wanted}
    local.get_dir(wanted, tmp_path / "back")
    assert (tmp_path / "back" / "deep" / "large").read_bytes() == DATA
    put(scratch, elsewhere, "tree/deep/large", OTHER)
    with pytest.raises(IntegrityError, match="was changed since"):
        local.get_dir(wanted, tmp_path / "bad")
    assert not (tmp_path / "bad").exists()


def test_what_cannot_stay_where_it_is(local: ReferringStore, scratch: LocalStore, web: Web, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="question mark may be secret"):
        fetch_url(local, web.url + "/large?token=secret", in_place=True)
    web.tags = False
    with pytest.raises(UsageError, match="does not say when it changes"):
        fetch_url(local, web.url + "/large", in_place=True)
    with pytest.raises(UsageError, match="cannot be moved"):
        fetch_url(local, str(tmp_path), in_place=True, move=True)
    with pytest.raises(UsageError, match="cannot refer to files elsewhere"):
        fetch_url(scratch, str(tmp_path), in_place=True)
    with pytest.raises(NotFoundError):
        fetch_url(local, str(tmp_path / "missing"), in_place=True)
    assert digests(local) == set()


def test_servers_without_ranges(local: ReferringStore, web: Web) -> None:
    name = fetch_url(local, web.url + "/large", in_place=True).digest
    part = local.read_range(name, (1 << 20) - 5, 10)
    web.ranges = False
    assert local.read_range(name, (1 << 20) - 5, 10) == part
    assert len(part) == 10
    assert local.read_range(name, 9 << 20, 10) == b""


def test_notes_that_were_damaged_or_are_newer_are_told(local: ReferringStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    name = fetch_url(local, str(tmp_path / "file"), in_place=True).digest
    note = tmp_path / "objects" / "refs" / name.hex()
    note.write_bytes(b"rubbish")
    with pytest.raises(IntegrityError, match="is no reference"):
        local.get(name)
    note.write_bytes(msgspec.msgpack.encode(["x", 1, "", "tidemill.reference", 2]))
    with pytest.raises(NewerStoreError):
        local.get(name)
    (note.parent / "not a digest").write_bytes(b"")
    assert digests(local) == {name}


def test_nothing_above_the_small_size_is_copied(local: ReferringStore, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    for size in (SMALL, SMALL + 1):
        (tmp_path / "tree" / str(size)).write_bytes(some_bytes(size))
    fetch_url(local, str(tmp_path / "tree"), in_place=True)
    assert local.inner.exists([digest(some_bytes(SMALL + 1))]) == set()
    assert local.inner.exists([digest(some_bytes(SMALL))]) == {digest(some_bytes(SMALL))}
