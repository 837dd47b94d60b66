"""Failed and lost attempts: retried after a backoff while the task's policy allows, released free, or the end of the
run.
"""

from tidemill.engine import cone, escalate, lost, serve, spread, stand
from tidemill.engine.lease import Leased
from tidemill.engine.turn import Failed, Ready, Turn
from tidemill.model import protocol
from tidemill.model.delta import RunFlag
from tidemill.model.events import Kind
from tidemill.model.protocol import Failure, Outcome, Started
from tidemill.model.states import AttemptState, BlockState, Reason, RunState
from tidemill.stores.state import attempts, blocks, data, leases, queues, runs

LONGEST_BACKOFF = 3600.0
"""Seconds beyond which a backoff no longer doubles."""
MAX_LOSSES = 5
_FINAL = {
    Reason.CODE_CHANGED, Reason.BAD_INPUT, Reason.LOST_INPUT, Reason.TOO_MANY_LOSSES, Reason.NO_RESOURCES,
}  # fmt: skip
_encode = protocol.encode


def failed(turn: Turn, bad: list[tuple[Outcome, Leased]]) -> None:
    """Attempts that user code ended: a try each."""
    failures = [_failure(o, lease) for o, lease in bad]
    hollow = {o.run: f.reason for (o, _), f in zip(bad, failures, strict=True) if _lost_input(turn, o.run, f)}
    failures = [f if o.run in hollow else _final(f) for (o, _), f in zip(bad, failures, strict=True)]
    attempts.fail(turn.db, [(o.run, o.fence, f.reason, _encode(f)) for (o, _), f in zip(bad, failures, strict=True)])
    if hollow:
        uncharged = [o for o, _ in bad if o.run in hollow]
        losses = [int(hollow[o.run] == Reason.LOST_INPUT) for o in uncharged]
        runs.bump(turn.db, [o.run for o in uncharged], [o.fence for o in uncharged], [0] * len(uncharged), losses)
        requeue(turn, sorted(hollow))
        kept = [(taken, f) for taken, f in zip(bad, failures, strict=True) if taken[0].run not in hollow]
        bad, failures = [taken for taken, _ in kept], [f for _, f in kept]
    idle = _unpublish(turn, bad)
    again: list[tuple[Outcome, Leased]] = []
    stopping = _stopping(turn, [lease.block for _, lease in bad])
    over: set[int] = set()
    for (o, lease), f in zip(bad, failures, strict=True):
        spec = turn.engine.spec(turn.db, lease.task)
        if lease.tries < spec.retries and f.reason not in _FINAL and lease.block not in stopping and o.run not in idle:
            again.append((o, lease))
        else:
            over.add(o.run)
    n = len(bad)
    runs.bump(turn.db, [o.run for o, _ in bad], [o.fence for o, _ in bad], [1] * n, [0] * n)
    if again:
        _later(turn, again)
    if over:
        ended = [(o, lease, f) for (o, lease), f in zip(bad, failures, strict=True) if o.run in over]
        turn.failures += [Failed(o.run, lease.block, lease.task, f) for o, lease, f in ended if o.failure]
        found = runs.get(turn.db, sorted(over))
        spread.finish(turn, [(found[r], RunState.ERROR, 0) for r in sorted(over)])


def _unpublish(turn: Turn, bad: list[tuple[Outcome, Leased]]) -> set[int]:
    """What services published that failed holds no more. Those of them that nobody needs any more."""
    found = [o.run for o, lease in bad if lease.flags & RunFlag.SERVICE]
    rows = list(runs.get(turn.db, found).values()) if found else []
    serve.unpublish(turn, rows)
    return {r.id for r in serve.unneeded(turn, rows)}


def _failure(o: Outcome, lease: Leased) -> Failure:
    """Why an attempt failed. A run whose inputs are lost time and again has too many losses."""
    failure = o.failure or Failure(int(Reason.EXCEPTION), "unknown", "no reason was given")
    if failure.reason != Reason.LOST_INPUT or lease.losses < MAX_LOSSES:
        return failure
    text = f"its inputs were made {lease.losses} times and lost again; the last: {failure.message}"
    return Failure(int(Reason.TOO_MANY_LOSSES), failure.kind, text, failure.traceback, failure.scratch)


def _final(failure: Failure) -> Failure:
    """What is lost and was made by no run can only be given again."""
    if failure.reason == Reason.LOST_INPUT:
        failure.message += " and no run makes it (run the workflow again: what it is called with is stored anew)"
    return failure


def _lost_input(turn: Turn, run: int, failure: Failure) -> bool:
    """Whether a run failed because inputs, or members of a collection, have no value any more; they are made again
    before it starts anew.
    """
    if failure.reason == Reason.LOST_INPUT:
        return lost.lose_inputs(turn, run, failure.lost)
    hollow = cone.hollow(turn, run) if failure.reason == Reason.BAD_INPUT else []
    if hollow:
        data.lose(turn.db, hollow)
    return bool(hollow)


def _wait(backoff: float, tries: int) -> float:
    """Seconds before the next try: doubled with each, up to `LONGEST_BACKOFF` (or what was asked for, if that is
    more).
    """
    return min(backoff * 2.0 ** min(tries, 30), max(backoff, LONGEST_BACKOFF))


