"""How bytes that a task writes get into the object store: large files at once, small ones together.

Small files wait in memory. They are put when they have become many, and before anything is told that names them: a
hundred of them that are put together cost as much as one.
"""

import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from tidemill.graph.inside import PathLike
from tidemill.model.digest import digest as digest_of
from tidemill.model.errors import StoreError
from tidemill.stores.cache import CachedStore
from tidemill.stores.objects.files import open_regular, read_up_to
from tidemill.stores.objects.interface import SMALL, ObjectStore
from tidemill.workers.streams import BinarySink, Spool, TextSink, sink

HELD = 16 << 20
"""Bytes of small files that wait in memory at most."""
HELD_FILES = 4000
"""How many of them wait at most."""
AGING = 600.0
"""Seconds after which it is looked whether what was put is still there: a collection of garbage may have come by."""


class Intake:
    """Takes files for one attempt. Safe for several threads.

    Args:
        objects: where they go to; called at first use.
        directory: gives a directory for what is being written, when it is needed.
    """

    def __init__(self, objects: Callable[[], ObjectStore], directory: Callable[[], os.PathLike[str]]) -> None:
        self._objects = objects
        self._directory = directory
        self._lock = threading.RLock()
        self._held: dict[bytes, bytes] = {}
        self._held_bytes = 0
        self._put: dict[bytes, float] = {}

    def held(self, digest: bytes) -> bytes | None:
        """The bytes of a file that still waits in memory."""
        return self._held.get(digest)

    def stored(self, digest: bytes) -> bool:
        """Whether the bytes of a file have been put into the object store."""
        return digest in self._put

    def take(self, path: PathLike) -> tuple[bytes, int, int]:
        """Store the file at `path` as it is now: (digest, size, mode).

        Raises:
            NotFoundError: if there is none.
            UsageError: if it is not a regular file, or may not be read.
            StoreError: if it cannot be read or stored.
        """
        source = open_regular(path)
        try:
            found = os.fstat(source)
            mode = 0o755 if found.st_mode & stat.S_IXUSR else 0o644
            if found.st_size <= SMALL and len(data := read_up_to(source, SMALL + 1)) <= SMALL:
                return self.hold(data), len(data), mode
        except OSError as error:
            raise StoreError(f"cannot read {os.fspath(path)}: {os.strerror(error.errno or 0)}") from error
        finally:
            os.close(source)
        digest, size = self._objects().put_file(path)
        self._put[digest] = time.monotonic()
        return digest, size, mode

    def hold(self, data: bytes) -> bytes:
        """Keep a small file in memory until it is put; its digest."""
        digest = digest_of(data)
        with self._lock:
            if digest not in self._held:
                self._held[digest] = data
                self._held_bytes += len(data)
            if self._held_bytes > HELD or len(self._held) > HELD_FILES:
                self.flush()
        return digest

    def make_durable(self) -> None:
        """Everything that was taken is where others find it, also what a cache still sends.

        Raises:
            StoreError: if that cannot be.
        """
        self.flush()
        store = self._objects()
        if isinstance(store, CachedStore):
            store.flush()

    def flush(self) -> None:
        """Store everything that was taken.

        Raises:
            StoreError: if that cannot be; it is still held then.
        """
        with self._lock:
            if self._held:
                self._objects().put_many(list(self._held.values()))
                self._put.update(dict.fromkeys(self._held, time.monotonic()))
                self._held.clear()
                self._held_bytes = 0

    def check(self, digests: Iterable[bytes]) -> None:
        """Know that what was put a while ago is still there.

        Raises:
            StoreError: if it is not.
        """
        old = time.monotonic() - AGING
        aged = {digest for digest in digests if self._put.get(digest, old) <= old}
        gone = aged - self._objects().exists(aged) if aged else aged
        if gone:
            raise StoreError(
                f"{len(gone)} files that this task wrote are gone from {self._objects().url} before it ended",
                hint="Only this store may delete anything there: see what else does.",
            )

    @contextmanager
    def stream(self, encoding: str | None, errors: str | None) -> Iterator[tuple[BinarySink | TextSink, Spool]]:
        """A stream to be stored with `finish`; without that nothing of it is left at the end of the block.

        Raises:
            UsageError: if there is no such encoding.
        """
        spool = Spool(lambda: str(self._directory()))
        stream = sink(spool, encoding, errors)
        try:
            yield stream, spool
        finally:
            with suppress(Exception):  # what is still to be written, to a full disk say, is thrown away
                stream.close()
            spool.drop()

    def finish(self, stream: BinarySink | TextSink, spool: Spool) -> tuple[bytes, int]:
        """Store what was written to a stream, which is closed: digest and size.

        Raises:
            StoreError: if that cannot be.
        """
        stream.close()
        if not spool.path:
            data = spool.small()
            return self.hold(data), len(data)
        digest, size = self._objects().put_file(spool.path, move=True)
        self._put[digest] = time.monotonic()
        return digest, size
