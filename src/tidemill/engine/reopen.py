"""Reopening: an ended block is open again, with all that it lies in, because something inside lives again or is new."""

from collections.abc import Iterator
from typing import NamedTuple

from tidemill.engine import close, control, hubs
from tidemill.engine.turn import OPEN, Turn
from tidemill.model.errors import ConflictError
from tidemill.model.events import Kind
from tidemill.model.states import ENDED_DATA, BlockState
from tidemill.stores.state import blocks, data
from tidemill.stores.state.blocks import CANCELLING, Block

_ENDED = (BlockState.COMPLETE, BlockState.ERROR, BlockState.CANCELLED)


class Reopened(NamedTuple):
    """Data whose ends no longer hold, because the blocks that they stand for are open again.

    Attributes:
        dead: those that had ended without a value, now to be pending.
        complete: those that were complete (and stay it), with their blocks.
    """

    dead: list[int]
    complete: dict[int, int]


def prepare(turn: Turn) -> None:
    """Bring everything up to date that a command by hand is going to look at."""
    assert not turn.shared, "a command needs a turn that other engines' completions are kept out of"
    turn.engine.settle(turn)
    if not turn.engine.alone:
        close.fold(turn)
        turn.engine.settle(turn)
        close.fold(turn)


def upwards(turn: Turn, ids: set[int]) -> dict[int, Block]:
    """These blocks and all that they lie in."""
    found: dict[int, Block] = {}
    wanted = ids
    while wanted:
        rows = blocks.get_many(turn.db, sorted(wanted))
        found |= rows
        wanted = {r.parent for r in rows.values() if r.parent is not None} - found.keys()
    return found


def closing(turn: Turn, ids: set[int]) -> set[int]:
    """Which of these blocks are being stopped, or lie in one that is."""
    found = upwards(turn, ids)
    return {b for b in ids if any(row.state == BlockState.CLOSING for row in _line(found, b))}


def _line(found: dict[int, Block], block: int | None) -> Iterator[Block]:
    """A block and what it lies in, from the inside."""
    while block is not None and block in found:
        yield found[block]
        block = found[block].parent


def refuse_closing(turn: Turn, ids: set[int]) -> None:
    """Before a command changes anything.

    Raises:
        ConflictError: one of these blocks is being stopped.
    """
    stopping = closing(turn, ids)
    if stopping:
        raise ConflictError(
            f"block {min(stopping)} is being stopped", hint="wait until nothing in it runs any more, then try again"
        )


def reopen(turn: Turn, ids: set[int]) -> Reopened:
    """COMPLETE, ERROR or CANCELLED -> OPEN for these blocks and all that they lie in; what they counted leaves their
    parents.
    """
    found = upwards(turn, ids)
    reopened = Reopened([], {})
    ended = sorted(b for b, row in found.items() if row.state in _ENDED)
    for b in ended:
        row = found[b]
        if not blocks.reopen(turn.db, b):
            continue
        if row.parent is not None:
            close.climb(turn, row, row.parent, -1)
        if row.flags & CANCELLING:
            blocks.set_flags(turn.db, b, row.flags & ~CANCELLING)
        if row.flags & blocks.SERVED:
            turn.unserved.append(b)
        _sort_out(turn, row, reopened)
        _expand_rest(turn, row, reopened)
        if any(above.state == BlockState.CLOSING for above in _line(found, b)):
            turn.stop.append((b, None))
    turn.event(Kind.REOPENED, ended)
    for row in found.values():
        if row.parent is None and ended:
            hubs.set_active(turn, row.hub, active=True)
    return reopened


def _sort_out(turn: Turn, row: Block, reopened: Reopened) -> None:
    if row.out is None:
        return
    state = data.states(turn.db, [row.out]).get(row.out)
    if state == data.COMPLETE:
        reopened.complete[row.out] = row.id
    elif state in ENDED_DATA:
        reopened.dead.append(row.out)


def _expand_rest(turn: Turn, row: Block, reopened: Reopened) -> None:
    """A growth that was stopped half-way goes on: its blocks are held open again, what nobody was to make may come."""
    if not blocks.unseal(turn.db, row.id):
        return
    turn.engine.unexpanded = True
    reopened.dead.extend(control.missing(turn, row))
    turn.change(row.id, OPEN, +1)
    inner = blocks.get_many(turn.db, list(range(row.block_lo, row.block_lo + row.block_n)))
    for b in inner.values():
        turn.change(b.id, OPEN, +1)
    again = {b.id for b in inner.values() if b.state in _ENDED}
    if again:
        further = reopen(turn, again)
        reopened.dead.extend(further.dead)
        reopened.complete.update(further.complete)
