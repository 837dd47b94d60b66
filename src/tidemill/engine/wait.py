"""Waiting again: live runs lose an input that they had counted as arrived."""

from tidemill.engine import spread, stand
from tidemill.engine.turn import Turn
from tidemill.engine.void import void
from tidemill.model.delta import RunFlag
from tidemill.model.states import DatumState
from tidemill.stores.state import data, edges, leases, memo, queues, runs
from tidemill.stores.state.runs import Run


def count_pending(turn: Turn, rows: list[Run]) -> tuple[dict[int, int], list[tuple[int, int, int, int]]]:
    """How many inputs each of these runs has to wait for, and (datum, run, port, state) of those that end it."""
    by_id = {r.id: r for r in rows}
    waits = {r.id: r.pending if r.flags & RunFlag.PARTIAL else 0 for r in rows}
    hear: list[tuple[int, int, int, int]] = []
    inputs = edges.inputs(turn.db, list(by_id))
    aside = turn.untold([datum for _, _, datum, state in inputs if state is not None])
    for run, port, datum, state in inputs:
        row = by_id[run]
        if row.flags & RunFlag.PARTIAL:
            if state in spread.FAILED_STATES and datum not in aside and row.pending > 0:
                hear.append((datum, run, port, state))
        elif state in (None, DatumState.WRITING) or datum in aside:
            waits[run] += 1
        elif (
            state in spread.FAILED_STATES
            and spread.end_by_policy(turn.engine.spec(turn.db, row.task), state) is not None
        ):
            waits[run] += 1
            hear.append((datum, run, port, state))
    return waits, hear


def users(turn: Turn, rows: list[Run]) -> list[Run]:
    """What services among these runs had published holds no more: those who had counted it as arrived."""
    found = [r.out for r in rows if r.flags & RunFlag.SERVICE]
    published = [d for d, state in data.states(turn.db, found).items() if state == data.PUBLISHED] if found else []
    if not published:
        return []
    data.reset(turn.db, published)
    consumers = runs.get(turn.db, sorted({run for _, run, _ in edges.consumers(turn.db, published)}))
    return [r for r in consumers.values() if r.state in (runs.LIVE, runs.HELD) and not r.flags & RunFlag.PARTIAL]


def wait_again(turn: Turn, rows: list[Run]) -> None:
    """Live runs that had taken an end for an input wait again, even those that were ready or running because of it; so
    do the users of services among them.
    """
    while rows:
        _wait_again(turn, rows)
        rows = users(turn, rows)


def _wait_again(turn: Turn, rows: list[Run]) -> None:
    ids = [r.id for r in rows]
    held = leases.current(turn.db, ids)
    stand.drop(turn, [r for r in rows if r.pending <= 0 and r.id not in held])
    turn.fresh = [r for r in turn.fresh if r.id not in set(ids)]
    void(turn, [r for r in rows if r.id in held], held)
    queues.cancel(turn.db, queues.BACKOFF, ids)
    if turn.engine.follows:
        turn.engine.follows -= memo.leave(turn.db, ids)
    waits, hear = count_pending(turn, rows)
    again = set(ids)
    # what they were still to hear is counted anew, too
    turn.hear = [h for h in turn.hear if h[1] not in again] + hear
    runs.set_pending(turn.db, ids, [waits[i] for i in ids])
