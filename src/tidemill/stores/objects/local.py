"""Objects in a directory: large ones as read-only files, small ones in one SQLite file.

<root>/ab/cdef…   a file per large object, named by the 64 hex digits of its digest, mode 0444
<root>/pack.db    the small ones
<root>/tmp/       files being written
<root>/users/     who keeps objects here
<root>/refs/      about objects that are elsewhere, see `references`
<root>/*lock      held (flock) by whoever changes something; the kernel drops it when its holder dies
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from io import FileIO
from itertools import chain
from typing import BinaryIO
from urllib.parse import quote

from tidemill.model.digest import Digest
from tidemill.model.digest import digest as digest_of
from tidemill.model.errors import NotFoundError, StoreError, TidemillError, UsageError
from tidemill.stores.objects.base import USERS, StoreBase, is_user
from tidemill.stores.objects.failures import damaged, not_found, writing
from tidemill.stores.objects.files import Lock, make_dirs, new_file, open_regular, read_up_to, remove, write_all
from tidemill.stores.objects.interface import CHUNK, SMALL, Data, Delivered, Path, Stored
from tidemill.stores.objects.large import Large
from tidemill.stores.objects.pack import Pack
from tidemill.stores.objects.streams import as_bytes, checked, pieces_of


class LocalStore(StoreBase):
    """An object store in the directory `root`, which is made by the first put. Safe for several processes."""

    def __init__(self, root: Path) -> None:
        self.root = os.path.abspath(os.fsdecode(root))
        self._large = Large(self.root)
        self._pack = Pack(os.path.join(self.root, "pack.db"), Lock(os.path.join(self.root, "pack.lock")))

    @property
    def url(self) -> str:
        return "file://" + quote(self.root)

    def close(self) -> None:
        self._pack.close()

    def _keep_user(self, name: str, about: bytes) -> None:
        with writing(self.root):
            make_dirs(os.path.join(self.root, USERS))
        with new_file(os.path.join(self.root, USERS, name), durable=True) as target:
            write_all(target, about)

    def users(self) -> dict[str, str]:
        directory = os.path.join(self.root, USERS)
        try:
            names = [name for name in os.listdir(directory) if is_user(name)]
            return {name: _read_text(os.path.join(directory, name)) for name in names}
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise StoreError(f"cannot read {directory}: {os.strerror(error.errno or 0)}") from error

    # --------------------------------------------------------------------------------------------------------- put

    def put(self, data: Data) -> Digest:
        return self.put_many((data,))[0]

    def put_many(self, items: Sequence[Data]) -> list[Digest]:
        items = [as_bytes(item) for item in items]
        digests = [digest_of(item) for item in items]
        self._put_pairs(list(zip(digests, items, strict=True)))
        return digests

    def put_as(self, names: Sequence[Digest], items: Sequence[bytes]) -> None:
        """Store items under names that are not their digests."""
        self._put_pairs(list(zip(names, items, strict=True)))

    def put_pieces_as(self, name: Digest, size: int, pieces: Iterable[bytes]) -> None:
        """Store what the pieces make up, `size` bytes, under a name that is not its digest."""
        if size <= SMALL:
            self.put_as((name,), (b"".join(pieces),))
        else:
            self._large.put_pieces_as(name, size, pieces)

    def _put_pairs(self, pairs: Sequence[tuple[Digest, Data]]) -> None:
        small = [pair for pair in pairs if len(pair[1]) <= SMALL]
        if small:
            self._pack.put([digest for digest, _ in small], [item for _, item in small])
        if len(small) < len(pairs):
            for digest, item in pairs:
                if len(item) > SMALL:
                    self._large.put(digest, item)

    def put_file(self, path: Path, move: bool = False) -> tuple[Digest, int]:
        source = open_regular(path)
        try:
            digest, size = self._put_descriptor(source, path, move)
            if move:
                remove(path)
            return digest, size
        except TidemillError:
            raise
        except OSError as error:
            raise StoreError(f"cannot read {os.fspath(path)}: {os.strerror(error.errno or 0)}") from error
        finally:
            os.close(source)

    def _put_descriptor(self, source: int, path: Path, move: bool) -> tuple[Digest, int]:
        if os.fstat(source).st_size <= SMALL:
            data = read_up_to(source, SMALL + 1)
            if len(data) <= SMALL:
                return self.put(data), len(data)
            os.lseek(source, 0, os.SEEK_SET)
        if move and (taken := self._large.take(source, path)):
            return taken
        return self._large.put_copy(source)

    def put_stream(self, source: Iterable[Data] | BinaryIO) -> tuple[Digest, int]:
        pieces = pieces_of(source)
        head = bytearray()
        for piece in pieces:
            head += piece
            if len(head) > SMALL:
                return self._large.put_pieces(chain([head], pieces))
        return self.put(head), len(head)

    # --------------------------------------------------------------------------------------------------------- get

    def get(self, digest: Digest, verify: bool = False) -> bytes:
        return self.get_many((digest,), verify)[0]

    def get_many(self, digests: Sequence[Digest], verify: bool = False) -> list[bytes]:
        found = self._pack.get(digests)
        missing = []
        for digest in digests:
            if digest not in found:
                try:
                    found[digest] = self._read_large(digest)
                except NotFoundError:
                    missing.append(digest)
        if missing:
            raise not_found(missing[0], self.root, len(missing) - 1)
        if verify:
            for digest in digests:
                if digest_of(found[digest]) != digest:
                    raise damaged(digest, self.root)
        return [found[digest] for digest in digests]

    def _read_large(self, digest: Digest) -> bytes:
        with self._large.open(digest) as file:
            return file.readall()

    def read_range(self, digest: Digest, start: int, length: int) -> bytes:
        if start < 0 or length < 0:
            raise UsageError(f"not a range: start {start}, length {length}")
        data = self._pack.read_range(digest, start, length)
        if data is not None:
            return data
        with self._large.open(digest) as file:
            left = os.fstat(file.fileno()).st_size - start
            file.seek(start)
            return read_up_to(file.fileno(), min(length, left)) if left > 0 else b""

    def open(self, digest: Digest, verify: bool = False) -> Iterator[bytes]:
        data = self._pack.get((digest,)).get(digest)
        if data is not None:
            chunks: Iterator[bytes] = iter((data,) if data else ())
        else:
            chunks = _chunks(self._large.open(digest))
            # Started, it closes its file also if nobody reads it.
            next(chunks)
        return checked(chunks, digest, self.root) if verify else chunks

    def get_file(
        self, digest: Digest, path: Path, link: bool = False, mode: int = 0o644, verify: bool = False
    ) -> Delivered:
        data = self._pack.get((digest,)).get(digest)
        if data is not None:
            if verify and digest_of(data) != digest:
                raise damaged(digest, self.root)
            with new_file(path, mode) as target:
                write_all(target, data)
            return "copy"
        return self._large.give(digest, path, link, mode, verify)

    def file_of(self, digest: Digest) -> str | None:
        """The file that has the bytes of an object and nothing else, for reading only; None if there is none."""
        path = self._large.path(digest)
        return path if os.path.exists(path) else None

    # ------------------------------------------------------------------------------------------------------- survey

    def exists(self, digests: Iterable[Digest]) -> set[Digest]:
        digests = list(digests)
        small = self._pack.sizes(digests)
        return {digest for digest in digests if digest in small or os.path.exists(self._large.path(digest))}

    def size(self, digest: Digest) -> int:
        small = self._pack.sizes((digest,)).get(digest)
        return self._large.size(digest) if small is None else small

    def delete(self, digests: Iterable[Digest], before: float | None = None) -> set[Digest]:
        digests = list(digests)
        # Files first: on a full disk it is they that make room for SQLite to write what it removes.
        removed = {digest for digest in digests if self._large.delete(digest, before)}
        return removed | self._pack.delete([digest for digest in digests if digest not in removed], before)

    def tidy(self, before: float, dry_run: bool = False) -> tuple[int, int]:
        swept = self._large.sweep(before, dry_run)
        if not dry_run:
            self._pack.shrink()
        return swept

    def list(self) -> Iterator[Stored]:
        # Files first, for the same reason as in `delete`.
        yield from self._large.list()
        yield from self._pack.list()


def _read_text(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def _chunks(file: FileIO) -> Iterator[bytes]:
    """An empty chunk, to be thrown away, and then those of the file."""
    with file:
        yield b""
        while chunk := file.read(CHUNK):
            yield chunk
