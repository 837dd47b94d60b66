"""The file store as one attempt sees it: what it wrote, read and deleted, and its temporary files.

What it writes is in the object store, or waits in memory if it is small: a hundred small files that are put together
cost as much as one. All of it is durable when `commit` returns, and nothing of it counts before the engine has accepted
the attempt's outcome. What it deletes is only written down here.
"""

import os
import re
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

from tidemill.graph.inside import PathLike
from tidemill.model.digest import digest as digest_of
from tidemill.model.errors import NoCopyError, NotFoundError, StoreError, UsageError
from tidemill.model.fileid import FileId, Origin
from tidemill.model.protocol import Written
from tidemill.stores.objects.files import new_file, open_regular, read_up_to, write_all
from tidemill.stores.objects.interface import SMALL, ObjectStore
from tidemill.workers import staging
from tidemill.workers.failure import LostFile
from tidemill.workers.streams import BinarySink, Spool, TextSink, sink, source

HELD = 16 << 20
"""Bytes of small files that wait in memory at most."""
HELD_FILES = 4000
"""How many of them wait at most."""
AGING = 600.0
"""Seconds after which a file that was put counts as old: whether it is still there is looked at before the end."""
READ = "files"
"""Directory of files that were read without saying where to, below the working directory."""

_NAME = re.compile(r"[A-Za-z0-9._-]+")

Asker = Callable[[str, dict[str, object]], Any]
"""(what, arguments) -> the engine's answer."""


class Ended(NamedTuple):
    """What an attempt tells the engine, see `Outcome`."""

    files: list[Written]
    deleted: list[str]
    used: list[tuple[bytes, float, str]]
    disk: int


