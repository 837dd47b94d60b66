"""Tasks of the tests of files, messages and deferred functions. Workers import them; the tests name them."""

import contextlib
import io
import mmap
import os
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any

import tidemill.graph as tm
from tidemill.model.errors import ChangedError, NotFoundError, TidemillError
from tidemill.model.fileid import FileId

files = tm.files


def put(data: bytes, name: str = "x.bin", executable: bool = False, temporary: bool = False) -> FileId:
    path = files.directory() / name
    path.write_bytes(data)
    if executable:
        path.chmod(0o700)
    return files.write(path, temporary=temporary)


def put_as(data: bytes, path: str, name: str | None) -> FileId:
    Path(path).write_bytes(data)
    return files.write(path, name=name)


def put_path(path: str) -> FileId:
    return files.write(path)


def get(known: FileId, mutable: bool = False, link: bool = True, path: str | None = None) -> Any:
    place = files.read(known, path, mutable=mutable, link=link)
    return place.read_bytes(), place.name, os.access(place, os.X_OK), place.is_symlink(), str(place)


def stream(known: str, size: int = -1) -> bytes:
    with files.open(known) as source:
        return source.read(size)


def read_twice(known: str) -> list[bytes]:
    return [files.read(known).read_bytes(), stream(known)]


def text_stream(known: str, encoding: str, errors: str | None = None) -> str:
    with files.open(known, encoding, errors) as source:
        return source.read()


def write_stream(parts: list[Any], fail_at: int, encoding: str | None, executable: bool = False) -> Any:
    """Write parts; before part number `fail_at` an error is raised, and caught outside of the block."""
    out: Any = None
    try:
        if encoding is None:
            with files.writing("s.bin", executable=executable) as out:
                write_parts(out, parts, fail_at)
        else:
            with files.writing("s.txt", encoding=encoding, executable=executable) as out:
                write_parts(out, parts, fail_at)
    except ZeroDivisionError:
        with contextlib.suppress(TidemillError):
            return out.id
        return None
    return out.id


def write_parts(out: Any, parts: list[Any], fail_at: int) -> None:
    for number, part in enumerate(parts):
        if number == fail_at:
            raise ZeroDivisionError
        out.write(part)
    if fail_at == len(parts):
        raise ZeroDivisionError


def write_and_read(data: bytes) -> Any:
    """Read what was written, in the same attempt, in every way."""
    written = put(data)
    with files.open(written) as source:
        streamed = source.read()
    mine = files.read(written, mutable=True)
    assert os.access(mine, os.W_OK)
    return written, streamed, mine.read_bytes(), files.exists(written), files.size(str(written))


def exists(known: FileId) -> bool:
    return files.exists(known)


def zipped(sizes: list[int]) -> FileId:
    """What goes back in what it writes."""
    with files.writing("all.zip") as out, zipfile.ZipFile(out, "w") as archive:
        for size in sizes:
            archive.writestr(f"{size}.bin", bytes(size))
    return out.id


def unzipped(known: FileId) -> list[int]:
    with zipfile.ZipFile(files.read(known)) as archive:
        assert archive.testzip() is None
        return [one.file_size for one in archive.infolist()]


def then_fail(data: bytes, deleted: bytes, foreign: FileId) -> None:
    put(data)
    files.delete(put(deleted))
    files.delete(foreign)
    raise ValueError("no")


def overwrite_source(data: bytes, other: bytes) -> FileId:
    path = Path("mine.bin")
    path.write_bytes(data)
    written = files.write(path)
    path.write_bytes(other)
    return written


def forget_twice(known: FileId) -> Any:
    first, second = files.read(known), files.read(known, "second")
    files.forget(known)
    gone = not first.exists() and not second.exists()
    try:
        files.forget(known)
    except FileNotFoundError as error:
        return gone, error.errno, isinstance(error, NotFoundError), files.read(known).exists()
    return None


def forget_what_is_gone(known: FileId) -> str:
    files.read(known).unlink()
    try:
        files.forget(known)
    except FileNotFoundError as error:
        return type(error).__name__
    return ""


def forget_written() -> Any:
    mine = Path("mine.txt")
    mine.write_text("mine")
    written = files.write(mine)
    other = Path(sys.executable).resolve()
    outside = files.write(other)
    files.forget(written)
    with contextlib.suppress(FileNotFoundError):
        files.forget(outside)
        return None
    return mine.exists(), other.exists()


