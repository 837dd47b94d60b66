"""Submission: a delta's ids are reserved as a whole, then its chunks are inserted one by one, the first runnable at
once.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from typing import NamedTuple

from tidemill.engine import auto, files, flags, gathers, newest, reuse, stand
from tidemill.engine.keyindex import Source
from tidemill.engine.turn import OPEN, TOTAL, Ready, Turn
from tidemill.model import delta
from tidemill.model.delta import BlockFlag, BlockSpec, Chunk, GatherSpec, Header, RunFlag
from tidemill.model.digest import SIZE
from tidemill.model.errors import ResumeError
from tidemill.model.events import Kind
from tidemill.model.states import BlockState, DatumState
from tidemill.stores.state import blocks, data, edges, runs, serves
from tidemill.stores.state import gathers as gather_rows
from tidemill.stores.state.gathers import STRETCH

Standing = tuple[int, int, int]
"""A run that may start, its class and its flags."""
Span = tuple[int, int, int]
"""Data `lo, lo + step, …`: the first, how many, and the step."""


class Facts(NamedTuple):
    """What a block shares with all blocks of its tree; `options` are the flags that it hands down."""

    root: int
    scope: int
    hub: int
    options: int = 0


class Layout(NamedTuple):
    """Where a delta lies in the store: bases of its local numbers, ids of its tasks and classes."""

    block: int
    run_lo: int
    out_lo: int
    block_lo: int
    above: Facts
    tasks: list[int]
    ports: list[int]
    classes: list[int]

    def datum(self, ref: int) -> int:
        """The id of a reference."""
        return ref if ref >= 0 else self.out_lo - 1 - ref


class Begun(NamedTuple):
    """A submission under way: its block, how many chunks are stored, whether all are."""

    block: int
    chunks: int
    sealed: bool
    resumed: bool


def begin(turn: Turn, key: bytes, name: str, header_bytes: bytes, *, options: int = 0) -> Begun:
    """Open a root block for a delta, or find the open one that was submitted under the same key before.

    Raises:
        ResumeError: the earlier submission had another header.
    """
    found = blocks.open_by_key(turn.db, key)
    if found is not None:
        known = blocks.delta(turn.db, found[0])
        if known is None or bytes(known.header) != header_bytes:
            raise ResumeError(
                f"the interrupted submission of {name!r} (block {found[0]}) was another plan",
                hint=f"cancel it first: tidemill cancel {found[0]}",
            )
        earlier = blocks.get(turn.db, found[0])
        if earlier is not None and options & ~earlier.flags:
            blocks.set_flags(turn.db, earlier.id, earlier.flags | options)
            turn.engine.layouts.pop(earlier.id, None)
        return Begun(found[0], found[1], bool(found[2]), True)
    header = delta.decode_header(header_bytes)
    engine = turn.engine
    block = engine.reserve("block", 1 + header.blocks)
    hub = engine.add_hub(turn, f"{name}#{block}", block)
    run_lo = engine.reserve("run", header.runs)
    out_lo = engine.reserve("datum", header.outputs)
    row = (block, None, block, 1, hub, 0, 1, None, None, name, None, 1, 0, 0, 0, 0, 0, 0)
    span = (run_lo, header.runs, out_lo, header.outputs, block + 1, header.blocks, options, turn.now)
    blocks.add(turn.db, *[[v] for v in (*row, *span)])
    blocks.add_delta(turn.db, block, key, header_bytes, None, False, header.result or None)
    return Begun(block, 0, False, False)


def layout(turn: Turn, block: int) -> Layout | None:
    """The layout of a block's delta, from its rows (cached by the engine); None where nothing may be added any more."""
    known = turn.engine.layouts.get(block)
    if known is not None and turn.engine.alone:
        return known
    row = blocks.get(turn.db, block)
    submitted = blocks.delta(turn.db, block)
    assert row is not None and submitted is not None
    if row.state != BlockState.OPEN:
        return None
    if known is not None:
        return known
    above = Facts(row.root, row.scope, row.hub, row.flags & blocks.HANDED_DOWN)
    made = lay_out(turn, block, row.run_lo, row.out_lo, above, delta.decode_header(bytes(submitted.header)))
    turn.engine.layouts[block] = made
    return made


