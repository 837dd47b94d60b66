"""Large objects as read-only files, one each, named by the 64 hex digits of the digest: `<root>/ab/cdef…`."""

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from io import FileIO

from tidemill.model.digest import Digest
from tidemill.model.errors import StoreError
from tidemill.stores.objects.failures import damaged, not_found, refused, writing
from tidemill.stores.objects.files import (
    READ_ONLY,
    Lease,
    Lock,
    Temp,
    blocks,
    clone,
    copy,
    copy_hashing,
    hash_rest,
    make_dirs,
    new_file,
    rename,
    sweep,
    symlink,
    sync_dir,
    write_all,
)
from tidemill.stores.objects.interface import Data, Delivered, Path, Stored
from tidemill.stores.objects.streams import digest_of_name


class Large:
    """The files under `root`. Whoever gives one a name, a new age, or removes it, holds `<root>/lock`."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._temps = os.path.join(root, "tmp")
        self._lock = Lock(os.path.join(root, "lock"))

    def path(self, digest: Digest) -> str:
        """Where an object is, or would be."""
        name = digest.hex()
        return f"{self._root}/{name[:2]}/{name[2:]}"

    # --------------------------------------------------------------------------------------------------------- put

    def put(self, digest: Digest, data: Data) -> None:
        """Store `data`, which has this digest."""
        if not self._renew(digest, len(data)):
            with Temp(self._temps) as temp:
                temp.write(data)
                temp.publish(self.path(digest), self._lock)

    def _renew(self, digest: Digest, size: int) -> bool:
        """Make an object that is there young again; False if it has to be written."""
        path = self.path(digest)
        try:
            if os.stat(path).st_size != size:
                return False
            with self._lock.hold(shared=True):
                os.utime(path)
            # Another process may have renamed it a moment ago, and not be sure yet that the name will last.
            sync_dir(os.path.dirname(path))
        except (FileNotFoundError, PermissionError):
            return False
        except OSError as error:
            raise refused(error, self._root) from error
        return True

    def put_pieces(self, pieces: Iterable[Data]) -> tuple[Digest, int]:
        """Store what the pieces make up; their own exceptions pass through."""
        with Temp(self._temps) as temp:
            digest, size = copy_hashing(pieces, temp.write)
            self._publish(temp, digest, size)
        return digest, size

    def put_pieces_as(self, name: Digest, size: int, pieces: Iterable[Data]) -> None:
        """Store what the pieces make up, `size` bytes, under a name that is not its digest."""
        if not self._renew(name, size):
            with Temp(self._temps) as temp:
                for piece in pieces:
                    temp.write(piece)
                temp.publish(self.path(name), self._lock)

    def put_copy(self, source: int) -> tuple[Digest, int]:
        """Store a copy of the file with this descriptor, a clone where the file system can do that."""
        with Temp(self._temps) as temp:
            if clone(source, temp.fd):
                digest, size = hash_rest(temp.fd)
            else:
                digest, size = copy_hashing(blocks(source), temp.write)
            self._publish(temp, digest, size)
        return digest, size

    def _publish(self, temp: Temp, digest: Digest, size: int) -> None:
        if not self._renew(digest, size):
            temp.publish(self.path(digest), self._lock)

    def take(self, source: int, path: Path) -> tuple[Digest, int] | None:
        """Make the file itself the object, without copying it; None if it has to be copied.

        That is so on another file system, and wherever somebody could still change it: through another hard link, or
        because it is open or mapped, or as its owner. Until the rename the file stays where it is, so a crash loses
        nothing; who opens it until then waits for us, and gets nothing of ours (see `_install`).
        """
        before = os.fstat(source)
        with writing(self._root):
            make_dirs(self._root)
            home = os.stat(self._root).st_dev
        if before.st_dev != home or before.st_uid != os.geteuid() or os.path.islink(path):
            return None
        os.fchmod(source, READ_ONLY)
        taken = None
        with Lease(source) as lease:
            try:
                if lease.held:
                    taken = self._take(source, path, lease, before.st_mtime_ns)
                return taken
            finally:
                if taken is None:
                    os.fchmod(source, stat.S_IMODE(before.st_mode))
                    os.lseek(source, 0, os.SEEK_SET)

    def _take(self, source: int, path: Path, lease: Lease, mtime_ns: int) -> tuple[Digest, int] | None:
        digest, size = hash_rest(source)
        after = os.fstat(source)
        # Of writers on other machines the kernel does not know.
        if not lease.sole() or (after.st_size, after.st_mtime_ns) != (size, mtime_ns):
            return None
        if not self._renew(digest, size):
            self._install(source, path, digest, lease)
        return digest, size

    def _install(self, source: int, path: Path, digest: Digest, lease: Lease) -> None:
        target = self.path(digest)
        with writing(self._root):
            os.fsync(source)
            with self._lock.hold(shared=True):
                os.utime(source)
                rename(os.fspath(path), target)
            sync_dir(os.path.dirname(target))
        if not lease.sole():
            # Somebody came by the old name in the last moment, and waits: a copy takes the place of the file.
            os.lseek(source, 0, os.SEEK_SET)
            with Temp(self._temps) as temp:
                found, _ = copy_hashing(blocks(source), temp.write)
                if found != digest:
                    self.delete(digest, None)
                    raise StoreError(f"{os.fspath(path)} was changed while it was stored", hint="Store it again.")
                temp.publish(target, self._lock)

    # --------------------------------------------------------------------------------------------- get, survey, delete

    def open(self, digest: Digest) -> FileIO:
        """The file of an object."""
        try:
            return FileIO(self.path(digest))
        except FileNotFoundError:
            raise not_found(digest, self._root) from None
        except OSError as error:
            raise StoreError(f"cannot read {self.path(digest)}: {os.strerror(error.errno or 0)}") from error

    def give(self, digest: Digest, path: Path, link: bool, mode: int, verify: bool) -> Delivered:
        """See `ObjectStore.get_file`."""
        stored = self.path(digest)
        with self.open(digest) as file:
            linked = link and not verify and not mode & 0o111 and _read_only(stored)
            with suppress(_NoCloneError), new_file(path, mode) as target:
                return self._fill(file.fileno(), target, digest, verify, linked)
        symlink(stored, path)
        return "link"

    def _fill(self, source: int, target: int, digest: Digest, verify: bool, linked: bool) -> Delivered:
        cloned = clone(source, target)
        if verify:
            found, _ = hash_rest(target) if cloned else copy_hashing(blocks(source), partial(write_all, target))
            if found != digest:
                raise damaged(digest, self._root)
        elif not cloned:
            if linked:
                raise _NoCloneError
            copy(source, target)
        return "clone" if cloned else "copy"

    def size(self, digest: Digest) -> int:
        """Bytes in an object."""
        try:
            return os.stat(self.path(digest)).st_size
        except FileNotFoundError:
            raise not_found(digest, self._root) from None

    def delete(self, digest: Digest, before: float | None) -> bool:
        """Remove an object unless it was put at or after `before`; whether it was removed."""
        path = self.path(digest)
        if not os.path.exists(path):
            return False
        with writing(self._root), self._lock.hold():
            try:
                if before is not None and os.stat(path).st_mtime >= before:
                    return False
                os.unlink(path)
            except FileNotFoundError:
                return False
        return True

    def sweep(self, before: float, dry_run: bool) -> tuple[int, int]:
        """Remove unfinished files of writers that are gone, see `files.sweep`."""
        with writing(self._root):
            return sweep(self._temps, before, dry_run)

    def list(self) -> Iterator[Stored]:
        """Every object here."""
        for number in range(256):
            try:
                entries = os.scandir(f"{self._root}/{number:02x}")
            except FileNotFoundError:
                continue
            with entries:
                for entry in entries:
                    digest = digest_of_name(f"{number:02x}{entry.name}")
                    with suppress(FileNotFoundError):
                        if digest:
                            info = entry.stat()
                            yield Stored(digest, info.st_size, info.st_mtime)


class _NoCloneError(Exception):
    """A link is wanted, since a clone is not to be had."""


def _read_only(path: str) -> bool:
    """Whether this process could not write to the file as it is. Root can write to any, unless the mount forbids it."""
    return not os.access(path, os.W_OK, effective_ids=True)
