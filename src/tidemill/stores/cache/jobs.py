"""Jobs: what each has reserved of the disk, and which files of the cache it was given."""

import os
from types import TracebackType
from typing import Self

from tidemill.model.digest import Digest, show
from tidemill.model.errors import CacheReferenceError, CacheSourceError, NotFoundError, UsageError
from tidemill.stores.cache.downloads import Downloads
from tidemill.stores.cache.records import Ref
from tidemill.stores.cache.states import RefKind
from tidemill.stores.cache.stock import Stock
from tidemill.stores.cache.uploads import Uploads
from tidemill.stores.objects.files import clone, copy, new_file, symlink
from tidemill.stores.objects.interface import Delivered, Path


def link(stock: Stock, downloads: Downloads, digest: Digest, path: str, job: int | None = None) -> bool:
    """Put a symbolic link to the cached file at `path` and hold it for a job, this process itself by default.

    Returns:
        False, and nothing is there, if this process could write through it: that is a matter of its privileges.
    """
    while True:
        os.close(downloads.open(digest))
        if os.access(stock.path(digest), os.W_OK, effective_ids=True):
            return False
        with stock.records.transaction():
            entry = stock.records.find(digest)
            # It may have been evicted since it was opened.
            if entry is None or entry.doubt or not os.path.exists(stock.path(digest)):
                continue
            holder = stock.own_job() if job is None else job
            ref = stock.records.refer(entry, holder, path, RefKind.LINKED)
        try:
            symlink(stock.path(digest), path)
        except BaseException:
            with stock.records.transaction():
                stock.records.unrefer(ref)
            raise
        return True


def deliver(source: int, path: Path, mode: int) -> Delivered:
    """A private copy of the file with this descriptor, which is closed."""
    try:
        with new_file(path, mode) as target:
            cloned = clone(source, target)
            if not cloned:
                copy(source, target)
    finally:
        os.close(source)
    return "clone" if cloned else "copy"


class Job:
    """A job on this node, as `NodeCache.job` gives it. A context manager: at its end it holds nothing any more.

    Attributes:
        id: in the cache.
        directory: the job's own directory, "" if it has none.
    """

    def __init__(
        self, stock: Stock, downloads: Downloads, uploads: Uploads, disk: int, directory: Path | None = None
    ) -> None:
        self._stock = stock
        self._downloads = downloads
        self._uploads = uploads
        self._disk = disk
        self.directory = "" if directory is None else os.path.realpath(directory)
        self.id = 0

    def __enter__(self) -> Self:
        owner = self._stock.join()
        self.id = self._stock.with_room(
            self._disk, lambda: self._stock.records.begin(owner, self._disk, self.directory)
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it: links that it was given are removed, since their files may go."""
        with self._stock.records.transaction():
            refs = self._stock.records.refs(self.id)
            self._stock.records.end(self.id)
        for ref in refs:
            if ref.kind == RefKind.LINKED and self._is_ours(ref.path):
                os.unlink(ref.path)

    def _is_ours(self, path: str) -> bool:
        """Whether a link into the cache is there, and not what somebody has put in its place."""
        try:
            return os.readlink(path).startswith(self._stock.at("files/"))
        except OSError:
            return False

    @property
    def unused(self) -> int:
        """Bytes of the reservation that are not covered by files that it links to."""
        with self._stock.records.transaction():
            return self._stock.records.unused(self.id)

    def read(self, digest: Digest, path: Path, mutable: bool = False, mode: int = 0o644) -> Delivered:
        """Put an object at `path`, where nothing may be.

        What is not `mutable` is a symbolic link to the read-only file in the cache, which stays there until the job
        ends or forgets it, and whose size counts as part of the disk that the job has reserved. A process that could
        write through it (root's) gets a private copy, and so does who wants to change it or execute it. The link guards
        against mistakes: the owner of the cache, who alone can enter it, could make the file writable. For programs
        that are not to be trusted, ask for a copy.

        Args:
            digest: 32 bytes.
            path: where to put it; its directory must exist.
            mutable: a private copy is wanted.
            mode: permissions of a copy, before the umask.

        Returns:
            how it was done.

        Raises:
            UsageError: if something is at `path`.
            NotFoundError: if there is no such object.
            CacheFullError: if there is no room for it in the cache.
        """
        place = os.path.abspath(path)
        if os.path.lexists(place):
            raise UsageError(f"{place} is there already", hint="Remove it, or give another place.")
        if not mutable and not mode & 0o111 and link(self._stock, self._downloads, digest, place, self.id):
            return "link"
        source = self._downloads.open(digest)
        with self._stock.records.transaction():
            entry = self._stock.records.find(digest)
            ref = self._stock.records.refer(entry, self.id, place, RefKind.COPYING) if entry else 0
        try:
            how = deliver(source, place, mode)
        except BaseException:
            with self._stock.records.transaction():
                self._stock.records.unrefer(ref)
            raise
        with self._stock.records.transaction():
            self._stock.records.copied(ref)
        return how

    def write(self, path: Path, move: bool = False) -> tuple[Digest, int]:
        """Take a file in the job's directory into the cache, to be sent to the store in the background.

        Returns:
            digest and size in bytes.

        Raises:
            CacheSourceError: if it is somewhere else.
            CacheFullError: if there is no room for it.
        """
        inside = os.path.realpath(path)
        if not self.directory or not inside.startswith(self.directory.rstrip("/") + "/"):
            raise CacheSourceError(
                f"{os.fspath(path)} is not in the directory of the job, {self.directory or 'which has none'}",
                hint="Write it there, or put it into the store itself.",
            )
        return self._uploads.put_file(path, move)

    def forget(self, digest: Digest, path: Path | None = None) -> None:
        """Remove what `read` has put at `path`, or at all places for this object, and hold it no longer.

        Raises:
            NotFoundError: if the job was given nothing like that.
            CacheReferenceError: if it was removed or replaced by hand. It is not held any more either.
        """
        place = None if path is None else os.path.abspath(path)
        with self._stock.records.transaction():
            refs = [ref for ref in self._stock.records.refs(self.id, digest) if place in (None, ref.path)]
            for ref in refs:
                self._stock.records.unrefer(ref.id)
        if not refs:
            where = f" at {place}" if place else ""
            raise NotFoundError(f"the job has no file of {show(digest)}{where}")
        missing = [ref.path for ref in refs if not self._remove(ref)]
        if missing:
            raise CacheReferenceError(
                f"{missing[0]}, a file of {show(digest)}, was removed or replaced by hand",
                hint="Leave it to the end of the job, or use forget in place of removing it.",
            )

    def _remove(self, ref: Ref) -> bool:
        """Remove what the job was given; whether it was still there."""
        if ref.kind == RefKind.LINKED and not self._is_ours(ref.path):
            return False
        try:
            os.unlink(ref.path)
        except FileNotFoundError:
            return False
        return True
