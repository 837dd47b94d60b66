"""The file store as one attempt sees it: what it wrote, read and deleted, and its temporary files.

What it writes is durable when `commit` returns, and nothing of it counts before the engine has accepted the attempt's
outcome. What it deletes is only written down here.
"""

import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import IO, Any, NamedTuple

from tidemill.graph.inside import PathLike
from tidemill.model.errors import NoCopyError, NotFoundError, StoreError, UsageError
from tidemill.model.fileid import FileId, Origin
from tidemill.model.filename import base_name, file_name, given_name
from tidemill.model.protocol import Written
from tidemill.stores.objects.failures import writing
from tidemill.stores.objects.files import write_all
from tidemill.stores.objects.interface import SMALL, ObjectStore
from tidemill.workers import staging
from tidemill.workers.failure import LostFile
from tidemill.workers.intake import Intake
from tidemill.workers.streams import BinarySink, TextSink, source

READ = "files"
"""Directory of files that were read without saying where to, below the working directory."""

Asker = Callable[[str, dict[str, object]], Any]
"""(what, arguments) -> the engine's answer."""


class Ended(NamedTuple):
    """What an attempt tells the engine, see `Outcome`."""

    files: list[Written]
    deleted: list[str]
    used: list[tuple[bytes, float, str, int]]
    disk: int


