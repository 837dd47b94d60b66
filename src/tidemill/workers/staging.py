"""The private directory of an attempt: staged inputs come in, files it returns go to the object store.

One directory per executor is the working directory of every attempt. It is replaced only when an attempt has left
something in it: a new entry changes its modification time, which is zero while it is empty. So it costs next to nothing
where runs touch no files.
"""

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tidemill.model.errors import NotFoundError
from tidemill.model.file import File
from tidemill.model.fileid import FileId
from tidemill.model.filename import base_name, given_name
from tidemill.model.states import Reason
from tidemill.model.values import Ref, decode, id_ref
from tidemill.stores.objects.interface import Delivered, ObjectStore
from tidemill.stores.objects.transfer import fetch_url
from tidemill.workers.diskuse import disk_use
from tidemill.workers.failure import Fault, LostInput

INPUTS = "inputs"
"""Directory of staged inputs, below the working directory."""

_TOUCH = 5e-6
"""Seconds."""

_NOW = "now"
_TEMP = "temp"
_LOG = "log"


def area(scratch: str, worker: int) -> Path:
    """The directory of one executor below the scratch root."""
    return Path(scratch) / f"w{worker}"


def now_directory(scratch: str, worker: int) -> Path:
    """Working directory of the attempt under way."""
    return area(scratch, worker) / _NOW


def temp_directory(scratch: str, worker: int) -> Path:
    """What the attempt under way has that is temporary."""
    return area(scratch, worker) / _TEMP


def log_file(scratch: str, worker: int) -> Path:
    """What the attempt under way has printed."""
    return area(scratch, worker) / _LOG


def kept_directory(scratch: str, run: int, fence: int) -> Path:
    """Where the directory of a failed attempt is kept."""
    return Path(scratch) / f"{run}.{fence}"


