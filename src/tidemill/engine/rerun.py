"""Running again by hand: never a rewind, always a new generation of runs, or of a block, and of all that follows from
it.
"""

import msgspec

from tidemill.engine import cone, flags, forget, grow, reopen, serve, supersede
from tidemill.engine.grow import Whose
from tidemill.engine.turn import OPEN, Turn
from tidemill.model import delta
from tidemill.model.delta import Chunk, Growth
from tidemill.model.errors import ConflictError, NotFoundError
from tidemill.model.states import TERMINAL_RUNS, RunState
from tidemill.stores.state import blocks, runs, supersedes
from tidemill.stores.state.blocks import Block
from tidemill.stores.state.runs import Run


def rerun(turn: Turn, ids: list[int]) -> dict[int, int]:
    """Execute ended runs again, whatever is known; what follows from them gets new runs too, whose keys decide whether
    they execute. Runs that were superseded before stand for their newest generation. The new run of each old one.

    Raises:
        ConflictError: a run has not ended or was deleted, or a block around it is being stopped.
        NotFoundError: there is no such run.
    """
    reopen.prepare(turn)
    newest = sorted({supersedes.newest(turn.db, i, supersedes.RUN) for i in ids})
    rows = runs.get(turn.db, newest)
    for i in newest:
        if i not in rows:
            raise NotFoundError(f"there is no run {i}")
        if rows[i].state not in TERMINAL_RUNS:
            raise ConflictError(f"run {i} has not ended", hint="cancel it first, or wait until it has")
        if rows[i].state == RunState.DELETED:
            raise ConflictError(f"run {i} was deleted")
        if rows[i].flags & flags.SUPERSEDED:
            raise ConflictError(f"run {i} was superseded, with the run that grew it", hint="rerun that one")
    services = serve.needed(turn, list(rows.values()))
    if any(i not in rows for i in services):
        return rerun(turn, sorted({*newest, *services}))
    reopen.refuse_closing(turn, {r.block for r in rows.values()})
    found = cone.find(turn, list(rows.values()), [], {}, forced=set(newest))
    return supersede.supersede(turn, found)


def rerun_block(turn: Turn, block: int) -> dict[int, int]:
    """Execute everything in a block again, as its next generation: from the growth that made it where that is
    recorded, else from its rows. The new run of each old one.

    Raises:
        ConflictError: the block has not ended, or was superseded with the run that grew it.
        NotFoundError: there is no such block.
    """
    reopen.prepare(turn)
    row = blocks.find(turn.db, supersedes.newest(turn.db, block, supersedes.BLOCK))
    reopen.refuse_closing(turn, {row.id})
    if row.open:
        raise ConflictError(f"block {row.id} has not ended", hint="cancel it first, or wait until it has")
    _refuse_superseded(turn, row)
    recorded = blocks.delta(turn.db, row.id)
    mine = [r for r in cone.inside(turn, row.id) if r.state != RunState.DELETED]
    services = [i for i in serve.needed(turn, mine) if i not in {r.id for r in mine}]
    if services:
        return rerun(turn, services)
    if row.owner is not None and recorded is not None and recorded.body is not None:
        return _grow_again(turn, row, bytes(recorded.body), mine)
    found = cone.find(turn, mine, [], {}, forced={r.id for r in mine})
    return supersede.supersede(turn, found)


def _refuse_superseded(turn: Turn, row: Block) -> None:
    above = reopen.upwards(turn, {row.id}).values()
    owners = runs.get(turn.db, sorted(b.owner for b in above if b.owner is not None))
    for owner in owners.values():
        if owner.flags & flags.SUPERSEDED:
            raise ConflictError(
                f"block {row.id} was superseded, with run {owner.id} that grew it", hint="rerun that one"
            )


def _grow_again(turn: Turn, row: Block, body: bytes, mine: list[Run]) -> dict[int, int]:
    assert row.owner is not None
    engine = turn.engine
    made = [r.out + p for r in mine for p in range(engine.ports(r.task))]
    made += range(row.out_lo, row.out_lo + row.out_n)
    found = cone.find(turn, [], [], {}, aside=mine, made=sorted(set(made)))
    again = {row.out_lo + k for k in range(row.out_n)}
    within = {b.id for b in blocks.subtree(turn.db, row.id)}
    found.gathers = {g: (c, s) for g, (c, s) in found.gathers.items() if g not in again and c.block not in within}
    reopened = reopen.reopen(turn, {row.id})
    growth = _forced(delta.decode_growth(body))
    generation = max(row.generation, blocks.last_generation(turn.db, row.id)) + 1
    opened = grow.open_block(turn, Whose(row.owner, row.id, generation, row.id), growth, body)
    old_data, new_data = range(row.out_lo, row.out_lo + row.out_n), range(opened.out_lo, opened.out_lo + row.out_n)
    run_map = supersede.supersede(turn, found, data_map=dict(zip(old_data, new_data, strict=True)))
    mapped = {row.run_lo + i: opened.run_lo + i for i in range(row.run_n)}
    supersedes.add(turn.db, list(mapped), list(mapped.values()), supersedes.RUN)
    numbers = range(1 + row.block_n)
    supersedes.add(turn.db, [row.id + i for i in numbers], [opened.block + i for i in numbers], supersedes.BLOCK)
    turn.change(row.id, OPEN, 0)
    outdated = forget.Outdated()
    outdated.outs.update((d, b) for d, b in reopened.complete.items() if d not in found.outs)
    forget.reset(turn, reopened.dead, outdated)
    supersede.renew(turn, outdated)
    return run_map | mapped


def _forced(growth: Growth) -> Growth:
    """The same growth, all of it to execute."""
    return msgspec.structs.replace(growth, chunks=[_forced_chunk(c) for c in growth.chunks])


def _forced_chunk(chunk: Chunk) -> Chunk:
    bits = chunk.flags
    forced = bits | flags.FORCED if isinstance(bits, int) else [b | flags.FORCED for b in bits]
    return msgspec.structs.replace(chunk, flags=forced)
