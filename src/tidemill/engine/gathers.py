"""Collections: counting members, digests over stretches, ends."""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from tidemill.engine.turn import Dead, Turn
from tidemill.model.digest import digest_all
from tidemill.model.states import DatumState
from tidemill.stores.state import data, gathers, supersedes
from tidemill.stores.state.database import Row
from tidemill.stores.state.gathers import STRETCH, Gather, Stretch

_ENDED = {int(s) for s in DatumState if s not in (DatumState.PENDING, DatumState.WRITING, DatumState.PUBLISHED)}
_HAD_VALUE = data.GONE | {data.COMPLETE}
_MISSING = bytes(32)
pack = msgspec.msgpack.Encoder().encode


def count_members(turn: Turn, found: list[int], *, causes: dict[int, int] | None = None) -> None:
    """These data ended: count them in the open stretches that hold them. With `causes` (datum -> root cause) they ended
    without a value.
    """
    hits = gathers.hits(turn.db, found, turn.engine.levels)
    if not hits:
        return
    gathers.lock(turn.db, sorted({g for g, _, _ in hits}))
    number: dict[tuple[int, int], int] = {}
    blame: dict[int, int] = {}
    for gather, seq, datum in hits:
        number[(gather, seq)] = number.get((gather, seq), 0) + 1
        if causes is not None:
            blame.setdefault(gather, causes[datum])
    closed: dict[int, list[int]] = {}
    for (gather, seq), n in number.items():
        told = closed.setdefault(gather, [0, 0])
        told[1] += n
        pending, low, length, step = gathers.count(turn.db, gather, seq, n)
        if pending == 0:
            told[0] += 1
            _close_stretch(turn, gather, seq, span(turn, low, length, step))
    for gather, (stretches, n) in closed.items():
        complete, failed = (n, 0) if causes is None else (0, n)
        tell(turn, gather, stretches, complete, failed, blame.get(gather, 0))


def tell(turn: Turn, gather: int, stretches: int, complete: int, failed: int, cause: int) -> None:
    """Count into the collection, and end it where that decides it."""
    row = gathers.tell(turn.db, gather, stretches, complete, failed)
    if row is None:
        return
    needed = _needed(row)
    if row.members - row.failed < needed:
        bury(turn, row.id, cause)
    elif (row.need or row.one) and row.complete >= needed:
        finish_partial(turn, row)
    elif row.pending == 0:
        finish(turn, row)


def bury(turn: Turn, gather: int, cause: int) -> None:
    """Too many members ended without a value: so does the collection."""
    if gathers.end(turn.db, gather, gathers.DEAD):
        state = int(DatumState.ERROR)
        data.bury(turn.db, [gather], [None], [0], [state], [data.GATHER], [0], [cause or None])
        turn.dead.append(Dead(gather, state, cause))


def finish(turn: Turn, row: Gather) -> None:
    """All members have ended, few enough without a value."""
    if not gathers.end(turn.db, row.id, gathers.COMPLETE):
        return
    stretches = gathers.stretches(turn.db, row.id)
    parts = _chunk_digests(turn, stretches)
    manifest = None
    if row.failed:
        # what is missing now stays missing, even if it is made later
        found = {r[0] for s in stretches for r in span(turn, s.lo, s.n, s.step) if r[1] in _HAD_VALUE}
        ids = [i for s in stretches for i in range(s.lo, s.lo + s.n * s.step, s.step)]
        manifest = pack([i if i in found else 0 for i in ids])
    complete(turn, row.id, digest_all([row.members.to_bytes(8, "little"), *parts]), row.members, manifest)
    doubtful = [s for s in stretches if s.digest is None]
    if any(r[1] in data.GONE for s in doubtful for r in span(turn, s.lo, s.n, s.step)):
        data.lose(turn.db, [row.id])  # who needs it has its members made again


def _chunk_digests(turn: Turn, stretches: list[Stretch]) -> list[bytes]:
    """One digest for each `STRETCH` members in order, over theirs; it does not depend on how the members are
    numbered.
    """
    chunks: list[list[Stretch]] = []
    position = 0
    for s in stretches:
        if position % STRETCH == 0:
            chunks.append([])
        chunks[-1].append(s)
        position += s.n
    return [
        chunk[0].digest
        if len(chunk) == 1 and chunk[0].digest is not None
        else digest_all([d for s in chunk for d in member_digests(turn, s.lo, s.n, s.step)])
        for chunk in chunks
    ]


