"""Things to do after an attempt, however it ends: `python -m tidemill.workers.deferred FILE …` does what is left over.

What an attempt registers stands in a file, a stack of records, locked (flock) by the process that executes the attempt.
After the attempt that process does what is on the stack, the last first, and takes each off when it is done. If it dies
before, the kernel drops the lock, and who gets it does the rest: so each is done at least once. One that has been begun
`TRIES` times, so that it has ended its process each time, is given up.
"""

import fcntl
import os
import pickle
import struct
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from tidemill.graph import context
from tidemill.model.errors import UsageError
from tidemill.stores.objects.failures import writing
from tidemill.stores.objects.files import write_all
from tidemill.workers.failure import one_line

FOLDER = "deferred"
"""Directory of the files, below the scratch directory that all executors of a pool share."""

TRIES = 3

_HEAD = struct.Struct("<BI")
"""How often a record has been begun, and the bytes in it."""


class Record(msgspec.Struct, array_like=True):
    """One thing to do.

    Attributes:
        host: the machine on which it is to be done.
        path: `sys.path` of the process that registered it.
        directory: where that process's project is.
        name: of the function, for messages.
        call: pickle of the function, its arguments and keyword arguments.
    """

    host: str
    path: list[str]
    directory: str
    name: str
    call: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Record).decode


class _Place(NamedTuple):
    """Where a record is in its file."""

    offset: int
    tries: int
    size: int


class Deferred:
    """What the attempt under way has registered. Not thread safe.

    Args:
        directory: for the file.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._path = ""
        self._fd = -1

    def add(self, name: str, function: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Register a call; when this returns it will be done, even if this process is killed.

        Args:
            name: of the attempt among all that use the directory.
            function: what to call.
            args: its arguments.
            kwargs: its keyword arguments.

        Raises:
            UsageError: if it cannot be pickled.
            StoreFullError: if there is no room for it.
        """
        what = getattr(function, "__qualname__", type(function).__qualname__)
        record = Record(
            os.uname().nodename, sys.path, context.directory, what, _pickled(what, (function, args, kwargs))
        )
        data = _encode(record)
        if self._fd < 0:
            self._open(name)
        end = os.lseek(self._fd, 0, os.SEEK_END)
        try:
            with writing(self._path):
                write_all(self._fd, _HEAD.pack(0, len(data)) + data)
        except BaseException:
            os.ftruncate(self._fd, end)
            raise

    def _open(self, name: str) -> None:
        """Make the file. It has its name when it is locked: what is not locked may be done by anybody."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self._path = str(self._directory / name)
        fresh = str(self._directory / f".{name}")
        self._fd = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        os.rename(fresh, self._path)

    def run(self) -> None:
        """Do what was registered, the last first. What goes wrong is printed."""
        if self._fd < 0:
            return
        _run_all(self._fd)
        with suppress(FileNotFoundError):
            os.unlink(self._path)
        self.disown()

    def disown(self) -> None:
        """Leave it to others: in a forked child, say, which must not hold the lock."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _pickled(what: str, call: object) -> bytes:
    import cloudpickle

    try:
        return bytes(cloudpickle.dumps(call))
    except Exception as error:  # whatever a stranger's object raises
        raise UsageError(
            f"{what} cannot be deferred: {one_line(error)}",
            hint="Give a function and arguments that can be pickled: names and numbers instead of what is open.",
        ) from error


# -------------------------------------------------------------------------------------------------------- doing it


def _places(fd: int) -> Iterator[_Place]:
    """The records of a file. One that was being written when its writer died is none: it was never promised."""
    end = os.fstat(fd).st_size
    offset = 0
    while offset + _HEAD.size <= end:
        tries, size = _HEAD.unpack(os.pread(fd, _HEAD.size, offset))
        if offset + _HEAD.size + size > end:
            return
        yield _Place(offset, tries, size)
        offset += _HEAD.size + size


def _run_all(fd: int) -> None:
    """Do what is on the stack and take it off."""
    for place in reversed(list(_places(fd))):
        record = _decode(os.pread(fd, place.size, place.offset + _HEAD.size))
        if place.tries < TRIES:
            os.pwrite(fd, _HEAD.pack(place.tries + 1, place.size), place.offset)
            _run(record)
        else:
            sys.stderr.write(f"deferred {record.name} is given up: its process ended {TRIES} times\n")
        os.ftruncate(fd, place.offset)


def _run(record: Record) -> None:
    try:
        with context.import_only():
            function, args, kwargs = pickle.loads(record.call)
        function(*args, **kwargs)
    except BaseException:  # noqa: BLE001 (SystemExit and the like are the user's, too)
        sys.stderr.write(f"deferred {record.name} failed:\n")
        traceback.print_exc()


# ------------------------------------------------------------------------------------------------------ left over


def left_over(directory: Path) -> list[str]:
    """Files in a directory whose processes have ended, as far as can be seen now."""
    try:
        names = sorted(name for name in os.listdir(directory) if not name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = []
    for name in names:
        path = str(directory / name)
        with _locked(path) as fd:
            if fd >= 0:
                found.append(path)
    return found


@contextmanager
def _locked(path: str) -> Iterator[int]:
    """A descriptor of the file, locked; -1 if it is gone or somebody else has the lock."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        yield -1
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield fd if os.fstat(fd).st_nlink else -1
    except BlockingIOError:
        yield -1
    finally:
        os.close(fd)


def main(paths: Sequence[str]) -> None:
    """Do what dead processes have left in these files, unless somebody does it already, or it is another machine's."""
    host = os.uname().nodename
    for path in paths:
        with _locked(path) as fd:
            if fd < 0:
                continue
            places = list(_places(fd))
            if places:
                last = _decode(os.pread(fd, places[-1].size, places[-1].offset + _HEAD.size))
                if last.host != host:
                    continue
                sys.path += [entry for entry in last.path if entry not in sys.path]
                with suppress(OSError):
                    os.chdir(last.directory)
            _run_all(fd)
            with suppress(FileNotFoundError):
                os.unlink(path)
        for folder in Path(path).parents[:2]:
            with suppress(OSError):  # others are there still
                folder.rmdir()


if __name__ == "__main__":
    main(sys.argv[1:])
