"""The cache of one node, as programs use it."""

import os
from typing import Protocol, runtime_checkable

from tidemill.model.digest import Digest
from tidemill.stores.cache.downloads import UNMEASURED, Downloads
from tidemill.stores.cache.jobs import Job, deliver, link
from tidemill.stores.cache.space import Figures
from tidemill.stores.cache.states import EntryState, RefKind
from tidemill.stores.cache.stock import Stock
from tidemill.stores.cache.uploads import Uploads
from tidemill.stores.objects.interface import Data, Delivered, ObjectStore, Path


@runtime_checkable
class InPlace(Protocol):
    """A store whose files can be read where they are."""

    root: str

    def file_of(self, digest: Digest) -> str | None: ...


class NodeCache:
    """Objects of one place, cached in a directory that all processes of a node share.

    Nothing is made before the first use. A process that is killed leaves nothing behind that the others do not clean up
    when they need the room: downloads that it had begun are removed, its jobs end, what it had not sent is hashed
    before it is used.

    Args:
        directory: on a local disk, for this place only.
        store: where the objects are.
        limit: bytes that the cache and the disk that jobs have reserved may take together; default: what was set last,
            at first what the disk has free, measured again now and then. What `adjust` has set holds instead.
        free: whether the store's own files are read in place, and cost nothing; default: where that can be, that is
            where the store is a directory on the same file system.
        unmeasured: bytes of a download that come before it is asked how long it is, and room is made for all of it.
    """

    def __init__(
        self,
        directory: Path,
        store: ObjectStore,
        limit: int | None = None,
        free: bool | None = None,
        *,
        unmeasured: int = UNMEASURED,
    ) -> None:
        self.directory = os.path.abspath(os.fsdecode(directory))
        self.store = store
        self.free = _free(self.directory, store) if free is None else free
        self._stock = Stock(self.directory, limit)
        file_of = store.file_of if self.free and isinstance(store, InPlace) else None
        self._downloads = Downloads(self._stock, store, file_of, unmeasured)
        self._uploads = Uploads(self._stock, store)

    def __repr__(self) -> str:
        return f"NodeCache({self.directory!r}, {self.store!r})"

    # -------------------------------------------------------------------------------------------------------- reading

    def open(self, digest: Digest) -> int:
        """A descriptor to read an object, which is downloaded if it is not here: by one process, while all others that
        want it wait, and are woken when it is there. What is read from it cannot be evicted.

        Raises:
            NotFoundError: if the store has no such object.
            IntegrityError: if what the store sends is not what it should be.
            CacheFullError: if there is no room for it.
            CacheError: if the cache cannot be used.
        """
        return self._downloads.open(digest)

    def try_open(self, digest: Digest) -> int:
        """A descriptor to read an object, -1 if it is not here."""
        return self._stock.try_open(digest)

    def get_file(self, digest: Digest, path: Path, link_ok: bool = False, mode: int = 0o644) -> Delivered:
        """Put an object at `path`, replacing a file: as a private copy or, if it may be and this process could not
        write through it, as a symbolic link. That holds until `release`. Raises what `open` does.
        """
        if link_ok and not mode & 0o111 and link(self._stock, self._downloads, digest, os.path.abspath(path)):
            return "link"
        return deliver(self.open(digest), path, mode)

    def release(self) -> None:
        """What `get_file` has linked for this process may be evicted again. Uploads are not concerned."""
        if not self._stock.active:
            return
        with self._stock.records.transaction():
            self._stock.records.let_go(self._stock.own_job(), RefKind.LINKED)

    def keep(self, digest: Digest, data: Data) -> None:
        """Put an object that the store has, and whose bytes somebody has read or put, where its next reader finds it.

        Raises what `open` does.
        """
        self._downloads.keep(digest, data)

    def discard(self, digest: Digest) -> bool:
        """Remove an object from the cache, unless somebody holds it; whether it was removed."""
        return self._stock.discard(digest)

    # -------------------------------------------------------------------------------------------------------- writing

    def put_file(self, path: Path, move: bool = False) -> tuple[Digest, int]:
        """Take a file into the cache and send it to the store in the background; see `ObjectStore.put_file`.

        Until `flush`, nobody may rely on it: this machine may fail before it is sent.

        Raises:
            CacheFullError: if there is no room for it; it is where it was then.
        """
        return self._uploads.put_file(path, move)

    def pending(self) -> list[Digest]:
        """What this process has to send yet, or could not send."""
        return self._uploads.pending()

    def wait(self) -> None:
        """Wait until there is nothing to send. What could not be sent is still to be told by `flush`."""
        self._uploads.wait()

    def flush(self) -> None:
        """Wait until all files that were taken in are durable in the store.

        Raises what the store raised for the first that is not. That is told once; such a file is not in the cache any
        more.
        """
        self._uploads.flush()

    def abandon(self) -> None:
        """Do not wait for what is being sent: nobody is going to rely on it. It is sent nevertheless."""
        self._uploads.abandon()

    # ----------------------------------------------------------------------------------------------------------- jobs

    def job(self, disk: int = 0, directory: Path | None = None) -> Job:
        """A job that reserves `disk` bytes from its beginning to its end: `with cache.job(disk=…) as job`.

        Args:
            disk: bytes that it may need for its files, those that it reads included.
            directory: its own directory, for `Job.write`.

        Raises (on entering it):
            CacheFullError: if not enough can be evicted.
        """
        return Job(self._stock, self._downloads, self._uploads, disk, directory)

    # -------------------------------------------------------------------------------------------------------- figures

    def figures(self) -> Figures:
        """How full it is."""
        return self._stock.figures()

    def adjust(self, limit: int | None) -> None:
        """Set the limit in bytes for all processes of the node, whatever they are told when they start; None for what
        the disk has free, until a process is told something else.

        What does not fit any more is evicted at once, as far as nobody holds it.
        """
        self._stock.adjust(limit)

    def is_cached(self, digest: Digest) -> bool:
        """Whether an object is here, whole, and nothing has to be sent or hashed first."""
        self._stock.join()
        with self._stock.records.transaction():
            entry = self._stock.records.find(digest)
        return entry is not None and entry.state == EntryState.CACHED and not entry.doubt

    def readers(self, digest: Digest) -> int:
        """How many files jobs were given of an object, and still have."""
        self._stock.join()
        with self._stock.records.transaction():
            return self._stock.records.readers(digest)

    # ------------------------------------------------------------------------------------------------------------ end

    def reap(self) -> bool:
        """Clean up after processes that are gone; whether there was anything. Who needs room does it as well."""
        return self._stock.reap()

    def close(self) -> None:
        """Wait until all is sent, and leave the cache to others. The next use joins it again."""
        self._uploads.close()
        self._stock.leave()

    def shutdown(self) -> bool:
        """Remove the whole cache, unless another process of the node uses it; whether it was removed."""
        self._uploads.close()
        return self._stock.destroy()


def _free(directory: str, store: ObjectStore) -> bool:
    """Whether the store is a directory on the same file system."""
    return isinstance(store, InPlace) and _device(store.root) == _device(directory)


def _device(path: str) -> int:
    """The file system that a directory is on, or would be if it were made."""
    while True:
        try:
            return os.stat(path).st_dev
        except FileNotFoundError:
            path = os.path.dirname(path)
