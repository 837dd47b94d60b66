"""What a running task may ask of its worker: files, messages, things to do afterwards.

The functions here and in `files` hand on to what a worker has installed. A process that executes no task has nothing
installed, and they say so.
"""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any, BinaryIO, Literal, ParamSpec, Protocol, TextIO

from tidemill.graph.task import Task
from tidemill.model.errors import UsageError
from tidemill.model.fileid import FileId

P = ParamSpec("P")

INFO = 20
"""The level of that name in the module logging, which takes a while to import."""

PathLike = str | os.PathLike[str]


class Written(Protocol):
    """A stream that is being written to the store. After its block `id` is the `FileId`."""

    @property
    def id(self) -> FileId: ...


class BinaryWritten(BinaryIO, Written):
    """A stream of bytes."""


class TextWritten(TextIO, Written):
    """A stream of text."""


class Files(Protocol):
    """The file store as the attempt under way sees it, see the functions of `files`."""

    def write(self, path: PathLike, name: str | None, *, temporary: bool) -> FileId: ...

    def writing(
        self, name: str, *, temporary: bool, encoding: str | None, errors: str | None, executable: bool
    ) -> AbstractContextManager[Any]: ...

    def read(self, id: str, path: PathLike | None, *, mutable: bool, link: bool) -> Path: ...

    def open(self, id: str, encoding: str | None, errors: str | None) -> IO[Any]: ...

    def exists(self, id: str) -> bool: ...

    def forget(self, id: str) -> None: ...

    def delete(self, id: str) -> None: ...

    def directory(self) -> Path: ...

    def temporary(self, suffix: str, prefix: str) -> Path: ...

    def usage(self) -> int: ...


class Names(Protocol):
    """Shared names as the attempt under way sees them, see the functions of `files`."""

    def get(self, name: str) -> FileId: ...

    def version(self, name: str) -> int: ...

    def put(self, name: str, path_or_id: PathLike, expect: int | str | None) -> int: ...

    def shared(
        self,
        name: str,
        mode: Literal["rb", "wb"],
        *,
        encoding: str | None,
        errors: str | None,
        expect: int | str | None,
    ) -> AbstractContextManager[Any]: ...


class Inside(Protocol):
    """What a worker installs."""

    @property
    def files(self) -> Files: ...

    @property
    def names(self) -> Names: ...

    def log(self, text: str, level: int) -> None: ...

    def log_stream(self, name: str, text: str | bytes | IO[Any]) -> None: ...

    def defer(self, function: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None: ...


_inside: Inside | None = None


def install(found: Inside | None) -> None:
    """From now on what the task under way asks for goes there; None ends that."""
    global _inside  # noqa: PLW0603 — one per process by nature: a worker runs one run at a time
    _inside = found


def inside(what: str, instead: str) -> Inside:
    """What is installed.

    Args:
        what: the function that was called, for the message.
        instead: what to do where no task is running.

    Raises:
        UsageError: if nothing is.
    """
    if _inside is None:
        raise UsageError(f"tm.{what} works inside a running task only", hint=instead)
    return _inside


def log(text: str, level: int = INFO) -> None:
    """Tell the workflow something, at once: the message can be read while the task is still running.

    It stands in the attempt's own log, too, and it stays if the attempt fails.

    Args:
        text: the message.
        level: how important it is, as in `logging`.

    Raises:
        UsageError: if no task is running in this process.
    """
    inside("log", "Print it, or use logging.").log(text, level)


def log_stream(name: str, text: str | bytes | IO[Any]) -> None:
    """Give the workflow a whole text under a name: what a program has printed, say.

    Args:
        name: of the stream, such as "stderr of docker".
        text: the text; bytes that are not UTF-8 are shown escaped; or an open stream, which is read to its end. Of more
            than 4 MiB the beginning and the end are kept.

    Raises:
        UsageError: if no task is running in this process.
    """
    inside("log_stream", "Print it, or use logging.").log_stream(name, text)


def defer(function: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs) -> None:
    """Have something done after this attempt, however it ends, on this machine: to remove a container, say.

    It is done when the task returns or raises, and also when its process is killed or the whole engine is: then by
    another process, as soon as one sees it. What was registered last is done first. It may be done more than once, so
    it should do no harm the second time. What goes wrong in it stands in a log and fails nothing.

    The function and its arguments are pickled when this is called, so they are as they were then, and the function
    cannot change anything in the task. In another process the working directory is not the task's: use absolute paths.

    Args:
        function: what to call; a method, a class or a lambda will do as well.
        *args: its arguments.
        **kwargs: its keyword arguments.

    Raises:
        UsageError: if no task is running in this process, or the function or an argument cannot be pickled.
    """
    called = function.fn if isinstance(function, Task) else function
    inside("defer", "Use contextlib.ExitStack or atexit.").defer(called, args, kwargs)