def delete(ids: list[FileId]) -> Any:
    found: list[Any] = []
    for known in ids:
        place = files.read(known)
        files.delete(known)
        files.delete(str(known))
        found.append((place.exists(), files.exists(known)))
        with contextlib.suppress(NotFoundError):
            files.read(known)
            found.append(("read", True))
    return found


def delete_own(data: bytes) -> None:
    files.delete(put(data))


def temporaries() -> Any:
    folder, file = files.directory(), files.temporary(".txt", "a-")
    (folder / "x").write_bytes(bytes(100_000))
    return str(folder), oct(folder.stat().st_mode)[-3:], str(file), file.name, files.usage()


def temporaries_and_die(report: str) -> None:
    Path(report).write_text(str(files.directory()))
    os.kill(os.getpid(), signal.SIGKILL)


def temporaries_and_fail(report: str) -> None:
    Path(report).write_text(str(files.directory()))
    raise ValueError("no")


def many(count: int, size: int) -> list[FileId]:
    made = [put(os.urandom(size), f"{i}.bin") for i in range(count)]
    for known in made[::7]:
        assert len(files.read(known).read_bytes()) == size
    return made


def threads(count: int) -> list[bytes]:
    """Files written and read by several threads at once."""
    found: dict[int, bytes] = {}

    def work(number: int) -> None:
        data = bytes([number]) * (number * 20_000)
        with files.open(put(data)) as source:
            assert source.read() == data
        tm.log(f"thread {number}")
        found[number] = data[:1]

    workers = [threading.Thread(target=work, args=(i,)) for i in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return [found[i] for i in range(count)]


def fork() -> Any:
    """A forked child has no part in the attempt."""
    tm.defer(note_down, "deferred", "once")
    put(b"parent")
    child = os.fork()
    if child == 0:
        try:
            files.temporary()
        except TidemillError:
            os._exit(7)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def fork_and_return() -> str:
    """Both come back; the child's return must do nothing."""
    folder = files.directory()
    child = os.fork()
    if child:
        os.waitpid(child, 0)
    return "parent" if folder.exists() and child else "child"


# ---------------------------------------------------------------------------------------------------------- hostile


def hostile(known: FileId, mutable: bool, link: bool, attack: str) -> None:
    """Do to what was given whatever may change it."""
    place = files.read(known, "victim", mutable=mutable, link=link)
    with contextlib.suppress(OSError, ValueError):
        ATTACKS[attack](place)


def hostile_writer(attack: str, data: bytes) -> FileId:
    """Store a file, and attack it through what it was made from."""
    place = Path("victim")
    place.write_bytes(data)
    held = open(place, "r+b")  # noqa: SIM115
    other = Path("other-name")
    os.link(place, other)
    written = files.write(place)
    held.write(b"CLOBBER")
    held.close()
    for path in (place, other):
        with contextlib.suppress(OSError, ValueError):
            ATTACKS[attack](path)
    return written


def hostile_stream(data: bytes) -> FileId:
    """Write a stream, and keep other ways to its file."""
    held: list[Any] = []
    with files.writing("s") as out:
        out.write(data)
        out.flush()
        for folder, _, names in os.walk(files.directory().parent):
            for name in names:
                path = os.path.join(folder, name)
                held.append(open(path, "r+b"))  # noqa: SIM115
                os.link(path, f"hard-{len(held)}")
    for number, file in enumerate(held):
        file.write(b"CLOBBER")
        file.close()
        overwrite(Path(f"hard-{number + 1}"))
    return out.id


_strikes: list[Any] = []
"""What is called whenever the operating system is asked for something by the thread that stores a file."""


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _strikes and threading.get_ident() == _strikes[0][0] and event.startswith(("open", "os.", "fcntl.")):
        _strikes[0][1]()


def hostile_meanwhile(data: bytes, flags: int) -> tuple[int, list[FileId]]:
    """Write streams, and open the file of each while it is stored, each time at a later moment; how often it came to
    an attack.
    """
    sys.addaudithook(_watch)
    where = files.directory().parent
    written: list[FileId] = []
    count = 0
    while len(written) == count:
        thread, held = _strike_at(count + 1, _Opener(where, flags))
        with files.writing("s") as out:
            out.write(data + bytes([count]))  # what is there already would not be stored again
            out.flush()
            _strikes[:] = [(threading.get_ident(), thread)]
        _strikes.clear()
        written.append(out.id)
        for one in held:
            one.join()
            for fd in one.found:
                os.fchmod(fd, 0o644)
                with open(f"/proc/self/fd/{fd}", "r+b") as file:
                    file.write(b"CLOBBER")
                os.close(fd)
        count += bool(held)
    return count, written


class _Opener(threading.Thread):
    """Opens every file in a directory, and may have to wait for whoever stores it."""

    def __init__(self, where: Path, flags: int) -> None:
        super().__init__(daemon=True)
        self.where = where
        self.flags = flags
        self.found: list[int] = []

    def run(self) -> None:
        for folder, _, names in os.walk(self.where):
            for name in names:
                with contextlib.suppress(OSError):
                    self.found.append(os.open(os.path.join(folder, name), self.flags))


def _strike_at(moment: int, opener: _Opener) -> tuple[Any, list[_Opener]]:
    """What starts the opener when it is called for that time, and a list that has it then."""
    held: list[_Opener] = []
    left = moment

    def strike() -> None:
        nonlocal left
        left -= 1
        if not left:
            held.append(opener)
            opener.start()
            opener.join(0.05)  # enough for one that does not have to wait

    return strike, held


def chmod_all(place: Path) -> None:
    for folder, _, names in os.walk("."):
        for name in names:
            os.chmod(os.path.join(folder, name), 0o777, follow_symlinks=os.path.islink(name) is False)
    subprocess.run(["chmod", "-R", "u+w", "."], check=False)
    overwrite(place)


def overwrite(place: Path) -> None:
    with open(place, "r+b") as file:
        file.write(b"CLOBBER")


def truncate(place: Path) -> None:
    os.truncate(place, 1)


def append(place: Path) -> None:
    with open(place, "ab") as file:
        file.write(b"CLOBBER")


def copy_over(place: Path) -> None:
    Path("evil").write_bytes(b"CLOBBER")
    shutil.copyfile("evil", place)


def map_memory(place: Path) -> None:
    with open(place, "r+b") as file, mmap.mmap(file.fileno(), 0) as shared:
        shared[:7] = b"CLOBBER"
        shared.flush()


def rename_over(place: Path) -> None:
    Path("evil").write_bytes(b"CLOBBER")
    os.replace("evil", place)


def hard_link(place: Path) -> None:
    os.link(place, "hard", follow_symlinks=False)
    overwrite(Path("hard"))


def reopen(place: Path) -> None:
    with open(place, "rb") as file, open(f"/proc/self/fd/{file.fileno()}", "r+b") as again:
        again.write(b"CLOBBER")


def change_mode(place: Path) -> None:
    with open(place, "rb") as file:
        os.fchmod(file.fileno(), 0o666)
    overwrite(place)


ATTACKS = {
    attack.__name__: attack
    for attack in (
        chmod_all, overwrite, truncate, append, copy_over, map_memory, rename_over, hard_link, reopen, change_mode,
    )
}  # fmt: skip

# ------------------------------------------------------------------------------------------------- a model of it all


def operations(steps: list[list[Any]]) -> list[Any]:
    """Do what is said and tell what came of it; the test does the same to a model."""
    ids: list[FileId] = []
    found: list[Any] = []
    for step in steps:
        try:
            found.append(_step(ids, *step))
        except Exception as error:  # noqa: BLE001
            found.append(type(error).__name__)
    return found


def _step(ids: list[FileId], what: str, number: int, value: Any) -> Any:
    if what == "write":
        ids.append(put(value, f"{number}.bin", temporary=bool(number % 2)))
        return files.size(ids[-1])
    if what == "stream":
        with files.writing(f"{number}.bin") as out:
            for part in value:
                out.write(part)
        ids.append(out.id)
        return out.id.size
    if not ids:
        return None
    known = ids[number % len(ids)]
    if what == "read":
        place = files.read(known, mutable=value)
        data = place.read_bytes()
        if value:
            place.write_bytes(b"changed")
        return data
    if what == "open":
        with files.open(known) as source:
            return source.read(value)
    if what == "exists":
        return files.exists(known)
    return getattr(files, what)(known)


# ------------------------------------------------------------------------------------------------------------- names


def get_named(name: str) -> Any:
    known = files.get(name)
    return known, stream(known), files.version(name)


def put_named(name: str, data: bytes, expect: int | None) -> Any:
    path = files.temporary()
    path.write_bytes(data)
    return files.put(name, path, expect)


def name_it(name: str, known: FileId) -> int:
    return files.put(name, known)


def name_own(name: str, data: bytes, deleted: bool) -> int:
    known = put(data)
    if deleted:
        files.delete(known)
    return files.put(name, known)


def replace_named(name: str, data: bytes, meanwhile: bytes | None) -> Any:
    """Read, change and put back; somebody else may come between."""
    old = files.get(name)
    if meanwhile is not None:
        files.put(name, put(meanwhile))
    try:
        return files.put(name, put(data), expect=old)
    except ChangedError as error:
        return str(error.args[0])


def shared_text(name: str, text: str, fail: bool) -> Any:
    with contextlib.suppress(ZeroDivisionError), files.shared(name, "wb", encoding="utf-8") as out:
        out.write(text)
        if fail:
            raise ZeroDivisionError
    with files.shared(name, encoding="utf-8") as source:
        return source.read()


# ---------------------------------------------------------------------------------------------------------- messages


def messages() -> None:
    tm.log("hello")
    tm.log("careful \udc80", 30)
    tm.log_stream("stderr of x", b"one\ntwo \xff\n")
    tm.log_stream("a stream", io.StringIO("three"))


def message_and_wait(path: str) -> None:
    """Wait, with a message sent, for somebody to write a file."""
    tm.log("waiting")
    with open(path) as fifo:
        fifo.read()


# ---------------------------------------------------------------------------------------------------------- deferred


def note_down(path: str, text: str) -> None:
    with open(path, "a") as file:
        file.write(text + "\n")


class Cleaner:
    def __init__(self, path: str) -> None:
        self.path = path

    def clean(self, text: str) -> None:
        note_down(self.path, f"method {text}")

    @classmethod
    def clean_class(cls, path: str, text: str = "") -> None:
        note_down(path, f"{cls.__name__} {text}")


def fail() -> None:
    raise ValueError("deferred trouble")


@tm.task
def task_note(path: str) -> None:
    note_down(path, "task")


def deferring(path: str, how: str, started: str = "") -> str:
    tm.defer(note_down, path, "first")
    tm.defer(note_down, path=path, text="keyword")
    tm.defer(Cleaner(path).clean, "bound")
    tm.defer(Cleaner.clean_class, path, text="class")
    tm.defer(lambda: note_down(path, "lambda"))
    tm.defer(fail)
    tm.defer(sys.exit, 3)
    tm.defer(task_note, path)
    note_down(path, "run")
    if how == "raise":
        raise ValueError("no")
    if how == "exit":
        os._exit(3)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "wait":
        with open(started, "w") as fifo:
            fifo.write("started")
        signal.pause()
    return "returned"


def defer_a_killer(path: str) -> None:
    tm.defer(note_down, path, "last")
    tm.defer(kill_self, path)
    tm.defer(note_down, path, "first")


def kill_self(path: str) -> None:
    note_down(path, "killing")
    os.kill(os.getpid(), signal.SIGKILL)


def defer_what_cannot_be() -> None:
    tm.defer(print, threading.Lock())


def defer_with_files(path: str) -> None:
    """What is deferred has no part in the attempt."""
    tm.defer(use_files, path)


def use_files(path: str) -> None:
    try:
        files.temporary()
    except TidemillError as error:
        note_down(path, type(error).__name__)


def defer_a_mess(path: str) -> None:
    tm.defer(make_a_mess, path)


def make_a_mess(path: str) -> None:
    os.environ["LEFT_BEHIND"] = "1"
    os.chdir("/")
    task_note(path)  # a call: nothing is executed, nothing is grown


def has_mess() -> Any:
    return os.environ.get("LEFT_BEHIND"), os.getcwd() == "/"


def leave_a_thread(path: str) -> None:
    """A thread outlives its task; what it asks for then is refused."""
    put(b"x")

    def later() -> None:
        with open(path) as fifo:
            fifo.read()
        try:
            put(b"late")
        except TidemillError as error:
            note_down(path + ".found", str(error.args[0]))

    threading.Thread(target=later, daemon=True).start()
