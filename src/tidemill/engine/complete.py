"""Completion: outputs, status, attempt, growth and what they make ready, together or not at all.

Only the current fence is accepted. An outcome that was accepted before is told so when it comes again; any other is
refused.
"""

from enum import IntEnum

import msgspec

from tidemill.engine import files, flags, retry, reuse, serve, together
from tidemill.engine.lease import Leased
from tidemill.engine.together import Grown
from tidemill.engine.turn import DONE, Turn
from tidemill.model.delta import RunFlag
from tidemill.model.events import Kind
from tidemill.model.protocol import Outcome
from tidemill.model.states import AttemptState, RunState
from tidemill.stores.state import attempts, data, leases, runs

_encode = msgspec.msgpack.Encoder().encode

Taken = tuple[Outcome, Leased]


class Answer(IntEnum):
    """What became of an outcome that was handed in."""

    ACCEPTED = 1
    ALREADY = 2
    REFUSED = 3


def complete(turn: Turn, worker: int, outcomes: list[Outcome]) -> list[Answer]:
    """Take in what a worker finished; one answer per outcome, in order.

    Growth is expanded after the caller has settled the turn, so that what this turn completed is counted once: see
        `Turn`.
    """
    taken, stale = _fence(turn, worker, outcomes)
    if taken:
        _take(turn, worker, taken)
    answers = [Answer.ACCEPTED] * len(outcomes)
    if stale:
        _answer_stale(turn, worker, outcomes, stale, answers)
    return answers


def _take(turn: Turn, worker: int, taken: list[Taken]) -> None:
    good = [t for t in taken if t[0].state == AttemptState.COMPLETE]
    _record(turn, worker, taken)
    handled = [t for t in taken if t[0].files or t[0].deleted or t[0].used]
    if handled:
        files.record(turn, handled)
    if good:
        _succeed(turn, worker, good)
    bad = [t for t in taken if t[0].state != AttemptState.COMPLETE]
    if bad:
        retry.failed(turn, bad)


def _fence(turn: Turn, worker: int, outcomes: list[Outcome]) -> tuple[list[Taken], list[int]]:
    """Give the leases back; also the places of the outcomes that were not leased under their fence."""
    flight = turn.engine.flight
    taken: list[Taken] = []
    current = None if turn.engine.alone else leases.current(turn.db, [o.run for o in outcomes])
    stale: list[int] = []
    for i, o in enumerate(outcomes):
        lease = flight.get(o.run)
        if lease is None or lease.fence != o.fence or (current is not None and current.get(o.run) != (o.fence, worker)):
            stale.append(i)
        else:
            del flight[o.run]
            taken.append((o, lease))
    if taken:
        n = leases.give_back(turn.db, [o.run for o, _ in taken], [o.fence for o, _ in taken])
        assert n == len(taken), "a lease in memory had no row"
    return taken, stale


def _answer_stale(turn: Turn, worker: int, outcomes: list[Outcome], stale: list[int], answers: list[Answer]) -> None:
    rows = runs.get(turn.db, [outcomes[i].run for i in stale])
    refused = []
    for i in stale:
        o = outcomes[i]
        row = rows.get(o.run)
        if row is not None and row.state == RunState.COMPLETE and row.attempt == o.fence:
            answers[i] = Answer.ALREADY
        else:
            answers[i] = Answer.REFUSED
            refused.append(o.run)
    turn.event(Kind.REFUSED, refused, actor=worker)


def _record(turn: Turn, worker: int, taken: list[Taken]) -> None:
    """Attempts and what was printed."""
    attempts.add(
        turn.db,
        [o.run for o, _ in taken],
        [o.fence for o, _ in taken],
        [worker] * len(taken),
        [o.state for o, _ in taken],
        [o.t0 for o, _ in taken],
        [o.t1 for o, _ in taken],
        [o.cpu for o, _ in taken],
        [o.rss for o, _ in taken],
    )
    disks = [(o.run, o.fence, o.disk) for o, _ in taken if o.disk]
    if disks:
        attempts.note_disk(turn.db, disks)
    logs = [(o.run, o.fence, o.log) for o, _ in taken if o.log]
    if logs:
        attempts.log(turn.db, logs)


