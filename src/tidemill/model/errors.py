"""The one tree of errors. Each class has a stable code; a handler's question decides the branch.

TidemillError
├── UsageError            TM100  the caller asked for something that cannot be (also ValueError)
│   ├── WiringError       TM101  a workflow does not fit together; lists every problem with its place
│   ├── ConfigError       TM102  a profile, store address or option is wrong
│   └── MissingExtraError TM103  an optional dependency is not installed (also ImportError)
├── NotFoundError         TM200  no such run, block, datum, object, store (also LookupError)
│   └── NoCopyError       TM201  a task has no local copy of that file (also FileNotFoundError)
├── ConflictError         TM300  somebody else was first
│   ├── FencedError       TM301  a write under a lease that is no longer current
│   ├── StoreBusyError    TM302  another engine owns the store and cannot be reached
│   ├── ResumeError       TM303  an interrupted submission was resumed with another plan
│   └── ChangedError      TM304  a name was moved by somebody else meanwhile
├── StoreError            TM400  the store cannot do it
│   ├── NewerStoreError   TM401  written by a newer version of Tidemill
│   ├── StoreFullError    TM402  disk full, over quota, read-only or not permitted
│   ├── IntegrityError    TM403  stored bytes do not have the digest they should have
│   └── CacheError        TM410  the node cache cannot do it
│       ├── CacheFullError       TM411  not enough can be evicted for what is asked
│       ├── CacheReferenceError  TM412  a file that was given out has been removed by hand
│       └── CacheSourceError     TM413  a file from elsewhere was given for one of the cache's own
├── RunError              TM500  a run ended without a result
│   ├── RunFailedError    TM501  user code failed; carries the report
│   └── RunCancelledError TM502
├── ValueCodecError       TM600  a value cannot be encoded or decoded (also TypeError)
├── EngineLostError       TM700  the engine process ended while it was needed
└── HaltedError           TM701  somebody stopped the work; nothing is lost, and it can go on
"""

import errno
import functools
from collections.abc import Callable
from typing import ClassVar, ParamSpec, Self, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class TidemillError(Exception):
    """Root of every error that Tidemill raises on purpose.

    Attributes:
        code: stable identifier of the kind, for scripts and documentation.
        hint: one sentence that says what to do, or an empty string.
    """

    code: ClassVar[str] = "TM000"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text}\n  {self.hint}" if self.hint else text


class UsageError(TidemillError, ValueError):
    code = "TM100"


class WiringError(UsageError):
    """A workflow does not fit together. `problems` holds every (place, message) found."""

    code = "TM101"

    def __init__(self, problems: list[tuple[str, str]], *, hint: str = "") -> None:
        self.problems = problems
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''} in the workflow:"
        lines = [f"  {place}: {text}" if place else f"  {text}" for place, text in problems]
        super().__init__("\n".join([count, *lines]), hint=hint)


class ConfigError(UsageError):
    code = "TM102"


class MissingExtraError(UsageError, ImportError):
    """An optional dependency is missing; the message names the extra that brings it."""

    code = "TM103"

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(
            f"{what} needs an optional dependency that is not installed",
            hint=f"pip install 'tidemill[{extra}]'",
        )


class NotFoundError(TidemillError, LookupError):
    code = "TM200"


class NoCopyError(NotFoundError, FileNotFoundError):
    """A running task has no local copy of a file, or none any more."""

    code = "TM201"

    def __new__(cls, *args: object, **_: object) -> Self:
        return FileNotFoundError.__new__(cls, *args)

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.errno = errno.ENOENT


class ConflictError(TidemillError):
    code = "TM300"


class FencedError(ConflictError):
    code = "TM301"


class StoreBusyError(ConflictError):
    code = "TM302"


class ResumeError(ConflictError):
    code = "TM303"


class ChangedError(ConflictError):
    """A name was moved by somebody else after it was read; nothing was changed."""

    code = "TM304"


class StoreError(TidemillError):
    code = "TM400"


class NewerStoreError(StoreError):
    code = "TM401"


class StoreFullError(StoreError):
    """Disk full, over quota, read-only or not permitted: nothing that was acknowledged is lost."""

    code = "TM402"


class IntegrityError(StoreError):
    code = "TM403"


class CacheError(StoreError):
    code = "TM410"


class CacheFullError(CacheError):
    """Not enough can be evicted for what is asked: what is in the cache is in use, or jobs have reserved the disk."""

    code = "TM411"


class CacheReferenceError(CacheError):
    """A file that the cache gave to a job has been removed or moved by hand."""

    code = "TM412"


class CacheSourceError(CacheError):
    """A file that is not on this node, or not the job's own, was given to the cache."""

    code = "TM413"


class RunError(TidemillError):
    code = "TM500"


class RunFailedError(RunError):
    """User code failed. `report` is the text shown to the user, `run` the public id."""

    code = "TM501"

    def __init__(self, message: str, *, run: str = "", report: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.run = run
        self.report = report


class RunCancelledError(RunError):
    code = "TM502"


class ValueCodecError(TidemillError, TypeError):
    code = "TM600"


class EngineLostError(TidemillError):
    code = "TM700"


class HaltedError(TidemillError):
    """Somebody stopped the work that this program waited for. Nothing is marked: the same call goes on with it."""

    code = "TM701"


def error_of(code: str, message: str, hint: str = "") -> TidemillError:
    """The error that another process met, from what it told of it."""
    found = (kind for kind in globals().values() if isinstance(kind, type) and issubclass(kind, TidemillError))
    kind = next((kind for kind in found if kind.code == code), TidemillError)
    error = kind.__new__(kind, message)
    TidemillError.__init__(error, message, hint=hint)
    return error


def without_our_frames(function: Callable[P, T]) -> Callable[P, T]:
    """Decorates what users call: an error of ours, or Ctrl-C, leaves it without our frames, so that a traceback ends
    where the user's code called it.
    """

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except (TidemillError, KeyboardInterrupt) as error:
            raise error.with_traceback(None) from error.__cause__

    return called