class FileStore:
    """What `tidemill.graph.files` does, for one attempt. Safe for several threads.

    Args:
        origin: the run and its attempt.
        objects: where the bytes are; called at first use.
        scratch: working directory of the attempt.
        temp: directory for what is temporary; made when it is needed.
        ask: asks the engine.
    """

    def __init__(
        self, origin: tuple[int, int], objects: Callable[[], ObjectStore], scratch: Path, temp: Path, ask: Asker
    ) -> None:
        self._run, self._fence = origin
        self._objects = objects
        self._scratch = scratch
        self._temp = temp
        self._ask = ask
        self._numbers = count(1)
        self._lock = threading.RLock()
        self._held: dict[bytes, bytes] = {}
        self._held_bytes = 0
        self._put: dict[bytes, float] = {}
        self._written: dict[int, Written] = {}
        self._deleted: dict[FileId, bool] = {}
        self._used: dict[tuple[bytes, str], float] = {}
        self._copies: dict[str, FileId] = {}
        self._versions: dict[tuple[str, str], int] = {}
        self._peak = 0
        self._over = False

    # --------------------------------------------------------------------------------------------------------- writing

    def write(self, path: PathLike, name: str | None, *, temporary: bool) -> FileId:
        name = _file_name(os.path.basename(os.fsdecode(path)) if name is None else name)
        digest, size, mode = self._take(path)
        made = self._add(digest, size, mode, name, temporary=temporary)
        place = os.path.abspath(os.fsdecode(path))
        if self._own(place):
            with self._lock:
                self._copies[place] = made
        return made

    @contextmanager
    def writing(
        self, name: str, *, temporary: bool, encoding: str | None, errors: str | None, executable: bool
    ) -> Iterator[BinarySink | TextSink]:
        name = _file_name(name)
        with self._stream(encoding, errors) as (stream, spool):
            yield stream
            digest, size = self._finish(stream, spool)
            mode = 0o755 if executable else 0o644
            stream.complete(self._add(digest, size, mode, name, temporary=temporary))

    @contextmanager
    def _stream(self, encoding: str | None, errors: str | None) -> Iterator[tuple[BinarySink | TextSink, Spool]]:
        """A stream that is closed, and whose bytes are forgotten here, at the end of the block."""
        spool = Spool(lambda: str(self._temporary_root()))
        stream = sink(spool, encoding, errors)
        try:
            yield stream, spool
        finally:
            with suppress(Exception):  # what is still to be written, to a full disk say, is thrown away
                stream.close()
            spool.drop()

    def _finish(self, stream: BinarySink | TextSink, spool: Spool) -> tuple[bytes, int]:
        """Store what was written to a stream; digest and size."""
        stream.close()
        if not spool.path:
            data = spool.small()
            return self._hold(data), len(data)
        digest, size = self._objects().put_file(spool.path, move=True)
        self._put[digest] = time.monotonic()
        return digest, size

    def _take(self, path: PathLike) -> tuple[bytes, int, int]:
        """Store the file at `path`: (digest, size, mode)."""
        source_ = open_regular(path)
        try:
            found = os.fstat(source_)
            mode = 0o755 if found.st_mode & stat.S_IXUSR else 0o644
            if found.st_size <= SMALL and len(data := read_up_to(source_, SMALL + 1)) <= SMALL:
                return self._hold(data), len(data), mode
        except OSError as error:
            raise StoreError(f"cannot read {os.fspath(path)}: {os.strerror(error.errno or 0)}") from error
        finally:
            os.close(source_)
        digest, size = self._objects().put_file(path)
        self._put[digest] = time.monotonic()
        return digest, size, mode

    def _hold(self, data: bytes) -> bytes:
        """Keep a small file in memory until it is put; its digest."""
        digest = digest_of(data)
        with self._lock:
            if digest not in self._held:
                self._held[digest] = data
                self._held_bytes += len(data)
            if self._held_bytes > HELD or len(self._held) > HELD_FILES:
                self.flush()
        return digest

    def _add(self, digest: bytes, size: int, mode: int, name: str, *, temporary: bool) -> FileId:
        n = next(self._numbers)
        made = FileId.of(Origin(self._run, self._fence, n), digest, size, name, executable=mode == 0o755)
        with self._lock:
            if self._over:
                raise UsageError("the attempt that this file was to belong to has ended", hint="Join its threads.")
            self._written[n] = Written(n, digest, size, mode, name, temporary)
        return made

    def flush(self) -> None:
        """Make everything that was written durable."""
        with self._lock:
            if self._held:
                self._objects().put_many(list(self._held.values()))
                now = time.monotonic()
                self._put.update(dict.fromkeys(self._held, now))
                self._held.clear()
                self._held_bytes = 0

    # --------------------------------------------------------------------------------------------------------- reading

    def read(self, id: str, path: PathLike | None, *, mutable: bool, link: bool) -> Path:
        file = self._known(id)
        place = self._new_place(file) if path is None else os.path.abspath(os.fsdecode(path))
        if path is not None and os.path.lexists(place):
            raise UsageError(f"reading {file.name} would overwrite {place}", hint="Give a path where nothing is.")
        with self._finding(file):
            data = self._small(file)
            if data is not None:
                with new_file(place, file.mode) as target:
                    write_all(target, data)
            else:
                self._lay_out(file, place, link=link and not mutable)
        with self._lock:
            self._copies[place] = file
        self._note(file.digest, place)
        return Path(place)

    def _lay_out(self, file: FileId, place: str, *, link: bool) -> None:
        """Put a large file at `place`, by a link if that cannot harm the store: the owner of a read-only file can make
        it writable through any link to it.
        """
        given = self._objects().get_file(file.digest, place, link=link, mode=file.mode)
        if given == "link" and os.stat(place).st_uid == os.geteuid():
            self._objects().get_file(file.digest, place, mode=file.mode)

    def open(self, id: str, encoding: str | None, errors: str | None) -> IO[Any]:
        file = self._known(id)
        stream = source(self._content(file), encoding, errors)
        self._note(file.digest, "")
        return stream

    def _content(self, file: FileId) -> bytes | Iterator[bytes]:
        with self._finding(file):
            data = self._small(file)
            return self._objects().open(file.digest) if data is None else data

    def exists(self, id: str) -> bool:
        file = FileId(id)
        run, fence, n = file.origin
        if file in self._deleted:
            return False
        if (run, fence) == (self._run, self._fence):
            return n in self._written
        named = run == fence == 0
        return (named or bool(self._ask("file.exists", {"id": str(file)}))) and bool(
            file.digest in self._held or self._objects().exists([file.digest])
        )

    def _known(self, id: str) -> FileId:
        file = FileId(id)
        if file in self._deleted:
            raise NotFoundError(f"the file {file.name} was deleted by this task")
        return file

    def _small(self, file: FileId) -> bytes | None:
        """The bytes of a small file; None for a large one, which is better copied by the object store."""
        data = self._held.get(file.digest)
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

    def _new_place(self, file: FileId) -> str:
        """A place in the task's directory, under the file's name."""
        folder = self._scratch / READ
        folder.mkdir(parents=True, exist_ok=True)
        name = file.name if file.name not in {"", ".", ".."} else "file"
        place = folder / name
        if os.path.lexists(place):
            place = Path(tempfile.mkdtemp(prefix="", dir=folder)) / name
        return str(place)

    def _note(self, digest: bytes, place: str) -> None:
        with self._lock:
            self._used.setdefault((digest, place), time.time())

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
        run, fence, n = file.origin
        with self._lock:
            mine = (run, fence) == (self._run, self._fence) and self._written.pop(n, None) is not None
            self._deleted.setdefault(file, not mine)
        self._remove_copies(file)

    # ------------------------------------------------------------------------------------------------- temporary files

    def directory(self) -> Path:
        found = tempfile.mkdtemp(prefix="", dir=self._temporary_root())
        os.chmod(found, 0o711)  # noqa: S103 (a container of another user must be able to go through it)
        return Path(found)

    def temporary(self, suffix: str, prefix: str) -> Path:
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

    def _own(self, place: str) -> bool:
        """Whether this is in the attempt's own directories."""
        return any(place.startswith(os.path.join(folder, "")) for folder in (self._scratch, self._temp))

    # ------------------------------------------------------------------------------------------------------ shared names

    def get(self, name: str) -> FileId:
        told = self._ask("name.get", {"name": _shared_name(name)})
        if told.get("kind", "file") != "file":
            raise UsageError(f"the shared name {name} stands for a directory", hint="A workflow can be given it.")
        made = self._named(name, told)
        self._versions[name, made] = told["version"]
        return made

    def version(self, name: str) -> int:
        try:
            return int(self._ask("name.get", {"name": _shared_name(name)})["version"])
        except NotFoundError:
            return 0

    def _named(self, name: str, told: Any) -> FileId:
        # No attempt has number 0: the version takes the place of the file's number, and both are never used again.
        origin = Origin(0, 0, told["version"])
        return FileId.of(origin, told["digest"], told["size"], told["base"] or name, executable=told["mode"] == 0o755)

    def put(self, name: str, path_or_id: PathLike, expect: int | str | None) -> int:
        _shared_name(name)
        text = os.fsdecode(path_or_id)
        if isinstance(path_or_id, str) and text.startswith("file:"):
            file = self._known(path_or_id)
            if file.digest not in self._held and not self._objects().exists([file.digest]):
                raise LostFile(file, self._objects().url)
            return self._move(name, file.digest, file.size, file.mode, file.name, expect)
        digest, size, mode = self._take(path_or_id)
        return self._move(name, digest, size, mode, _file_name(os.path.basename(text)), expect)

    def _move(self, name: str, digest: bytes, size: int, mode: int, base: str, expect: int | str | None) -> int:
        """Let a name stand for a file, which is durable before anybody is told of it."""
        if isinstance(expect, str):
            known = self._versions.get((name, expect))
            if known is None:
                raise UsageError(
                    f"this task has not read {name} as {FileId(expect).name}", hint="Give what tm.files.get returned."
                )
            expect = known
        if digest in self._held:
            self.flush()
        asked = {"name": name, "digest": digest, "size": size, "mode": mode, "base": base, "expect": expect}
        return int(self._ask("name.put", asked))

    @contextmanager
    def shared(
        self,
        name: str,
        mode: Literal["rb", "wb"],
        *,
        encoding: str | None,
        errors: str | None,
        expect: int | str | None,
    ) -> Iterator[IO[Any]]:
        _shared_name(name)
        if mode == "rb":
            with self.open(self.get(name), encoding, errors) as stream:
                yield stream
        elif mode == "wb":
            with self._stream(encoding, errors) as (written, spool):
                yield written
                digest, size = self._finish(written, spool)
                version = self._move(name, digest, size, 0o644, name, expect)
                told = {"version": version, "digest": digest, "size": size, "mode": 0o644, "base": name}
                written.complete(self._named(name, told))
        else:
            raise UsageError(f"{mode!r} is no mode of a shared file", hint='It is "rb" or "wb"; text has an encoding.')

    # --------------------------------------------------------------------------------------------------------- the end

    def commit(self) -> None:
        """Before the attempt's outcome is told: make all that it wrote durable, and know that it is still there.

        Raises:
            StoreError: what was written cannot be kept, or some of it is gone already.
        """
        with self._lock:
            self.flush()
            old = time.monotonic() - AGING
            aged = {w.digest for w in self._written.values() if self._put.get(w.digest, old) < old}
        gone = aged - self._objects().exists(aged) if aged else set()
        if gone:
            raise StoreError(
                f"{len(gone)} files that this task wrote are gone from {self._objects().url} before it ended",
                hint="Give gc a longer grace time than the longest task takes.",
            )

    def end(self, *, accepted: bool) -> Ended:
        """The attempt is over: what to tell, and its temporary files are gone.

        Args:
            accepted: it has succeeded, so what it wrote and deleted counts.
        """
        self.usage()
        with self._lock:
            self._over = True
            files = list(self._written.values()) if accepted else []
            deleted = [str(file) for file, journal in self._deleted.items() if journal] if accepted else []
            used = [(digest, when, place) for (digest, place), when in self._used.items()]
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


def _file_name(name: str) -> str:
    """A name as it is kept: what is no text in it is replaced.

    Raises:
        UsageError: if it cannot be the name of a file.
    """
    if name in {"", ".", ".."} or "/" in name or "\0" in name:
        raise UsageError(f"{name!r} cannot be the name of a file", hint="Give one without a slash.")
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _shared_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no shared name", hint="Letters, digits, `.`, `_` and `-`.")
    return name
