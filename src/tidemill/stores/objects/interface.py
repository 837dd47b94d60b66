"""What an object store can do: the interface that every implementation passes one conformance suite for.

An object is a sequence of bytes named by its BLAKE3 digest (32 bytes). It is written once and never changes, so putting
the same bytes twice is harmless, and a reader needs no lock. All calls are synchronous and may be made from any thread.
When a `put` returns, the bytes survive a power failure; when it raises, nothing of them is visible.

The age of an object (`Stored.mtime`) is counted from the last time somebody put it, not from the first: that is what
keeps `collect` from deleting bytes that were garbage and have just been put again.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, Literal, NamedTuple, Protocol

from tidemill.model.digest import Digest

Data = bytes | bytearray | memoryview
Path = str | os.PathLike[str]
Delivered = Literal["copy", "clone", "link"]

CHUNK = 1 << 20
"""About how many bytes are in one piece of a streamed object."""

SMALL = 64 << 10
"""Objects up to this many bytes are worth batching: the local store never gives them a file each."""


class Stored(NamedTuple):
    """One line of a listing.

    Attributes:
        digest: 32 bytes.
        size: bytes.
        mtime: seconds since the epoch when the object was last put, by the clock of the machine that holds it.
    """

    digest: Digest
    size: int
    mtime: float


class ObjectStore(Protocol):
    """Content-addressed bytes.

    Every method that takes a digest raises `NotFoundError` if there is no such object, every method that writes raises
    `StoreFullError` if the medium is full, over quota or read-only, and `StoreError` covers the rest (the server is
    unreachable, the disk is failing).
    """

    fresh_s: float
    """A put of bytes that exist already makes them young again unless they are younger than this many seconds. 0 where
    that costs nothing."""

    @property
    def url(self) -> str:
        """The address under which `open_objects` finds this store, also from another process (`memory:` excepted)."""
        ...

    def put(self, data: Data) -> Digest:
        """Store `data`."""
        ...

    def put_many(self, items: Sequence[Data]) -> list[Digest]:
        """Store several objects, made durable together; one call of a hundred is far cheaper than a hundred calls.

        After an error some of them may be stored and others not.
        """
        ...

    def put_file(self, path: Path, move: bool = False) -> tuple[Digest, int]:
        """Store the content of the file at `path`; returns its digest and its size in bytes.

        What is stored is what the digest was computed from, even if the file is being changed meanwhile.

        Args:
            path: a regular file, or a symbolic link to one.
            move: the store may take the file itself; it is gone from `path` afterwards.

        Raises:
            NotFoundError: if there is no file at `path`.
            UsageError: if it is not a regular file, may not be read, or changed while it was sent to a server.
        """
        ...

    def put_stream(self, source: Iterable[Data] | BinaryIO) -> tuple[Digest, int]:
        """Store what an iterable of chunks or an open binary file yields; returns digest and size in bytes.

        An exception of `source` passes through unchanged and leaves nothing behind.
        """
        ...

    def put_dir(self, path: Path) -> tuple[Digest, int]:
        """Store a directory: every file as an object, and a manifest that names them.

        Permissions are reduced to "executable or not" and times are dropped, so equal trees have equal digests.
        Symbolic links are kept as links.

        Returns:
            the digest of the manifest, and the total size of the files in bytes.

        Raises:
            NotFoundError: if there is no directory at `path`.
            UsageError: if `path` is not a directory, or for sockets, devices, unreadable files, and symbolic links that
                are absolute or lead out of it; all of them are named.
        """
        ...

    def get(self, digest: Digest, verify: bool = False) -> bytes:
        """The bytes of an object.

        Args:
            digest: 32 bytes.
            verify: hash what was read, and raise `IntegrityError` if it is not what it should be.
        """
        ...

    def get_many(self, digests: Sequence[Digest], verify: bool = False) -> list[bytes]:
        """The bytes of several objects, in the order asked for."""
        ...

    def read_range(self, digest: Digest, start: int, length: int) -> bytes:
        """At most `length` bytes from offset `start`: fewer at the end of the object, none past it.

        Raises:
            UsageError: if `start` or `length` is negative.
        """
        ...

    def open(self, digest: Digest, verify: bool = False) -> Iterator[bytes]:
        """The object in chunks. It is found or not when this is called; a later delete does no harm locally.

        With `verify`, `IntegrityError` comes in place of the last chunk.
        """
        ...

    def get_file(
        self, digest: Digest, path: Path, link: bool = False, mode: int = 0o644, verify: bool = False
    ) -> Delivered:
        """Give an object to user code as a file at `path`, which appears complete or not at all.

        The default is a private copy, which shares its blocks with the object where the file system can do that
        ("clone"). User code never gets a name that the stored bytes can be changed through by mistake. That rules out
        hard links: `chmod -R u+w` over a scratch directory, which clean-up code really does, makes the object itself
        writable, and a process with root's privileges needs no chmod to write into a read-only file. With `link`, a
        store on the same machine may give a *symbolic* link to its read-only file instead ("link"): recursive chmod and
        chown do not follow those, and it is given only if this process could not open the file for writing as it is. A
        clone is preferred, and an executable `mode` always gets its own file. (A hostile program of the same user needs
        no link: it can look for the store and chmod there. Keeping it out is the sandbox's business.)

        Args:
            digest: 32 bytes.
            path: where to put it; a file that is there is replaced. Its directory must exist.
            link: a read-only link will do.
            mode: permissions of a copy, before the umask.
            verify: hash the bytes on the way; on `IntegrityError` nothing is at `path`. Never a link.

        Returns:
            how it was done.
        """
        ...

    def get_dir(self, digest: Digest, path: Path, link: bool = False) -> None:
        """Write the directory whose manifest is `digest` to `path`, which appears complete or not at all.

        Args:
            digest: what `put_dir` returned.
            path: must not exist or be an empty directory.
            link: as for `get_file`.

        Raises:
            IntegrityError: if the object is not a manifest, or names a place outside the directory.
            UsageError: if something is at `path`.
        """
        ...

    def signed(self, digest: Digest, expires: float) -> str | None:
        """An address at which anybody can read an object for `expires` seconds; None where there is no such thing.

        Raises:
            UsageError: if the server does not give addresses for so long.
        """
        ...

    def exists(self, digests: Iterable[Digest]) -> set[Digest]:
        """Those of `digests` that are stored."""
        ...

    def size(self, digest: Digest) -> int:
        """Bytes in an object."""
        ...

    def verify(self, digest: Digest) -> None:
        """Read an object and compare its digest.

        Raises:
            IntegrityError: if the stored bytes have another digest.
        """
        ...

    def delete(self, digests: Iterable[Digest], before: float | None = None) -> set[Digest]:
        """Remove objects; those that are not there are no error.

        Args:
            digests: what to remove.
            before: spare an object that was put at or after this time, seconds since the epoch.

        Returns:
            the digests that were removed; where the store does not say what it removed, all that were not spared.
        """
        ...

    def tidy(self, before: float, dry_run: bool = False) -> tuple[int, int]:
        """Remove what killed writers left behind before that time, and give freed space back.

        Returns:
            how many pieces, and their bytes.
        """
        ...

    def add_user(self, name: str, about: str) -> None:
        """Note that somebody keeps objects here, so that nobody else collects them as garbage.

        Users are no objects: they are not listed and not deleted. They stay until they are removed by hand.

        Args:
            name: letters, digits, `-` and `_`; who comes again under a name replaces what was said about it.
            about: for people.

        Raises:
            UsageError: if the name is none.
        """
        ...

    def users(self) -> dict[str, str]:
        """Who keeps objects here: what was said about each name. Nobody where there is nothing yet."""
        ...

    def close(self) -> None:
        """Release connections and threads. A closed store opens them again when it is used."""
        ...

    def list(self) -> Iterator[Stored]:
        """Every object, in no particular order. One that is put or deleted meanwhile may be listed or not."""
        ...