def lay_out(turn: Turn, block: int, run_lo: int, out_lo: int, above: Facts, header: Header) -> Layout:
    """Store the delta's tasks and classes where they are new, and say where everything lies."""
    engine = turn.engine
    tasks = [engine.put_task(turn.db, spec) for spec in header.tasks]
    asked = [auto.settled(engine, turn.db, c) if c.resources.like else c for c in header.classes]
    classes = [engine.class_id(turn.db, above.hub, c) for c in asked]
    return Layout(block, run_lo, out_lo, block + 1, above, tasks, [engine.ports(t) for t in tasks], classes)


def chunk(turn: Turn, block: int, seq: int, digest: bytes, body: Chunk) -> None:
    """Insert chunk number `seq` of a streamed delta.

    Raises:
        ResumeError: a chunk with this number and another digest is stored already.
    """
    stored = blocks.chunk(turn.db, block, seq)
    if stored is not None:
        if bytes(stored[0]) != digest:
            raise ResumeError(
                f"part {seq} of the interrupted submission (block {block}) differs from what is stored",
                hint=f"the workflow must build the same graph each time; or cancel it first: tidemill cancel {block}",
            )
        return
    assert not turn.shared, "a submission needs a turn that other engines' completions are kept out of"
    blocks.add_chunk(turn.db, block, seq, digest, None)
    blocks.set_cursor(turn.db, block, seq + 1)
    place = layout(turn, block)
    if place is None:
        return
    expand(turn, place, body)
    if body.block != 0:
        _leave_out(turn, place, body)


def _leave_out(turn: Turn, place: Layout, body: Chunk) -> None:
    """Runs for inner blocks that are being stopped while their delta still streams in."""
    column = body.block if isinstance(body.block, list) else [body.block] * len(body.args)
    inner = {place.block_lo + b - 1 for b in set(column) if b}
    stopped = {b for b, row in blocks.get_many(turn.db, sorted(inner)).items() if row.state != BlockState.OPEN}
    low = place.run_lo + body.first
    turn.unwanted += [low + i for i, b in enumerate(column) if b and place.block_lo + b - 1 in stopped]


def seal(turn: Turn, block: int) -> None:
    """The delta is complete: its blocks close when nothing in them is open."""
    if not blocks.seal(turn.db, block):
        return
    turn.engine.layouts.pop(block, None)
    row = blocks.get(turn.db, block)
    assert row is not None
    for inner in (row.id, *range(row.block_lo, row.block_lo + row.block_n)):
        turn.change(inner, OPEN, -1)


def expand(turn: Turn, place: Layout, body: Chunk) -> None:
    """Insert a chunk's blocks, runs, edges and collections; queue, reuse or end what is decided already."""
    n = len(body.args)
    if body.blocks:
        _add_blocks(turn, place, body)
    if n:
        _Rows(turn, place, body).insert()
    if body.gathers:
        _add_gathers(turn, place, body)
    if body.objects:
        data.name_literals(turn.db, place.block, body.objects)
        files.note_literal_folders(turn, body.args, body.objects)


def _column(value: int | list[int], n: int) -> list[int]:
    return value if isinstance(value, list) else [value] * n


