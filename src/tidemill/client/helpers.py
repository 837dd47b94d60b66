"""Small helpers for programs around a workflow: `tidemill.helpers`."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import wraps
from itertools import chain, repeat
from typing import IO, NamedTuple, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

Path = str | os.PathLike[str]

When = type[BaseException] | Callable[[Exception], bool]
"""A kind of error, or what says of one whether it may be over soon."""

_EXECUTABLE = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH
_WAITS = (1, 1, 2, 4, 8, 16)


class Space(NamedTuple):
    """Bytes of a file system: what a user without privileges may still write, and all there are."""

    free: int
    total: int


def atomic_copy(source: Path, target: Path, *, executable: bool | None = None) -> None:
    """Copy a file so that `target` is the old file, or none, until it is the whole new one, whatever happens meanwhile;
    once this returns, it stays so after a power failure.

    Args:
        source: a file; a link is followed.
        target: the name that it gets; a file there is replaced, the directory must exist.
        executable: whether its owner may execute it; None to keep what `source` has.

    Raises:
        OSError: the file cannot be read or written; `target` is as it was.
    """
    with open(source, "rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode) | stat.S_IWUSR
        if executable is not None:
            mode = mode | stat.S_IXUSR if executable else mode & ~_EXECUTABLE
        _write(file, target, 0o600, mode)


def atomic_write(stream: IO[bytes], target: Path, *, executable: bool = False) -> None:
    """Write what is left of an open binary file, as `atomic_copy` does: all of it under its name, or nothing.

    Args:
        stream: is read to its end.
        target: the name that it gets; a file there is replaced, the directory must exist.
        executable: whether those who may read it may execute it.

    Raises:
        OSError: it cannot be read or written; `target` is as it was.
    """
    _write(stream, target, 0o777 if executable else 0o666)


def _write(stream: IO[bytes], target: Path, made: int, mode: int | None = None) -> None:
    """`made`: the permissions before the umask; `mode`: those that it gets in the end, where they are known."""
    target = os.path.abspath(target)
    name = os.path.join(os.path.dirname(target), f".tidemill-{secrets.token_hex(8)}")
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, made)
    try:
        with open(descriptor, "wb") as copy:
            shutil.copyfileobj(stream, copy, 1 << 20)
            copy.flush()
            if mode is not None:
                os.fchmod(copy.fileno(), mode)
            os.fsync(copy.fileno())
        os.rename(name, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise
    _sync_directory(os.path.dirname(target))


def _sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def free_space(path: Path) -> Space:
    """The space of the file system on which a path is, or will be: it need not exist yet."""
    there = os.path.abspath(path)
    while not os.path.exists(there):
        there = os.path.dirname(there)
    found = os.statvfs(there)
    return Space(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)


def public_directory(path: Path = "") -> str:
    """A new directory that everybody may pass through, but only its owner may list or change: so that a container of
    another user can open files in it by name.

    Args:
        path: in which directory; default: that of temporary files.
    """
    made = tempfile.mkdtemp(prefix="tidemill-", dir=os.fspath(path) or None)
    os.chmod(made, 0o711)  # noqa: S103 — that is what it is for
    return made


def remove_tree(path: Path) -> None:
    """Delete a file, or a directory with all that is in it, read-only parts included. What is missing, or vanishes
    meanwhile, is as good as deleted; links are deleted, not what they lead to.

    Raises:
        OSError: something cannot be deleted.
    """
    if os.path.islink(path) or not os.path.isdir(path):
        with suppress(FileNotFoundError):
            os.unlink(path)
        return
    _make_passable(os.fspath(path))
    for folder, names, _ in os.walk(path):
        for name in names:
            _make_passable(os.path.join(folder, name))
    shutil.rmtree(path, onerror=_complain)


def _make_passable(folder: str) -> None:
    with suppress(OSError):  # what cannot be changed may still be empty, or ours to delete
        if not os.path.islink(folder):
            os.chmod(folder, stat.S_IRWXU)


def _complain(_function: object, _name: str, error: tuple[type[BaseException], BaseException, object]) -> None:
    if not isinstance(error[1], FileNotFoundError):
        raise error[1]


def retry(
    *when: When,
    waits: Sequence[float] = _WAITS,
    forever: bool = False,
    between: Callable[[Exception], object] | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Have a function called again when it raises what may be over soon: `@tm.helpers.retry(ConnectionError)`.

    It is for calls of something unreliable, inside a task or in a program. To try a whole task again, say
    `@tm.task(retries=…)`: that survives the end of the process, and is on record.

    Args:
        when: kinds of errors, or functions that say of an error whether to try again (`lambda e: e.code == 503`); any
            one is enough. Default: every `Exception`.
        waits: seconds before each further call; as many as there are, that often it is tried again.
        forever: after the last of them, go on with that one.
        between: called with the error before each wait: to write it down, or to connect anew.

    Raises (from the function):
        BaseException: what it raised at last, or what is none of `when`.
    """

    def again(error: Exception) -> bool:
        return not when or any(isinstance(error, w) if isinstance(w, type) else w(error) for w in when)

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def called(*args: P.args, **kwargs: P.kwargs) -> R:
            for wait in chain(waits, repeat(waits[-1]) if forever and waits else ()):
                try:
                    return function(*args, **kwargs)
                except Exception as error:
                    if not again(error):
                        raise
                    if between is not None:
                        between(error)
                time.sleep(wait)
            return function(*args, **kwargs)

        return called

    return decorate
