"""Claims: hub by weight, then priority, then class by weight and count, then in order of ids."""

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from tidemill.engine import flags, keys, restore, reuse, stand
from tidemill.engine.lease import Leased
from tidemill.engine.turn import Ready, Turn
from tidemill.model.delta import RunFlag
from tidemill.model.events import Kind
from tidemill.model.protocol import Claimed, Input
from tidemill.stores.state import classes, data, edges, leases, runs, workers
from tidemill.stores.state.classes import Class
from tidemill.stores.state.data import InputRow
from tidemill.stores.state.database import Database
from tidemill.stores.state.runs import Candidate

if TYPE_CHECKING:
    from tidemill.engine.engine import Engine

Room = Callable[[Class, int], int]
"""How many of the runs of a class that stand ready (the second argument) a worker may take now; 0 where it does not
fit.
"""

MANY = 1 << 30
"""Stands for a number of ready runs that is not known, because other engines add to it."""

Inputs = dict[int, list[InputRow]]
Sources = dict[int, data.Datum]


def claim(turn: Turn, worker: int, room: Room) -> list[Claimed]:
    """Lease ready runs to a worker: at most what `room` allows of the class drawn first."""
    while picked := _choose(turn, room):
        ids: list[int] = []
        for cls, n in picked:
            ids += _take(turn, cls, n)
        if len(picked) > 1:
            ids = list(dict.fromkeys(ids))  # one that stands in several classes may have been taken from two
        if ids and (claimed := _lease(turn, worker, runs.for_claim(turn.db, ids))):
            return claimed
        # what was taken need not be executed after all, and something may be ready because of that
        turn.engine.settle(turn)
    return []


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
        hub = _pick(engine.random, order, [engine.hubs[h].weight for h in order])
        fitting = {c: n for c, n in fitting.items() if engine.classes[c].hub == hub}
    top = max(engine.classes[c].priority for c in fitting)
    fitting = {c: n for c, n in fitting.items() if engine.classes[c].priority == top}
    weights = {c: engine.classes[c].weight * counts[c] for c in fitting}
    return _draw(engine.random, _apart(engine, fitting, weights), weights)


def _apart(engine: "Engine", fitting: dict[int, int], weights: dict[int, float]) -> dict[int, int]:
    """A worker that gets a service gets nothing else."""
    services = {c for c in fitting if engine.classes[c].service}
    if not services:
        return fitting
    order = sorted(fitting)
    first = _pick(engine.random, order, [weights[c] for c in order])
    return {first: 1} if first in services else {c: n for c, n in fitting.items() if c not in services}


def _pick(draw: random.Random, order: list[int], weights: list[float]) -> int:
    """One of `order`, by weight; the first if nobody has any."""
    return draw.choices(order, weights)[0] if sum(weights) > 0 else order[0]


def _draw(draw: random.Random, fitting: dict[int, int], weights: dict[int, float]) -> list[tuple[int, int]]:
    """Shares of one claim: the first class drawn decides its size, the rest is drawn by weight × count."""
    order = sorted(fitting)
    scale = [weights[c] for c in order]
    n = fitting[_pick(draw, order, scale)]
    drawn: dict[int, int] = {}
    for c in draw.choices(order, scale, k=n) if sum(scale) > 0 else order[:1] * n:
        drawn[c] = drawn.get(c, 0) + 1
    return [(c, min(k, fitting[c])) for c, k in sorted(drawn.items())]


def _take(turn: Turn, cls: int, n: int) -> list[int]:
    """Up to `n` ready runs of a class. What became ready in this turn goes out directly where nothing stands before
    it.
    """
    engine = turn.engine
    hot = turn.hot.get(cls, [])
    if engine.ready.get(cls, 0) <= 0:
        hot.sort()
        ids = hot[:n]
        del hot[:n]
    else:
        ids = classes.take(turn.db, cls, n)
        if len(ids) < n:
            engine.ready[cls] = 0
        else:
            stand.taken(turn, cls, n)
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
        gone = _leave_other_hubs(turn, several)
        rows = [r for r in rows if r.id not in gone]
    fed = [r.id for r in rows if r.flags & flags.HAS_INPUTS]
    inputs, sources = _inputs(turn.db, fed) if fed else ({}, {})
    lost = _unavailable(inputs, sources) if inputs else set()
    if lost:
        restore.ask(turn, sorted(lost))
        rows = [r for r in rows if r.id not in lost]
    found = [_key(r, inputs) for r in rows]
    if engine.stale_hubs and any(engine.classes[r.cls].hub in engine.stale_hubs for r in rows):
        rows, found = _look_again(turn, rows, found)
    if not rows:
        return []
    fences = [r.attempt + 1 for r in rows]
    ids = [r.id for r in rows]
    n = len(rows)
    leases.add(turn.db, ids, fences, [worker] * n, [turn.now] * n)
    turn.event(Kind.CLAIMED, ids, actor=worker)
    flight = engine.flight
    widths = _widths(turn, [r.id for r in rows if r.flags & RunFlag.PARTIAL])
    claimed: list[Claimed] = []
    for r, fence, key in zip(rows, fences, found, strict=True):
        flight[r.id] = Leased(fence, worker, r.task, r.block, r.out, r.cls, key, r.flags, r.tries, r.losses)
        claimed.append(
            Claimed(r.id, fence, r.task, r.args, _messages(inputs[r.id], sources, widths.get(r.id, 0)))
            if r.id in inputs
            else Claimed(r.id, fence, r.task, r.args)
        )
        if disk := engine.classes[r.cls].disk:
            claimed[-1].disk = disk
    return claimed


