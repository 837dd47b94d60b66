"""Claims: hub by weight, then priority, then class by weight and count, then in order of ids."""

import random
from collections.abc import Callable

from tidemill.engine import flags, reuse
from tidemill.engine.lease import Leased
from tidemill.engine.turn import Ready, Turn
from tidemill.model.delta import RunFlag
from tidemill.model.digest import SIZE, digest
from tidemill.model.events import Kind
from tidemill.model.protocol import Claimed, Input
from tidemill.model.states import DatumState
from tidemill.stores.state import classes, data, leases, runs
from tidemill.stores.state.classes import Class
from tidemill.stores.state.data import InputRow
from tidemill.stores.state.runs import Candidate

Room = Callable[[Class, int], int]
"""How many of the runs of a class that stand ready (the second argument) a worker may take now; 0 where it does not fit."""

MANY = 1 << 30
"""Stands for a number of ready runs that is not known, because other engines add to it."""

_NOTHING = bytes(SIZE)


def claim(turn: Turn, worker: int, room: Room) -> list[Claimed]:
    """Lease ready runs to a worker: at most what `room` allows of the class drawn first."""
    picked = _choose(turn, room)
    if not picked:
        return []
    ids: list[int] = []
    for cls, n in picked:
        ids += _take(turn, cls, n)
    if not ids:
        return []
    rows = runs.for_claim(turn.db, ids)
    return _lease(turn, worker, rows)


def _choose(turn: Turn, room: Room) -> list[tuple[int, int]]:
    """(class, how many) to take."""
    engine = turn.engine
    counts = {c: n for c, n in engine.ready.items() if n > 0}
    for c, found in turn.hot.items():
        if found:
            counts[c] = counts.get(c, 0) + len(found)
    fitting = {
        c: n
        for c in counts
        if engine.hubs[engine.classes[c].hub].active
        and (n := room(engine.classes[c], counts[c] if engine.alone else MANY)) > 0
    }
    if not fitting:
        return []
    if len(fitting) == 1:
        (only,) = fitting.items()
        return [only]
    hubs = {engine.classes[c].hub for c in fitting}
    if len(hubs) > 1:
        order = sorted(hubs)
        hub = random.choices(order, [engine.hubs[h].weight for h in order])[0]
        fitting = {c: n for c, n in fitting.items() if engine.classes[c].hub == hub}
    top = max(engine.classes[c].priority for c in fitting)
    fitting = {c: n for c, n in fitting.items() if engine.classes[c].priority == top}
    return _draw(fitting, {c: engine.classes[c].weight * counts[c] for c in fitting})


def _draw(fitting: dict[int, int], weights: dict[int, float]) -> list[tuple[int, int]]:
    """Shares of one claim: the first class drawn decides its size, the rest is drawn by weight × count."""
    order = sorted(fitting)
    scale = [weights[c] for c in order]
    if sum(scale) <= 0:
        return [(order[0], fitting[order[0]])]
    first = random.choices(order, scale)[0]
    n = fitting[first]
    drawn: dict[int, int] = {}
    for c in random.choices(order, scale, k=n):
        drawn[c] = drawn.get(c, 0) + 1
    return [(c, min(k, fitting[c])) for c, k in sorted(drawn.items())]


def _take(turn: Turn, cls: int, n: int) -> list[int]:
    """Up to `n` ready runs of a class. What became ready in this turn goes out directly where nothing stands before it."""
    engine = turn.engine
    hot = turn.hot.get(cls, [])
    if engine.ready.get(cls, 0) <= 0:
        hot.sort()
        ids = hot[:n]
        del hot[:n]
    else:
        ids = classes.take(turn.db, cls, n)
        left = engine.ready[cls] - len(ids) if engine.alone else 1
        engine.ready[cls] = left if len(ids) == n else 0
        missing = n - len(ids)
        if missing and hot:
            hot.sort()
            ids += hot[:missing]
            del hot[:missing]
    return ids