class _Rows:
    """One chunk's runs on their way into the store."""

    def __init__(self, turn: Turn, place: Layout, body: Chunk) -> None:
        self.turn = turn
        self.body = body
        self.place = place
        n = self.n = len(body.args)
        self.low = place.run_lo + body.first
        self.first_out = place.out_lo + body.first_output
        self.ids = range(self.low, self.low + n)
        self.tasks = [place.tasks[t] for t in _column(body.task, n)]
        self.outs, self.end_out = self._outputs()
        self.blocks = self._blocks()
        self.classes = [place.classes[c] for c in _column(body.cls, n)]
        self.pending = list(_column(body.pending, n))
        self.flags = [
            f | flags.HAS_INPUTS if p else f for f, p in zip(_column(body.flags, n), self.pending, strict=True)
        ]
        if place.above.options & blocks.ATTACHED:
            # what users of a service grow may use it too, in ways that nobody can see
            self.flags = [f | RunFlag.NO_CACHE for f in self.flags]
        self.keys = [body.keys[i : i + SIZE] for i in range(0, n * SIZE, SIZE)]

    def _outputs(self) -> tuple[Sequence[int], int]:
        if isinstance(self.body.task, int):
            step = self.place.ports[self.body.task]
            return range(self.first_out, self.first_out + self.n * step, step), self.first_out + self.n * step
        outs: list[int] = []
        at = self.first_out
        for t in self.body.task:
            outs.append(at)
            at += self.place.ports[t]
        return outs, at

    def _blocks(self) -> list[int]:
        place = self.place
        if self.body.block == 0:
            return [place.block] * self.n
        return [place.block_lo + b - 1 if b else place.block for b in _column(self.body.block, self.n)]

    def insert(self) -> None:
        body, turn = self.body, self.turn
        known = [not p for p in self.pending]
        data_ids = self._edges() if body.edge_run else []
        hits, following, ready = self._decide(known)
        states = [0] * self.n
        for i in hits:
            states[i] = runs.COMPLETE
            if hits[i].flags & flags.GREW:
                self.flags[i] |= flags.GREW
        zero = [0] * self.n
        runs.add(
            turn.db, self.ids, self.tasks, self.blocks, self.classes, states, self.pending, zero, zero, zero,
            self.flags, self.outs, self.keys, body.args,
        )  # fmt: skip
        if data_ids:
            edges.add(turn.db, [self.low + r for r in body.edge_run], body.edge_port, data_ids)
        self._count()
        turn.event(Kind.SUBMITTED, [self.low, self.n], note=self.place.block)
        moved = reuse.follow(turn, following)
        if moved:
            ready = [(run, cls, bits | flags.SEVERAL_HUBS if run in moved else bits) for run, cls, bits in ready]
        stand.queue(turn, ready)
        if hits:
            self._complete(hits)

    def _edges(self) -> list[int]:
        """The data of the edges; inputs that have ended already are counted at once."""
        refs = self.body.edge_ref
        base = self.place.out_lo - 1
        ids = [r if r >= 0 else base - r for r in refs]
        if min(ids) >= self.first_out and max(ids) < self.end_out:
            return ids
        outside = sorted({i for i in ids if not self.first_out <= i < self.end_out})
        states = data.states(self.turn.db, outside)
        if not states:
            return ids
        if moved := newest.stand_ins(self.turn.db, states):
            ids = [moved.get(i, i) for i in ids]
            outside = sorted({moved.get(i, i) for i in outside})
            states = data.states(self.turn.db, outside)
        aside = self.turn.untold(outside)
        for run, port, datum in zip(self.body.edge_run, self.body.edge_port, ids, strict=True):
            state = states.get(datum)
            if state is None or datum in aside:
                continue
            if state in (data.COMPLETE, data.PUBLISHED) or state in data.GONE:
                self.pending[run] -= 1  # a digest is enough to look for a result; a value is made again if need be
            elif state != DatumState.WRITING:
                self.turn.hear.append((datum, self.low + run, port, state))
        return ids

    def _decide(self, known: list[bool]) -> tuple[dict[int, Source], list[tuple[Ready, int]], list[Standing]]:
        """What is known already, what waits for an equal run, what is ready. Runs whose inputs had all come go the
        ordinary way.
        """
        index = self.turn.engine.index
        aside = RunFlag.NO_CACHE | RunFlag.EXTERNAL | flags.FORCED
        asked = [self.keys[i] for i in range(self.n) if known[i] and not self.flags[i] & aside]
        found = index.lookup(self.turn.db, asked) if asked else {}
        hits: dict[int, Source] = {}
        following: list[tuple[Ready, int]] = []
        ready: list[Standing] = []
        for i, key in enumerate(self.keys):
            if self.pending[i] > 0:
                continue
            bits, run, cls = self.flags[i], self.low + i, self.classes[i]
            if bits & RunFlag.PARTIAL:
                bits = self.flags[i] = bits | flags.STARTED
            if not known[i] or bits & RunFlag.EXTERNAL:
                self.turn.fresh.append(Ready(run, key, cls, bits, self.tasks[i], known[i]))
            elif bits & aside:
                ready.append((run, cls, bits))
            elif (source := found.get(key)) is not None:
                hits[i] = source
            elif (leader := index.lead(key, run)) is None:
                ready.append((run, cls, bits))
            elif leader in self.ids or reuse.may_lead(self.turn, leader, partial(self.blocks.__getitem__, i)):
                following.append((Ready(run, key, cls, bits, self.tasks[i], keyed=True), leader))
            else:
                index.insist(key, run)
                ready.append((run, cls, bits))
        return hits, following, ready

    def _count(self) -> None:
        turn = self.turn
        if self.body.block == 0:
            turn.change(self.place.block, OPEN, self.n)
            turn.change(self.place.block, TOTAL, self.n)
        else:
            for block in self.blocks:
                turn.change(block, OPEN, 1)
                turn.change(block, TOTAL, 1)
        for where, n in Counter(zip(self.blocks, self.tasks, strict=True)).items():
            turn.note_progress(TOTAL, [where], n)

    def _complete(self, hits: dict[int, Source]) -> None:
        rows = [
            reuse.Hit(
                self.low + i, self.outs[i], len(source.outputs), self.blocks[i], self.tasks[i], self.flags[i],
                self.keys[i], source,
            )
            for i, source in hits.items()
        ]  # fmt: skip
        reuse.count_hits(self.turn, rows)
        reuse.alias_hits(self.turn, rows)


