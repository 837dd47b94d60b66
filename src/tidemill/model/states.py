"""States and transition tables, one table per noun: (state, event) -> state.

These tables are the only definition. SQL statements carry them as `WHERE state IN (…)` conditions, the documentation's
diagrams are drawn from them, and the tests try every pair, legal and illegal, against the database.
"""

from collections.abc import Mapping
from enum import IntEnum, StrEnum


class RunState(IntEnum):
    """State of a run. WAITING, READY and RUNNING share one stored value, LIVE: a run is running while it has a lease
    and ready when nothing is pending, so no row is rewritten when it is claimed."""

    LIVE = 0
    COMPLETE = 3
    ERROR = 4
    SKIPPED = 5
    CANCELLED = 6
    INVALID = 7
    DELETED = 8
    HELD = 9


class DatumState(IntEnum):
    """State of a datum. PENDING has no row: a datum's id is allotted at submit and its row written when it ends."""

    PENDING = 0
    WRITING = 1
    COMPLETE = 2
    EXPIRED = 3
    DELETED = 4
    ERROR = 5
    SKIPPED = 6
    CANCELLED = 7
    LOST = 8
    PUBLISHED = 9
    """There is a value, for as long as the attempt lives that published it: a service is up."""


class BlockState(IntEnum):
    OPEN = 0
    CLOSING = 1
    COMPLETE = 2
    ERROR = 3
    CANCELLED = 4


class WorkerState(IntEnum):
    REGISTERED = 0
    DRAINING = 1
    EXPIRED = 2
    GONE = 3


class AttemptState(IntEnum):
    """How one try ended; the row is written once, at the end."""

    COMPLETE = 3
    ERROR = 4
    CANCELLED = 6
    LOST = 7
    RELEASED = 8


class Reason(IntEnum):
    """Why an attempt or a run ended as it did."""

    NONE = 0
    EXCEPTION = 1
    EXIT_CODE = 2
    SIGNAL = 3
    TIMEOUT = 4
    OUT_OF_MEMORY = 5
    WORKER_DIED = 6
    LEASE_EXPIRED = 7
    BAD_OUTPUT = 8
    BAD_INPUT = 9
    CODE_CHANGED = 10
    UPSTREAM = 11
    CANCELLED = 12
    TOO_MANY_LOSSES = 13
    DISK_FULL = 14
    STOPPED = 15
    SUPERSEDED = 16
    BY_HAND = 17
    LOST_INPUT = 18
    NO_RESOURCES = 19


class RunView(StrEnum):
    """What a user sees: the stored state with LIVE unfolded."""

    WAITING = "waiting"
    READY = "ready"
    RUNNING = "running"
    COMPLETE = "complete"
    ERROR = "error"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    INVALID = "invalid"
    DELETED = "deleted"
    HELD = "held"


V = RunView

RUN: Mapping[tuple[RunView, str], RunView] = {
    (V.WAITING, "activate"): V.READY,
    (V.WAITING, "reuse"): V.COMPLETE,
    (V.READY, "reuse"): V.COMPLETE,
    (V.READY, "claim"): V.RUNNING,
    (V.RUNNING, "complete"): V.COMPLETE,
    (V.RUNNING, "fail"): V.ERROR,
    (V.RUNNING, "retry"): V.READY,
    (V.RUNNING, "release"): V.READY,
    (V.RUNNING, "lose"): V.READY,
    (V.WAITING, "upstream_fail"): V.ERROR,
    (V.WAITING, "skip"): V.SKIPPED,
    (V.ERROR, "retry"): V.READY,
    (V.CANCELLED, "retry"): V.WAITING,
    (V.SKIPPED, "revive"): V.WAITING,
    (V.ERROR, "revive"): V.WAITING,
    (V.WAITING, "cancel"): V.CANCELLED,
    (V.READY, "cancel"): V.CANCELLED,
    (V.RUNNING, "cancel"): V.CANCELLED,
    (V.HELD, "cancel"): V.CANCELLED,
    (V.WAITING, "hold"): V.HELD,
    (V.READY, "hold"): V.HELD,
    (V.HELD, "unhold"): V.WAITING,
    (V.COMPLETE, "invalidate"): V.INVALID,
    (V.ERROR, "invalidate"): V.INVALID,
    (V.SKIPPED, "invalidate"): V.INVALID,
    (V.CANCELLED, "invalidate"): V.INVALID,
    (V.COMPLETE, "delete"): V.DELETED,
    (V.ERROR, "delete"): V.DELETED,
    (V.SKIPPED, "delete"): V.DELETED,
    (V.CANCELLED, "delete"): V.DELETED,
    (V.INVALID, "delete"): V.DELETED,
}
"""Runs. `unhold` leads to WAITING and, where nothing is pending, on to READY in the same transaction."""

