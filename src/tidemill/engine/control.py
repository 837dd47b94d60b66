"""Control: what people ask of blocks and runs. Large commands are swept in slices."""

from tidemill.engine import hubs, spread, submit
from tidemill.engine.turn import Turn
from tidemill.model.errors import NotFoundError
from tidemill.model.states import BlockState, RunState
from tidemill.stores.state import blocks, classes, leases, runs

SLICE = 1000

CANCELLING = 4
"""Flag of a block being cancelled: running runs are stopped too."""


def cancel_block(turn: Turn, block: int) -> None:
    """End everything in a block that has not ended. Nothing of it starts any more; what runs is stopped.

    Raises:
        NotFoundError: there is no such block.
    """
    row = blocks.get(turn.db, block)
    if row is None:
        raise NotFoundError(f"there is no block {block}", hint="tidemill status lists the blocks")
    stop_block(turn, row, row.flags | CANCELLING, None)


def stop_block(turn: Turn, row: blocks.Block, options: int, cause: int | None) -> None:
    """OPEN -> CLOSING for a block and all below it."""
    if row.state not in (BlockState.OPEN, BlockState.CLOSING):
        return
    blocks.stop(turn.db, row.id, cause)
    if options != row.flags:
        blocks.set_flags(turn.db, row.id, options)
    if row.parent is None:
        hubs.set_active(turn, row.hub, active=False)
    turn.engine.sweeps[row.id] = 0
    submit.seal(turn, row.id)
    for child in blocks.children(turn.db, row.id):
        stop_block(turn, child, child.flags | (options & CANCELLING), cause)


def stop_after_failure(turn: Turn, block: int) -> None:
    """The policy of a block that stops at its first failure: what runs may finish, nothing else starts."""
    row = blocks.get(turn.db, block)
    assert row is not None
    stop_block(turn, row, row.flags, None)


def sweep(turn: Turn) -> None:
    """Cancel a slice of what is live in the blocks being stopped."""
    engine = turn.engine
    block, cursor = next(iter(engine.sweeps.items()))
    row = blocks.get(turn.db, block)
    assert row is not None
    low, high = row.run_lo, row.run_lo + row.run_n
    found = runs.live_between(turn.db, max(low, cursor), high, SLICE)
    own = _below(turn, row)
    chosen = [r[0] for r in found if r[1] in own]
    if chosen:
        cancel_runs(turn, chosen, row.cause or 0, running=bool(row.flags & CANCELLING))
    if len(found) < SLICE:
        del engine.sweeps[block]
    else:
        engine.sweeps[block] = found[-1][0] + 1


def _below(turn: Turn, row: blocks.Block) -> set[int]:
    """The block and those of its own delta that lie in it."""
    return {row.id, *range(row.block_lo, row.block_lo + row.block_n)}


def cancel_runs(turn: Turn, ids: list[int], cause: int, *, running: bool) -> int:
    """WAITING, READY, HELD (and RUNNING) -> CANCELLED; how many were."""
    held = leases.current(turn.db, ids)
    rows = runs.get(turn.db, ids)
    chosen = [r for i in ids if (r := rows.get(i)) and r.state in (runs.LIVE, runs.HELD) and (running or i not in held)]
    if not chosen:
        return 0
    voided = [(r.id, *held[r.id]) for r in chosen if r.id in held]
    if voided:
        leases.give_back(turn.db, [r for r, _, _ in voided], [f for _, f, _ in voided])
        runs.bump(turn.db, [r for r, _, _ in voided], [f for _, f, _ in voided], [0] * len(voided), [0] * len(voided))
        turn.stopped += [(r, w) for r, _, w in voided]
        for run, _, _ in voided:
            turn.engine.flight.pop(run, None)
    drop_ready(turn, [r for r in chosen if r.pending <= 0 and r.id not in held])
    fresh = runs.get(turn.db, [r.id for r in chosen])
    spread.finish(turn, [(fresh[r.id], RunState.CANCELLED, cause) for r in chosen])
    return len(chosen)


def drop_ready(turn: Turn, rows: list[runs.Run]) -> None:
    """Take runs out of wherever they stand ready."""
    engine = turn.engine
    for r in rows:
        hot = turn.hot.get(r.cls, [])
        if r.id in hot:
            hot.remove(r.id)
    per_class: dict[int, list[int]] = {}
    for r in rows:
        per_class.setdefault(r.cls, []).append(r.id)
    for cls, ids in per_class.items():
        n = classes.drop(turn.db, [cls] * len(ids), ids)
        engine.ready[cls] = max(0, engine.ready.get(cls, 0) - n)
