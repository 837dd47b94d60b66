"""Threads of one task at the same files: what one does never reaches the file of another."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tidemill.model.digest import Digest
from tidemill.model.errors import UsageError
from tidemill.model.fileid import FileId, Origin
from tidemill.stores.objects import LocalStore
from tidemill.stores.objects.interface import SMALL, Delivered
from tidemill.workers.failure import LostFile
from tidemill.workers.filestore import FileStore

LARGE = SMALL + 1


class Meeting(LocalStore):
    """Calls `meet` before it lays out a file, with the place."""

    meet: Callable[[str], object] = staticmethod(lambda _: None)

    def get_file(
        self, digest: Digest, path: Any, link: bool = False, mode: int = 0o644, verify: bool = False
    ) -> Delivered:
        self.meet(str(path))
        return super().get_file(digest, path, link, mode, verify)


@pytest.fixture
def objects(tmp_path: Path) -> Meeting:
    return Meeting(tmp_path / "objects")


@pytest.fixture
def files(objects: Meeting, tmp_path: Path) -> FileStore:
    (tmp_path / "now").mkdir()
    return FileStore((2, 1), lambda: objects, tmp_path / "now", tmp_path / "temp", lambda *_: True)


def two(objects: Meeting) -> list[FileId]:
    """Large files of the same name."""
    datas = [letter * LARGE for letter in (b"1", b"2")]
    return [FileId.of(Origin(1, 1, i), objects.put(data), LARGE, "same") for i, data in enumerate(datas)]


@pytest.mark.parametrize("path", [None, "given"])
def test_readers_of_one_name_get_their_own_files(
    objects: Meeting, files: FileStore, tmp_path: Path, path: str | None
) -> None:
    ids = two(objects)
    both = threading.Barrier(2)
    found: dict[FileId, Path | UsageError] = {}

    def meet(_: str) -> None:
        """Both are about to lay theirs out; the second of those who were given a path must not come so far."""
        if path is None:
            both.wait(60)

    objects.meet = meet

    def read(one: FileId) -> None:
        try:
            found[one] = files.read(one, None if path is None else tmp_path / path, mutable=False, link=False)
        except UsageError as error:
            found[one] = error

    readers = [threading.Thread(target=read, args=(one,)) for one in ids]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    places = {one: place for one, place in found.items() if isinstance(place, Path)}
    assert len(set(places.values())) == len(places) == (2 if path is None else 1)
    assert all(objects.get(one.digest) == place.read_bytes() for one, place in places.items())


def test_a_place_that_is_being_read_into_is_taken(objects: Meeting, files: FileStore, tmp_path: Path) -> None:
    """Also for another process, which comes while the bytes do."""
    refused = []

    def meet(place: str) -> None:
        with pytest.raises(FileExistsError):
            Path(place).touch(exist_ok=False)
        refused.append(place)

    objects.meet = meet
    one, _ = two(objects)
    assert files.read(one, tmp_path / "place", mutable=False, link=False).read_bytes() == b"1" * LARGE
    assert refused == [str(tmp_path / "place")]


def test_a_read_that_fails_leaves_nothing(objects: Meeting, files: FileStore, tmp_path: Path) -> None:
    nowhere = FileId.of(Origin(1, 1, 1), bytes(32), LARGE, "none")
    with pytest.raises(LostFile):
        files.read(nowhere, tmp_path / "place", mutable=False, link=False)
    assert not (tmp_path / "place").exists()


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("size", [10, LARGE])
def test_a_stream_that_ends_after_the_last_commit_is_refused(
    objects: Meeting, files: FileStore, size: int, last: bool
) -> None:
    """A service commits, too, and goes on: what it writes then is in its outcome."""
    with files.writing("before", temporary=False, encoding=None, errors=None, executable=False) as early:
        early.write(b"b")  # type: ignore[arg-type]
    late = files.writing("late", temporary=False, encoding=None, errors=None, executable=False)
    stream = late.__enter__()
    stream.write(b"l" * size)  # type: ignore[arg-type]
    files.commit(last=last)
    if last:
        with pytest.raises(UsageError, match="has ended"):
            late.__exit__(None, None, None)
    else:
        late.__exit__(None, None, None)
        files.commit(last=True)
    told = files.end(accepted=True).files
    assert [one.name for one in told] == (["before"] if last else ["before", "late"])
    assert objects.exists(one.digest for one in told) == {one.digest for one in told}


def test_a_directory_behind_a_link_is_the_tasks_own(objects: Meeting, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    for work, given in ((tmp_path / "link", tmp_path / "real"), (tmp_path / "real", tmp_path / "link")):
        files = FileStore((2, 1), lambda: objects, work, tmp_path / "temp", lambda *_: True)
        (given / "mine").write_text("mine")
        files.forget(files.write(given / "mine", None, temporary=False))
        assert not (given / "mine").exists()
