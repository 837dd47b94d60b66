"""From a finished builder to the header and chunks of a delta."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from operator import invert
from typing import Any

from tidemill.graph.blocks import END
from tidemill.graph.builder import Builder
from tidemill.graph.columns import CHUNK, CallColumns, Piece
from tidemill.graph.gathers import GATHER, reference
from tidemill.graph.literals import Writer, longer
from tidemill.model.delta import Chunk, GatherSpec, Header, RunFlag
from tidemill.model.digest import digest

Column = int | list[int]


def header(graph: Builder, result: bytes, slots: Sequence[int]) -> Header:
    """What holds for the whole delta."""
    return Header(
        tasks=list(graph.specs),
        classes=list(graph.classes),
        runs=graph.runs,
        outputs=ends_from(graph) + len(graph.blocks.ended),
        blocks=len(graph.blocks.opened),
        result=result,
        result_refs=[reference(slot, graph.outputs, ends_from(graph)) for slot in slots],
    )


def ends_from(graph: Builder) -> int:
    """The number of the first output that is the end of a block."""
    return graph.outputs + graph.gathers.count


class Emission:
    """One pass over the runs of a graph.

    Args:
        graph: no call is added to it any more.
        objects: stored objects to be named by the first chunk, besides its own.
        passing: entered while a chunk generated from a recipe is in use.
        draw: what all runs have behind their arguments, encoded: the draw that the run is that grew them.
    """

    def __init__(
        self,
        graph: Builder,
        objects: Sequence[bytes] = (),
        passing: Callable[[], AbstractContextManager[None]] = nullcontext,
        draw: bytes = b"",
    ) -> None:
        self._graph = graph
        self._writer = Writer(graph.keeper)
        self._objects = list(objects)
        self._passing = passing
        self._draw = draw
        self._widths = [entry.width for entry in graph.entries]
        self._lists = graph.gathers.specs(graph.outputs)
        self._list = next(self._lists, None)
        self._blocks = graph.blocks.specs(ends_from(graph))
        self._block = next(self._blocks, None)
        self._end = (0, 0)

    def chunks(self) -> Iterator[Chunk]:
        """The chunks in order; at least one if there is anything at all to be told."""
        for segment in self._graph.segments:
            if isinstance(segment, CallColumns):
                for piece in segment.pieces(self._widths):
                    yield from self._chunks(piece)
                continue
            pieces = segment.pieces(self._writer)
            for _ in range(0, segment.size, CHUNK):
                with self._passing():
                    yield from self._chunks(next(pieces))
        while self._list is not None or self._objects or self._block is not None:
            yield self._without_runs(self._take(self._graph.runs, CHUNK))

    # ------------------------------------------------------------------------------------------------------------ one

    def _chunks(self, piece: Piece) -> Iterator[Chunk]:
        """The chunk of a piece, after those with lists for which it has no room."""
        if self._draw:
            piece = piece._replace(args=[longer(args, self._draw) for args in piece.args])
        count = len(piece.args)
        high = piece.first + count
        lists = self._take(piece.first, CHUNK)
        while len(lists) == CHUNK:
            yield self._without_runs(lists)
            lists = self._take(piece.first, CHUNK)
        lists += self._take(high - 1)
        lists += self._take(high, CHUNK - min(CHUNK, len(lists)))
        pending, edge_run, edge_port, slots = self._edges(piece)
        chunk = Chunk(
            first=piece.first,
            first_output=piece.first_output,
            task=piece.tasks,
            args=piece.args,
            keys=self._keys(piece),
            pending=pending,
            block=piece.blocks,
            cls=self._column(piece.tasks, "cls"),
            flags=self._flags(piece),
            edge_run=edge_run,
            edge_port=edge_port,
            edge_ref=self._references(slots),
            gathers=lists,
            objects=self._named(piece.objects),
        )
        self._add_blocks(chunk, high)
        tasks = piece.tasks
        outputs = count * self._widths[tasks] if isinstance(tasks, int) else sum(self._widths[t] for t in tasks)
        self._end = (high, piece.first_output + outputs)
        yield chunk

    def _without_runs(self, lists: list[GatherSpec]) -> Chunk:
        run, output = self._end
        chunk = Chunk(first=run, first_output=output, task=0, args=[], keys=b"", gathers=lists, objects=self._named([]))
        self._add_blocks(chunk, run + 1)
        return chunk

    def _add_blocks(self, chunk: Chunk, high: int) -> None:
        """The blocks that are opened before run number `high`."""
        while self._block is not None and self._block[0] < high:
            chunk.blocks.append(self._block[1])
            self._block = next(self._blocks, None)

    def _named(self, objects: list[bytes]) -> list[bytes]:
        found = list(dict.fromkeys((*self._objects, *objects))) if self._objects else objects
        self._objects = []
        return found

    def _take(self, position: int, limit: int | None = None) -> list[GatherSpec]:
        """The next lists whose members are all among the first `position` runs."""
        found: list[GatherSpec] = []
        while self._list is not None and self._list[0] <= position and (limit is None or len(found) < limit):
            found.append(self._list[1])
            self._list = next(self._lists, None)
        return found

    # -------------------------------------------------------------------------------------------------------- columns

    def _column(self, tasks: Column, name: str) -> Column:
        """A column that follows from the tasks."""
        entries = self._graph.entries
        if isinstance(tasks, int):
            return int(getattr(entries[tasks], name))
        values = [getattr(entry, name) for entry in entries]
        if len(set(values)) == 1:
            return int(values[0])
        return [values[t] for t in tasks]

    def _flags(self, piece: Piece) -> Column:
        found = self._column(piece.tasks, "flags")
        runs = range(piece.first, piece.first + len(piece.args))
        mine = [r for r in self._graph.attached if r.start < runs.stop and runs.start < r.stop]
        if not mine:
            return found
        column = [found] * len(runs) if isinstance(found, int) else found
        for stretch in mine:
            for run in range(max(stretch.start, runs.start), min(stretch.stop, runs.stop)):
                column[run - runs.start] |= RunFlag.NO_CACHE
        return column

    def _keys(self, piece: Piece) -> bytes:
        """Base keys: the digest of the task's digest and the arguments."""
        entries = self._graph.entries
        if isinstance(piece.tasks, int):
            first = entries[piece.tasks].digest
            texts = [first + args for args in piece.args]
        else:
            digests = [entry.digest for entry in entries]
            texts = [digests[t] + args for t, args in zip(piece.tasks, piece.args, strict=True)]
        if not piece.slots:
            return b"".join(map(digest, texts))
        known = {text: digest(text) for text in set(texts)}  # calls of futures alone have equal templates
        return b"".join([known[text] for text in texts])

    def _edges(self, piece: Piece) -> tuple[Column, list[int], list[int], Sequence[int]]:
        """Columns `pending`, `edge_run`, `edge_port`, and the slots."""
        count = len(piece.args)
        runs = range(piece.first, piece.first + count)
        orders = self._graph.orders
        if orders and any(run in orders for run in runs):
            return self._edges_with_order(piece, runs)
        if piece.ports is None:
            counts = list(piece.counts)
            edge_run = [row for row, n in enumerate(counts) for _ in range(n)]
            return counts, edge_run, [port for n in counts for port in range(n)], piece.slots
        ports = list(piece.ports)
        if len(ports) == 1:
            return 1, list(range(count)), ports * count, piece.slots
        return len(ports), [row for row in range(count) for _ in ports], ports * count, piece.slots

    def _edges_with_order(self, piece: Piece, runs: range) -> tuple[Column, list[int], list[int], Sequence[int]]:
        pending: list[int] = []
        edge_run: list[int] = []
        edge_port: list[int] = []
        slots: list[int] = []
        at = 0
        for row, (run, n) in enumerate(zip(runs, piece.counts, strict=True)):
            waits = tuple(dict.fromkeys(self._graph.orders.get(run, ())))
            pending.append(n + len(waits))
            edge_run += [row] * pending[-1]
            edge_port += [*range(n), *range(-1, -1 - len(waits), -1)]
            slots += piece.slots[at : at + n]
            slots += waits
            at += n
        return pending, edge_run, edge_port, slots

    def _references(self, slots: Sequence[int]) -> list[int]:
        """References to slots: output `n` is `-1 - n`, which is what inverting its bits gives."""
        graph = self._graph
        if graph.gathers.count == 0 and not graph.blocks.ended:
            return list(map(invert, slots))
        shift, far = graph.outputs - GATHER, ends_from(graph) - END
        return [~slot if slot < GATHER else ~(slot + shift) if slot < END else ~(slot + far) for slot in slots]


def encode_result(graph: Builder, template: Any) -> bytes:
    """The result template of a header; large values in it become objects.

    Raises:
        ValueCodecError: if it cannot be encoded.
    """
    return graph.writer.template(template)
