"""Runs of individual calls, in columns: some 50 bytes each, and no object per call."""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from operator import itemgetter
from typing import NamedTuple

CHUNK = 500
"""Most runs, and most gathered lists, in one chunk."""


class Piece(NamedTuple):
    """Consecutive runs on their way to a chunk; columns as in `tidemill.model.delta.Chunk`.

    Attributes:
        tasks: index of the task of all, or of each.
        slots: of the inputs, run by run.
        ports: edge ports of every run, if all have the same.
        counts: otherwise, the number of inputs of each run; its ports are 0, 1, ….
    """

    first: int
    first_output: int
    tasks: int | list[int]
    args: list[bytes]
    slots: Sequence[int]
    ports: Sequence[int] | None
    counts: Sequence[int]
    blocks: int | list[int]
    objects: list[bytes]


class CallColumns:
    """A stretch of individual calls.

    Attributes:
        first_run, first_output: of the first call.
        tasks: index of each one's task.
        data: their argument templates, one after the other; `lengths` are their lengths.
        counts: how many inputs each has; `slots` are these inputs.
        blocks: (row, block) where the block changes.
        named: (row, digest) of stored objects that templates name.
    """

    def __init__(self, first_run: int, first_output: int, block: int) -> None:
        self.first_run = first_run
        self.first_output = first_output
        self.tasks = array("I")
        self.data = bytearray()
        self.lengths = array("I")
        self.counts = array("I")
        self.slots = array("q")
        self.blocks = [(0, block)]
        self.named: list[tuple[int, bytes]] = []

    def __len__(self) -> int:
        return len(self.tasks)

    def mark(self, block: int) -> None:
        """What follows belongs to `block`."""
        if self.blocks[-1][0] == len(self.tasks):
            self.blocks.pop()
        if not self.blocks or self.blocks[-1][1] != block:
            self.blocks.append((len(self.tasks), block))

    def extend(self, task: int, args: list[bytes], slots: Sequence[int], count: int, named: Sequence[bytes]) -> None:
        """Add runs of one task with `count` inputs each."""
        self.named.extend((len(self.tasks), name) for name in named)
        n = len(args)
        self.tasks.extend([task] * n)
        self.data += b"".join(args)
        self.lengths.extend(map(len, args))
        self.counts.extend([count] * n)
        self.slots.extend(slots)

    def pieces(self, widths: Sequence[int]) -> Iterator[Piece]:
        """The runs, `CHUNK` at a time; `widths` has the number of outputs of each task."""
        at = slot = 0
        output = self.first_output
        for low in range(0, len(self.tasks), CHUNK):
            high = min(low + CHUNK, len(self.tasks))
            tasks = self.tasks[low:high].tolist()
            ends = list(accumulate(self.lengths[low:high], initial=at))
            counts = self.counts[low:high].tolist()
            inputs = sum(counts)
            one = counts[0] if len(set(counts)) == 1 else None
            yield Piece(
                self.first_run + low,
                output,
                tasks[0] if len(set(tasks)) == 1 else tasks,
                [bytes(self.data[a:b]) for a, b in pairwise(ends)],
                self.slots[slot : slot + inputs].tolist(),
                None if one is None else range(one),
                counts,
                self._blocks(low, high),
                self._named(low, high),
            )
            at, slot = ends[-1], slot + inputs
            output += sum(widths[t] for t in tasks)

    def _blocks(self, low: int, high: int) -> int | list[int]:
        first = bisect_right(self.blocks, low, key=_row) - 1
        last = bisect_left(self.blocks, high, key=_row)
        if last - first == 1:
            return self.blocks[first][1]
        column: list[int] = []
        for i in range(first, last):
            end = self.blocks[i + 1][0] if i + 1 < len(self.blocks) else high
            column += [self.blocks[i][1]] * (min(end, high) - max(self.blocks[i][0], low))
        return column

    def _named(self, low: int, high: int) -> list[bytes]:
        first, last = (bisect_left(self.named, row, key=_row) for row in (low, high))
        return list(dict.fromkeys(name for _, name in self.named[first:last]))


_row = itemgetter(0)
