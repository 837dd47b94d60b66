"""Inputs that were there once and have no value any more: whoever makes them runs again."""

from tidemill.engine import cone, retry, spread, supersede
from tidemill.engine.turn import Failed, Turn
from tidemill.model import protocol
from tidemill.model.protocol import Failure
from tidemill.model.states import AttemptState, Reason, RunState
from tidemill.stores.state import attempts, leases, queues, runs
from tidemill.stores.state.runs import Run

_encode = protocol.encode


def ask(turn: Turn, ids: list[int]) -> None:
    """These ready runs cannot start: have their inputs made again soon."""
    now = turn.engine.clock.monotonic()
    queues.wake_at(turn.db, [now] * len(ids), [queues.RESTORE] * len(ids), ids)
    turn.engine.next_timer = min(turn.engine.next_timer, now)


def make_again(turn: Turn, ids: list[int]) -> None:
    """Rerun the makers of what these runs lack; the runs follow, in their new generation."""
    if not ids:
        return
    held = leases.current(turn.db, ids)
    rows = [r for r in runs.get(turn.db, ids).values() if r.state == runs.LIVE and r.id not in held]
    ready: list[int] = []
    makers: dict[int, Run] = {}
    stale: list[Run] = []
    collected: list[int] = []
    for r in rows:
        gone = cone.gone_inputs(turn, [r.id])
        found = cone.unavailable(turn, [d.id for d in gone])
        if found.nobody:
            continue
        makers.update((m.id, m) for m in found.runs)
        collected += found.gathers
        if not gone:
            ready.append(r.id)
        if any(d.id in found.stale for d in gone):
            stale.append(r)
    retry.requeue(turn, ready)
    renewed = cone.find(turn, [*makers.values(), *stale], collected, {}, forced=set(makers))
    looked_after = {*renewed.runs, *renewed.grown, *ready}
    lost = [r for r in rows if r.id not in looked_after]
    if lost:
        _fail(turn, lost)
    made = supersede.supersede(turn, renewed)
    charged = [r for r in rows if r.losses and r.id in made]
    n = len(charged)
    runs.bump(turn.db, [made[r.id] for r in charged], [0] * n, [0] * n, [r.losses for r in charged])


def _fail(turn: Turn, rows: list[Run]) -> None:
    """Nobody can make their inputs again."""
    failure = Failure(int(Reason.BAD_INPUT), "lost input", "an input has no value any more, and nothing here makes it")
    n = len(rows)
    ids, fences = [r.id for r in rows], [r.attempt + 1 for r in rows]
    state = [int(AttemptState.ERROR)] * n
    attempts.add(turn.db, ids, fences, [0] * n, state, [turn.now] * n, [turn.now] * n, [None] * n, [None] * n)
    attempts.fail(turn.db, [(i, f, failure.reason, _encode(failure)) for i, f in zip(ids, fences, strict=True)])
    turn.failures += [Failed(r.id, r.block, r.task, failure) for r in rows]
    spread.finish(turn, [(r._replace(attempt=r.attempt + 1), RunState.ERROR, 0) for r in rows])