class Scratch:
    """A directory that is empty before each attempt, and the working directory of this process.

    Args:
        path: the directory; created anew, whatever was there is removed.
        objects: answers where files come from and go to; called at first use.
    """

    def __init__(self, path: Path, objects: Callable[[], ObjectStore]) -> None:
        self.path = path
        self._objects = objects
        self._fd = -1
        self._staged: dict[tuple[int, int], Ref] = {}
        self._taken: dict[Path, Ref] = {}
        self._stored: dict[bytes, None] = {}
        self._clear()
        self._create()
        os.fchdir(self._fd)

    def settle(self, wall: float) -> bool:
        """Stand in the directory again after an attempt of `wall` seconds; whether it is as empty as it was.

        No file can be created in less than `_TOUCH`, so the shortest attempts are not looked at.
        """
        os.fchdir(self._fd)
        if wall < _TOUCH:
            return True
        found = os.fstat(self._fd)
        return found.st_mtime == 0 and found.st_nlink > 0

    def used(self) -> int:
        """Bytes that the attempt has on its disk at its end, what the object store has taken over included."""
        return disk_use(self.path) + sum(ref.size for path, ref in self._taken.items() if not os.path.lexists(path))

    def leave(self, kept: Path | None = None) -> str:
        """Get ready for the next attempt: move what was written to `kept`, or remove it.

        Returns:
            The path where it is kept, or "" if there was nothing to keep.
        """
        self._staged.clear()
        self._taken.clear()
        self._stored.clear()
        place = "" if kept is None else keep(self.path, kept)
        if not place:
            self._clear()
        self._create()
        os.fchdir(self._fd)
        return place

    def _clear(self) -> None:
        remove(self.path)

    def _create(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self.path.mkdir(parents=True)
        os.utime(self.path, (0, 0))
        self._fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)

    # -------------------------------------------------------------------------------------------------------- coming in

    def stage(self, ref: Ref) -> object:
        """What stands for stored content in the arguments: the path of a file or directory, or the decoded value.

        Paths are absolute.

        Raises:
            LostInput: it is not in the object store any more.
            TidemillError: what else the object store raises.
        """
        if ref.kind == "value":
            return decode(self.get(ref.digest), (), self.stage)
        path = self._place(given_name(ref.name, ref.digest.hex()[:16]))
        with self._finding(ref.digest):
            if ref.kind == "dir":
                self._objects().get_dir(ref.digest, path)
            elif lay_out(self._objects(), ref.digest, path, mode=ref.mode) == "link":
                found = path.stat()
                self._staged[found.st_dev, found.st_ino] = ref
        return path

    def get(self, digest: bytes) -> bytes:
        """The bytes of a stored value.

        Raises:
            LostInput: they are not in the object store any more.
            TidemillError: what else the object store raises.
        """
        with self._finding(digest):
            return self._objects().get(digest)

    @contextmanager
    def _finding(self, digest: bytes) -> Iterator[None]:
        try:
            yield
        except NotFoundError as error:
            raise LostInput([digest], self._objects().url) from error

    def lacking(self, digests: list[bytes]) -> list[bytes]:
        """Those of these objects that are not in the object store."""
        there = self._objects().exists(digests)
        return [one for one in dict.fromkeys(digests) if one not in there]

    def _place(self, name: str) -> Path:
        """`inputs/name`, or `inputs/2/name` … if that is taken: the same for the same arguments."""
        folder = self.path / INPUTS
        number = 1
        while self._is_used(folder / name):
            number += 1
            folder = self.path / INPUTS / str(number)
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name

    def _is_used(self, path: Path) -> bool:
        return os.path.lexists(path)

    # -------------------------------------------------------------------------------------------------------- going out

    def put(self, leaf: object) -> Ref:
        """Store the file or directory that a result names; relative paths count from the working directory.

        Raises:
            Fault: BAD_OUTPUT if there is none.
        """
        if isinstance(leaf, FileId):
            self._stored[leaf.digest] = None
            return id_ref(leaf)
        if not isinstance(leaf, (Path, File)):
            raise TypeError(f"not a file: {leaf!r}")
        if isinstance(leaf, File) and leaf.url:
            return self._fetch(leaf.url)
        name = os.fspath(leaf)
        path = self.path / name
        ref = self._taken.get(path) or self._capture(path, f"the result names the file {name!r}")
        self._stored[ref.digest] = None
        return ref

    def _fetch(self, url: str) -> Ref:
        found = fetch_url(self._objects(), url)
        self._stored[found.digest] = None
        return found.ref

    def take(self, path: Path, what: str) -> Path:
        """Store a file or directory that nobody writes to any more, so that the store may take the file itself.

        Args:
            path: where it is; afterwards it may be gone.
            what: begins the message if there is none.

        Returns:
            What stands for it in a result.

        Raises:
            Fault: BAD_OUTPUT if there is none.
        """
        self._taken[path] = self._capture(path, what, move=True)
        return path

    def _capture(self, path: Path, what: str, *, move: bool = False) -> Ref:
        try:
            found = path.stat()
        except OSError as error:
            problem = "it was not written" if isinstance(error, FileNotFoundError) else error.strerror
            raise Fault(Reason.BAD_OUTPUT, f"{what}, but {problem}", hint=f"expected at {path}") from error
        name = base_name(path)
        known = self._staged.get((found.st_dev, found.st_ino))
        if known is not None:
            ref = Ref(known.digest, known.size, "file", name, known.mode)
        elif stat.S_ISDIR(found.st_mode):
            digest, size = self._objects().put_dir(path)
            ref = Ref(digest, size, "dir", name)
        elif stat.S_ISREG(found.st_mode):
            digest, size = self._objects().put_file(path, move=move and found.st_nlink == 1 and not path.is_symlink())
            ref = Ref(digest, size, "file", name, 0o755 if found.st_mode & 0o100 else 0o644)
        else:
            raise Fault(Reason.BAD_OUTPUT, f"{what}, but that is neither a file nor a directory", hint=f"it is {path}")
        return ref

    def put_bytes(self, data: bytes) -> bytes:
        """Store bytes that are too large for a row; their digest."""
        return self._objects().put(data)

    def stored(self) -> list[bytes]:
        """Digests of the files that `put` has stored since the last call, each once, in order."""
        if not self._stored:
            return []
        digests = list(self._stored)
        self._stored.clear()
        return digests


def lay_out(objects: ObjectStore, digest: bytes, path: Path, *, mode: int, link: bool = True) -> Delivered:
    """Put a file where user code may do with it what it likes: by a link only if that cannot harm the store. The owner
    of a read-only file can make it writable through any link to it.

    Raises:
        TidemillError: what the object store raises.
    """
    given = objects.get_file(digest, path, link=link, mode=mode)
    if given == "link" and os.stat(path).st_uid == os.geteuid():
        return objects.get_file(digest, path, mode=mode)
    return given


def keep(path: Path, kept: Path) -> str:
    """Move a directory that is not empty to `kept`; the new path, or "" if there was nothing to keep or no way to."""
    try:
        if not os.listdir(path):
            return ""
        remove(kept)
        path.rename(kept)
    except OSError:
        return ""
    return str(kept)


def remove(path: Path) -> None:
    """Remove a directory tree, read-only parts included. What cannot be removed is left without complaint."""

    def unlock(function: Callable[..., object], name: str, _: object) -> None:
        try:
            os.chmod(os.path.dirname(name), 0o700)
            if os.path.isdir(name) and not os.path.islink(name):
                os.chmod(name, 0o700)
                shutil.rmtree(name, ignore_errors=True)
            else:
                os.unlink(name)
        except OSError:
            del function

    if os.path.lexists(path):
        shutil.rmtree(path, onerror=unlock)
