"""The lock of a store directory: held by the operating system for the life of the engine's process, so nobody ever
removes a file. It is not inherited by workers."""

import errno
import fcntl
import os
from pathlib import Path

from tidemill.model.errors import StoreFullError

FILE = "engine.lock"


class StoreLock:
    """An exclusive lock on a store directory.

    Args:
        directory: the store; created if missing.

    Raises:
        StoreFullError: the directory cannot be created or written.
    """

    def __init__(self, directory: Path) -> None:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(directory / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StoreFullError(
                f"the store {directory} cannot be written ({error.strerror}): check its permissions and the file system"
            ) from error

    def take(self) -> bool:
        """Take the lock if nobody has it; whether it is ours now."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                return False
            raise
        return True

    def release(self) -> None:
        os.close(self._fd)


def held(directory: Path) -> bool:
    """Whether an engine has the lock of a store directory; one that is just ending still has it."""
    try:
        descriptor = os.open(directory / FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # shared, and for a moment only: an engine that starts just then is told to try again
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EWOULDBLOCK, errno.EACCES)
    finally:
        os.close(descriptor)
    return False
