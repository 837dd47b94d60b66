"""Small helpers for programs around a workflow: `tidemill.helpers`."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from contextlib import suppress
from typing import NamedTuple

Path = str | os.PathLike[str]


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
    target = os.path.abspath(target)
    with open(source, "rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode) | stat.S_IWUSR
        if executable is not None:
            mode = mode | stat.S_IXUSR if executable else mode & ~(stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
        descriptor, name = tempfile.mkstemp(prefix=".tidemill-", dir=os.path.dirname(target))
        try:
            with open(descriptor, "wb") as copy:
                shutil.copyfileobj(file, copy, 1 << 20)
                copy.flush()
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