class FileStore:
    """What `tidemill.graph.files` does, for one attempt. Safe for several threads.

    Args:
        origin: the run and its attempt.
        objects: where the bytes are; called at first use.
        scratch: working directory of the attempt.
        temp: directory for what is temporary; made when it is needed.
        ask: asks the engine.

    Attributes:
        intake: takes what it writes.
    """

    def __init__(
        self, origin: tuple[int, int], objects: Callable[[], ObjectStore], scratch: Path, temp: Path, ask: Asker
    ) -> None:
        self._run, self._fence = origin
        self._objects = objects
        # What `os.getcwd` says has no symbolic links in it.
        self._scratch = Path(os.path.realpath(scratch))
        self._temp = Path(os.path.realpath(temp))
        self._ask = ask
        self.intake = Intake(objects, self._temporary_root)
        self._numbers = count(1)
        self._lock = threading.RLock()
        self._written: dict[int, Written] = {}
        self._deleted: dict[FileId, Written | None] = {}
        self._used: dict[tuple[FileId, str], float] = {}
        self._copies: dict[str, FileId] = {}
        self._found: set[FileId] = set()
        self._peak = 0
        self._over = False

    # --------------------------------------------------------------------------------------------------------- writing

    def write(self, path: PathLike, name: str | None, *, temporary: bool) -> FileId:
        name = base_name(os.fsdecode(path)) if name is None else file_name(name)
        digest, size, mode = self.intake.take(path)
        made = self._add(digest, size, mode, name, temporary=temporary)
        folder, base = os.path.split(os.path.abspath(os.fsdecode(path)))
        place = os.path.join(os.path.realpath(folder), base)
        if any(place.startswith(os.path.join(folder, "")) for folder in (self._scratch, self._temp)):
            with self._lock:
                self._copies[place] = made
        return made

    @contextmanager
    def writing(
        self, name: str, *, temporary: bool, encoding: str | None, errors: str | None, executable: bool
    ) -> Iterator[BinarySink | TextSink]:
        name = file_name(name)
        with self.intake.stream(encoding, errors) as (stream, spool):
            yield stream
            digest, size = self.intake.finish(stream, spool)
            mode = 0o755 if executable else 0o644
            stream.complete(self._add(digest, size, mode, name, temporary=temporary))

    def _add(self, digest: bytes, size: int, mode: int, name: str, *, temporary: bool) -> FileId:
        n = next(self._numbers)
        made = FileId.of(Origin(self._run, self._fence, n), digest, size, name, executable=mode == 0o755)
        with self._lock:
            if self._over:
                raise UsageError("the attempt that this file was to belong to has ended", hint="Join its threads.")
            self._written[n] = Written(n, digest, size, mode, name, temporary)
        return made

    # --------------------------------------------------------------------------------------------------------- reading

    def read(self, id: str, path: PathLike | None, *, mutable: bool, link: bool) -> Path:
        file = self._there(id)
        with self._finding(file):
            data = self._small(file)
            if path is not None:
                place = os.path.abspath(os.fsdecode(path))
                if not self._deliver(file, data, place, link=link and not mutable):
                    raise UsageError(
                        f"reading {file.name} would overwrite {place}", hint="Give a path where nothing is."
                    )
            else:
                place = self._deliver_here(file, data, link=link and not mutable)
        with self._lock:
            self._copies[place] = file
            self._used.setdefault((file, place), time.time())
        return Path(place)

    def _deliver(self, file: FileId, data: bytes | None, place: str, *, link: bool) -> bool:
        """Put a file at `place`; False if something is there. `data` are its bytes if it is small."""
        if data is not None:
            return _write_new(place, data, file.mode)
        # What lays it out replaces what is there: an empty file, which takes the place from anybody else.
        if not _write_new(place, b"", file.mode):
            return False
        try:
            staging.lay_out(self._objects(), file.digest, Path(place), mode=file.mode, link=link)
        except BaseException:
            with suppress(OSError):
                os.unlink(place)
            raise
        return True

    def _deliver_here(self, file: FileId, data: bytes | None, *, link: bool) -> str:
        """Put a file into the task's directory, under its name: where."""
        folder = os.path.join(self._scratch, READ)
        os.makedirs(folder, exist_ok=True)
        name = given_name(file.name, "file")
        place = os.path.join(folder, name)
        while not self._deliver(file, data, place, link=link):
            import tempfile

            place = os.path.join(tempfile.mkdtemp(prefix="", dir=folder), name)
        return place

    def open(self, id: str, encoding: str | None, errors: str | None) -> IO[Any]:
        file = self._there(id)
        stream = source(self._content(file), encoding, errors)
        with self._lock:
            self._used.setdefault((file, ""), time.time())
        return stream

    def _content(self, file: FileId) -> bytes | Iterator[bytes]:
        with self._finding(file):
            data = self._small(file)
            return self._objects().open(file.digest) if data is None else data

    def exists(self, id: str) -> bool:
        file = FileId(id)
        if file in self._deleted:
            return False
        if self.wrote(file):
            return file.origin.n in self._written
        return (file.shared or bool(self._ask("file.exists", {"id": str(file)}))) and bool(
            self.intake.held(file.digest) is not None or self._objects().exists([file.digest])
        )

    def wrote(self, file: FileId) -> bool:
        """Whether this attempt wrote a file."""
        return file.origin[:2] == (self._run, self._fence)

    def _known(self, id: str) -> FileId:
        file = FileId(id)
        if file in self._deleted:
            raise NotFoundError(f"the file {file.name} was deleted by this task")
        if self.wrote(file) and file.origin.n not in self._written:
            raise NotFoundError(f"this task wrote no file {file}")
        return file

    def _there(self, id: str) -> FileId:
        """A file that may be read. The engine is asked once, and not for what came as an input: those may be many, and
        what has gone since is made again.
        """
        file = self._known(id)
        if file.stored or file.shared or self.wrote(file) or file in self._found:
            return file
        if not self._ask("file.exists", {"id": str(file)}):
            raise NotFoundError(
                f"there is no file {file}, or not any more",
                hint="What an attempt writes is there for others once it has ended well, until it is deleted.",
            )
        self._found.add(file)
        return file

    def present(self, id: str) -> FileId:
        """A file whose bytes are here.

        Raises:
            NotFoundError: if they are not.
            UsageError: if the text is no id.
        """
        file = self._known(id)
        if self.intake.held(file.digest) is None and not self._objects().exists([file.digest]):
            raise LostFile(file, self._objects().url)
        return file

    def _small(self, file: FileId) -> bytes | None:
        """The bytes of a small file; None for a large one, which is better copied by the object store."""
        data = self.intake.held(file.digest)
        if data is None and file.size <= SMALL:
            data = self._objects().get(file.digest)
        return data

    @contextmanager
    def _finding(self, file: FileId) -> Iterator[None]:
        try:
            yield
        except NotFoundError as error:
            with suppress(StoreError):
                if not self._objects().exists([file.digest]):
                    raise LostFile(file, self._objects().url) from error
            raise

    # -------------------------------------------------------------------------------------------------------- deleting

    def forget(self, id: str) -> None:
        file = FileId(id)
        if not self._remove_copies(file):
            raise NoCopyError(f"this task has no copy of {file.name}", hint="There is one after tm.files.read.")

    def _remove_copies(self, file: FileId) -> int:
        """Remove the copies of a file; how many there were."""
        with self._lock:
            places = [place for place, what in self._copies.items() if what == file]
            for place in places:
                del self._copies[place]
        removed = 0
        for place in places:
            with suppress(FileNotFoundError, NotADirectoryError):
                os.unlink(place)
                removed += 1
        return removed

    def delete(self, id: str) -> None:
        file = FileId(id)
        if file.shared:
            raise UsageError(
                f"{file.name} is what a shared name stands for, which is not deleted by a task",
                hint="Put another file under the name; programs outside give it up by store.names.delete.",
            )
        with self._lock:
            mine = self._written.pop(file.origin.n, None) if self.wrote(file) else None
            self._deleted.setdefault(file, mine)
        self._remove_copies(file)

    # ------------------------------------------------------------------------------------------------- temporary files

    def directory(self) -> Path:
        import tempfile

        found = tempfile.mkdtemp(prefix="", dir=self._temporary_root())
        os.chmod(found, 0o711)  # noqa: S103 (a container of another user must be able to go through it)
        return Path(found)

    def temporary(self, suffix: str, prefix: str) -> Path:
        import tempfile

        descriptor, found = tempfile.mkstemp(suffix, prefix, self._temporary_root())
        os.close(descriptor)
        return Path(found)

    def _temporary_root(self) -> Path:
        if not self._temp.is_dir():
            self._temp.mkdir(0o711, parents=True, exist_ok=True)
        return self._temp

    def usage(self) -> int:
        used = disk_usage([self._scratch, self._temp])
        self._peak = max(self._peak, used)
        return used

    # --------------------------------------------------------------------------------------------------------- the end

    def commit(self, *, last: bool) -> None:
        """Before anything is told of the attempt: make all that it wrote durable, and know that it is still there.

        Args:
            last: its outcome comes next; what a thread of it writes from now on is refused.

        Raises:
            StoreError: what was written cannot be kept, or some of it is gone already.
        """
        with self._lock:
            self._over = last  # before it is flushed: what is in the outcome has been
            digests = {written.digest for written in self._written.values()}
        self.intake.flush()
        self.intake.check(digests)

    def end(self, *, accepted: bool) -> Ended:
        """The attempt is over: what to tell, and its temporary files are gone.

        Args:
            accepted: it has succeeded, so what it wrote and deleted counts. Else it is told what of it has been stored,
                to be deleted.
        """
        self.usage()
        stored = self.intake.stored
        with self._lock:
            self._over = True
            files = list(self._written.values())
            deleted = [str(file) for file, mine in self._deleted.items() if mine is None or stored(mine.digest)]
            if not accepted:
                files = [one for one in (*files, *self._deleted.values()) if one is not None and stored(one.digest)]
                deleted = []
            used = [(one.digest, when, place, one.origin.run) for (one, place), when in self._used.items()]
        staging.remove(self._temp)
        return Ended(files, deleted, used, self._peak)


def disk_usage(roots: list[Path]) -> int:
    """Bytes that directory trees occupy on disk; what has several names counts once, what cannot be seen not at all."""
    total = 0
    seen: set[tuple[int, int]] = set()
    todo = [str(root) for root in roots]
    while todo:
        with suppress(OSError), os.scandir(todo.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    found = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(found.st_mode):
                        todo.append(entry.path)
                    if found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode):
                        if (found.st_dev, found.st_ino) in seen:
                            continue
                        seen.add((found.st_dev, found.st_ino))
                    total += found.st_blocks * 512
    return total


def _write_new(place: str, data: bytes, mode: int) -> bool:
    """Write a file; False if something is there. If it fails, nothing is there either.

    Raises:
        NotFoundError: there is no such directory.
        StoreFullError: there is no room.
    """
    with writing(place):
        try:
            target = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        except FileExistsError:
            return False
        except (FileNotFoundError, NotADirectoryError):
            folder, name = os.path.split(place)
            raise NotFoundError(f"there is no directory {folder} to put {name} into") from None
        try:
            write_all(target, data)
        except BaseException:
            os.unlink(place)
            raise
        finally:
            os.close(target)
    return True