def _later(turn: Turn, again: list[tuple[Outcome, Leased]]) -> None:
    """RUNNING -> READY with a backoff that doubles with each try, and with more of what the last had too little of."""
    raised = escalate.escalate(turn, again)
    waits = [_wait(turn.engine.spec(turn.db, lease.task).backoff, lease.tries) for _, lease in again]
    at = [turn.engine.clock.monotonic() + w for w in waits]
    later = [(t, o.run) for t, w, (o, _) in zip(at, waits, again, strict=True) if w > 0]
    if later:
        queues.wake_at(turn.db, [t for t, _ in later], [queues.BACKOFF] * len(later), [r for _, r in later])
        turn.engine.next_timer = min(turn.engine.next_timer, *[t for t, _ in later])
    more = {r.run for r in raised}
    turn.event(Kind.RETRYING, [o.run for o, _ in again if o.run not in more])
    turn.event(Kind.RETRYING, [r.run for r in raised], note=[r.note for r in raised])
    requeue(turn, [o.run for w, (o, _) in zip(waits, again, strict=True) if w <= 0])


def requeue(turn: Turn, ids: list[int]) -> None:
    """Runs with nothing pending and no lease stand ready again; in a block that is being stopped they are cancelled."""
    if not ids:
        return
    held = leases.current(turn.db, ids)
    rows = runs.get(turn.db, [i for i in ids if i not in held])
    services = [r for r in rows.values() if r.flags & RunFlag.SERVICE and r.state == runs.LIVE]
    if services:
        serve.fallen(turn, services)
        rows = runs.get(turn.db, list(rows))
    stopping = _stopping(turn, [r.block for r in rows.values()])
    cancelled = [r for r in rows.values() if r.block in stopping and r.state == runs.LIVE]
    if cancelled:
        spread.finish(turn, [(r, RunState.CANCELLED, stopping[r.block]) for r in cancelled])
    ready = [r for r in rows.values() if r.state == runs.LIVE and r.pending <= 0 and r.block not in stopping]
    outside = [r for r in ready if r.flags & RunFlag.EXTERNAL]
    turn.fresh += [Ready(r.id, bytes(r.key), r.cls, r.flags, r.task, False) for r in outside]
    stand.queue(turn, [(r.id, r.cls, r.flags) for r in ready if not r.flags & RunFlag.EXTERNAL])


def _stopping(turn: Turn, found: list[int]) -> dict[int, int]:
    """Which of these blocks are being stopped, and the root cause (0: by hand)."""
    rows = blocks.get_many(turn.db, sorted(set(found)))
    return {b: row.cause or 0 for b, row in rows.items() if row.state == BlockState.CLOSING}


def release(turn: Turn, held: list[tuple[int, int]], *, worker: int = 0) -> None:
    """Void leases of runs that never started: (run, fence). Free of charge."""
    if not held:
        return
    ids = [r for r, _ in held]
    leases.give_back(turn.db, ids, [f for _, f in held])
    n = len(held)
    runs.bump(turn.db, ids, [f for _, f in held], [0] * n, [0] * n)
    for run in ids:
        turn.engine.flight.pop(run, None)
    turn.event(Kind.RELEASED, ids, actor=worker)
    requeue(turn, ids)


def lose(turn: Turn, run: int, fence: int, worker: int, t0: float, failure: Failure, log: bytes = b"") -> None:
    """Void the lease of a run that had started when its worker was lost: a loss, not a try; too many end the run."""
    leases.give_back(turn.db, [run], [fence])
    turn.engine.flight.pop(run, None)
    row = runs.get(turn.db, [run])[run]
    if row.losses + 1 > MAX_LOSSES:
        text = f"{row.losses + 1} workers were lost while they executed this run; the last: {failure.message}"
        failure = Failure(int(Reason.TOO_MANY_LOSSES), failure.kind, text, failure.traceback, failure.scratch)
    attempts.add(
        turn.db, [run], [fence], [worker], [int(AttemptState.LOST)], [t0 or turn.now], [turn.now], [None], [None]
    )
    attempts.fail(turn.db, [(run, fence, failure.reason, _encode(failure))])
    if log:
        attempts.log(turn.db, [(run, fence, log)])
    runs.bump(turn.db, [run], [fence], [0], [1])
    turn.event(Kind.LOST, [run], actor=worker)
    if serve.outlived(turn, [row._replace(attempt=fence)]):
        return
    serve.unpublish(turn, [row])
    if row.losses + 1 > MAX_LOSSES:
        turn.failures.append(Failed(run, row.block, row.task, failure))
        spread.finish(turn, [(row._replace(attempt=fence), RunState.ERROR, 0)])
    else:
        requeue(turn, [run])


def worker_died(
    turn: Turn,
    worker: int,
    started: Started | None,
    failure: Failure,
    log: bytes,
    *,
    charge: bool,
    peak: tuple[int, int] = (0, 0),
) -> None:
    """A worker's process is gone. What had started is charged: as a failed try if its own code ended the process
    (`charge`), else as a loss. Prefetched neighbours are released free. `peak` is the memory and the disk that was seen
    in use.
    """
    held = [(r, f) for r, f, _, _ in leases.of_workers(turn.db, [worker])]
    begun = started is not None and started[:2] in held
    if started is not None and begun:
        run, fence, t0 = started[:3]
        held.remove((run, fence))
        if charge and (lease := turn.engine.flight.pop(run, None)) is not None:
            leases.give_back(turn.db, [run], [fence])
            rss, disk = peak
            o = Outcome(
                run, fence, int(AttemptState.ERROR), [], t0, turn.now, rss=rss, log=log, failure=failure, disk=disk
            )
            attempts.add(turn.db, [run], [fence], [worker], [o.state], [t0], [turn.now], [None], [rss or None])
            if disk:
                attempts.note_disk(turn.db, [(run, fence, disk)])
            if log:
                attempts.log(turn.db, [(run, fence, log)])
            failed(turn, [(o, lease)])
        else:
            lose(turn, run, fence, worker, t0, failure, log)
    release(turn, held, worker=worker)