def _succeed(turn: Turn, worker: int, good: list[Taken]) -> None:
    engine = turn.engine
    ids = [o.run for o, _ in good]
    keys = [lease.key for _, lease in good]
    bits = [lease.flags | flags.GREW if o.growth else lease.flags for o, lease in good]
    changed = runs.complete(turn.db, ids, [o.fence for o, _ in good], keys, bits)
    assert changed == len(good), "a leased run was not running"
    _write_outputs(turn, [t for t in good if not t[0].growth])
    cached = [(lease.key, o) for o, lease in good if not lease.flags & RunFlag.NO_CACHE]
    second = _second_results(turn, good)
    if second:
        cached = [(k, o) for k, o in cached if o.run not in second]
    if cached:
        forced = {o.run for o, lease in good if lease.flags & flags.FORCED}
        untold = [(k, o.run) for k, o in cached if o.run in forced] if forced else []
        engine.index.add([k for k, _ in cached], [o.run for _, o in cached], untold)
    _count(turn, [t for t in good if not t[0].growth])
    turn.event(Kind.COMPLETED, ids, actor=worker)
    growing = [(o, lease) for o, lease in good if o.growth]
    if growing:
        engine.settle(turn)
        # a block must not close between the end of a run in it and the opening of the block that this run grew
        _count(turn, growing)
        together.grown(turn, [Grown(o.run, lease.block, lease.out, o.growth) for o, lease in growing])
        if engine.follows:
            reuse.grown_apart(turn, [(o.run, lease.block) for o, lease in growing])


def _count(turn: Turn, good: list[Taken]) -> None:
    """Count complete runs in their blocks."""
    found: dict[tuple[int, int], int] = {}
    for _, lease in good:
        where = (lease.block, lease.task)
        found[where] = found.get(where, 0) + 1
    for where, n in found.items():
        turn.count(where[0], DONE, n)
        turn.note_progress(DONE, [where], n)


def _write_outputs(turn: Turn, good: list[Taken]) -> None:
    if any(lease.flags & RunFlag.SERVICE for _, lease in good):
        good = _settle_services(turn, good)
    if not good:
        return
    if all(len(o.outs) == 1 for o, _ in good):
        found = [lease.out for _, lease in good]
        outs = [o.outs[0] for o, _ in good]
        owners = [o.run for o, _ in good]
        ports = [0] * len(good)
    else:
        found = [lease.out + p for o, lease in good for p in range(len(o.outs))]
        outs = [out for o, _ in good for out in o.outs]
        owners = [o.run for o, _ in good for _ in o.outs]
        ports = [p for o, _ in good for p in range(len(o.outs))]
    n = len(outs)
    data.add(
        turn.db, found, owners, ports, [data.COMPLETE] * n, [data.VALUE] * n,
        [o.size for o in outs], [o.digest for o in outs], [o.value for o in outs],
    )  # fmt: skip
    named = [(datum, d) for datum, out in zip(found, outs, strict=True) if out.objects for d in out.objects]
    if named:
        data.name_objects(turn.db, *zip(*named, strict=True))
        files.note_folders(turn, [out for out in outs if out.objects])
    turn.done += found
    if turn.engine.follows or turn.engine.lifetimes or turn.engine.index.leading:
        turn.ended += [o.run for o, _ in good]


def _settle_services(turn: Turn, good: list[Taken]) -> list[Taken]:
    """Services have ended: what they had published is complete. The rest, to be written."""
    found = [lease.out for _, lease in good if lease.flags & RunFlag.SERVICE]
    settled = set(serve.completed(turn, found))
    turn.ended += [o.run for o, lease in good if lease.out in settled]
    return [(o, lease) for o, lease in good if lease.out not in settled]


def _second_results(turn: Turn, good: list[Taken]) -> set[int]:
    """Runs whose key has a result already, which stays the one that is reused; an unequal second one is recorded."""
    index = turn.engine.index
    doubtful = [
        (o, lease.key)
        for o, lease in good
        if index.known(lease.key) is not None or (lease.flags & flags.FORCED and not lease.flags & RunFlag.NO_CACHE)
    ]
    if not doubtful:
        return set()
    first = index.lookup(turn.db, [key for _, key in doubtful])
    second = [(o, source) for o, key in doubtful if (source := first.get(key)) is not None and source.run != o.run]
    lost = [(o, index.known(key) or 0) for o, key in doubtful if key not in first]
    rows = runs.get(turn.db, [run for o, run in lost if run != o.run])
    heads = data.get(
        turn.db, [r.out + p for r in rows.values() for p in range(turn.engine.ports(r.task))], values=False
    )
    different = [
        (o.run, s.run) for o, s in second if o.outs and [d.digest for d in s.outputs] != [x.digest for x in o.outs]
    ]
    for o, run in lost:
        before = [heads.get(rows[run].out + p) for p in range(len(o.outs))] if run in rows else []
        if any(d is not None and d.digest not in (None, x.digest) for d, x in zip(before, o.outs, strict=False)):
            different.append((o.run, run))
    turn.event(Kind.NONDETERMINISTIC, [r for r, _ in different], note=[f for _, f in different])
    return {o.run for o, _ in second}
