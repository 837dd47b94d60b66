"""Forgetting an end: data that ended without a value are pending again, and who was told of that end has not been.

Waiting runs wait again; runs that ended because of it are revived in slices (each holds its block open until its turn
comes); what had consumed it and is complete is noted as outdated.
"""

from tidemill.engine import flags, gathers, reopen, spread, wait
from tidemill.engine.turn import OPEN, Turn
from tidemill.model.delta import RunFlag
from tidemill.model.states import RunState
from tidemill.stores.state import data, edges, queues, runs
from tidemill.stores.state.runs import Run


class Outdated:
    """What had consumed an end that no longer holds.

    Attributes:
        runs: complete ones.
        gathers: complete collections that leave it out.
        outs: complete data that stood for the ends of blocks, with their blocks.
    """

    def __init__(self) -> None:
        self.runs: dict[int, Run] = {}
        self.gathers: list[int] = []
        self.outs: dict[int, int] = {}


def reset(turn: Turn, ids: list[int], outdated: Outdated) -> None:
    """Data that ended without a value are pending again; who was told of that end forgets it."""
    stack = [_reset_rows(turn, ids)]
    while stack:
        told = stack.pop()
        if not told:
            continue
        _forget_input(turn, told, outdated)
        collected = gathers.reopen(turn, told)
        outdated.gathers += collected.outdated
        stack.append(_reset_rows(turn, collected.revived))
        for gather, cause in collected.blamed.items():
            gathers.bury(turn, gather, cause)
        links = data.promised_as(turn.db, told)
        dead = set(_dead(turn, [f.datum for f in links]))
        again = [f for f in links if f.datum in dead]
        if again:
            data.set_open(turn.db, again, is_open=True)
            turn.engine.forwards += len(again)
            stack.append(_reset_rows(turn, [f.datum for f in again]))


def _dead(turn: Turn, ids: list[int]) -> list[int]:
    return [d for d, state in data.states(turn.db, ids).items() if state in spread.FAILED_STATES]


def _reset_rows(turn: Turn, ids: list[int]) -> list[int]:
    """The data that were reset and whose consumers had been told."""
    gone = data.reset(turn.db, ids) if ids else []
    if not gone:
        return []
    untold = {d.datum for d in turn.dead}
    if turn.engine.doomed:
        untold.update(queues.undoom(turn.db, gone))
    turn.dead = [d for d in turn.dead if d.datum not in set(gone)]
    turn.hear = [h for h in turn.hear if h[0] not in set(gone)]
    return [d for d in gone if d not in untold]


def _forget_input(turn: Turn, told: list[int], outdated: Outdated) -> None:
    """Consumers of data that are pending again."""
    rows = runs.get(turn.db, sorted({run for _, run, _ in edges.consumers(turn.db, told)}))
    waiting: list[Run] = []
    queued: list[Run] = []
    for r in rows.values():
        if r.flags & flags.SUPERSEDED:
            continue
        partial = r.flags & RunFlag.PARTIAL
        if r.state in (runs.LIVE, runs.HELD):
            if not partial:
                waiting.append(r)
        elif r.state == RunState.COMPLETE:
            if not partial:
                outdated.runs[r.id] = r
        elif r.state in (RunState.ERROR, RunState.SKIPPED) and not (partial and r.cause == r.id):
            queued.append(r)
    if waiting:
        wait.wait_again(turn, waiting)
    enqueue(turn, queued, outdated)


def enqueue(turn: Turn, rows: list[Run], outdated: Outdated) -> None:
    """Have runs revived soon; until then each holds its block open."""
    known = {*turn.revive, *turn.arming, *queues.waiting(turn.db, queues.REVIVE, [r.id for r in rows])}
    fresh = [r for r in rows if r.id not in known]
    stopping = reopen.closing(turn, {r.block for r in fresh})
    fresh = [r for r in fresh if r.block not in stopping]
    if not fresh:
        return
    reopened = reopen.reopen(turn, {r.block for r in fresh})
    outdated.outs.update(reopened.complete)
    for r in fresh:
        turn.change(r.block, OPEN, +1)
    turn.revive += [r.id for r in fresh]
    if reopened.dead:
        reset(turn, reopened.dead, outdated)
