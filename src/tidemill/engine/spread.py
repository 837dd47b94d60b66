"""Ends without a value: a consumer of an input that failed, was skipped or was cancelled fails, is skipped or runs, by
its task's policy. Every end names its root cause."""

import math

from tidemill.engine import flags, gathers
from tidemill.engine.turn import CANCELLED, FAILED, SKIPPED, Dead, Ready, Turn
from tidemill.model.delta import RunFlag
from tidemill.model.events import Kind
from tidemill.model.spec import TaskSpec
from tidemill.model.states import DatumState, OnInput, RunState
from tidemill.stores.state import blocks, data, edges, memo, queues, runs
from tidemill.stores.state.runs import Run

FAILED_STATES = frozenset({int(DatumState.ERROR), int(DatumState.SKIPPED), int(DatumState.CANCELLED)})
"""States of data that ended without ever having had a value."""
_DATUM_OF = {
    RunState.ERROR: DatumState.ERROR,
    RunState.SKIPPED: DatumState.SKIPPED,
    RunState.CANCELLED: DatumState.CANCELLED,
}
_COUNTER = {RunState.ERROR: FAILED, RunState.SKIPPED: SKIPPED, RunState.CANCELLED: CANCELLED}
_KIND = {RunState.ERROR: Kind.FAILED, RunState.SKIPPED: Kind.SKIPPED, RunState.CANCELLED: Kind.CANCELLED}


def tell(turn: Turn, dead: list[Dead]) -> None:
    """Tell the consumers of these data."""
    by_id = {d.datum: d for d in dead}
    found = edges.consumers(turn.db, list(by_id))
    tell_runs(turn, [(datum, run, port, by_id[datum].state) for datum, run, port in found], by_id)
    engine = turn.engine
    if engine.levels:
        gathers.count_members(turn, list(by_id), causes={d.datum: d.cause for d in dead})
    if engine.forwards:
        end_forwards(turn, by_id)


def end_forwards(turn: Turn, by_id: dict[int, Dead]) -> None:
    """Data that were promised as these end as they did. The promise stays on record: it holds again if they are made
    after all.
    """
    links = data.forwarded(turn.db, list(by_id))
    turn.engine.forwards -= len(links)
    bury(turn, [(f.datum, f.run, f.port, by_id[f.target].state, by_id[f.target].cause) for f in links])
    if links:
        turn.ended += {f.run for f in links} - data.runs_with_promises(turn.db, sorted({f.run for f in links}))


def tell_runs(turn: Turn, inputs: list[tuple[int, int, int, int]], causes: dict[int, Dead] | None = None) -> None:
    """Apply the consumers' policies to (datum, run, port, state of the datum)."""
    if not inputs:
        return
    ids = sorted({run for _, run, _, _ in inputs})
    runs.lock(turn.db, ids)
    rows = runs.get(turn.db, ids)
    if causes is None:
        heads = data.get(turn.db, sorted({d for d, *_ in inputs}), values=False)
        causes = {d: Dead(d, row.state, row.cause or 0) for d, row in heads.items()}
    ending: dict[int, tuple[Run, RunState, int]] = {}
    satisfied: dict[int, int] = {}
    for datum, run, _port, state in inputs:
        row = rows.get(run)
        if row is None or row.state not in (runs.LIVE, runs.HELD) or run in ending:
            continue
        end = end_by_policy(turn.engine.spec(turn.db, row.task), state)
        if row.flags & RunFlag.PARTIAL:
            if row.flags & flags.STARTED or _enough_left(turn, row):
                continue
        elif end is None:
            satisfied[run] = satisfied.get(run, 0) + 1
            continue
        if row.state == runs.HELD:
            continue  # told again when it is held no longer
        ending[run] = (row, end or RunState.SKIPPED, causes[datum].cause or 0)
    if ending:
        finish(turn, list(ending.values()), waiting=True)
    if satisfied:
        _satisfy(turn, {r: n for r, n in satisfied.items() if r not in ending})


def end_by_policy(spec: TaskSpec, state: int) -> RunState | None:
    """How a consumer ends on an input in `state`; None if it runs all the same."""
    if state == DatumState.SKIPPED:
        policy = spec.on_skipped
    elif state == DatumState.CANCELLED:
        policy = spec.on_cancelled
    else:
        policy = spec.on_error
    if policy is OnInput.RUN:
        return None
    return RunState.ERROR if policy is OnInput.FAIL else RunState.SKIPPED


def _enough_left(turn: Turn, row: Run) -> bool:
    """Whether a run that needs n of m inputs can still have n."""
    return edges.pending(turn.db, [row.id]).get(row.id, 0) >= row.pending


def _satisfy(turn: Turn, ids: dict[int, int]) -> None:
    """Inputs that ended without a value but do not stop their consumers count as arrived."""
    for row in runs.count_down(turn.db, list(ids), list(ids.values())):
        if row.pending <= 0 and row.state == runs.LIVE:
            turn.fresh.append(Ready(row.id, bytes(row.key), row.cls, row.flags, row.task, False))


def finish(turn: Turn, ending: list[tuple[Run, RunState, int]], *, waiting: bool = False) -> None:
    """End live runs (only `waiting` ones) without a result: their states, outputs, blocks, and those who waited for an
    equal run."""
    ids = [row.id for row, _, _ in ending]
    own = [cause or row.id for row, _, cause in ending]
    fences = [row.attempt for row, _, _ in ending]
    end = runs.end_waiting if waiting else runs.end
    changed = end(turn.db, ids, [int(s) for _, s, _ in ending], fences, own)
    assert changed == len(ids), "a run ended that was not live"
    buried: list[tuple[int, int | None, int, int, int]] = []
    for (row, state, _), cause in zip(ending, own, strict=True):
        turn.count(row.block, _COUNTER[state])
        turn.note_progress(_COUNTER[state], [(row.block, row.task)])
        for port in range(turn.engine.ports(row.task)):
            buried.append((row.out + port, row.id, port, int(_DATUM_OF[state]), cause))
    bury(turn, buried)
    _stop_on_failure(turn, [row for row, s, cause in ending if s is RunState.ERROR and cause in (0, row.id)])
    for state, kind in _KIND.items():
        chosen = [row.id for row, s, _ in ending if s is state]
        turn.event(kind, chosen, note=[c for (_, s, _), c in zip(ending, own, strict=True) if s is state])
    if turn.engine.next_timer < math.inf:
        queues.cancel(turn.db, queues.BACKOFF, ids)
        queues.cancel(turn.db, queues.RESTORE, ids)
    if turn.engine.follows:
        turn.engine.follows -= memo.leave(turn.db, ids)
    turn.ended += ids


def _stop_on_failure(turn: Turn, failed: list[Run]) -> None:
    """Runs failed of themselves: some workflows stop at their first failure."""
    for row in failed:
        facts = turn.engine.facts(turn.db, row.block)
        if facts.options & blocks.STOP_ON_FAILURE:
            turn.stop.append((facts.root, row.id))


def bury(turn: Turn, rows: list[tuple[int, int | None, int, int, int]]) -> None:
    """(datum, run, port, state, cause): data that end without a value, and whose consumers will be told."""
    if not rows:
        return
    values = [1] * len(rows)
    zeros = [0] * len(rows)
    datum, run, port, state, cause = zip(*rows, strict=True)
    data.bury(turn.db, datum, run, port, state, values, zeros, cause)
    turn.dead += [Dead(r[0], r[3], r[4]) for r in rows]
