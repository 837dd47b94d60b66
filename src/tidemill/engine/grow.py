"""Growth: a delta handed in with the completion of the run that built it, in a block which that run owns."""

from typing import NamedTuple

from tidemill.engine import newest, spread, submit
from tidemill.engine.turn import OPEN, Dead, Turn
from tidemill.model import delta
from tidemill.model.delta import Growth
from tidemill.model.digest import digest
from tidemill.model.events import Kind
from tidemill.model.states import DatumState
from tidemill.stores.state import blocks, data, runs

AT_ONCE = 1000
"""Runs of a growth that are expanded inside the completion itself; larger ones are stored and expanded in slices."""


class Whose(NamedTuple):
    """The run that grew a block, the block that it lies in, and which generation it is of which earlier block."""

    run: int
    parent: int
    generation: int = 1
    previous: int | None = None


class Opened(NamedTuple):
    """A block for a growth: where its runs and data start, and the data that the growing run's outputs are promised
    as.
    """

    block: int
    run_lo: int
    out_lo: int
    targets: list[int]


def grown(turn: Turn, run: int, parent: int, out: int, body: bytes) -> int:
    """Give `run` a block with what it grew, and forward its outputs; the block's id."""
    growth = delta.decode_growth(body)
    opened = open_block(turn, Whose(run, parent), growth, body)
    _forward(turn, run, out, growth, opened.targets)
    if blocks.is_stopping(turn.db, parent):
        turn.stop.append((opened.block, None))
    return opened.block


def open_block(turn: Turn, whose: Whose, growth: Growth, body: bytes) -> Opened:
    """Insert the block of a growth and what is in it; large ones are expanded later."""
    header, engine = growth.header, turn.engine
    above = engine.facts(turn.db, whose.parent)
    block = engine.reserve("block", 1 + header.blocks)
    run_lo = engine.reserve("run", header.runs)
    out_lo = engine.reserve("datum", header.outputs)
    at_once = header.runs <= AT_ONCE and not (turn.shared and names_others(growth))
    head = (block, whose.parent, above.root, above.scope, above.hub, 0, whose.generation, whose.previous, whose.run, "")
    span = (run_lo, header.runs, out_lo, header.outputs, block + 1, header.blocks, above.options, turn.now)
    blocks.add(turn.db, *[[v] for v in (*head, None, 0 if at_once else 1, 0, 0, 0, 0, 0, 0, *span)])
    engine.remember_facts(block, above)
    blocks.add_delta(turn.db, block, None, delta.encode(header), body, at_once, None)
    turn.change(whose.parent, OPEN, 1)
    turn.event(Kind.GREW, [whose.run], note=[block])
    place = submit.lay_out(turn, block, run_lo, out_lo, above, header)
    if at_once:
        for part in growth.chunks:
            submit.expand(turn, place, part)
        for inner in range(block + 1, block + 1 + header.blocks):
            turn.change(inner, OPEN, -1)
        turn.change(block, OPEN, 0)
    else:
        for seq, part in enumerate(growth.chunks):
            encoded = delta.encode(part)
            blocks.add_chunk(turn.db, block, seq, digest(encoded), encoded)
        engine.unexpanded = True
    return Opened(block, run_lo, out_lo, [place.datum(ref) for ref in growth.outputs])


def names_others(growth: Growth) -> bool:
    """Whether a growth refers to data that are not its own."""
    return any(ref >= 0 for ref in growth.outputs) or any(
        any(ref >= 0 for ref in part.edge_ref) or any(m.ref >= 0 for g in part.gathers for m in g.members)
        for part in growth.chunks
    )


def _forward(turn: Turn, run: int, out: int, growth: Growth, targets: list[int]) -> None:
    """The outputs of `run` end as these targets do."""
    if not targets:
        return
    n = len(targets)
    others = [t for t, ref in zip(targets, growth.outputs, strict=True) if ref >= 0]
    if others and (moved := newest.stand_ins(turn.db, data.states(turn.db, others))):
        targets, others = [moved.get(t, t) for t in targets], [moved.get(t, t) for t in others]
    data.forward(turn.db, range(out, out + n), targets, [run] * n, range(n))
    turn.engine.forwards += n
    if others and not turn.shared:
        promise_ended(turn, others)


def promise_ended(turn: Turn, targets: list[int]) -> None:
    """Settle promises whose targets had ended before they were made."""
    aside = turn.untold(targets)
    for target, row in data.get(turn.db, targets, values=False).items():
        if target in aside or row.state in (DatumState.WRITING, DatumState.PUBLISHED):
            continue
        if row.state == data.COMPLETE or row.state in data.GONE:
            turn.promised.append(target)
        else:
            spread.end_forwards(turn, {target: Dead(target, row.state, row.cause or 0)})


def again(turn: Turn, run: int, parent: int, out: int, source: int) -> None:
    """A reused run that grew: the same growth again in its own block, where each grown run is looked up by its own
    key.
    """
    owned = blocks.owned_by(turn.db, source)
    assert owned is not None
    recorded = blocks.delta(turn.db, owned.id)
    assert recorded is not None and recorded.body is not None
    grown(turn, run, parent, out, bytes(recorded.body))


def expand_slice(turn: Turn) -> None:
    """Expand one stored chunk of the oldest unfinished growth."""
    waiting = blocks.unexpanded(turn.db)
    if waiting is None:
        turn.engine.unexpanded = False
        return
    block, seq = waiting
    stored = blocks.chunk(turn.db, block, seq)
    if stored is None:
        _finish(turn, block)
        return
    place = submit.layout(turn, block)
    if place is not None:
        submit.expand(turn, place, delta.decode_chunk(bytes(stored[1])))
    blocks.set_cursor(turn.db, block, seq + 1)


def _finish(turn: Turn, block: int) -> None:
    """All chunks of a growth are expanded."""
    submit.seal(turn, block)
    row = blocks.get(turn.db, block)
    assert row is not None and row.owner is not None
    owner = runs.get(turn.db, [row.owner])[row.owner]
    links = data.promises(turn.db, list(range(owner.out, owner.out + turn.engine.ports(owner.task))))
    others = [f.target for f in links if not row.out_lo <= f.target < row.out_lo + row.out_n]
    if others:
        promise_ended(turn, others)
