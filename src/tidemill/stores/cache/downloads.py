"""Objects come in: one process downloads, the others wait until it is done."""

import os
from collections.abc import Callable, Iterable

from tidemill.model.digest import Digest, hasher
from tidemill.model.errors import CacheFullError
from tidemill.stores.cache.records import Entry
from tidemill.stores.cache.states import EntryState
from tidemill.stores.cache.stock import Stock, name_of, rename, using
from tidemill.stores.objects.failures import damaged
from tidemill.stores.objects.files import READ_ONLY, Temp, hash_rest, write_all
from tidemill.stores.objects.interface import Data, ObjectStore

UNMEASURED = 8 << 20
"""Bytes of a download that come before it is asked how long it is, and room is made for all of it."""

Source = Callable[[Digest], Iterable[Data]]


class Downloads:
    """Brings objects of `store` into `stock`.

    Args:
        stock: the cache.
        store: where the objects are.
        file_of: tells which file of the store may be read in place; None where there are none.
        unmeasured: see `UNMEASURED`.
    """

    def __init__(
        self, stock: Stock, store: ObjectStore, file_of: Callable[[Digest], str | None] | None, unmeasured: int
    ) -> None:
        self._stock = stock
        self._records = stock.records
        self._store = store
        self._file_of = file_of
        self._unmeasured = unmeasured
        self._too_large: dict[Digest, int] = {}

    def open(self, digest: Digest) -> int:
        """See `NodeCache.open`."""
        fd = self._stock.try_open(digest)
        if fd < 0:
            with using(self._stock.directory), self._stock.alone(digest):
                fd = self._stock.try_open(digest)
                if fd < 0:
                    fd = self._fetch(digest, self._store.open, 0)
        return fd

    def keep(self, digest: Digest, data: Data) -> None:
        """See `NodeCache.keep`."""
        self._stock.join()
        path = self._stock.path(digest)
        if not os.path.exists(path):
            with using(self._stock.directory), self._stock.alone(digest):
                if not os.path.exists(path):
                    os.close(self._fetch(digest, lambda _: (data,), len(data)))

    def _fetch(self, digest: Digest, source: Source, length: int) -> int:
        """Bring an object in, holding its lock: whatever row there is of it, nobody is at work on it. It has `length`
        bytes; 0 where that is not known.
        """
        owner, temp = self._stock.join(), self._stock.new_temp()
        stale: list[Entry] = []
        with self._records.transaction():
            known = self._records.find(digest)
            if known is not None and not known.doubt:
                stale.append(self._stock.condemn(known, "evict" if known.state == EntryState.CACHED else "fail"))
                known = None
            if known is not None:
                self._records.move(known, "doubt", owner)
            name = self._stock.name(temp.path)
            row = known.id if known else self._records.add(digest, "fetch", owner, name)
        self._stock.remove(stale)
        try:
            fd = self._believe(digest, known) if known else -1
            return fd if fd >= 0 else self._download(digest, row, temp, source, length)
        except BaseException:
            self._fail(row)
            raise

    def _fail(self, id: int) -> None:
        """Give up what has not been published. What has been is whole, whatever went wrong after that."""
        doomed: list[Entry] = []
        with self._records.transaction():
            entry = self._records.entry(id)
            if entry is not None and entry.state == EntryState.DOWNLOADING:
                doomed.append(self._stock.condemn(entry, "fail"))
        self._stock.remove(doomed)

    def _believe(self, digest: Digest, entry: Entry) -> int:
        """Hash what is doubtful, and open it if it is right; -1 if it was not, and is removed."""
        path = self._stock.at(entry.name)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return -1
        try:
            if hash_rest(fd) == (digest, entry.size):
                os.lseek(fd, 0, os.SEEK_SET)
                self._publish(digest, entry.id, path, entry.size, entry.cost, held=entry.cost)
                return fd
            os.unlink(path)
            with self._records.transaction():
                self._records.grow(entry.id, 0)
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        return -1

    def _download(self, digest: Digest, id: int, temp: Temp, source: Source, length: int) -> int:
        place = self._file_of(digest) if self._file_of is not None else None
        if place is not None:
            os.symlink(place, temp.path)
            return self._finish(digest, id, temp, os.stat(place).st_size, cost=0, held=0)
        with temp:
            size, held = self._receive(digest, id, temp.fd, source, length)
            return self._finish(digest, id, temp, size, size, held)

    def _finish(self, digest: Digest, id: int, temp: Temp, size: int, cost: int, held: int) -> int:
        fd = os.open(temp.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._publish(digest, id, temp.path, size, cost, held)
        except BaseException:
            os.close(fd)
            raise
        finally:
            if not os.path.lexists(temp.path):
                temp.path = ""
        return fd

    def _receive(self, digest: Digest, id: int, fd: int, source: Source, length: int) -> tuple[int, int]:
        """Write what the source yields, having made room if it is long; the number of bytes, and how much room was
        made.
        """
        size = 0
        held = self._make_room(digest, id, self._too_large[digest]) if digest in self._too_large else 0
        h = hasher()
        for chunk in source(digest):
            size += len(chunk)
            if not held and size > self._unmeasured:
                held = self._make_room(digest, id, length or max(size, self._store.size(digest)))
            if held and size > held:
                raise damaged(digest, self._store.url)
            h.update(chunk)
            write_all(fd, chunk)
        if h.digest() != digest:
            raise damaged(digest, self._store.url)
        os.fchmod(fd, READ_ONLY)
        return size, held

    def _make_room(self, digest: Digest, id: int, size: int) -> int:
        """Make room for all of an object, `size` bytes. One that is too large evicts nothing, and is not begun again as
        long as that is so.
        """
        try:
            self._stock.with_room(size, lambda: self._records.grow(id, size))
        except CacheFullError:
            self._too_large[digest] = size
            raise
        self._too_large.pop(digest, None)
        return size

    def _publish(self, digest: Digest, id: int, source: str, size: int, cost: int, held: int) -> None:
        def publish() -> None:
            rename(source, self._stock.path(digest))
            self._records.publish(id, size, cost, name_of(digest))

        self._stock.with_room(cost - held, publish)
