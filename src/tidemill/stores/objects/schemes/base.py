"""What can be done at an address, whatever its kind."""

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, Protocol

import msgspec


class Found(NamedTuple):
    """What is at an address.

    Attributes:
        kind: a file or a directory. In a bucket, a directory is what other names begin with.
        size: bytes of a file; None where the server does not say, and for directories.
        mode: permissions of a file: 0644, or 0755 if its owner may execute it.
        tag: changes whenever the file does; "" where there is nothing that does.
    """

    kind: Literal["file", "dir"]
    size: int | None = None
    mode: int = 0o644
    tag: str = ""


class Member(NamedTuple):
    """Something below a directory.

    Attributes:
        name: relative to the directory; that of a directory ends with "/".
        size: bytes of a file, None for a directory.
    """

    name: str
    size: int | None


class Opened(msgspec.Struct, frozen=True):
    """A file elsewhere, opened for reading.

    Attributes:
        name: its base name.
        found: as for `Scheme.look`, at the moment it was opened.
        chunks: its content. An error in it is one of ours.
        close: gives the connection back, also if not everything was read: the rest is not transferred.
    """

    name: str
    found: Found
    chunks: Iterator[bytes]
    close: Callable[[], None]


class Scheme(Protocol):
    """One kind of address.

    Every method raises `NotFoundError` if there is nothing (or, when writing, no place to write to), `StoreError` if
    the server cannot be reached or refuses, and `UsageError` for what this kind cannot do. No message has credentials
    in it.
    """

    def look(self, url: str) -> Found | None:
        """What is there; None if nothing is."""

    def list(self, url: str) -> Iterator[Member]:
        """What is right in a directory, by name."""

    def open(self, url: str, start: int = 0, length: int | None = None) -> Opened:
        """Read a file, or at most `length` bytes of it from offset `start`."""

    def write(self, url: str, chunks: Callable[[], Iterator[bytes]], size: int, mode: int) -> None:
        """Write a file of `size` bytes, which appears complete or not at all. One that is there is replaced."""


def range_end(size: int, start: int, length: int | None) -> int:
    """Where a range of a file of this size ends; not before `start`."""
    return max(start, size if length is None else min(size, start + length))
