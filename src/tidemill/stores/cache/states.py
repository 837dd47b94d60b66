"""States of what is in a node's cache, and kinds of references to it: the only definition of both.

A state with an owner belongs to one process. When that is gone, whoever notices moves its entries on by `adopt`.
"""

from collections.abc import Mapping
from enum import IntEnum


class EntryState(IntEnum):
    """DOWNLOADING, UPLOADABLE, UPLOADING and DELETING have an owner. GONE has no row."""

    DOWNLOADING = 0
    UPLOADABLE = 1
    UPLOADING = 2
    CACHED = 3
    DELETING = 4
    GONE = 5


class RefKind(IntEnum):
    """How a job holds an entry. LINKED and COPYING keep it from being evicted; a COPIED one is only remembered."""

    LINKED = 1
    COPYING = 2
    COPIED = 3


S = EntryState

ENTRY: Mapping[tuple[EntryState, str], EntryState] = {
    (S.GONE, "fetch"): S.DOWNLOADING,
    (S.GONE, "take"): S.UPLOADABLE,
    (S.CACHED, "take"): S.UPLOADABLE,
    (S.CACHED, "doubt"): S.DOWNLOADING,
    (S.DOWNLOADING, "publish"): S.CACHED,
    (S.DOWNLOADING, "fail"): S.DELETING,
    (S.DOWNLOADING, "adopt"): S.DELETING,
    (S.UPLOADABLE, "upload"): S.UPLOADING,
    (S.UPLOADABLE, "publish"): S.CACHED,
    (S.UPLOADABLE, "fail"): S.DELETING,
    (S.UPLOADABLE, "adopt"): S.CACHED,
    (S.UPLOADING, "publish"): S.CACHED,
    (S.UPLOADING, "fail"): S.DELETING,
    (S.UPLOADING, "adopt"): S.CACHED,
    (S.CACHED, "evict"): S.DELETING,
    (S.DELETING, "adopt"): S.DELETING,
    (S.DELETING, "remove"): S.GONE,
}
"""`doubt`: nobody knows whether the bytes are whole (the machine went down, or their owner did while it sent them), so
the next reader hashes them before anybody gets them. What a dead owner had not sent is kept that way: the name of an
object says what its bytes are, so it can be wrong for nobody."""


def target(state: EntryState, event: str) -> EntryState:
    """Where an event leads.

    Raises:
        KeyError: if it is not legal in this state.
    """
    return ENTRY[state, event]
