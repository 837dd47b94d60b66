"""Files go out: taken into the cache at once, and sent to the store in the background."""

import os
import stat
import threading
from typing import TYPE_CHECKING

from tidemill.model.digest import Digest
from tidemill.model.errors import IntegrityError, StoreError
from tidemill.stores.cache.records import Entry
from tidemill.stores.cache.states import EntryState, RefKind
from tidemill.stores.cache.stock import Stock, name_of, rename, using
from tidemill.stores.objects.files import (
    READ_ONLY,
    Lease,
    Temp,
    blocks,
    clone,
    copy_hashing,
    hash_rest,
    open_regular,
    remove,
)
from tidemill.stores.objects.interface import ObjectStore, Path

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

THREADS = 4
"""Uploads at the same time."""


class Uploads:
    """Takes files into `stock` and sends them to `store`."""

    def __init__(self, stock: Stock, store: ObjectStore) -> None:
        self._stock = stock
        self._records = stock.records
        self._store = store
        self._mutex = threading.Lock()
        self._pid = os.getpid()
        self._threads: ThreadPoolExecutor | None = None
        self._pending: dict[Digest, list[Future[None]]] = {}

    # --------------------------------------------------------------------------------------------------------- taking

    def put_file(self, path: Path, move: bool) -> tuple[Digest, int]:
        """See `NodeCache.put_file`."""
        self._stock.join()
        source = open_regular(path)
        try:
            with using(self._stock.directory):
                taken = self._take(source, path) if move else None
                digest, size, ref = taken or self._copy(source)
        finally:
            os.close(source)
        if move and not taken:
            remove(path)
        self._start(digest, ref)
        return digest, size

    def _take(self, source: int, path: Path) -> tuple[Digest, int, int] | None:
        """Make the file itself the cached one; None if it has to be copied, because somebody could still change it."""
        before = os.fstat(source)
        home = os.stat(self._stock.directory).st_dev
        if before.st_dev != home or before.st_uid != os.geteuid() or os.path.islink(path):
            return None
        os.fchmod(source, READ_ONLY)
        taken = None
        with Lease(source) as lease:
            try:
                if lease.held:
                    taken = self._take_leased(source, path, lease, before.st_mtime_ns)
                return taken
            finally:
                if taken is None:
                    os.fchmod(source, stat.S_IMODE(before.st_mode))
                    os.lseek(source, 0, os.SEEK_SET)

    def _take_leased(self, source: int, path: Path, lease: Lease, mtime_ns: int) -> tuple[Digest, int, int] | None:
        digest, size = hash_rest(source)
        after = os.fstat(source)
        if not lease.sole() or (after.st_size, after.st_mtime_ns) != (size, mtime_ns):
            return None
        ref = self._install(digest, size, os.fspath(path))
        if not lease.sole():
            self._replace(source, digest, ref)
        remove(path)
        return digest, size, ref

    def _replace(self, source: int, digest: Digest, ref: int) -> None:
        """Somebody came by the old name of a file while it was taken, and waits: a copy takes its place."""
        place = self._stock.path(digest)
        if not os.path.samestat(os.fstat(source), os.lstat(place)):
            return
        os.lseek(source, 0, os.SEEK_SET)
        with self._stock.new_temp() as temp:
            if self._fill(source, temp)[0] != digest:
                self._settle(digest, ref, failed=True)
                raise StoreError(f"{place} was changed while it was stored", hint="Store it again.")
            os.fchmod(temp.fd, READ_ONLY)
            rename(temp.path, place)
            temp.path = ""

    def _copy(self, source: int) -> tuple[Digest, int, int]:
        with self._stock.new_temp() as temp:
            digest, size = self._fill(source, temp)
            os.fchmod(temp.fd, READ_ONLY)
            ref = self._install(digest, size, temp.path)
            if not os.path.exists(temp.path):
                temp.path = ""
        return digest, size, ref

    def _fill(self, source: int, temp: Temp) -> tuple[Digest, int]:
        if clone(source, temp.fd):
            return hash_rest(temp.fd)
        return copy_hashing(blocks(source), temp.write)

    def _install(self, digest: Digest, size: int, source: str) -> int:
        """Make the file at `source` the cached one, unless there is one; the reference that holds it until it is
        sent.
        """
        stale: list[Entry] = []
        moved = False

        def install() -> int:
            nonlocal moved
            known, owner = self._records.find(digest), self._stock.join()
            there = os.path.lexists(self._stock.path(digest))
            if known is not None and (known.doubt or not there or known.state == EntryState.DOWNLOADING):
                stale.append(self._stock.condemn(known, "evict" if known.state == EntryState.CACHED else "fail"))
                known = None
            if known is None:
                rename(source, self._stock.path(digest))
                moved = True
                self._records.add(digest, "take", owner, name_of(digest), size)
            elif known.state == EntryState.CACHED:
                self._records.move(known, "take", owner)
            entry = self._records.find(digest)
            assert entry is not None
            return self._records.refer(entry, self._stock.own_job(), "", RefKind.COPYING)

        def undo() -> None:
            if moved:
                rename(self._stock.path(digest), source)

        with self._stock.alone(digest):
            needed = 0 if os.path.lexists(self._stock.path(digest)) else size
            ref = self._stock.with_room(needed, install, undo)
        self._stock.remove(stale)
        return ref

    # -------------------------------------------------------------------------------------------------------- sending

    def _start(self, digest: Digest, ref: int) -> None:
        with self._mutex:
            if os.getpid() != self._pid:
                # A forked child has neither the threads nor the duties of its parent.
                self._pid, self._threads, self._pending = os.getpid(), None, {}
            if self._threads is None:
                from concurrent.futures import ThreadPoolExecutor

                self._threads = ThreadPoolExecutor(THREADS, "uploads")
            self._pending.setdefault(digest, []).append(self._threads.submit(self._send, digest, ref))

    def _send(self, digest: Digest, ref: int) -> None:
        try:
            self._begin(digest)
            self._check(digest, self._store.put_file(self._stock.path(digest))[0])
        except BaseException:
            self._settle(digest, ref, failed=True)
            raise
        self._settle(digest, ref, failed=False)

    def _check(self, digest: Digest, sent: Digest) -> None:
        if sent != digest:
            raise IntegrityError(f"the file {self._stock.path(digest)} was changed before it was sent")

    def _begin(self, digest: Digest) -> None:
        with self._records.transaction():
            entry = self._records.find(digest)
            if entry is not None and entry.state == EntryState.UPLOADABLE:
                self._records.move(entry, "upload", entry.owner)

    def _settle(self, digest: Digest, ref: int, failed: bool) -> None:
        """The file is sent, or cannot be. Several processes may be sending it: one that could is enough, whoever's
        business the entry is; and the last of them that cannot ends it.
        """
        doomed: list[Entry] = []
        with self._records.transaction():
            self._records.unrefer(ref)
            entry = self._records.find(digest)
            if entry is not None and entry.state in (EntryState.UPLOADING, EntryState.UPLOADABLE):
                other = self._records.sender(entry.id)
                if other is not None and (failed or entry.state == EntryState.UPLOADABLE):
                    self._records.give(entry.id, other)
                elif failed and not self._records.held(entry.id):
                    doomed.append(self._stock.condemn(entry, "fail"))
                else:
                    # Where it could not be sent, for those who read it until it is evicted.
                    self._records.move(entry, "publish", None)
        self._stock.remove(doomed)

    # -------------------------------------------------------------------------------------------------------- waiting

    def pending(self) -> list[Digest]:
        """What has not been sent yet, or could not be."""
        with self._mutex:
            return list(self._pending) if os.getpid() == self._pid else []

    def flush(self) -> None:
        """See `NodeCache.flush`."""
        with self._mutex:
            pending = [one for some in self._pending.values() for one in some] if os.getpid() == self._pid else []
        failures = [error for one in pending if (error := one.exception()) is not None]
        with self._mutex:
            for digest, some in list(self._pending.items()):
                left = [one for one in some if one not in pending]
                if left:
                    self._pending[digest] = left
                else:
                    del self._pending[digest]
        if failures:
            raise failures[0]

    def wait(self) -> None:
        """Wait until all is sent, without forgetting what could not be."""
        with self._mutex:
            pending = [one for some in self._pending.values() for one in some] if os.getpid() == self._pid else []
        for one in pending:
            one.exception()

    def abandon(self) -> None:
        """See `NodeCache.abandon`."""
        with self._mutex:
            self._pending = {}

    def close(self) -> None:
        """Wait until all is sent, and end the threads."""
        with self._mutex:
            threads, self._threads = self._threads, None
        if threads is not None and os.getpid() == self._pid:
            threads.shutdown()
