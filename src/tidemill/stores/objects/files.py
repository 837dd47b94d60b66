"""Files that appear complete or not at all: temporary files, durable renames, clones, hashing while copying."""

import errno
import fcntl
import os
import signal
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self

from tidemill.model.digest import Digest, hasher
from tidemill.model.errors import NotFoundError, UsageError
from tidemill.stores.objects.failures import writing
from tidemill.stores.objects.interface import Data, Path

BLOCK = 256 << 10
"""Bytes copied and hashed at a time: still in the processor's cache when they are hashed and written."""

READ_ONLY = 0o444

# _IOW(0x94, 9, int) of linux/fs.h, for Python < 3.12, which has no name for it.
_FICLONE: int = getattr(fcntl, "FICLONE", 0x40049409)


class Lock:
    """A lock between processes and threads on a file that stays: the kernel drops it when its holder dies."""

    def __init__(self, path: str) -> None:
        self._path = path

    @contextmanager
    def hold(self, shared: bool = False) -> Iterator[None]:
        """Wait for the lock and hold it. A new descriptor each time, so that threads exclude each other as well."""
        fd = self._open()
        try:
            fcntl.flock(fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
            yield
        finally:
            # Said aloud: a process that another thread has forked meanwhile has the descriptor, too.
            fcntl.flock(fd, fcntl.LOCK_UN)
            os.close(fd)

    def _open(self) -> int:
        try:
            return os.open(self._path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except FileNotFoundError:
            make_dirs(os.path.dirname(self._path))
            return os.open(self._path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)


class Temp:
    """A file being written in `directory`, removed at the end of the `with` block unless it was published.

    Its writer holds a lock on it, so `sweep` can tell a slow writer from a dead one.
    """

    def __init__(self, directory: str) -> None:
        self.path = os.path.join(directory, os.urandom(16).hex())
        self.fd = -1
        self._directory = directory

    def __enter__(self) -> Self:
        with writing(self._directory):
            try:
                self.fd = self._create()
            except FileNotFoundError:
                make_dirs(self._directory)
                self.fd = self._create()
        return self

    def _create(self) -> int:
        while True:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX)
            if os.fstat(fd).st_nlink:
                return fd
            os.close(fd)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.path:
            os.unlink(self.path)
        os.close(self.fd)

    def write(self, data: Data) -> None:
        """Append `data`."""
        with writing(self._directory):
            write_all(self.fd, data)

    def publish(self, target: str, lock: Lock) -> None:
        """Make the file durable, read-only and visible as `target`, whose directory is made if it is missing."""
        with writing(self._directory):
            os.fchmod(self.fd, READ_ONLY)
            os.fsync(self.fd)
            with lock.hold(shared=True):
                rename(self.path, target)
            self.path = ""
            sync_dir(os.path.dirname(target))


def sweep(directory: str, before: float, dry_run: bool) -> tuple[int, int]:
    """Remove the `Temp` files in `directory` that nobody writes any more and that were last changed before `before`.

    Returns:
        their number and bytes.
    """
    count = size = 0
    try:
        entries = list(os.scandir(directory))
    except FileNotFoundError:
        return 0, 0
    for entry in entries:
        try:
            fd = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            info = os.fstat(fd)
            if info.st_mtime >= before:
                continue
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not dry_run:
                os.unlink(entry.path)
            count += 1
            size += info.st_size
        except (BlockingIOError, FileNotFoundError):
            continue
        finally:
            os.close(fd)
    return count, size


def make_dirs(path: str) -> None:
    """Make a directory and what is missing above it, durably. One that is there is no error."""
    try:
        os.mkdir(path)
    except FileExistsError:
        return
    except FileNotFoundError:
        make_dirs(os.path.dirname(path))
        make_dirs(path)
        return
    sync_dir(os.path.dirname(path))


def sync_dir(path: str) -> None:
    """Make what was created, renamed or removed in a directory durable."""
    fd = os.open(path or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def remove(path: Path) -> None:
    """Remove a file that has been stored and was to be moved.

    Raises:
        UsageError: if its directory may not be changed.
    """
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise UsageError(
            f"{os.fspath(path)} is stored, but cannot be removed: {os.strerror(error.errno or 0)}",
            hint="Store it without move, or give it a directory that may be written.",
        ) from error


def remove_tree(path: str) -> None:
    """Remove a directory and what is in it, as far as that can be done."""
    import shutil

    shutil.rmtree(path, ignore_errors=True)


def rename(source: str, target: str) -> None:
    """Rename a file, making the directory of `target` if it is missing. Not durable before `sync_dir`."""
    try:
        os.rename(source, target)
    except FileNotFoundError:
        make_dirs(os.path.dirname(target))
        os.rename(source, target)


@contextmanager
def new_file(path: Path, mode: int = 0o644, durable: bool = False) -> Iterator[int]:
    """A descriptor to write to; what was written is at `path` after the block, and nothing if the block fails.

    Args:
        path: a file that is there is replaced; its directory must exist.
        mode: permissions, before the umask.
        durable: fsync the file and its directory.

    Raises:
        NotFoundError: if the directory of `path` does not exist.
        UsageError: if `path` is a directory.
        StoreFullError: if there is no room.
    """
    target = os.path.abspath(path)
    directory, name = os.path.split(target)
    if os.path.isdir(target):
        raise UsageError(f"{target} is a directory; give the name of a file in it")
    temp = beside(directory)
    with writing(target):
        try:
            fd = os.open(temp, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        except (FileNotFoundError, NotADirectoryError):
            raise NotFoundError(f"there is no directory {directory} to put {name} into") from None
        try:
            yield fd
            if durable:
                os.fsync(fd)
            os.replace(temp, target)
        except BaseException:
            os.unlink(temp)
            raise
        finally:
            os.close(fd)
        if durable:
            sync_dir(directory)


def beside(directory: str) -> str:
    """A path in `directory` for what is not complete. The final name may be as long as names can be: nothing of it."""
    return os.path.join(directory, f".tidemill-{os.urandom(8).hex()}")


def open_regular(path: Path) -> int:
    """A descriptor to read the regular file at `path`.

    Raises:
        NotFoundError: if it does not exist.
        UsageError: if it is something else, or may not be read.
    """
    try:
        try:
            # O_NONBLOCK: opening a named pipe must not wait for its writer.
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except BlockingIOError:
            # somebody takes this very file into a store, see `Lease`: that is waited for
            if not stat.S_ISREG(os.stat(path).st_mode):
                raise
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFoundError(f"there is no file {os.fspath(path)}") from None
    except OSError as error:
        raise UsageError(f"{os.fspath(path)} cannot be read: {os.strerror(error.errno or 0)}") from error
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return fd
    os.close(fd)
    kind = "a directory" if stat.S_ISDIR(mode) else "not a regular file"
    raise UsageError(
        f"{os.fspath(path)} is {kind}", hint="Directories are stored with put_dir." if stat.S_ISDIR(mode) else ""
    )


def write_all(fd: int, data: Data) -> None:
    """Write every byte of `data` at the position of `fd`."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def blocks(fd: int) -> Iterator[memoryview]:
    """The rest of a file in pieces of `BLOCK` bytes. A piece is overwritten by the next."""
    view = memoryview(bytearray(BLOCK))
    while count := os.readv(fd, [view]):
        yield view[:count]


def read_up_to(fd: int, limit: int) -> bytes:
    """At most `limit` bytes from the position of `fd`; fewer only at the end of the file."""
    data = os.read(fd, limit)
    while 0 < len(data) < limit:
        more = os.read(fd, limit - len(data))
        if not more:
            break
        data += more
    return data


def copy_hashing(pieces: Iterable[Data], write: Callable[[Data], None]) -> tuple[Digest, int]:
    """Call `write` with each piece; returns digest and size in bytes of what was written."""
    h = hasher()
    size = 0
    for piece in pieces:
        h.update(piece)
        write(piece)
        size += len(piece)
    return h.digest(), size


def hash_rest(fd: int) -> tuple[Digest, int]:
    """Digest and size in bytes of what follows the position of `fd`."""
    h = hasher()
    size = 0
    for piece in blocks(fd):
        h.update(piece)
        size += len(piece)
    return h.digest(), size


def clone(source: int, target: int) -> bool:
    """Make the empty file `target` share the blocks of `source` (ioctl_ficlone(2)); False where that is not possible.

    A clone is a private file: its first change to a block copies it.
    """
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
        return False
    return True


def symlink(stored: str, path: Path) -> None:
    """Put a symbolic link to `stored` at `path`, replacing a file that is there."""
    directory = os.path.dirname(os.path.abspath(path))
    temp = beside(directory)
    with writing(directory):
        os.symlink(stored, temp)
        try:
            os.replace(temp, path)
        except OSError:
            os.unlink(temp)
            raise


def copy(source: int, target: int) -> None:
    """Copy the whole of `source` into the empty file `target`, in the kernel where it can do that."""
    try:
        while os.copy_file_range(source, target, 1 << 30):
            pass
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM):
            raise
        for piece in blocks(source):
            write_all(target, piece)


class Lease:
    """Within a `with` block, nobody comes to have a file open for writing: who opens it waits for the end of the block.

    The kernel grants a lease (fcntl(2), F_SETLEASE) only on a file that nobody has open, or mapped, for writing. It
    lets those who open the file wait for so many seconds as /proc/sys/fs/lease-break-time says (45), then ends the
    lease.

    Args:
        fd: of the file, open for reading only.

    Attributes:
        held: the file had one name and no writer. False also where leases are not supported or the file belongs to
            somebody else.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.held = False

    def __enter__(self) -> Self:
        with suppress(OSError):
            # By default the kernel would tell us with SIGIO, which kills, that somebody waits.
            fcntl.fcntl(self._fd, fcntl.F_SETSIG, signal.SIGURG)
            fcntl.fcntl(self._fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            self.held = os.fstat(self._fd).st_nlink == 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            fcntl.fcntl(self._fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)

    def sole(self) -> bool:
        """Whether nobody else has the file open, or waits for opening it, and nobody has opened it for writing since
        the beginning. It still has one name. From now on also those wait who open it for reading.

        A file that is open for reading can be opened for writing by way of /proc, whatever its name is by then.
        """
        if fcntl.fcntl(self._fd, fcntl.F_GETLEASE) == fcntl.F_UNLCK:
            return False
        try:
            fcntl.fcntl(self._fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except OSError:
            return False
        return os.fstat(self._fd).st_nlink == 1
