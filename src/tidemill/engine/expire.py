"""Lifetimes of data: after their last use, when their block ends; and data that are lost, found or given up by hand."""

from collections.abc import Callable

from tidemill.engine.turn import Turn
from tidemill.model.events import Kind
from tidemill.model.states import BlockState
from tidemill.stores.state import data, edges, gathers, runs
from tidemill.stores.state.data import AFTER_BLOCK, AFTER_USE
from tidemill.stores.state.database import Database

FAR = 1000
"""Data that are looked at for who follows from a run; where there are more, somebody is taken to."""


def set_lifetime(turn: Turn, ids: list[int], block: int, *, after_use: bool) -> None:
    """These data expire when no run that has not ended needs them any more (`after_use`), else when `block` has ended
    well; those of the first kind do so then at the latest. A block with failures keeps them, so that it can be
    retried."""
    n = len(ids)
    turn.engine.lifetimes += data.set_lifetime(turn.db, ids, [AFTER_USE if after_use else AFTER_BLOCK] * n, [block] * n)


def block_closed(turn: Turn, block: int, state: BlockState) -> None:
    """Data whose lifetime ends with this block expire: the value goes, the digest and the record stay."""
    if state is not BlockState.COMPLETE:
        return
    gone = data.lifetimes_of(turn.db, [block])
    turn.engine.lifetimes -= len(gone)
    expire(turn, gone)


def runs_ended(turn: Turn, ended: list[int]) -> None:
    """Inputs of these runs that nobody waits for any more and that live only until used expire."""
    used = sorted({datum for _, _, datum in edges.of_runs(turn.db, ended)})
    candidates = data.short_lived(turn.db, _with_members(turn, used))
    gone = [d for d in candidates if not _needed(turn, d)]
    if gone:
        turn.engine.lifetimes -= data.forget_lifetimes(turn.db, gone)
        expire(turn, gone)


def _with_members(turn: Turn, ids: list[int]) -> list[int]:
    """Data, and the members of those that are collections."""
    found: list[int] = []
    wanted = ids
    while wanted:
        found += wanted
        collected = gathers.states(turn.db, wanted)
        wanted = [
            i
            for g in collected
            for s in gathers.stretches(turn.db, g)
            for i in range(s.lo, s.lo + s.n * s.step, s.step)
        ]
    return found


def _needed(turn: Turn, datum: int) -> bool:
    """Whether a run that may still succeed needs a datum: itself, in a collection, or under another name."""
    wanted = [datum]
    seen: set[int] = set()
    while wanted:
        if edges.unfinished_consumer(turn.db, wanted) is not None:
            return True
        seen.update(wanted)
        further = [g for g, _, _ in gathers.containing(turn.db, wanted)]
        links = data.promised_as(turn.db, wanted)
        further += [f.datum for f in links]
        wanted = sorted({i for i in further if i not in seen})
        ended = data.states(turn.db, wanted)
        if any(i not in ended for i in wanted):
            return True
    return False


def is_followed(turn: Turn, run: int) -> bool:
    """Whether a run that has not ended follows from this one, however far."""
    row = runs.get(turn.db, [run]).get(run)
    if row is None:
        return False
    wanted = list(range(row.out, row.out + turn.engine.ports(row.task)))
    seen: set[int] = set()
    while wanted:
        if len(seen) > FAR or edges.live_consumer(turn.db, wanted) is not None:
            return True
        seen.update(wanted)
        consumers = runs.get(turn.db, sorted({run for _, run, _ in edges.consumers(turn.db, wanted)}))
        further = {r.out + p for r in consumers.values() for p in range(turn.engine.ports(r.task))}
        further.update(g for g, _, _ in gathers.containing(turn.db, wanted))
        further.update(f.datum for f in data.promised_as(turn.db, wanted))
        wanted = sorted(further - seen)
        ended = data.states(turn.db, wanted)
        if any(i not in ended for i in wanted):
            return True
    return False


def expire(turn: Turn, ids: list[int]) -> list[int]:
    """COMPLETE -> EXPIRED: the value goes, the digest stays; who needs it later has it made again. Those that were,
    collections with such members included."""
    gone = _lose_all(turn, ids, data.expire)
    turn.event(Kind.EXPIRED, gone)
    return gone


def lose(turn: Turn, ids: list[int]) -> list[int]:
    """COMPLETE -> LOST: the bytes are not where they should be. Those that were, collections with such members
    included.
    """
    gone = _lose_all(turn, ids, data.lose)
    turn.event(Kind.EXPIRED, gone, note="lost")
    return gone


def _lose_all(turn: Turn, ids: list[int], how: Callable[[Database, list[int]], list[int]]) -> list[int]:
    lost: list[int] = []
    wanted = ids
    while wanted:
        gone = how(turn.db, wanted)
        lost += gone
        held = gathers.containing(turn.db, gone) if gone else []
        gathers.doubt(turn.db, sorted({(g, seq) for g, seq, _ in held}))
        wanted = sorted({g for g, _, _ in held})
    return sorted(lost)


def restore(turn: Turn, datum: int, digest: bytes, value: bytes | None) -> bool:
    """EXPIRED or LOST -> COMPLETE: the same bytes are there again; False if they are not the same, or nothing was
    missing. Collections that lacked only this member come back with it."""
    row = data.get(turn.db, [datum], values=False).get(datum)
    if row is None or row.digest != digest or not data.restore(turn.db, datum, value):
        return False
    wanted = [datum]
    while wanted:
        collected = sorted({g for g, _, _ in gathers.containing(turn.db, wanted)})
        wanted = [g for g in collected if _whole(turn, g) and data.restore(turn.db, g, None)]
    return True


def _whole(turn: Turn, gather: int) -> bool:
    members = [i for s in gathers.stretches(turn.db, gather) for i in range(s.lo, s.lo + s.n * s.step, s.step)]
    return not any(state in data.GONE for state in data.states(turn.db, members).values())
