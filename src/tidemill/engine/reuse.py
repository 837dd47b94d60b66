"""Reuse: runs whose key is known already end as aliases of the earlier result; equal runs under way are waited for."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from tidemill.engine import flags, stand
from tidemill.engine.keyindex import Source
from tidemill.engine.turn import DONE, REUSED, Ready, Regrow, Turn
from tidemill.model.delta import RunFlag
from tidemill.model.events import Kind
from tidemill.stores.state import blocks, data, memo, runs
from tidemill.stores.state.runs import Run

_ASIDE = RunFlag.NO_CACHE | flags.FORCED


class Hit(NamedTuple):
    """A run and the complete run of equal key."""

    run: int
    out: int
    ports: int
    block: int
    task: int
    flags: int
    key: bytes
    source: Source


def settle_known(turn: Turn, ready: list[Ready], keys: list[bytes]) -> list[Ready]:
    """Complete what is known, let equal runs follow one another; the runs that have to execute."""
    engine = turn.engine
    asked = [k for r, k in zip(ready, keys, strict=True) if not r.flags & _ASIDE]
    if not asked:
        return ready
    known = engine.index.lookup(turn.db, asked)
    rest: list[Ready] = []
    hits: list[tuple[Ready, bytes, Source]] = []
    following: list[tuple[Ready, int]] = []
    for r, key in zip(ready, keys, strict=True):
        if r.flags & _ASIDE:
            rest.append(r)
        elif (source := known.get(key)) is not None:
            hits.append((r, key, source))
        elif (leader := engine.index.lead(key, r.id)) is None:
            rest.append(r)
        elif may_lead(turn, leader, partial(_block, turn, r.id)):
            following.append((r, leader))
        else:
            engine.index.insist(key, r.id)
            rest.append(r)
    moved = follow(turn, following)
    if hits:
        complete_hits(turn, _rows(turn, hits))
    return _standing_further(rest, moved)


def _block(turn: Turn, run: int) -> int:
    return runs.get(turn.db, [run])[run].block


def may_lead(turn: Turn, run: int, block: Callable[[], int]) -> bool:
    """Whether a run of `block` may wait for this equal one: it is live, or it grew and its outputs are pending.

    Not for one that it grew from itself: they would wait for each other for ever. Nor for one that waits itself, or for
    what one grew, where nobody works on that.
    """
    row = runs.pin(turn.db, run)
    if row is None:
        return False
    state, bits, out, task, pending = row
    if state == runs.COMPLETE and bits & flags.GREW:
        if not reachable(turn, run) or _grew(turn, run, block()):
            return False
        outs = list(range(out, out + turn.engine.ports(task)))
        # it may have completed in this very turn, with its promises still to be made
        return data.promise_open(turn.db, out, out + len(outs)) or len(data.states(turn.db, outs)) < len(outs)
    return bool(state == runs.LIVE and (pending <= 0 or reachable(turn, run)))


def _grew(turn: Turn, run: int, block: int) -> bool:
    """Whether a block is below what a run grew."""
    at: int | None = block
    while at is not None:
        row = blocks.get(turn.db, at)
        assert row is not None
        if row.owner == run:
            return True
        at = row.parent
    return False


def reachable(turn: Turn, run: int) -> bool:
    """Whether what a run grew is being worked on; in a suspended workflow nobody would."""
    return bool(turn.engine.hubs[turn.engine.facts(turn.db, _block(turn, run)).hub].active)


def grown_apart(turn: Turn, found: list[tuple[int, int]]) -> None:
    """Runs (each with its block) that grew end the waiting of others for what they grew, where nobody works on that:
    they were executed for those that wait for them, and their own workflow is suspended.
    """
    engine = turn.engine
    apart = [run for run, block in found if not engine.hubs[engine.facts(turn.db, block).hub].active]
    if apart:
        leaders_ended(turn, apart)


def follow(turn: Turn, following: list[tuple[Ready, int]]) -> set[int]:
    """Let runs wait for runs of equal key under way; those of these that stand in further classes from now on."""
    if not following:
        return set()
    engine = turn.engine
    memo.follow(turn.db, [r.id for r, _ in following], [leader for _, leader in following])
    engine.follows += len(following)
    moved = stand_by(turn, [(leader, r.cls) for r, leader in following])
    turn.fresh = _standing_further(turn.fresh, moved)
    return moved


def stand_by(turn: Turn, waited_for: list[tuple[int, int]]) -> set[int]:
    """Let runs (the first of each pair) stand also where those that wait for them would (the second: their class), if
    these have a higher priority, or nobody claims from the hub that the run belongs to; which ones now do.

    It keeps its own place: whichever of the workflows goes on, it is claimed. That is so for those of suspended
    workflows that wait for it, too, so that nothing is to be done when one of these goes on.
    """
    engine = turn.engine
    rows = runs.get(turn.db, sorted({leader for leader, _ in waited_for}))
    pairs: list[tuple[Run, int]] = []
    for leader, cls in waited_for:
        row = rows[leader]
        mine, theirs = engine.classes[cls], engine.classes[row.cls]
        elsewhere = mine.hub != theirs.hub and not engine.hubs[theirs.hub].active
        if row.state == runs.LIVE and (mine.priority > theirs.priority or elsewhere):
            # it keeps its own resources, which may have been raised
            as_mine = theirs._replace(priority=mine.priority, weight=mine.weight).spec
            pairs.append((row, engine.class_id(turn.db, mine.hub, as_mine)))
    return stand.also(turn, [(row, cls) for row, cls in pairs if cls != row.cls])


def _standing_further(ready: list[Ready], moved: set[int]) -> list[Ready]:
    """The same runs, where those that stand in further classes know of it."""
    if not moved:
        return ready
    return [r._replace(flags=r.flags | flags.SEVERAL_HUBS) if r.id in moved else r for r in ready]


def _rows(turn: Turn, hits: list[tuple[Ready, bytes, Source]]) -> list[Hit]:
    rows = runs.get(turn.db, [r.id for r, _, _ in hits])
    return [
        Hit(r.id, (row := rows[r.id]).out, turn.engine.ports(row.task), row.block, row.task, r.flags, key, source)
        for r, key, source in hits
    ]


def complete_hits(turn: Turn, hits: list[Hit]) -> None:
    """WAITING or READY -> COMPLETE for runs already stored, and what follows from it."""
    bits = [h.flags | (flags.GREW if h.source.flags & flags.GREW else 0) for h in hits]
    changed = runs.reuse(turn.db, [h.run for h in hits], [h.key for h in hits], bits)
    assert changed == len(hits), "a run was reused twice"
    count_hits(turn, hits)
    alias_hits(turn, hits)


def count_hits(turn: Turn, hits: list[Hit]) -> None:
    """Record the reuse and count it in the blocks."""
    per_block: dict[int, int] = {}
    for h in hits:
        per_block[h.block] = per_block.get(h.block, 0) + 1
    for block, n in per_block.items():
        turn.count(block, DONE, n)
        turn.change(block, REUSED, n)
    turn.event(Kind.REUSED, [h.run for h in hits], note=[h.source.run for h in hits])
    turn.note_progress(REUSED, [(h.block, h.task) for h in hits])


def alias_hits(turn: Turn, hits: list[Hit]) -> None:
    """The outputs of reused runs point at the existing data; a run that grew grows again, each grown run looked up by
    its key.
    """
    plain = [h for h in hits if not h.source.flags & flags.GREW]
    columns = [
        (h.out + port, h.run, port, data.COMPLETE, d.kind, d.size, d.src or d.id, d.digest)
        for h in plain
        for port, d in enumerate(h.source.outputs)
    ]
    if columns:
        data.alias(turn.db, *zip(*columns, strict=True))
        turn.done += [c[0] for c in columns]
    for h in hits:
        if h.source.flags & flags.GREW:
            turn.regrow.append(Regrow(h.run, h.block, h.out, h.source.run))
        else:
            turn.ended.append(h.run)


def leaders_ended(turn: Turn, ended: list[int]) -> None:
    """Runs that waited for these equal ones go on: reused if they are complete, else the first of them executes
    itself.
    """
    pairs = memo.followers(turn.db, ended)
    turn.engine.follows -= len(pairs)
    for row in runs.fresh(turn.db, [r for r, _ in pairs]) if pairs else []:
        if row.state == runs.LIVE:
            turn.fresh.append(Ready(row.id, bytes(row.key), row.cls, row.flags, row.task, False))