def _add_blocks(turn: Turn, place: Layout, body: Chunk) -> None:
    rows = []
    inner: dict[int, int] = {}
    for spec in body.blocks:
        parent = place.block_lo + spec.parent - 1 if spec.parent else place.block
        block = place.block_lo + spec.number - 1
        above = place.above
        handed_down = _handed_down(turn, place, spec, inner)
        contained = blocks.CONTAINED if spec.flags & BlockFlag.CONTAINED else 0
        bits = handed_down & blocks.ATTACHED if contained else handed_down
        if spec.served >= 0:
            bits |= blocks.ATTACHED
        inner[spec.number] = bits
        bits |= contained
        if spec.served >= 0:
            bits |= blocks.SERVED
            serves.add(turn.db, [block], [place.run_lo + spec.served])
        out = place.out_lo + spec.out if spec.out >= 0 else None
        head = (block, parent, above.root, above.scope, above.hub, 0, 1, None, None, spec.name, out)
        rows.append((*head, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, bits, turn.now))
        turn.change(parent, OPEN, 1)
    blocks.add(turn.db, *zip(*rows, strict=True))


def _handed_down(turn: Turn, place: Layout, spec: BlockSpec, inner: dict[int, int]) -> int:
    """The flags that a block gets from the one around it; `inner` knows those of the same chunk."""
    if not spec.parent:
        return place.above.options
    known = inner.get(spec.parent)
    return turn.engine.facts(turn.db, place.block_lo + spec.parent - 1).options if known is None else known


def _add_gathers(turn: Turn, place: Layout, body: Chunk) -> None:
    rows: list[tuple[int, ...]] = []
    members: list[tuple[int, ...]] = []
    ended: list[list[gathers.Ended]] = []
    own = range(place.out_lo + body.first_output, place.out_lo + place_end(place, body))
    for spec in body.gathers:
        found, before = _members(turn, place, spec, own)
        ended.append(before)
        gather = place.out_lo + spec.output
        block = place.block_lo + spec.block - 1 if spec.block else place.block
        total = sum(n for _, n, _ in found)
        rows.append((gather, block, 0, total, len(found), 0, 0, spec.tolerate, spec.need, int(spec.one)))
        for seq, (low, n, step) in enumerate(found):
            level = gather_rows.level(n, step)
            turn.engine.levels.add(level)
            members.append((gather, seq, level, low, n, step, n))
    gather_rows.add(turn.db, rows, members)
    for row, before in zip(rows, ended, strict=True):
        if row[3] == 0:
            gathers.complete_empty(turn, row[0])
        else:
            gathers.count_before(turn, row[0], before)


def place_end(place: Layout, body: Chunk) -> int:
    """The local number after the chunk's last output."""
    n = len(body.args)
    if isinstance(body.task, int):
        return body.first_output + n * (place.ports[body.task] if place.ports else 1)
    return body.first_output + sum(place.ports[t] for t in body.task)


def _members(turn: Turn, place: Layout, spec: GatherSpec, own: range) -> tuple[list[Span], list[gathers.Ended]]:
    """The stretches of a collection, and what of them had ended before.

    Args:
        own: outputs of the chunk that brings the collection; those that have ended will be told of.
    """
    found = _stretches([(place.datum(m.ref), m.count, m.step) for m in spec.members])
    before, lacking = gathers.ended_before(turn, found, own)
    moved = newest.stand_ins(turn.db, lacking)
    if moved:
        ids = [moved.get(i, i) for low, n, step in found for i in range(low, low + n * step, step)]
        found = _stretches(gathers.progressions(ids))
        before, _ = gathers.ended_before(turn, found, own)
    return found, before


def _stretches(members: Iterable[Span]) -> list[Span]:
    """Cut members, in order, so that no stretch goes over a multiple of `STRETCH` members of the collection."""
    made: list[Span] = []
    position = 0
    for low, count, step in members:
        at = 0
        while at < count:
            n = min(STRETCH - position % STRETCH, count - at)
            made.append((low + at * step, n, step))
            at += n
            position += n
    return made