def finish_partial(turn: Turn, row: Gather) -> None:
    """Enough members are complete: those that are now make up the value; later ones are recorded only. Members whose
    value is gone are among them only where the others are too few.
    """
    if not gathers.end(turn.db, row.id, gathers.COMPLETE):
        return
    had: list[tuple[int, bytes, int]] = []
    for s in gathers.stretches(turn.db, row.id):
        for datum, state, *_, src, found, _value in span(turn, s.lo, s.n, s.step):
            if state in _HAD_VALUE:
                had.append((src or datum, found, state))
    there = [m for m in had if m[2] == data.COMPLETE]
    chosen = there if len(there) >= _needed(row) else had
    if row.one:
        target = data.get(turn.db, [chosen[0][0]], values=False)[chosen[0][0]]
        column = (row.id, target.run, target.port, data.COMPLETE, target.kind, target.size, target.id, target.digest)
        data.alias(turn.db, *[[c] for c in column])
        turn.done.append(row.id)
        return
    manifest = pack([m[0] for m in chosen])
    parts = [len(chosen).to_bytes(8, "little"), *[m[1] for m in chosen]]
    complete(turn, row.id, digest_all(parts), len(chosen), manifest)
    if chosen is had:
        data.lose(turn.db, [row.id])  # who needs it has its members made again


def complete(turn: Turn, gather: int, found: bytes, size: int, manifest: bytes | None = None) -> None:
    data.add(turn.db, [gather], [None], [0], [data.COMPLETE], [data.GATHER], [size], [found], [manifest])
    turn.done.append(gather)


def span(turn: Turn, low: int, n: int, step: int) -> list[Row]:
    """Rows of the ended members of a stretch."""
    rows = data.span(turn.db, low, low + (n - 1) * step)
    return rows if step == 1 else [r for r in rows if (r[0] - low) % step == 0]


def _close_stretch(turn: Turn, gather: int, seq: int, rows: list[Row]) -> None:
    """All members of a stretch have ended: it gets its digest, BLAKE3 over theirs in order, unless some have no value
    any more (then it has to be looked at again)."""
    if not any(r[1] in data.GONE for r in rows):
        gathers.close_stretch(turn.db, gather, seq, digest_all([r[5] or _MISSING for r in rows]))


def member_digests(turn: Turn, low: int, n: int, step: int) -> list[bytes]:
    """The digests of a stretch's (ended) members in order; a member without a value counts as 32 zero bytes."""
    return [r[5] or _MISSING for r in span(turn, low, n, step)]


class Ended(NamedTuple):
    """What had ended of a stretch before its collection came: how many with a value and without, and one without."""

    seq: int
    good: int
    bad: int
    example: int


def ended_before(turn: Turn, found: list[tuple[int, int, int]], own: range) -> tuple[list[Ended], dict[int, int]]:
    """What had ended of stretches (lo, n, step), and the states of members that have no value.

    Args:
        own: outputs of the chunk that brings the collection; those that have ended will be told of.
    """
    made: list[Ended] = []
    lacking: dict[int, int] = {}
    for seq, (low, n, step) in enumerate(found):
        if low in own and low + (n - 1) * step in own:
            continue
        ended = [(r[0], r[1]) for r in span(turn, low, n, step) if r[1] in _ENDED]
        lacking.update((datum, state) for datum, state in ended if state != data.COMPLETE)
        aside = turn.untold([datum for datum, _ in ended]) if ended else set()
        ended = [(datum, state) for datum, state in ended if datum not in aside]
        bad = [datum for datum, state in ended if state not in _HAD_VALUE]
        if ended:
            made.append(Ended(seq, len(ended) - len(bad), len(bad), bad[0] if bad else 0))
    return made, lacking


