"""Looking at and reading files elsewhere, whatever the kind of their address: `file:`, `http:`, `s3:`, `gs:`, `az:`."""

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, cast

from tidemill.model.errors import NotFoundError, UsageError
from tidemill.stores.objects.schemes import Found, Member, Opened, scheme_for
from tidemill.stores.objects.urls import shown

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


def look(url: str) -> Found:
    """What is at an address.

    Raises:
        NotFoundError: if nothing is.
    """
    found = scheme_for(url).look(url)
    if found is None:
        raise NotFoundError(f"there is nothing at {shown(url)}")
    return found


def exists(url: str) -> bool:
    """Whether a file or directory is at an address.

    Raises:
        StoreError: if the server cannot be reached, or refuses.
        UsageError: for another kind of address.
    """
    return scheme_for(url).look(url) is not None


def size(url: str) -> int | None:
    """Bytes of the file at an address; None if its server does not say.

    Raises:
        NotFoundError: if nothing is there.
        StoreError: if the server cannot be reached, or refuses.
        UsageError: if it is a directory, or another kind of address.
    """
    found = look(url)
    if found.kind == "dir":
        raise UsageError(f"{shown(url)} is a directory, and has no size", hint="List it for those of its files.")
    return found.size


def is_dir(url: str) -> bool:
    """Whether a directory is at an address: in a bucket, whether the names of files go on there. The web has none.

    Raises:
        StoreError: if the server cannot be reached, or refuses.
        UsageError: for another kind of address.
    """
    found = scheme_for(url).look(url)
    return found is not None and found.kind == "dir"


def members(url: str) -> list[Member]:
    """What is right in the directory at an address, with sizes, by name.

    Raises:
        NotFoundError: if nothing is there.
        StoreError: if the server cannot be reached, or refuses.
        UsageError: if it is a file, on the web, or another kind of address.
    """
    return list(scheme_for(url).list(url))


def list_url(url: str) -> list[str]:
    """Names of what is right in the directory at an address, in order; those of directories end with "/".

    Raises:
        NotFoundError: if nothing is there.
        StoreError: if the server cannot be reached, or refuses.
        UsageError: if it is a file, on the web, or another kind of address.
    """
    return [one.name for one in members(url)]


def open_url(url: str) -> BinaryIO:
    """The file at an address, opened for reading bytes. Closed early, the rest of it is not transferred.

    Raises:
        NotFoundError: if there is no such file.
        StoreError: if the server cannot be reached, refuses, or (while it is read) breaks off.
        UsageError: if it is a directory, or another kind of address.
    """
    return cast("BinaryIO", io.BufferedReader(_Stream(scheme_for(url).open(url))))


def read_url(url: str, target: BinaryIO) -> int:
    """Copy the file at an address into an open binary file; how many bytes it has.

    Raises:
        NotFoundError: if there is no such file.
        StoreError: if the server cannot be reached, refuses, or breaks off.
        UsageError: if it is a directory, or another kind of address.
    """
    opened = scheme_for(url).open(url)
    count = 0
    try:
        for chunk in opened.chunks:
            target.write(chunk)
            count += len(chunk)
    finally:
        opened.close()
    return count


class _Stream(io.RawIOBase):
    """What was opened, as Python's own kind of stream."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._chunks: Iterator[bytes] = opened.chunks
        self._rest = memoryview(b"")
        self.name = opened.name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        if not self._rest:
            self._rest = memoryview(next(self._chunks, b""))
        view = memoryview(buffer).cast("B")
        count = min(len(view), len(self._rest))
        view[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def close(self) -> None:
        if not self.closed:
            self._opened.close()
        super().close()