D = DatumState

DATUM: Mapping[tuple[DatumState, str], DatumState] = {
    (D.PENDING, "open"): D.WRITING,
    (D.PENDING, "complete"): D.COMPLETE,
    (D.PENDING, "publish"): D.PUBLISHED,
    (D.PUBLISHED, "complete"): D.COMPLETE,
    (D.PUBLISHED, "fail"): D.ERROR,
    (D.PUBLISHED, "cancel"): D.CANCELLED,
    (D.PUBLISHED, "reset"): D.PENDING,
    (D.WRITING, "complete"): D.COMPLETE,
    (D.PENDING, "fail"): D.ERROR,
    (D.WRITING, "fail"): D.ERROR,
    (D.PENDING, "skip"): D.SKIPPED,
    (D.PENDING, "cancel"): D.CANCELLED,
    (D.WRITING, "cancel"): D.CANCELLED,
    (D.WRITING, "reset"): D.PENDING,
    (D.ERROR, "reset"): D.PENDING,
    (D.SKIPPED, "reset"): D.PENDING,
    (D.CANCELLED, "reset"): D.PENDING,
    (D.COMPLETE, "expire"): D.EXPIRED,
    (D.COMPLETE, "lose"): D.LOST,
    (D.LOST, "restore"): D.COMPLETE,
    (D.EXPIRED, "restore"): D.COMPLETE,
    (D.COMPLETE, "delete"): D.DELETED,
    (D.EXPIRED, "delete"): D.DELETED,
    (D.LOST, "delete"): D.DELETED,
}
"""Data. There is no event that leads from COMPLETE back to PENDING: a complete datum never changes."""

B = BlockState

BLOCK: Mapping[tuple[BlockState, str], BlockState] = {
    (B.OPEN, "close"): B.COMPLETE,
    (B.OPEN, "fail"): B.ERROR,
    (B.OPEN, "stop"): B.CLOSING,
    (B.CLOSING, "close"): B.COMPLETE,
    (B.CLOSING, "fail"): B.ERROR,
    (B.OPEN, "cancel"): B.CANCELLED,
    (B.CLOSING, "cancel"): B.CANCELLED,
    (B.COMPLETE, "reopen"): B.OPEN,
    (B.ERROR, "reopen"): B.OPEN,
    (B.CANCELLED, "reopen"): B.OPEN,
}

W = WorkerState

WORKER: Mapping[tuple[WorkerState, str], WorkerState] = {
    (W.REGISTERED, "drain"): W.DRAINING,
    (W.REGISTERED, "expire"): W.EXPIRED,
    (W.DRAINING, "expire"): W.EXPIRED,
    (W.REGISTERED, "leave"): W.GONE,
    (W.DRAINING, "leave"): W.GONE,
    (W.EXPIRED, "leave"): W.GONE,
}


class OnInput(StrEnum):
    """What a consumer does about an input that ended without a value."""

    FAIL = "fail"
    SKIP = "skip"
    RUN = "run"


TERMINAL_RUNS = frozenset(s for s in RunState if s not in (RunState.LIVE, RunState.HELD))
FAILED_DATA = frozenset({D.ERROR, D.SKIPPED, D.CANCELLED, D.LOST, D.DELETED})
ENDED_DATA = FAILED_DATA | {D.COMPLETE, D.EXPIRED}


def run_sources(event: str) -> tuple[RunView, ...]:
    """The states from which `event` is legal for a run."""
    return tuple(state for state, name in RUN if name == event)