def count_before(turn: Turn, gather: int, before: list[Ended]) -> None:
    """A collection was just inserted: count the members that had ended before."""
    for seq, good, bad, example in before:
        pending, low, n, step = gathers.count(turn.db, gather, seq, good + bad)
        closed = 0
        if pending == 0:
            closed = 1
            _close_stretch(turn, gather, seq, span(turn, low, n, step))
        cause = data.get(turn.db, [example], values=False)[example].cause or 0 if bad else 0
        tell(turn, gather, closed, good, bad, cause)


def progressions(ids: list[int]) -> Iterator[tuple[int, int, int]]:
    """Any ids as stretches (lo, n, step) with positive steps, in order."""
    at, n = 0, len(ids)
    while at < n:
        end = at + 1
        step = ids[end] - ids[at] if end < n and ids[end] > ids[at] else 1
        while end < n and ids[end] - ids[end - 1] == step:
            end += 1
        yield ids[at], end - at, step
        at = end


def complete_empty(turn: Turn, gather: int) -> None:
    """A collection without members is complete at once."""
    if gathers.end(turn.db, gather, gathers.COMPLETE):
        complete(turn, gather, digest_all([bytes(8)]), 0)


class Reopened(NamedTuple):
    """Collections whose ends no longer hold.

    Attributes:
        revived: they may yet complete, or end again.
        outdated: complete ones whose value leaves out what may come now.
        blamed: those of the revived that end again, because of another member, with its root cause.
    """

    revived: list[int]
    outdated: list[int]
    blamed: dict[int, int]


def reopen(turn: Turn, pending: list[int]) -> Reopened:
    """These data, counted as ended without a value before, are pending again: count their collections anew."""
    ids = sorted({g for g, _, _ in gathers.containing(turn.db, pending)})
    followed = supersedes.successors(turn.db, ids) if ids else {}
    ids = [g for g in ids if g not in followed]
    if not ids:
        return Reopened([], [], {})
    gathers.lock(turn.db, ids)
    found = Reopened([], [], {})
    for gather in ids:
        known = gathers.get(turn.db, gather)
        assert known is not None
        row, state = known
        open_stretches, good, bad = _recount_stretches(turn, gather)
        if state == gathers.COMPLETE:
            if row.failed and not row.need and not row.one:
                found.outdated.append(gather)
            continue
        hopeless = row.members - len(bad) < _needed(row)
        blamed = _to_blame(turn, gather, bad) if hopeless else None
        stays = hopeless and blamed is None
        gathers.recount(turn.db, gather, gathers.DEAD if stays else gathers.OPEN, open_stretches, good, len(bad))
        if state == gathers.DEAD and not stays:
            found.revived.append(gather)
            if blamed is not None:
                found.blamed[gather] = blamed
    return found


def _to_blame(turn: Turn, gather: int, bad: list[int]) -> int | None:
    """The root cause of one of these members, if none of them has the one that the collection names."""
    rows = data.get(turn.db, [gather, *bad], values=False)
    causes = {rows[d].cause or 0 for d in bad}
    return None if gather not in rows or (rows[gather].cause or 0) in causes else max(causes)


def _recount_stretches(turn: Turn, gather: int) -> tuple[int, int, list[int]]:
    """Set the stretches' counters from their members' rows: (stretches not ended, members complete, those ended
    without a value).
    """
    open_stretches = good = 0
    bad: list[int] = []
    for s in gathers.stretches(turn.db, gather):
        ended = [(r[0], r[1]) for r in span(turn, s.lo, s.n, s.step) if r[1] in _ENDED]
        aside = turn.untold([datum for datum, _ in ended])
        told = [(datum, state) for datum, state in ended if datum not in aside]
        failed = [datum for datum, state in told if state not in _HAD_VALUE]
        good += len(told) - len(failed)
        bad += failed
        if len(told) < s.n:
            open_stretches += 1
            turn.engine.levels.add(gathers.level(s.n, s.step))
        if s.n - len(told) != s.pending:
            gathers.recount_stretch(turn.db, gather, s.seq, s.n - len(told), None)
    return open_stretches, good, bad


def _needed(row: Gather) -> int:
    """How many complete members a collection needs."""
    return row.need or (1 if row.one else row.members - row.tolerate)
