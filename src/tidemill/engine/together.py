"""Growths that are alike, taken in together: what a recursion grows is many small deltas of the same tasks, and they
cost a statement each only for all of them.
"""

from collections.abc import Iterator
from typing import NamedTuple

from tidemill.engine import grow, submit
from tidemill.engine.submit import Facts
from tidemill.engine.turn import OPEN, Turn
from tidemill.model import delta
from tidemill.model.delta import Chunk, Growth, Header
from tidemill.model.events import Kind
from tidemill.stores.state import blocks, data

MOST = grow.AT_ONCE
"""Runs that are expanded together."""


class Grown(NamedTuple):
    """A run that grew: its block, its first output, its encoded growth."""

    run: int
    parent: int
    out: int
    body: bytes


class _Known(NamedTuple):
    grown: Grown
    growth: Growth


def grown(turn: Turn, found: list[Grown]) -> None:
    """Give each of these runs a block with what it grew, and forward its outputs."""
    alike: dict[object, list[_Known]] = {}
    for one in found:
        growth = delta.decode_growth(one.body)
        header = growth.header
        if len(found) > 1 and _is_plain(turn, growth):
            above = turn.engine.facts(turn.db, one.parent)
            alike.setdefault((above, *header.tasks, *header.classes), []).append(_Known(one, growth))
        else:
            grow.grown(turn, *one)
    for many in alike.values():
        above = turn.engine.facts(turn.db, many[0].grown.parent)
        for part in _slices(many):
            if len(part) == 1:
                grow.grown(turn, *part[0].grown)
            else:
                _take(turn, above, part)


def _is_plain(turn: Turn, growth: Growth) -> bool:
    """Whether a growth is nothing but some runs, in one chunk, one of which its outputs are forwarded to."""
    header = growth.header
    if header.blocks or header.runs > MOST or len(growth.chunks) != 1:
        return False
    chunk = growth.chunks[0]
    if chunk.gathers or chunk.blocks or chunk.objects or any(ref >= 0 for ref in growth.outputs):
        return False
    return not (turn.shared and grow.names_others(growth))


def _slices(many: list[_Known]) -> Iterator[list[_Known]]:
    part: list[_Known] = []
    size = 0
    for one in many:
        if part and size + one.growth.header.runs > MOST:
            yield part
            part, size = [], 0
        part.append(one)
        size += one.growth.header.runs
    yield part


def _take(turn: Turn, above: Facts, part: list[_Known]) -> None:
    """Blocks, deltas and runs of several growths of the same tasks and classes."""
    engine, n = turn.engine, len(part)
    headers = [one.growth.header for one in part]
    block = engine.reserve("block", n)
    run_lo = engine.reserve("run", sum(h.runs for h in headers))
    out_lo = engine.reserve("datum", sum(h.outputs for h in headers))
    runs_at, outs_at = _starts(run_lo, [h.runs for h in headers]), _starts(out_lo, [h.outputs for h in headers])
    _add_blocks(turn, above, part, block, runs_at, outs_at)
    turn.event(Kind.GREW, [one.grown.run for one in part], note=list(range(block, block + n)))
    place = submit.lay_out(turn, block, run_lo, out_lo, above, headers[0])._replace(block_lo=block)
    submit.expand(turn, place, _joined(part))
    for i in range(n):
        turn.change(block + i, OPEN, 0)
    _forward(turn, part, outs_at)
    stopping = blocks.stopping_among(turn.db, sorted({one.grown.parent for one in part}))
    turn.stop += [(block + i, None) for i, one in enumerate(part) if one.grown.parent in stopping]


def _starts(low: int, sizes: list[int]) -> list[int]:
    found = []
    for size in sizes:
        found.append(low)
        low += size
    return found


def _add_blocks(
    turn: Turn, above: Facts, part: list[_Known], block: int, runs_at: list[int], outs_at: list[int]
) -> None:
    rows: list[tuple[object, ...]] = []
    deltas: list[tuple[object, ...]] = []
    encoded: dict[tuple[int, int], bytes] = {}
    for i, ((run, parent, _, body), growth) in enumerate(part):
        header: Header = growth.header
        head = (block + i, parent, above.root, above.scope, above.hub, 0, 1, None, run, "", None, 0, 0, 0, 0, 0, 0, 0)
        span = (runs_at[i], header.runs, outs_at[i], header.outputs, block + i + 1, 0, above.options, turn.now)
        rows.append((*head, *span))
        size = header.runs, header.outputs
        known = encoded.get(size)
        if known is None:
            known = encoded[size] = delta.encode(header)
        deltas.append((block + i, known, body))
        turn.engine.remember_facts(block + i, above)
        turn.change(parent, OPEN, 1)
    blocks.add(turn.db, *zip(*rows, strict=True))
    blocks.add_growths(turn.db, *zip(*deltas, strict=True))


def _joined(part: list[_Known]) -> Chunk:
    """One chunk of all runs, each of them in its own block."""
    joined = Chunk(0, 0, [], [], b"", [], [], [], [])
    columns = joined.task, joined.pending, joined.block, joined.cls, joined.flags
    keys = []
    runs = outputs = 0
    for number, (_, growth) in enumerate(part, 1):
        chunk = growth.chunks[0]
        n = len(chunk.args)
        for column, value in zip(columns, (chunk.task, chunk.pending, number, chunk.cls, chunk.flags), strict=True):
            assert isinstance(column, list)
            column.extend(value if isinstance(value, list) else [value] * n)
        joined.args += chunk.args
        keys.append(chunk.keys)
        joined.edge_run += [runs + row for row in chunk.edge_run]
        joined.edge_port += chunk.edge_port
        joined.edge_ref += [ref if ref >= 0 else ref - outputs for ref in chunk.edge_ref]
        runs += n
        outputs += growth.header.outputs
    joined.keys = b"".join(keys)
    return joined


def _forward(turn: Turn, part: list[_Known], outs_at: list[int]) -> None:
    """The outputs of the growing runs end as these targets do."""
    rows = [
        (one.out + port, outs_at[i] - 1 - ref, one.run, port)
        for i, (one, growth) in enumerate(part)
        for port, ref in enumerate(growth.outputs)
    ]
    if rows:
        data.forward(turn.db, *zip(*rows, strict=True))
        turn.engine.forwards += len(rows)
