"""The processes that use a cache, and locks that end with them.

A process is named by a file that it holds locked (flock(2)) as long as it lives. Whoever can take that lock knows that
it is gone, also where its pid means nothing: in another container on the same machine. Programs that it has started
hold no such lock; what it has forked without starting another program does.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tidemill.model.errors import CacheError
from tidemill.stores.objects.files import write_all

FOLDERS = ("processes", "files", "doubtful", "temp", "locks")
_BOOT = "/proc/sys/kernel/random/boot_id"


def locked(path: str, *, wait: bool = True) -> int:
    """A descriptor that holds the lock on the file at `path`, which is made if it is missing; -1 if it is taken.

    The file may be removed by who holds the lock: who has waited for it meanwhile takes the next one of that name.
    """
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(fd).st_nlink:
                return fd
        except BlockingIOError:
            os.close(fd)
            return -1
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


@contextmanager
def passing(path: str) -> Iterator[None]:
    """Hold the lock at `path`, waiting for whoever has it, and leave no file behind."""
    fd = locked(path)
    try:
        yield
    finally:
        with suppress(FileNotFoundError):
            os.unlink(path)
        # Said aloud: a process that was forked meanwhile has the descriptor, too.
        fcntl.flock(fd, fcntl.LOCK_UN)
        os.close(fd)


class Processes:
    """The processes that use the cache in `directory`, of which this one becomes one by `join`."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._folder = os.path.join(directory, "processes")
        self._name = ""
        self._fd = -1
        self._pid = 0

    @property
    def joined(self) -> bool:
        """Whether this process has a name. A forked child has none, whatever its parent had."""
        return self._pid == os.getpid()

    @property
    def name(self) -> str:
        """The name of this process."""
        assert self.joined
        return self._name

    @contextmanager
    def gate(self) -> Iterator[bool]:
        """Keep other processes from joining; whether the machine was started anew since the last one did.

        Raises:
            CacheError: if the directory cannot be made.
        """
        try:
            while True:
                os.makedirs(self._directory, mode=0o700, exist_ok=True)
                with suppress(FileNotFoundError):
                    fd = locked(os.path.join(self._directory, "gate"))
                    break
        except OSError as error:
            raise CacheError(f"there can be no cache in {self._directory}: {os.strerror(error.errno or 0)}") from error
        try:
            for folder in FOLDERS:
                os.makedirs(os.path.join(self._directory, folder), exist_ok=True)
            boot = _boot()
            known = os.pread(fd, 100, 0)
            if known != boot:
                os.ftruncate(fd, 0)
                os.lseek(fd, 0, os.SEEK_SET)
                write_all(fd, boot)
            yield bool(known) and known != boot
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)
            os.close(fd)

    def join(self) -> None:
        """Give this process a name. Within `gate`."""
        name = os.urandom(8).hex()
        fd = locked(os.path.join(self._folder, name))
        if self._fd >= 0:
            # The parent's: it keeps the lock.
            os.close(self._fd)
        self._name, self._fd, self._pid = name, fd, os.getpid()

    def leave(self) -> None:
        """Have no name any more. What still belongs to it belongs to a dead process from now on."""
        if self.joined:
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(self._folder, self._name))
            os.close(self._fd)
            self._fd, self._pid = -1, 0

    @contextmanager
    def dead(self, names: set[str]) -> Iterator[list[str]]:
        """Those of these processes, and of those that left nothing but their name, that are gone. They are taken: to
        others they look alive meanwhile. After the block their names are forgotten.
        """
        with suppress(FileNotFoundError):
            names = names | set(os.listdir(self._folder))
        held = {name: fd for name in sorted(names) if name != self._name and (fd := self._take(name)) >= 0}
        try:
            yield list(held)
            for name in held:
                with suppress(FileNotFoundError):
                    os.unlink(os.path.join(self._folder, name))
        finally:
            for fd in held.values():
                os.close(fd)

    def _take(self, name: str) -> int:
        return locked(os.path.join(self._folder, name), wait=False)

    def destroy(self) -> bool:
        """Remove the cache if no other process uses it; whether it was. Within `gate`."""
        with self.dead(set()) as gone:
            if set(os.listdir(self._folder)) - set(gone) - {self._name}:
                return False
            self.leave()
            shutil.rmtree(self._directory, ignore_errors=True)
        return True


def _boot() -> bytes:
    """What differs each time the machine is started; the same always where nothing tells."""
    try:
        with open(_BOOT, "rb") as file:
            return file.read().strip()
    except OSError:
        return b"unknown"
