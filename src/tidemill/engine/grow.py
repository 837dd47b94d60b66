"""Growth: a delta handed in with the completion of the run that built it, in a block which that run owns."""

from tidemill.engine import spread, submit
from tidemill.engine.turn import OPEN, Dead, Turn
from tidemill.model import delta
from tidemill.model.delta import Growth
from tidemill.model.digest import digest
from tidemill.model.events import Kind
from tidemill.stores.state import blocks, data

AT_ONCE = 1000
"""Runs of a growth that are expanded inside the completion itself; larger ones are stored and expanded in slices."""


def grown(turn: Turn, run: int, parent: int, out: int, body: bytes) -> int:
    """Give `run` a block with what it grew, and forward its outputs; the block's id."""
    growth = delta.decode_growth(body)
    header, engine = growth.header, turn.engine
    above = engine.facts(turn.db, parent)
    block = engine.reserve("block", 1 + header.blocks)
    run_lo = engine.reserve("run", header.runs)
    out_lo = engine.reserve("datum", header.outputs)
    small = header.runs <= AT_ONCE
    row = (block, parent, above.root, above.scope, above.hub, 0, 1, None, run, "", None, 0 if small else 1)
    span = (run_lo, header.runs, out_lo, header.outputs, block + 1, header.blocks, 0, turn.now)
    blocks.add(turn.db, *[[v] for v in (*row, 0, 0, 0, 0, 0, 0, *span)])
    engine.remember_facts(block, above)
    blocks.add_delta(turn.db, block, None, delta.encode(header), body, small, None)
    turn.change(parent, OPEN, 1)
    turn.event(Kind.GREW, [run], note=[block])
    place = submit.lay_out(turn, block, run_lo, out_lo, above, header)
    _forward(turn, place, run, out, growth)
    if small:
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
    if blocks.is_stopping(turn.db, parent):
        turn.stop.append(block)
    return block


def _forward(turn: Turn, place: submit.Layout, run: int, out: int, growth: Growth) -> None:
    targets = [place.datum(ref) for ref in growth.outputs]
    if not targets:
        return
    n = len(targets)
    data.forward(turn.db, range(out, out + n), targets, [run] * n, range(n))
    turn.engine.forwards += len(targets)
    known = [t for t, ref in zip(targets, growth.outputs, strict=True) if ref >= 0]
    if known:
        aside = {*turn.done, *(d.datum for d in turn.dead)}
        for target, row in data.get(turn.db, known, values=False).items():
            if target in aside:
                continue
            if row.state == data.COMPLETE:
                turn.promised.append(target)
            else:
                spread.end_forwards(turn, {target: Dead(target, row.state, row.cause or 0)})


def again(turn: Turn, run: int, parent: int, out: int, source: int) -> None:
    """A reused run that grew: the same growth again in its own block, where each grown run is looked up by its own key."""
    owned = blocks.owned_by(turn.db, source)
    assert owned is not None
    recorded = blocks.delta(turn.db, owned.id)
    assert recorded is not None and recorded.body is not None
    grown(turn, run, parent, out, bytes(recorded.body))


def expand_slice(turn: Turn) -> None:
    """Expand one stored chunk of the oldest unfinished growth."""
    waiting = blocks.unexpanded(turn.db)
    if not waiting:
        turn.engine.unexpanded = False
        return
    block, seq = waiting[0]
    stored = blocks.chunk(turn.db, block, seq)
    if stored is None:
        submit.seal(turn, block)
        return
    place = submit.layout(turn, block)
    if place is not None:
        submit.expand(turn, place, delta.decode_chunk(bytes(stored[1])))
    blocks.set_cursor(turn.db, block, seq + 1)
