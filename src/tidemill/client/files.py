"""Files that tasks wrote to a store beside their results, and files that are put beside them from outside."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, NamedTuple

import msgspec

from tidemill.client.connection import Connection, connect
from tidemill.model import ids
from tidemill.model.errors import NotFoundError, UsageError, without_our_frames
from tidemill.model.fileid import FileId, Origin
from tidemill.model.filename import base_name, file_name, given_name
from tidemill.model.ids import run_id
from tidemill.model.preview import size_text
from tidemill.model.states import DatumState
from tidemill.provenance.find import find_run
from tidemill.stores.objects import ObjectStore
from tidemill.stores.state import blocks, files, lineage
from tidemill.stores.state.database import Database
from tidemill.stores.state.files import FileRow

if TYPE_CHECKING:
    from tidemill.client.store import Store

Source = str | os.PathLike[str] | bytes | BinaryIO
"""Where content comes from: a path, the bytes themselves, or an open binary file."""

BUFFER = 1 << 20
"""Bytes read at once from an open file."""

_GONE = {
    DatumState.EXPIRED: "was temporary, and what it was written for has ended",
    DatumState.DELETED: "was deleted",
    DatumState.LOST: "has been lost",
}


class FileInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A file in the store.

    Attributes:
        id: what reads it; see `tidemill.model.fileid`.
        name: it was written under.
        size: bytes.
        executable: whether it was.
        state: "complete", "expired", "deleted".
        temporary: gone when the block of its run has ended.
        run: public id of the run that wrote it, "" for a program outside.
        attempt: of that run.
    """

    id: str
    name: str
    size: int
    executable: bool
    state: str
    temporary: bool
    run: str
    attempt: int

    def __str__(self) -> str:
        words = [self.name or "(no name)", size_text(self.size), self.id]
        return " ".join([*words, *["temporary"] * self.temporary, *[self.state] * (self.state != "complete")])


class Put(NamedTuple):
    """Content that has been put into the object store."""

    digest: bytes
    size: int
    mode: int
    base: str
    kind: str


