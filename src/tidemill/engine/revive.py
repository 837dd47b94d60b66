"""Retry by hand: what ended without a result lives again, and with it what had ended because of it.

What had already consumed the failure is superseded together with what followed from it.
"""

from tidemill.engine import flags, forget, reopen, stand, supersede, wait
from tidemill.engine.turn import CANCELLED, FAILED, OPEN, SKIPPED, Turn
from tidemill.model.errors import NotFoundError
from tidemill.model.events import Kind
from tidemill.model.states import RunState
from tidemill.stores.state import blocks, queues, runs, supersedes
from tidemill.stores.state.runs import Run

SLICE = 1000
"""Runs revived in one turn; the rest waits in a durable queue."""

_AGAIN = (RunState.ERROR, RunState.SKIPPED, RunState.CANCELLED)
COUNTER = {RunState.ERROR: FAILED, RunState.SKIPPED: SKIPPED, RunState.CANCELLED: CANCELLED}


def retry(turn: Turn, ids: list[int]) -> list[int]:
    """ERROR or CANCELLED -> live again, tries forgotten; the runs that are. A run that ended because of another one,
    and one that was superseded, stand for that other one. Runs in other states are left as they are. Where a run used
    a service that has ended, that and all its users run again.

    Raises:
        ConflictError: a block around them is being stopped.
        NotFoundError: there is no such run.
    """
    reopen.prepare(turn)
    chosen = _root_causes(turn, ids)
    if not chosen:
        return []
    reopen.refuse_closing(turn, {r.block for r in chosen})
    outdated = forget.Outdated()
    forget.enqueue(turn, chosen, outdated)
    supersede.renew(turn, outdated)
    _go_on_after_stop(turn, chosen)
    turn.engine.settle(turn)
    return [r.id for r in chosen]


def _go_on_after_stop(turn: Turn, chosen: list[Run]) -> None:
    """What was cancelled because a workflow stops at its first failure lives again with the run that failed."""
    for r in chosen:
        facts = turn.engine.facts(turn.db, r.block)
        if facts.options & blocks.STOP_ON_FAILURE and r.state == RunState.ERROR:
            stopped = runs.get(turn.db, runs.cancelled_by(turn.db, facts.root, r.id)).values()
            outdated = forget.Outdated()
            forget.enqueue(turn, [s for s in stopped if not s.flags & flags.SUPERSEDED], outdated)
            supersede.renew(turn, outdated)


def _root_causes(turn: Turn, ids: list[int]) -> list[Run]:
    newest = [supersedes.newest(turn.db, i, supersedes.RUN) for i in ids]
    rows = runs.get(turn.db, newest)
    absent = [i for i in newest if i not in rows]
    if absent:
        raise NotFoundError(f"there is no run {absent[0]}")
    rows |= runs.get(turn.db, sorted({r.cause or 0 for r in rows.values() if r.state in _AGAIN} - rows.keys()))
    found: dict[int, Run] = {}
    for i in newest:
        row = rows[i]
        cause = rows.get(row.cause or i, row)
        chosen = [row] if row.state == RunState.CANCELLED or cause.state not in _AGAIN else []
        for r in (*chosen, cause):
            if row.state in _AGAIN and r.state in _AGAIN and not r.flags & flags.SUPERSEDED:
                found[r.id] = r
    return [found[i] for i in sorted(found)]


def go_on(turn: Turn) -> None:
    """Take a slice of the queue: the outputs of these runs are pending again, which may lengthen the queue. What is
    too much for one turn waits for the next."""
    room = max(0, SLICE - turn.revived)
    queue = sorted(set(turn.revive))
    chosen, rest = queue[:room], queue[room:]
    turn.revive = []
    turn.revived += len(chosen)
    if rest:
        n = len(rest)
        queues.wake_at(turn.db, [0.0] * n, [queues.REVIVE] * n, rest)
        turn.engine.next_timer = 0.0
    rows = [r for r in runs.get(turn.db, chosen).values() if _may_live(r)]
    turn.arming += chosen
    outdated = forget.Outdated()
    forget.reset(turn, [r.out + p for r in rows for p in range(turn.engine.ports(r.task))], outdated)
    supersede.renew(turn, outdated)


def arm(turn: Turn) -> None:
    """ERROR, SKIPPED or CANCELLED -> waiting (or ready where nothing is pending), once the queue is empty: so nobody
    is told of an end that will be forgotten."""
    ids, turn.arming = turn.arming, []
    found = runs.get(turn.db, ids).values()
    rows = [r for r in found if _may_live(r)]
    for r in found:
        if not _may_live(r):
            turn.change(r.block, OPEN, -1)
    for r in rows:
        what = COUNTER[RunState(r.state)]
        turn.change(r.block, what, -1)
        turn.note_progress(what, [(r.block, r.task)], -1)
    waits, hear = wait.count_pending(turn, rows)
    bits = {r.id: r.flags & ~flags.STARTED if waits[r.id] > 0 else r.flags for r in rows}
    changed = runs.rearm(turn.db, [r.id for r in rows], [waits[r.id] for r in rows], [bits[r.id] for r in rows])
    assert changed == len(rows), "a run was revived that had not ended without a result"
    turn.event(Kind.RETRIED, [r.id for r in rows])
    turn.hear += hear
    ready = [r.id for r in rows if waits[r.id] <= 0]
    stand.arrived(turn, runs.fresh(turn.db, ready) if ready else [], again=True)


def _may_live(row: Run) -> bool:
    return row.state in _AGAIN and not row.flags & flags.SUPERSEDED
