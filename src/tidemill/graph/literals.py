"""Literal values of a plan: encoding them, and keeping what is too large to travel inside a run."""

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, cast

from tidemill.model.digest import digest, hasher
from tidemill.model.errors import NotFoundError, StoreError, StoreFullError, UsageError
from tidemill.model.file import File
from tidemill.model.fileid import FileId
from tidemill.model.filename import base_name
from tidemill.model.values import Ref, encode, id_ref
from tidemill.stores.objects import dirs
from tidemill.stores.objects.files import hash_rest, open_regular
from tidemill.stores.objects.interface import ObjectStore
from tidemill.stores.objects.transfer import Fetched, fetch_url
from tidemill.stores.objects.urls import shown

INLINE = 1 << 16
"""Largest argument in bytes that stands in a run itself; a larger one becomes an object."""

Fetch = Callable[[str], Fetched]
"""Gets the file at an address."""

SCALARS = frozenset({int, float, str, bool, bytes, type(None)})


class Keeper(Protocol):
    """Where files and large values among the arguments go."""

    def file(self, leaf: object) -> Ref:
        """Keep the file or directory that a `Path` or `File` names."""

    def value(self, data: bytes) -> Ref:
        """Keep an encoded value."""


class PlanKeeper:
    """Remembers them until somebody imports them into a store.

    Args:
        fetch: stores the file at an address; by default it is read, and only what a store would call it is known.

    Attributes:
        files: digest -> absolute path of each file or directory.
        blobs: digest -> encoded value.
    """

    def __init__(self, fetch: Fetch | None = None) -> None:
        self._fetch = fetch or _look_at
        self._fetched: dict[str, Ref] = {}
        self.files: dict[bytes, Path] = {}
        self.blobs: dict[bytes, bytes] = {}
        self._known: dict[tuple[str, int, int], Ref] = {}
        self._passing: list[bytes] | None = None

    def file(self, leaf: object) -> Ref:
        if isinstance(leaf, File) and leaf.url:
            return leaf.ref or self._from(leaf.url)
        path = os.path.abspath(cast("Path | File", leaf))
        try:
            found = os.stat(path)
        except OSError as error:
            if isinstance(leaf, File) and leaf.ref is not None:
                return leaf.ref
            raise UsageError(
                f"the file {os.fspath(cast('Path', leaf))!r} cannot be read: {os.strerror(error.errno or 0)}"
            ) from None
        name = (path, found.st_mtime_ns, found.st_size)
        if name not in self._known:
            self._known[name] = describe(path)
        ref = self._known[name]
        self.files[ref.digest] = Path(path)
        return ref

    def _from(self, url: str) -> Ref:
        if url not in self._fetched:
            try:
                found = self._fetch(url)
            except StoreFullError:
                raise
            except (NotFoundError, StoreError) as error:
                raise UsageError(
                    f"the file {shown(url)} cannot be fetched: {error.args[0]}", hint=error.hint
                ) from error
            self._fetched[url] = found.ref
        return self._fetched[url]

    def value(self, data: bytes) -> Ref:
        key = digest(data)
        if key not in self.blobs:
            self.blobs[key] = data
            if self._passing is not None:
                self._passing.append(key)
        return Ref(key, len(data), "value")

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Values kept in the block are forgotten at its end."""
        self._passing = []
        try:
            yield
        finally:
            for key in self._passing:
                self.blobs.pop(key, None)
            self._passing = None


class _Hashing:
    """Enough of an object store to compute what a directory's digest will be."""

    def put(self, data: bytes) -> bytes:
        return digest(data)

    def put_many(self, items: list[bytes]) -> list[bytes]:
        return [digest(data) for data in items]

    def put_file(self, path: str) -> tuple[bytes, int]:
        return hash_file(path)

    def put_stream(self, source: Iterable[bytes]) -> tuple[bytes, int]:
        h, size = hasher(), 0
        for piece in source:
            h.update(piece)
            size += len(piece)
        return h.digest(), size

    def put_dir(self, path: str) -> tuple[bytes, int]:
        return dirs.put_dir(cast("ObjectStore", self), path)


def _look_at(url: str) -> Fetched:
    return fetch_url(cast("ObjectStore", _Hashing()), url)


def hash_file(path: str) -> tuple[bytes, int]:
    """Digest and size in bytes of a file's content, read in pieces."""
    fd = open_regular(path)
    try:
        return hash_rest(fd)
    finally:
        os.close(fd)


def describe(path: str) -> Ref:
    """What a store that imports the file or directory will call it.

    Raises:
        UsageError: if it cannot be read, or is something else.
    """
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        found, size = _Hashing().put_dir(path)
        return Ref(found, size, "dir", base_name(path))
    found, size = hash_file(path)
    return Ref(found, size, "file", base_name(path), 0o755 if mode & 0o100 else 0o644)


class Writer:
    """Encodes arguments.

    Attributes:
        named: digests of the stored objects that what was encoded names, until somebody takes them.
    """

    def __init__(self, keeper: Keeper) -> None:
        self.keeper = keeper
        self.named: list[bytes] = []

    def _put(self, leaf: object) -> Ref:
        if isinstance(leaf, FileId):
            return id_ref(leaf)  # as long as the file is there, it keeps its bytes itself
        ref = self.keeper.file(leaf)
        self.named.append(ref.digest)
        return ref

    def part(self, value: object) -> bytes:
        """One argument. If it is large, the reference to an object with it.

        Raises:
            ValueCodecError: if it cannot be encoded.
            UsageError: if it names a file that cannot be read.
        """
        data = encode(value, self._put)
        return data if len(data) <= INLINE else self.large(data)

    def template(self, value: object) -> bytes:
        """One argument with placeholders in it, which must stay where they can be found."""
        return encode(value, self._put)

    def large(self, data: bytes) -> bytes:
        """The reference to an object with this encoded value."""
        ref = self.keeper.value(data)
        self.named.append(ref.digest)
        return encode(ref)

    def take(self) -> list[bytes]:
        """`named`, each once; it is empty afterwards."""
        found = list(dict.fromkeys(self.named))
        self.named.clear()
        return found


def array(size: int) -> bytes:
    """The head of a MessagePack array, so that encoded arguments can be joined instead of encoded again."""
    return bytes((0x90 | size,)) if size < 16 else b"\xdc" + size.to_bytes(2, "big")


def longer(encoded: bytes, element: bytes) -> bytes:
    """An encoded array with one more element at its end."""
    if encoded[0] == 0xDC:
        size, start = int.from_bytes(encoded[1:3], "big"), 3
    else:
        size, start = encoded[0] & 0x0F, 1
    return array(size + 1) + encoded[start:] + element


def item_of(value: Any) -> Any:
    """A NumPy number or text as a Python one, anything else as it is."""
    kind = type(value)
    if kind.__module__ == "numpy" and getattr(value, "shape", None) == () and hasattr(kind, "item"):
        return value.item() if value.dtype.kind in "biufUS" else value
    return value
