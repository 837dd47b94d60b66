"""The files of a cache and the rows about them, kept in step: room is made here, and dead processes are cleaned up
after.

A file gets its name in `files` within the transaction that says so in its row, and is whole by then.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

from tidemill.model.digest import Digest
from tidemill.model.errors import CacheError
from tidemill.stores.cache.processes import Processes, passing
from tidemill.stores.cache.records import Entry, Records
from tidemill.stores.cache.space import Figures, Limit, full, victims
from tidemill.stores.cache.states import EntryState
from tidemill.stores.objects.files import Temp, sweep

_T = TypeVar("_T")


class Stock:
    """What is cached in a directory.

    <directory>/files/ab/cdef…    whole files, named by the 64 hex digits of the digest; where the store's own file can
                                  be read in place, a symbolic link to it
    <directory>/doubtful/ab/…     files that have to be hashed before anybody gets them
    <directory>/temp/…            being written, or being removed
    <directory>/locks/…           held by who downloads an object or takes one in; others wait there
    <directory>/processes/…       held by the processes that use the cache
    <directory>/gate              held by who joins them
    <directory>/cache.db          the rows
    """

    def __init__(self, directory: str, limit: int | None = None) -> None:
        self.directory = directory
        self.records = Records(os.path.join(directory, "cache.db"))
        self._processes = Processes(directory)
        self._limit = Limit(directory)
        self._wanted = limit
        self._own_jobs: dict[str, int] = {}
        self._joining = threading.Lock()

    # ------------------------------------------------------------------------------------------------------ processes

    def join(self) -> str:
        """Use the cache from now on; the name of this process in it.

        Raises:
            CacheError: if there can be no cache in the directory.
        """
        if not self._processes.joined:
            with self._joining:
                if not self._processes.joined:
                    self._join()
        return self._processes.name

    def _join(self) -> None:
        with using(self.directory), self._processes.gate() as doubtful:
            if doubtful:
                self._doubt_all()
            self._processes.join()
        if self._wanted is not None:
            with self.records.transaction():
                if not self.records.adjusted():
                    self.records.set_limit(self._wanted, adjusted=False)

    def _doubt_all(self) -> None:
        """The machine was started anew: what was written before may not have come to the disk."""
        doubtful, files = self.at("doubtful"), self.at("files")
        for path in [*_below(doubtful), *_below(self.at("temp"))]:
            os.unlink(path)
        try:
            with self.records.transaction():
                self.records.doubt_all()
        except CacheError:
            self.records.close()
            for path in [*_below(files), *(self.at(f"cache.db{end}") for end in ("", "-wal", "-shm"))]:
                with suppress(FileNotFoundError):
                    os.unlink(path)
        for path in _below(files):
            rename(path, doubtful + path[len(files) :])

    @property
    def active(self) -> bool:
        """Whether this process uses the cache already."""
        return self._processes.joined

    def own_job(self) -> int:
        """Within a transaction: the job that stands for this process itself. It reserves nothing."""
        owner = self._processes.name
        if owner not in self._own_jobs:
            self._own_jobs[owner] = self.records.begin(owner, 0, "")
        return self._own_jobs[owner]

    def leave(self) -> None:
        """Leave the cache to others, and what this process had begun. The next use joins it again."""
        if self._processes.joined:
            with self.records.transaction():
                doomed = self._adopt(self._processes.name)
            self.remove(doomed)
            self._processes.leave()
        self.records.close()

    def destroy(self) -> bool:
        """Remove everything, unless another process uses it; whether it was removed."""
        self.join()
        with using(self.directory), self._processes.gate():
            self.records.close()
            return self._processes.destroy()

    def reap(self) -> bool:
        """Take over what belonged to processes that are gone; whether there was anything."""
        self.join()
        with self.records.transaction():
            owners = self.records.owners()
        doomed: list[Entry] = []
        with using(self.directory), self._processes.dead(owners) as dead:
            if dead:
                with self.records.transaction():
                    for name in dead:
                        doomed += self._adopt(name)
                    doomed += self._compare()
                sweep(self.at("temp"), time.time() + 60, dry_run=False)
        self.remove(doomed)
        return bool(doomed or owners.intersection(dead))

    def _compare(self) -> list[Entry]:
        """Within a transaction: one that was cut short may have moved files, which its rows do not know. Files without
        a row are removed; rows without a file are to be.
        """
        entries = {entry.name: entry for entry in self.records.whole()}
        there = set()
        for path in _below(self.at("files")):
            name = self.name(path)
            if name in entries:
                there.add(name)
            else:
                os.unlink(path)
        lacking = [entry for name, entry in entries.items() if name not in there and not entry.doubt]
        return [self.condemn(one, "evict" if one.state == EntryState.CACHED else "fail") for one in lacking]

    def _adopt(self, owner: str) -> list[Entry]:
        """Move the entries of a dead process on, and end its jobs; what is to be removed."""
        doomed = []
        for job in self.records.jobs_of(owner):
            self.records.end(job)
        for entry in self.records.owned(owner):
            if entry.state in (EntryState.DOWNLOADING, EntryState.DELETING):
                doomed.append(self.condemn(entry, "adopt"))
                continue
            if other := self.records.sender(entry.id):
                self.records.give(entry.id, other)
                continue
            name = "doubtful" + entry.name[len("files") :]
            with suppress(FileNotFoundError):
                rename(self.at(entry.name), self.at(name))
            self.records.move(entry, "adopt", None, name, doubt=True)
        return doomed

    # ---------------------------------------------------------------------------------------------------------- files

    def at(self, name: str) -> str:
        """The path of what has this name below the cache's directory."""
        return f"{self.directory}/{name}"

    def path(self, digest: Digest) -> str:
        """Where an object is while it is cached."""
        return self.at(name_of(digest))

    def try_open(self, digest: Digest) -> int:
        """A descriptor to read an object, -1 if it is not here."""
        # Not before: the machine may have been started anew, and nobody has looked after the files since.
        self.join()
        path = self.path(digest)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return -1
        except OSError as error:
            raise unusable(path, error) from error
        with suppress(OSError):
            # Where eviction looks. (A link's own time: the time of the store's file is the age of the object.)
            os.utime(path, follow_symlinks=False)
        return fd

    @contextmanager
    def alone(self, digest: Digest) -> Iterator[None]:
        """Wait until nobody else brings an object in, and be the only one to do it. The kernel wakes who waits, and
        ends the lock of who dies.
        """
        with passing(self.at(f"locks/{digest.hex()}")):
            yield

    def new_temp(self) -> Temp:
        """A file that is about to be written."""
        return Temp(self.at("temp"))

    def name(self, path: str) -> str:
        """The inverse of `at`."""
        return path[len(self.directory) + 1 :]

    def condemn(self, entry: Entry, event: str) -> Entry:
        """Within a transaction: nobody gets an entry any more; it is to be removed after it."""
        temp = self.name(self.new_temp().path)
        # What a process was about to publish when it was killed may have got its name, and the row does not know it.
        names = {entry.name, name_of(entry.digest)} if entry.state == EntryState.DOWNLOADING else {entry.name}
        for name in names:
            with suppress(FileNotFoundError):
                os.rename(self.at(name), self.at(temp))
        self.records.move(entry, event, self._processes.name, temp)
        return entry._replace(name=temp)

    def remove(self, doomed: list[Entry]) -> None:
        """Remove what was condemned."""
        if not doomed:
            return
        for entry in doomed:
            with suppress(FileNotFoundError):
                os.unlink(self.at(entry.name))
        with self.records.transaction():
            self.records.remove([entry.id for entry in doomed])

    def discard(self, digest: Digest) -> bool:
        """Remove an object from the cache unless somebody holds it; whether it was removed."""
        if not os.path.lexists(self.path(digest)):
            return False
        self.join()
        with self.records.transaction():
            entry = self.records.find(digest)
            if entry is None or not self.records.is_free(entry.id):
                return False
            doomed = [self.condemn(entry, "evict")]
        self.remove(doomed)
        return True

    # ----------------------------------------------------------------------------------------------------------- room

    def figures(self) -> Figures:
        """How full the cache is."""
        self.join()
        with self.records.transaction():
            return self._limit.figures(self.records.sums())

    def adjust(self, limit: int | None) -> None:
        """Set the limit in bytes for all processes, None for what the disk has. What does not fit any more is evicted
        at once, as far as nobody holds it.
        """
        self.join()
        with self.records.transaction():
            self.records.set_limit(limit, adjusted=limit is not None)
            short = -self._limit.figures(self.records.sums()).available
            entries = self.records.evictable()
            doomed = [self.condemn(one, "evict") for one in self._choose(entries, min(short, sum(_costs(entries))))]
        self.remove(doomed)

    def with_room(self, needed: int, work: Callable[[], _T], undo: Callable[[], None] | None = None) -> _T:
        """Do `work`, which takes so many bytes more from the limit, in a transaction in which they are available.

        Args:
            undo: called if that transaction fails, whether `work` was done or not.

        Raises:
            CacheFullError: if not enough can be evicted.
        """
        self.join()
        for again in (True, False):
            with self.records.transaction(undo):
                short = needed - self._limit.figures(self.records.sums()).available if needed > 0 else 0
                entries = self.records.evictable() if short > 0 else []
                if short <= sum(_costs(entries)):
                    chosen = self._choose(entries, short)
                    result = work()
                    doomed = [self.condemn(one, "evict") for one in chosen]
                    break
            if not again or not self.reap():
                raise full(self.directory, needed, self.figures())
        with suppress(OSError, CacheError):  # the work is done; what is left of the evicted goes when this process does
            self.remove(doomed)
        return result

    def _choose(self, entries: list[Entry], short: int) -> list[Entry]:
        return victims(entries, short, self._last_use) if short > 0 else []

    def _last_use(self, entry: Entry) -> float:
        try:
            return os.lstat(self.at(entry.name)).st_mtime
        except FileNotFoundError:
            return entry.used


def _costs(entries: list[Entry]) -> list[int]:
    return [entry.cost for entry in entries]


def name_of(digest: Digest) -> str:
    """The name of an object's file below the cache's directory."""
    name = digest.hex()
    return f"files/{name[:2]}/{name[2:]}"


def rename(source: str, target: str) -> None:
    """Rename a file, making the directory of `target` if it is missing."""
    try:
        os.rename(source, target)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.rename(source, target)


def _below(directory: str) -> list[str]:
    """The files in the directories in a directory, and in it."""
    return [os.path.join(place, name) for place, _, names in os.walk(directory) for name in names]


def unusable(place: str, error: OSError) -> CacheError:
    """The error for what the operating system refuses."""
    return CacheError(f"the cache cannot use {place}: {os.strerror(error.errno or 0)}")


@contextmanager
def using(place: str) -> Iterator[None]:
    """Turn an `OSError` of the body into ours."""
    try:
        yield
    except OSError as error:
        raise unusable(place, error) from error
