"""Blocks: counting what is open, closing at zero, climbing to the parent."""

from tidemill.engine import expire, files, serve
from tidemill.engine.turn import CANCELLED, DONE, FAILED, OPEN, REUSED, SKIPPED, TOTAL, Closed, Dead, Turn
from tidemill.model.digest import digest
from tidemill.model.events import Kind
from tidemill.model.states import BlockState, DatumState
from tidemill.model.values import encode
from tidemill.stores.state import blocks, data, runs
from tidemill.stores.state.blocks import Block, Counted

_DONE = encode(True)
_END = digest(_DONE)


def count(turn: Turn, changes: dict[int, list[int]]) -> None:
    """Apply counter changes and close what has nothing open any more."""
    rows = blocks.count(turn.db, changes)
    if turn.db.dialect == "postgres":
        turn.engine.unfolded = True
    else:
        close_finished(turn, rows)


def fold(turn: Turn) -> None:
    """PostgreSQL: fold the counter changes of all engines, and close what has nothing open any more."""
    turn.engine.settle(turn)  # what this turn adds to a block holds it open
    rows = blocks.fold(turn.db)
    turn.engine.unfolded = rows is None
    if rows:
        close_finished(turn, rows)


def close_finished(turn: Turn, rows: list[Counted]) -> None:
    """Close blocks whose open count is zero; each counts in its parent."""
    finished = [row for row in rows if row.open == 0 and row.state in (BlockState.OPEN, BlockState.CLOSING)]
    if not finished:
        return
    states = [final_state(row) for row in finished]
    changed = blocks.close_many(turn.db, [row.id for row in finished], [int(s) for s in states], turn.now)
    assert changed == len(finished), "a block closed that was not open"
    turn.event(Kind.CLOSED, [row.id for row in finished], note=[int(s) for s in states])
    for row, state in zip(finished, states, strict=True):
        _closed(turn, row, state)


def final_state(row: Counted) -> BlockState:
    """How a block with nothing open ended."""
    if row.failed:
        return BlockState.ERROR
    return BlockState.CANCELLED if row.cancelled or row.flags & blocks.ABANDONED else BlockState.COMPLETE


def _closed(turn: Turn, row: Counted, state: BlockState) -> None:
    """What follows from the end of a block."""
    turn.closed.append(Closed(row.id, state))
    if row.out is not None:
        end_datum(turn, row.id, row.out, state)
    if turn.engine.lifetimes:
        expire.block_closed(turn, row.id, state)
    if row.flags & blocks.SERVED:
        serve.block_closed(turn, row.id)
    if turn.engine.temporary:
        files.block_closed(turn, row.id, state)
    if row.parent is not None:
        climb(turn, row, row.parent, +1)


def end_datum(turn: Turn, block: int, out: int, state: BlockState) -> None:
    """The datum that stands for the end of a block ends as the block did; without a value, it names a root cause in
    it.
    """
    if state is BlockState.COMPLETE:
        data.add(turn.db, [out], [None], [0], [data.COMPLETE], [data.BLOCK], [len(_DONE)], [_END], [_DONE])
        turn.done.append(out)
        return
    end = DatumState.CANCELLED if state is BlockState.CANCELLED else DatumState.ERROR
    cause = _root_cause(turn, block)
    data.bury(turn.db, [out], [None], [0], [int(end)], [data.BLOCK], [0], [cause or None])
    turn.dead.append(Dead(out, int(end), cause))


def _root_cause(turn: Turn, block: int) -> int:
    """The root cause of a failure in a block or below it, else of a cancellation."""
    tree = {b.id: b for b in blocks.subtree(turn.db, block)}
    found = [
        (state, cause)
        for low, n in sorted({blocks.span(turn.db, b) for b in tree.values()})
        for _, home, state, cause in runs.ended_badly(turn.db, low, low + n)
        if home in tree and cause
    ]
    return int(min(found)[1]) if found else 0


def climb(turn: Turn, row: Block | Counted, parent: int, sign: int) -> None:
    """A child closed (+1) or reopened (-1): its counters join or leave its parent's. What ended badly in a contained
    child is left out.
    """
    turn.change(parent, OPEN, -sign)
    failed, skipped, total = row.failed, row.skipped, row.total
    if row.flags & blocks.CONTAINED:
        failed, skipped, total = 0, 0, total - failed - skipped
    totals = (DONE, row.done), (REUSED, row.reused), (FAILED, failed), (SKIPPED, skipped)
    for what, n in (*totals, (CANCELLED, row.cancelled), (TOTAL, total)):
        if n:
            turn.change(parent, what, sign * n)
