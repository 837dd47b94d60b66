"""Cancelling and stopping. Large blocks are swept in slices.

What else people may ask of blocks and runs lives beside this module: `revive` (retry), `rerun`, `hold`, `hubs`,
`shares` (priorities and weights), `remove` (invalidate and delete), `expire`, `external`.
"""

from tidemill.engine import hubs, serve, spread, stand, submit
from tidemill.engine.turn import Turn
from tidemill.engine.void import void
from tidemill.model.states import BlockState, DatumState, RunState
from tidemill.stores.state import blocks, data, edges, gathers, leases, runs
from tidemill.stores.state.blocks import CANCELLING, Block
from tidemill.stores.state.database import Database

SLICE = 1000
_UNFINISHED = (BlockState.OPEN, BlockState.CLOSING)


def cancel_block(turn: Turn, block: int) -> None:
    """End everything in a block that has not ended. Nothing of it starts any more; what runs is stopped.

    Raises:
        NotFoundError: there is no such block.
    """
    row = blocks.find(turn.db, block)
    stop_block(turn, row, CANCELLING, None)


def stop_block(turn: Turn, row: Block, options: int, cause: int | None) -> None:
    """OPEN -> CLOSING for a block and all below it; `options` are added to their flags, `cause` is the root cause."""
    if row.state not in _UNFINISHED:
        return
    found = [b for b in blocks.subtree(turn.db, row.id) if b.state in _UNFINISHED]
    for b in found:
        blocks.stop(turn.db, b.id, cause)
        if options & ~b.flags:
            blocks.set_flags(turn.db, b.id, b.flags | options)
    if row.parent is None:
        hubs.set_active(turn, row.hub, active=False)
    by_id = {b.id: b for b in found}
    for unsealed in blocks.unsealed_of(turn.db, list(by_id)):
        submit.seal(turn, unsealed)
        if by_id[unsealed].parent is None:
            blocks.abandon(turn.db, unsealed)
            blocks.set_flags(turn.db, unsealed, by_id[unsealed].flags | options | blocks.ABANDONED)
    for b in found:
        turn.engine.layouts.pop(b.id, None)
        turn.engine.sweeps[blocks.delta_of(turn.db, b).id] = 0


def stop_after_failure(turn: Turn, block: int, cause: int | None) -> None:
    """The policy of a block that stops at its first failure: what runs may finish, nothing else starts."""
    row = blocks.get(turn.db, block)
    assert row is not None
    parent = blocks.get(turn.db, row.parent) if row.parent is not None else None
    inherited = parent.flags & CANCELLING if parent is not None and parent.state == BlockState.CLOSING else 0
    stop_block(turn, row, inherited, cause or (parent.cause if parent is not None else None))


def stop_strays(turn: Turn) -> None:
    """Several engines: a block that grew while another engine stopped what it lies in is stopped, too."""
    for row in blocks.strays(turn.db):
        parent = blocks.get(turn.db, row.parent or 0)
        if parent is not None:
            stop_block(turn, row, parent.flags & CANCELLING, parent.cause)


def sweeps(db: Database) -> dict[int, int]:
    """The deltas that have blocks being stopped, each to be swept from its first run."""
    rows = blocks.get_many(db, blocks.stopping(db))
    return {blocks.delta_of(db, row).id: 0 for row in rows.values()}


def sweep(turn: Turn) -> None:
    """Cancel a slice of what is live in blocks being stopped."""
    engine = turn.engine
    block, cursor = next(iter(engine.sweeps.items()))
    row = blocks.get(turn.db, block)
    assert row is not None
    if cursor == 0 and row.state == BlockState.CLOSING:
        _bury_missing(turn, row)
    low, high = row.run_lo, row.run_lo + row.run_n
    found = runs.live_between(turn.db, max(low, cursor), high, SLICE)
    stopping = {
        b: r
        for b, r in blocks.get_many(turn.db, sorted({r[1] for r in found})).items()
        if r.state == BlockState.CLOSING
    }
    for b, stopped in stopping.items():
        chosen = [r[0] for r in found if r[1] == b]
        cancel_runs(turn, chosen, stopped.cause or 0, running=bool(stopped.flags & CANCELLING))
    if len(found) < SLICE:
        del engine.sweeps[block]
    else:
        engine.sweeps[block] = found[-1][0] + 1


def missing(turn: Turn, row: Block) -> list[int]:
    """Data of a delta stopped half-way that others wait for, though nothing will ever make them."""
    last = runs.last_between(turn.db, row.run_lo, row.run_lo + row.run_n)
    low = last[1] + turn.engine.ports(last[2]) if last is not None else row.out_lo
    high = row.out_lo + row.out_n
    wanted = {f.target for f in data.forwards_into(turn.db, low, high)}
    wanted.update(edges.data_between(turn.db, low, high))
    if wanted and row.block_n:
        inner = blocks.get_many(turn.db, list(range(row.block_lo, row.block_lo + row.block_n)))
        wanted -= {b.out for b in inner.values() if b.out is not None}
    return sorted(wanted - gathers.states(turn.db, sorted(wanted)).keys())


def _bury_missing(turn: Turn, row: Block) -> None:
    found = missing(turn, row)
    known = data.states(turn.db, found)
    state, cause = int(DatumState.CANCELLED), row.cause or row.owner or 0
    spread.bury(turn, [(d, None, 0, state, cause) for d in found if d not in known])


def cancel_runs(turn: Turn, ids: list[int], cause: int, *, running: bool) -> int:
    """WAITING, READY, HELD (and RUNNING) -> CANCELLED; how many were."""
    held = leases.current(turn.db, ids)
    rows = runs.get(turn.db, ids)
    chosen = [r for i in ids if (r := rows.get(i)) and r.state in (runs.LIVE, runs.HELD) and (running or i not in held)]
    if not chosen:
        return 0
    stand.drop(turn, [r for r in chosen if r.pending <= 0 and r.id not in held])
    ending = void(turn, chosen, held)
    serve.unpublish(turn, ending)
    spread.finish(turn, [(r, RunState.CANCELLED, cause) for r in ending])
    return len(ending)