class Files:
    """The files of a store: `store.files`.

    Files that tasks wrote are there once their attempt has ended well.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    @without_our_frames
    def write(self, source: Source, name: str | None = None) -> FileId:
        """Put a file into the store; its id. It stays until it is deleted.

        Args:
            source: a path, bytes, or an open binary file.
            name: of the file; default: the base name of the path. What is no text in it is replaced.

        Raises:
            NotFoundError: there is no such file.
            UsageError: it cannot be read, or the name cannot be that of a file.
        """
        name = None if name is None else file_name(name)
        with asking(self._store) as connection:
            found = put(self._store.objects, source, folders=False)
            told = connection.ask(
                "file.write", digest=found.digest.hex(), size=found.size, mode=found.mode,
                name=found.base if name is None else name,
            )  # fmt: skip
        return FileId(_field(told, "id"))

    @without_our_frames
    def read(self, id: str, path: str | os.PathLike[str]) -> Path:
        """A private copy of a file; where it is.

        Args:
            id: what writing it returned.
            path: where to put it, or a directory, in which it gets its own name. Nothing is overwritten.

        Raises:
            NotFoundError: there is no such file any more, or no such directory.
            UsageError: something is there already.
        """
        one = there(self._store, id)
        return deliver(self._store.objects, one.digest, one.mode, one.name, path)

    @without_our_frames
    def open(self, id: str, mode: str = "rb", *, encoding: str | None = None, errors: str | None = None) -> IO[Any]:
        """A file, open for reading.

        Args:
            id: what writing it returned.
            mode: "rb" for bytes, "r" for text.
            encoding, errors: of text, as in `open`; default: UTF-8, strict.

        Raises:
            NotFoundError: there is no such file any more.
            UsageError: another mode.
        """
        one = there(self._store, id)
        return opened(self._store.objects, one.digest, one.size, mode, encoding, errors)

    @without_our_frames
    def size(self, id: str) -> int:
        """Bytes in a file, 0 if there is none."""
        one = FileId(id)
        return one.size if self.exists(one) else 0

    @without_our_frames
    def exists(self, id: str) -> bool:
        """Whether a file is there: not yet deleted, not expired, and written by an attempt that has ended well."""
        one = FileId(id)
        if one.shared:
            return bool(self._store.objects.exists([one.digest]))
        row = find(self._store.db, one)
        return row is not None and row.state == files.COMPLETE

    @without_our_frames
    def delete(self, id: str) -> bool:
        """Delete a file; False if it was deleted before. Its bytes go when nothing else has the same content.

        Raises:
            NotFoundError: there never was such a file.
        """
        with asking(self._store) as connection:
            return bool(_field(connection.ask("file.delete", id=str(FileId(id))), "deleted"))

    @without_our_frames
    def list(self, id: str | int | None = None) -> list[FileInfo]:
        """What a run (`"3.117"`) or the runs of a block (`3`, and those inside of it) wrote; without an id, what
        programs outside wrote.

        Raises:
            NotFoundError: there is no such run or block.
            UsageError: the id is that of something else.
        """
        db = self._store.db
        if id is None:
            return describe(db, files.between(db, 0, 1)) if files.known(db) else []
        what = ids.parse(id)
        if what.kind == "run":
            run = find_run(db, what).id
            return describe(db, _between(db, run, run + 1))
        if what.kind != "block":
            raise UsageError(f"{id} is a {what.kind}, but only runs and blocks have files")
        return describe(db, _of_block(db, what.number))


# ------------------------------------------------------------------------------------------------------------- shared


@contextmanager
def asking(store: Store) -> Iterator[Connection]:
    """A connection for one request. Objects that are put meanwhile are not collected before it has ended."""
    connection = connect(store.place)
    try:
        connection.welcome()
        yield connection
    finally:
        connection.close()


def put(objects: ObjectStore, source: Source, *, folders: bool) -> Put:
    """Put content into the object store.

    Raises:
        NotFoundError: there is no such file.
        UsageError: it is something else, or cannot be read.
    """
    if isinstance(source, bytes):
        return Put(objects.put(source), len(source), 0o644, "", "file")
    if not isinstance(source, (str, os.PathLike)):
        return Put(*objects.put_stream(source), 0o644, "", "file")
    path = os.path.abspath(source)
    base = base_name(path)
    if folders and os.path.isdir(path):
        return Put(*objects.put_dir(path), 0o755, base, "dir")
    digest, size = objects.put_file(path)
    return Put(digest, size, 0o755 if os.stat(path).st_mode & 0o100 else 0o644, base, "file")


def deliver(objects: ObjectStore, digest: bytes, mode: int, name: str, path: str | os.PathLike[str]) -> Path:
    """A private copy of stored bytes; see `Files.read`."""
    place = Path(path)
    if place.is_dir():
        place /= given_name(name, digest.hex()[:16])
    if os.path.lexists(place):
        raise UsageError(f"there is something at {place} already", hint="Nothing is overwritten; give another path.")
    objects.get_file(digest, place, mode=mode)
    return place


def opened(
    objects: ObjectStore, digest: bytes, size: int, mode: str, encoding: str | None, errors: str | None
) -> IO[Any]:
    """Stored bytes as an open file; see `Files.open`."""
    if mode not in {"r", "rb", "rt"} or ("b" in mode and (encoding or errors)):
        raise UsageError(f"a file in the store is opened for reading, with mode 'r' or 'rb', not {mode!r}")
    if not objects.exists([digest]):
        raise NotFoundError(f"the bytes of {digest.hex()[:16]}… are not in {objects.url}")
    stream = io.BufferedReader(_Ranges(objects, digest, size), BUFFER)
    return stream if "b" in mode else io.TextIOWrapper(stream, encoding or "utf-8", errors)


class _Ranges(io.RawIOBase):
    """An object as an unbuffered file."""

    def __init__(self, objects: ObjectStore, digest: bytes, size: int) -> None:
        self._objects = objects
        self._digest = digest
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError(f"cannot seek to {start + offset}")
        self._at = start + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), max(0, self._size - self._at))
        data = self._objects.read_range(self._digest, self._at, wanted) if wanted else b""
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def find(db: Database, one: FileId) -> FileRow | None:
    """The row of a file."""
    row = files.get(db, one.origin) if files.known(db) else None
    return row if row is not None and bytes(row.digest) == one.digest else None


def there(store: Store, id: str) -> FileId:
    """A file that is there.

    Raises:
        NotFoundError: it is not.
        UsageError: this is no id.
    """
    one = FileId(id)
    if one.shared and store.files.exists(one):
        return one
    row = find(store.db, one)
    if row is None:
        raise NotFoundError(
            f"there is no file {one}", hint="It is of another store, or the attempt that writes it has not ended well."
        )
    if row.state != files.COMPLETE:
        raise NotFoundError(f"the file {one.name!r} {_GONE[DatumState(row.state)]} ({one})")
    return one


def id_of(row: FileRow) -> FileId:
    """The id of a file."""
    origin = Origin(row.run, row.fence, row.n)
    return FileId.of(origin, bytes(row.digest), row.size, row.name, executable=bool(row.mode & 0o100))


def describe(db: Database, rows: list[FileRow]) -> list[FileInfo]:
    """Files as they are shown."""
    heads = lineage.heads(db, sorted({r.run for r in rows if r.run}))
    return [
        FileInfo(
            id=str(id_of(r)), name=r.name, size=r.size, executable=bool(r.mode & 0o100),
            state=DatumState(r.state).name.lower(), temporary=bool(r.temporary),
            run=run_id(heads[r.run].block, r.run) if r.run in heads else "", attempt=r.fence if r.run else 0,
        )
        for r in rows
    ]  # fmt: skip


def written(db: Database, run: int) -> list[str]:
    """What a run wrote, in words."""
    return [str(one) for one in describe(db, _between(db, run, run + 1))]


def used(db: Database, run: int) -> list[str]:
    """What a run read beside its inputs, in words: the digest, and where it had it."""
    if not files.known(db):
        return []
    return [f"{digest.hex()[:16]}… {place}".rstrip() for _, _, digest, _, place in files.used(db, [run])]


def _between(db: Database, low: int, high: int) -> list[FileRow]:
    return files.between(db, low, high) if files.known(db) else []


def _of_block(db: Database, block: int) -> list[FileRow]:
    row = blocks.find(db, block)
    tree = {b.id: b for b in blocks.subtree(db, row.id)}
    spans = sorted({blocks.span(db, b) for b in tree.values()})
    return [one for low, n in spans for one in _between(db, low, low + n) if one.block in tree]


def _field(answer: object, name: str) -> Any:
    assert isinstance(answer, dict)
    return answer[name]
