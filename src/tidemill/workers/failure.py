"""Failures as data: which reason an error has, and a traceback without our own frames."""

import errno
import os
import signal
import traceback

from tidemill.model.digest import show
from tidemill.model.errors import NotFoundError, RunError, StoreFullError, TidemillError, WiringError
from tidemill.model.fileid import FileId
from tidemill.model.protocol import Failure
from tidemill.model.states import Reason

FAILED = 112
"""Exit code of an executor that cannot go on for a reason that is not the user's code: no room for its files, say."""

_HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_PYTHON = os.path.dirname(os.path.realpath(os.__file__)) + os.sep
_SITES = tuple(f"{os.sep}{site}{os.sep}" for site in ("site-packages", "dist-packages"))
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_LINE = 500
_TEXT = 32_768
"""Most characters of a message and of a traceback; of longer ones the beginning and, for tracebacks, the end."""


class Fault(RunError):  # noqa: N818 (the errors are the user's)
    """An attempt cannot go on for a reason that we know.

    Attributes:
        reason: why.
        kind: the kind of failure as the user sees it.
        traceback: text to show, or "".
    """

    def __init__(self, reason: Reason, message: str, *, kind: str = "", traceback: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason
        self.kind = kind or reason.name.lower().replace("_", " ")
        self.traceback = traceback


class LostInput(Fault):
    """Something that an argument names is not in the object store.

    Attributes:
        digests: of the objects.
    """

    def __init__(self, digests: list[bytes], place: str) -> None:
        more = f" and {len(digests) - 1} more" if len(digests) > 1 else ""
        super().__init__(
            Reason.LOST_INPUT,
            f"the object {show(digests[0])}{more} that an argument names is gone from {place}",
            kind="lost input",
        )
        self.digests = digests


class LostFile(LostInput, NotFoundError):  # noqa: N818 (as above)
    """A file that a task asked for by its id is not in the object store."""

    def __init__(self, file: FileId, place: str) -> None:
        super().__init__([file.digest], place)
        self.args = (f"the file {file.name} ({show(file.digest)}) is not in {place}",)
        self.hint = "It was deleted, or never accepted."


def describe(error: BaseException, reason: Reason) -> Failure:
    """The failure that `error` means, where `reason` is what an error of no special kind means at this point."""
    if isinstance(error, Fault):
        hint = f" ({error.hint})" if error.hint else ""
        lost = error.digests if isinstance(error, LostInput) else []
        where = user_traceback(error) if isinstance(error, LostFile) else error.traceback
        return Failure(error.reason, error.kind, f"{error.args[0]}{hint}", where, lost=lost)
    if isinstance(error, MemoryError):
        reason = Reason.OUT_OF_MEMORY
    elif isinstance(error, StoreFullError) or (isinstance(error, OSError) and error.errno in _FULL):
        reason = Reason.DISK_FULL
    return Failure(reason, type(error).__qualname__, one_line(error), user_traceback(error))


def one_line(error: BaseException) -> str:
    """The first line of the error's text, of Tidemill's own errors with all that they say; user classes may raise from
    `__str__` as well."""
    try:
        text = _told(error) if isinstance(error, TidemillError) else str(error).strip()
    except Exception:  # noqa: BLE001 (a stranger's __str__)
        return "(the error has no text)"
    line = text.split("\n", 1)[0]
    return line if len(line) <= _LINE else line[:_LINE] + " …"


def _told(error: TidemillError) -> str:
    if isinstance(error, WiringError):
        return "; ".join(f"{place}: {text}" if place else text for place, text in error.problems)
    hint = f" ({error.hint})" if error.hint else ""
    return str(error.args[0]).strip().split("\n", 1)[0] + hint


def user_traceback(error: BaseException) -> str:
    """The traceback as Python prints it, with causes and contexts, without the frames of this package.

    Where nothing but our frames would be left, they stay; of an error of Tidemill's, which says what is wrong, there is
    then no traceback at all.
    """
    try:
        whole = traceback.TracebackException.from_exception(error)
        if isinstance(error, TidemillError) and not _users(whole, set()):
            return ""
        _prune(whole, set())
        return _shortened("".join(whole.format()))
    except Exception as problem:  # noqa: BLE001 (strangers' __str__, __cause__ and source loaders take part)
        return f"{type(error).__qualname__} (the traceback could not be written: {type(problem).__qualname__})\n"


def _shortened(text: str) -> str:
    if len(text) <= _TEXT:
        return text
    left = len(text) - _TEXT
    return f"{text[: _TEXT // 4]}\n[... {left} characters left out ...]\n{text[left + _TEXT // 4 :]}"


def _prune(part: traceback.TracebackException | None, seen: set[int]) -> None:
    if part is None or id(part) in seen:
        return
    seen.add(id(part))
    frames = [frame for frame in part.stack if not _ours(frame.filename)]
    if frames:
        part.stack[:] = frames
    _prune(part.__cause__, seen)
    _prune(part.__context__, seen)
    for inner in part.exceptions or ():
        _prune(inner, seen)


def _users(part: traceback.TracebackException | None, seen: set[int]) -> bool:
    """Whether any frame is in code of the user."""
    if part is None or id(part) in seen:
        return False
    seen.add(id(part))
    if any(not _ours(name) and not _installed(name) for name in (frame.filename for frame in part.stack)):
        return True
    return any(_users(other, seen) for other in (part.__cause__, part.__context__, *(part.exceptions or ())))


def _installed(filename: str) -> bool:
    return filename.startswith(_PYTHON) or any(site in filename for site in _SITES)


def _ours(filename: str) -> bool:
    return filename.startswith((_HERE, "<frozen importlib"))


def signal_name(number: int) -> str:
    """For example "signal 11 (SIGSEGV)"."""
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"