def _lease(turn: Turn, worker: int, rows: list[Candidate]) -> list[Claimed]:
    engine = turn.engine
    several = [r.id for r in rows if r.flags & flags.SEVERAL_HUBS]
    if several:
        _leave_other_hubs(turn, several)
    fed = [r.id for r in rows if r.flags & flags.HAS_INPUTS]
    inputs = _inputs(turn, fed) if fed else {}
    keys = [_key(r, inputs) for r in rows]
    if any(engine.classes[r.cls].hub in engine.stale_hubs for r in rows):
        rows, keys = _look_again(turn, rows, keys)
    if not rows:
        return []
    fences = [r.attempt + 1 for r in rows]
    ids = [r.id for r in rows]
    n = len(rows)
    leases.add(turn.db, ids, fences, [worker] * n, [turn.now] * n)
    turn.event(Kind.CLAIMED, ids, actor=worker)
    flight = engine.flight
    claimed: list[Claimed] = []
    for r, fence, key in zip(rows, fences, keys, strict=True):
        flight[r.id] = Leased(fence, worker, r.task, r.block, r.out, r.cls, key, r.flags, r.tries, r.losses)
        claimed.append(
            Claimed(r.id, fence, r.task, r.args, _messages(turn, inputs[r.id]))
            if r.id in inputs
            else Claimed(r.id, fence, r.task, r.args)
        )
    return claimed


def _inputs(turn: Turn, ids: list[int]) -> dict[int, list[InputRow]]:
    found: dict[int, list[InputRow]] = {}
    for row in data.inputs(turn.db, ids):
        found.setdefault(row.run, []).append(row)
    return found


def _key(row: Candidate, inputs: dict[int, list[InputRow]]) -> bytes:
    mine = inputs.get(row.id)
    if not mine:
        return bytes(row.key)
    return digest(row.key + b"".join([i.digest or _NOTHING for i in mine]))


def _messages(turn: Turn, rows: list[InputRow]) -> list[Input]:
    """Inputs by port; a port whose datum has no value (yet) is empty."""
    aliased = [r.src for r in rows if r.src and r.kind == data.VALUE and r.value is None]
    sources = data.get(turn.db, aliased) if aliased else {}
    made = {r.port: _message(r, sources) for r in rows}
    last = max(made)
    return [made.get(p) or Input(None, b"") for p in range(last + 1)]


def _message(row: InputRow, sources: dict[int, data.Datum]) -> Input:
    if row.state != DatumState.COMPLETE:
        return Input(None, b"")
    assert row.digest is not None
    if row.kind == data.GATHER:
        return Input(None, row.digest, row.size, row.src or row.datum)
    value = row.value
    if value is None and row.src and (source := sources.get(row.src)) is not None:
        value = source.value
    return Input(value, row.digest, row.size)


def _leave_other_hubs(turn: Turn, several: list[int]) -> None:
    """Runs that stand in several classes were taken from one: take them off the others."""
    pairs = classes.actions(turn.db, several)
    rows = runs.get(turn.db, several)
    pairs += [(r, rows[r].cls) for r in several]
    for run, cls in pairs:
        if classes.drop(turn.db, [cls], [run]):
            turn.engine.ready[cls] -= 1
        elif run in (hot := turn.hot.get(cls, [])):
            hot.remove(run)


def _look_again(turn: Turn, rows: list[Candidate], keys: list[bytes]) -> tuple[list[Candidate], list[bytes]]:
    """A hub that was suspended comes back: what has become known meanwhile is reused instead of executed."""
    aside = RunFlag.NO_CACHE | flags.FORCED
    ready = [Ready(r.id, k, r.cls, r.flags, r.task, True) for r, k in zip(rows, keys, strict=True)]
    known = turn.engine.index.lookup(turn.db, [r.key for r in ready if not r.flags & aside])
    hits = [r for r in ready if not r.flags & aside and r.key in known]
    if not hits:
        return rows, keys
    reuse.settle_known(turn, hits, [r.key for r in hits])
    gone = {r.id for r in hits}
    left = [(r, k) for r, k in zip(rows, keys, strict=True) if r.id not in gone]
    return [r for r, _ in left], [k for _, k in left]
