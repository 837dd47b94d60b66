"""Taking leases back: the fence moves, and the worker is told to stop."""

from tidemill.engine.turn import Turn
from tidemill.model.events import Kind
from tidemill.model.states import AttemptState
from tidemill.stores.state import attempts, leases, runs
from tidemill.stores.state.runs import Run


def void(turn: Turn, rows: list[Run], held: dict[int, tuple[int, int]]) -> list[Run]:
    """Take back the leases (run -> fence, worker) of these runs and have their workers stop; the rows as they are
    now.
    """
    voided = [(r.id, *held[r.id]) for r in rows if r.id in held]
    if not voided:
        return rows
    ids, fences, workers = (list(c) for c in zip(*voided, strict=True))
    n = len(ids)
    since = {run: t for run, _, _, t in leases.of_runs(turn.db, ids)}
    leases.give_back(turn.db, ids, fences)
    runs.bump(turn.db, ids, fences, [0] * n, [0] * n)
    state = [int(AttemptState.CANCELLED)] * n
    attempts.add(turn.db, ids, fences, workers, state, [since[i] for i in ids], [turn.now] * n, [None] * n, [None] * n)
    turn.stopped += [(r, w) for r, _, w in voided]
    turn.event(Kind.RELEASED, ids)
    for run in ids:
        turn.engine.flight.pop(run, None)
    return [r._replace(attempt=held[r.id][0]) if r.id in held else r for r in rows]
