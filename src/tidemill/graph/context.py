"""What a call means here: part of the workflow being built, growth of the running task, or neither.

A task asks `current()` at each call. Without a builder the call is kept as it is, to be run or passed on later.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from tidemill.graph.future import Owner


class ImportOnly(BaseException):  # no Error: it must pass through the user's `except Exception`
    """Raised by `run()` and its like while a worker imports the user's script.

    What follows in the script is meant for the process that starts the workflow; a worker needs the tasks only.
    """


class Opens(Protocol):
    """The runs of a worker: the first task called inside one opens a builder."""

    def open(self) -> Owner: ...


_building: ContextVar[Owner | None] = ContextVar("tidemill_building", default=None)
_growing: Opens | None = None
epoch: int = 0
"""Counts the workflows built in this process; what was learnt about code before the last one may be outdated."""
directory: str = ""
"""In a worker: where the workflow was started whose tasks it executes."""
importing: bool = False
"""Set by a worker while it imports the user's script."""


def current() -> Owner | None:
    """The builder that a call made now belongs to."""
    found = _building.get()
    if found is None and _growing is not None:
        return _growing.open()
    return found


def running() -> bool:
    """Whether this process executes runs (and no workflow is being built in it)."""
    return _growing is not None and _building.get() is None


def new_epoch() -> None:
    """Another workflow is going to be built."""
    global epoch  # noqa: PLW0603
    epoch += 1


@contextmanager
def building(builder: Owner) -> Iterator[None]:
    """Calls in the block, in this thread, go to `builder`."""
    token = _building.set(builder)
    try:
        yield
    finally:
        _building.reset(token)


def install(growing: Opens | None) -> None:
    """From now on calls made in this process grow the running task; None ends that."""
    global _growing  # noqa: PLW0603 — one per process by nature: a worker runs one run at a time
    _growing = growing


@contextmanager
def import_only() -> Iterator[None]:
    """While a script is imported for its tasks, `run()` and its like raise `ImportOnly`."""
    global importing  # noqa: PLW0603
    before, importing = importing, True
    try:
        yield
    finally:
        importing = before
