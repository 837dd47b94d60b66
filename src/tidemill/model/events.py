"""Events: what happened, as data. One encoded row holds what one engine transaction did.

A row's `data` is a MessagePack list of `Event`s.
"""

from enum import IntEnum

import msgspec


class Kind(IntEnum):
    """What happened. The comment says what `ids` are and what `note` holds."""

    SUBMITTED = 1  # runs; note: block
    CLAIMED = 2  # runs; actor: worker
    COMPLETED = 3  # runs; actor: worker
    REUSED = 4  # runs; note: the runs reused, in the same order
    FAILED = 5  # runs; actor: worker
    RETRYING = 6  # runs; note: what each asks more of than before, as [dimension, from, to]
    RELEASED = 7  # runs; actor: worker
    LOST = 8  # runs; actor: worker
    GREW = 9  # runs; note: blocks
    CLOSED = 10  # blocks; note: states
    SKIPPED = 11  # runs; note: causes
    CANCELLED = 12  # runs; note: causes
    REFUSED = 13  # runs; actor: worker (a stale fence)
    NONDETERMINISTIC = 14  # runs; note: the runs whose result stays
    EXPIRED = 15  # data
    HELD = 16  # runs
    UNHELD = 17  # runs
    RETRIED = 18  # runs; by hand
    SUPERSEDED = 19  # runs; note: the new runs
    REOPENED = 20  # blocks
    ENGINE_STARTED = 21  # the engine
    ENGINE_STOPPED = 22  # the engine
    ENGINE_REAPED = 23  # engines that were found dead
    WORKER_STARTED = 24  # workers
    WORKER_GONE = 25  # workers
    ACTIVATED = 26  # hubs
    SUSPENDED = 27  # hubs
    TOLD = 28  # runs or data completed from outside; note: idempotency key
    INVALIDATED = 29  # runs
    DELETED = 30  # runs
    PUBLISHED = 31  # runs; actor: worker


class Event(msgspec.Struct, array_like=True, omit_defaults=True):
    """One thing that happened to `ids`; `actor` is the worker (0: the engine), `who` a person or a command."""

    kind: int
    ids: list[int]
    actor: int = 0
    note: object = None
    who: str = ""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Event]).decode


def encode(events: list[Event]) -> bytes:
    """The row's `data`."""
    return _encode(events)


def decode(data: bytes) -> list[Event]:
    """The inverse of `encode`."""
    return _decode(data)
