"""Taking results back: invalid ones are never reused again, deleted ones lose their values. The record stays."""

from tidemill.engine import files, reopen, reuse
from tidemill.engine.turn import Turn
from tidemill.model.errors import ConflictError
from tidemill.model.events import Kind
from tidemill.model.states import BlockState
from tidemill.stores.state import blocks, data, edges, runs


def invalidate(turn: Turn, ids: list[int]) -> list[int]:
    """COMPLETE, ERROR, SKIPPED or CANCELLED -> INVALID: the result is not to be trusted, and no later run reuses it.
    Its data stay; `rerun` gives it, and what followed from it, a new generation. The runs that changed."""
    reopen.prepare(turn)
    found = sorted(runs.invalidate(turn.db, ids))
    turn.engine.index.forget(found)
    reuse.leaders_ended(turn, found)
    turn.event(Kind.INVALIDATED, found)
    return found


def delete_runs(turn: Turn, ids: list[int]) -> list[int]:
    """COMPLETE, ERROR, SKIPPED, CANCELLED or INVALID -> DELETED, and their data too; those that changed.

    Raises:
        ConflictError: a run that has not ended waits for one of their data, or what they grew has not ended.
    """
    reopen.prepare(turn)
    rows = [r for r in runs.get(turn.db, ids).values() if r.state not in (runs.LIVE, runs.HELD)]
    growing = data.runs_with_promises(turn.db, [r.id for r in rows])
    if growing:
        raise ConflictError(f"what run {min(growing)} grew has not ended", hint="wait until it has, or cancel it")
    made = [r.out + p for r in rows for p in range(turn.engine.ports(r.task))]
    _refuse_needed(turn, made)
    found = sorted(runs.remove(turn.db, [r.id for r in rows]))
    _remove_data(turn, made)
    files.runs_deleted(turn, found)
    turn.event(Kind.DELETED, found)
    return found


def delete_block(turn: Turn, block: int) -> int:
    """Delete all runs of an ended block and of what is below it, with their data; how many runs.

    Raises:
        ConflictError: the block has not ended, or a run elsewhere waits for one of its data.
        NotFoundError: there is no such block.
    """
    reopen.prepare(turn)
    row = blocks.find(turn.db, block)
    if row.state in (BlockState.OPEN, BlockState.CLOSING):
        raise ConflictError(f"block {block} has not ended", hint=f"cancel it first: tidemill cancel {block}")
    tree = {b.id: b for b in blocks.subtree(turn.db, block)}
    ids = [
        run
        for low, n in sorted({blocks.span(turn.db, b) for b in tree.values()})
        for run, home in runs.blocks_between(turn.db, low, low + n)
        if home in tree
    ]
    rows = list(runs.get(turn.db, ids).values())
    made = [r.out + p for r in rows for p in range(turn.engine.ports(r.task))]
    made += data.collections_of(turn.db, sorted(tree))
    _refuse_needed(turn, made)
    gone = sorted(runs.remove(turn.db, ids))
    _remove_data(turn, made)
    files.runs_deleted(turn, gone)
    turn.event(Kind.DELETED, gone)
    return len(gone)


def _refuse_needed(turn: Turn, made: list[int]) -> None:
    needed = edges.live_consumer(turn.db, made)
    if needed is not None:
        raise ConflictError(
            f"run {needed[1]} has not ended and needs datum {needed[0]}",
            hint="cancel that run first, or wait until it has",
        )


def _remove_data(turn: Turn, made: list[int]) -> None:
    """COMPLETE, EXPIRED or LOST -> DELETED. Where other runs reuse a value, the first of them keeps it for all."""
    doomed = set(made)
    heirs: dict[int, int] = {}
    others: list[tuple[int, int]] = []
    for alias, source in data.aliases(turn.db, made):
        if alias in doomed:
            continue
        if source in heirs:
            others.append((alias, heirs[source]))
        else:
            heirs[source] = alias
    for source, alias in heirs.items():
        data.inherit(turn.db, alias, source)
    if others:
        data.point(turn.db, *zip(*others, strict=True))
    data.remove(turn.db, made)