def leased(engine: "Engine") -> dict[int, Leased]:
    """What the rows say of the leases that this engine gave: for an engine whose memory cannot be trusted any more."""
    if not engine.id:
        return {}
    db = engine.db
    mine = [w.id for w in workers.executors(db, [engine.id])]
    held = {run: (fence, worker) for run, fence, worker, _ in leases.of_workers(db, mine)}
    rows = runs.for_claim(db, list(held))
    inputs, _ = _inputs(db, [r.id for r in rows if r.flags & flags.HAS_INPUTS])
    return {
        r.id: Leased(*held[r.id], r.task, r.block, r.out, r.cls, _key(r, inputs), r.flags, r.tries, r.losses)
        for r in rows
    }


def _inputs(db: Database, ids: list[int]) -> tuple[Inputs, Sources]:
    """The ended inputs of runs, and the data that hold the values of those that are aliases."""
    inputs: Inputs = {}
    aliased: set[int] = set()
    for row in data.inputs(db, ids):
        inputs.setdefault(row.run, []).append(row)
        if row.src and row.value is None:
            aliased.add(row.src)
    return inputs, data.get(db, sorted(aliased)) if aliased else {}


def _unavailable(inputs: Inputs, sources: Sources) -> set[int]:
    """Runs with an input that once was there and is not any more."""
    return {
        row.run
        for rows in inputs.values()
        for row in rows
        if row.state in data.GONE or (row.src in sources and sources[row.src].state in data.GONE)
    }


def _key(row: Candidate, inputs: Inputs) -> bytes:
    mine = inputs.get(row.id)
    return keys.final_key(row.key, row.flags, mine) if mine else bytes(row.key)


def _widths(turn: Turn, partial: list[int]) -> dict[int, int]:
    """How many inputs runs have that do not need all of them."""
    widths: dict[int, int] = {}
    for run, port, _ in edges.of_runs(turn.db, partial) if partial else []:
        widths[run] = max(widths.get(run, 0), port + 1)
    return widths


def _messages(rows: list[InputRow], sources: Sources, width: int) -> list[Input]:
    """Inputs by port; a port whose datum has no value (yet) is empty."""
    if rows[-1].port + 1 == len(rows) >= width:  # they are in port order, and none is missing
        return [_message(r, sources) for r in rows]
    made = {r.port: _message(r, sources) for r in rows}
    return [made.get(p) or Input(None, b"") for p in range(max(width, max(made) + 1))]


def _message(row: InputRow, sources: Sources) -> Input:
    if row.state not in (data.COMPLETE, data.PUBLISHED):
        return Input(None, b"")
    assert row.digest is not None
    if row.kind == data.GATHER:
        return Input(None, row.digest, row.size, row.src or row.datum)
    value = row.value
    if value is None and row.src and (source := sources.get(row.src)) is not None:
        value = source.value
    return Input(value, row.digest, row.size)


def _leave_other_hubs(turn: Turn, several: list[int]) -> set[int]:
    """Runs that stand in several classes were taken from one: take them off the others. Those that another engine took
    from another class at the same time."""
    runs.lock(turn.db, several)
    gone = set(leases.current(turn.db, several))
    rows = runs.get(turn.db, several)
    if stand.drop(turn, [rows[r] for r in several if r not in gone]) and not turn.engine.alone:
        gone |= set(leases.current(turn.db, several))  # it may have waited for another engine's claim
    return gone


def _look_again(turn: Turn, rows: list[Candidate], found: list[bytes]) -> tuple[list[Candidate], list[bytes]]:
    """A hub that was suspended comes back: what has become known meanwhile is reused instead of executed."""
    aside = RunFlag.NO_CACHE | flags.FORCED
    ready = [Ready(r.id, k, r.cls, r.flags, r.task, True) for r, k in zip(rows, found, strict=True)]
    known = turn.engine.index.lookup(turn.db, [r.key for r in ready if not r.flags & aside])
    hits = [r for r in ready if not r.flags & aside and r.key in known]
    if not hits:
        return rows, found
    reuse.settle_known(turn, hits, [r.key for r in hits])
    gone = {r.id for r in hits}
    left = [(r, k) for r, k in zip(rows, found, strict=True) if r.id not in gone]
    return [r for r, _ in left], [k for _, k in left]
