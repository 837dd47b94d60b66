"""Holding runs back, and letting them go on."""

from tidemill.engine import reopen, reuse, stand, wait
from tidemill.engine.turn import Turn
from tidemill.model.delta import RunFlag
from tidemill.model.events import Kind
from tidemill.stores.state import memo, queues, runs


def hold(turn: Turn, ids: list[int]) -> list[int]:
    """WAITING or READY -> HELD; those that were. Running and ended runs are left as they are."""
    reopen.prepare(turn)
    held = runs.hold(turn.db, ids)
    if not held:
        return []
    rows = runs.get(turn.db, held)
    stand.drop(turn, [r for r in rows.values() if r.pending <= 0])
    for kind in (queues.BACKOFF, queues.RESTORE):
        queues.cancel(turn.db, kind, held)
    memo.leave(turn.db, held)
    # nobody shall wait for a run of equal key that is held back
    turn.engine.index.forget(held)
    reuse.leaders_ended(turn, held)
    turn.event(Kind.HELD, sorted(held))
    return sorted(held)


def unhold(turn: Turn, ids: list[int]) -> list[int]:
    """HELD -> WAITING, on to READY where nothing is pending; those that were. What ended meanwhile is told now."""
    reopen.prepare(turn)
    rows = runs.unhold(turn.db, ids)
    if not rows:
        return []
    found = sorted(r.id for r in rows)
    turn.event(Kind.UNHELD, found)
    turn.hear += _ends(turn, [r.id for r in rows if r.pending > 0])
    partial = [r for r in rows if r.flags & RunFlag.PARTIAL]
    stand.arrived(turn, [r for r in rows if not r.flags & RunFlag.PARTIAL])
    stand.arrived(turn, partial, again=True)
    return found


def _ends(turn: Turn, waiting: list[int]) -> list[tuple[int, int, int, int]]:
    """(datum, run, port, state) of inputs that end these runs."""
    rows = runs.get(turn.db, waiting)
    _, hear = wait.count_pending(turn, list(rows.values()))
    return hear
