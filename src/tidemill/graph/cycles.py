"""Runs that wait for each other: only `after` can arrange that, by naming a call that comes later."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

from tidemill.graph.blocks import END, Nested
from tidemill.graph.columns import CallColumns
from tidemill.graph.gathers import GATHER
from tidemill.model.errors import WiringError


def check(graph: Any) -> None:
    """Look from every run that waits for a later one whether it waits for itself.

    Raises:
        WiringError: if one does, with the place of its `after`.
    """
    if not graph.forward:
        return
    search = _Search(graph)
    for first, count, place in graph.forward:
        for run in range(first, first + count):
            circle = search.circle(run)
            if circle:
                raise WiringError([(place, f"this call waits, by way of others, for itself: {search.told(circle)}")])


BLOCK = 1 << 62
"""Nodes from here on are blocks: this plus the block's number."""
SHOWN = 8
"""Steps of a circle that are named."""


class _Search:
    """Depth first, from runs to what they wait for. Nodes are run numbers, slots of gathered lists, and blocks."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self._floor = min(first for first, _, _ in graph.forward)
        self._segments = [s for s in graph.segments if not isinstance(s, CallColumns) or len(s)]
        self._first_runs = [s.first_run for s in self._segments]
        self._first_outputs = [s.first_output for s in self._segments]
        self._starts: dict[int, Sequence[int]] = {}
        self._outputs: dict[int, Sequence[int]] = {}
        self._done: set[int] = set()
        self._blocks: dict[int, Nested] = {block.number: block for _, block in graph.blocks.opened}

    def told(self, circle: Sequence[int]) -> str:
        """The steps of a circle, in the order in which each waits for the next."""
        names = [name for node in circle if (name := self._name(node))]
        left = len(names) - SHOWN
        shown = [*names[: SHOWN // 2], f"… {left} more …", *names[-SHOWN // 2 :]] if left > 0 else names
        return " → ".join([*shown, names[0]])

    def _name(self, node: int) -> str:
        if node >= BLOCK:
            return f"the end of {self._blocks[node - BLOCK].name}"
        if node >= GATHER:
            return ""
        segment = self._segments[bisect_right(self._first_runs, node) - 1]
        task = segment.tasks[node - segment.first_run] if isinstance(segment, CallColumns) else segment.task
        return str(self._graph.entries[task].name)

    def circle(self, start: int) -> list[int]:
        """Nodes that wait for each other in a circle that can be reached from this one; none if there is none."""
        if start in self._done:
            return []
        open_nodes = {start}
        path = [(start, self._needs(start))]
        while path:
            node, needs = path[-1]
            following = next(needs, None)
            if following is None:
                path.pop()
                open_nodes.discard(node)
                self._done.add(node)
            elif following in open_nodes:
                nodes = [node for node, _ in path]
                return nodes[nodes.index(following) :]
            elif following not in self._done:
                open_nodes.add(following)
                path.append((following, self._needs(following)))
        return []

    def _needs(self, node: int) -> Iterator[int]:
        """What a node waits for, as far as it can lead to a circle: nothing below the floor waits for a later run."""
        if node >= BLOCK:
            yield from self._inside(self._blocks[node - BLOCK])
        elif node >= GATHER:
            for first, count, step in self._graph.gathers.members(node):
                yield from self._nodes(range(first, first + count * step, step))
        else:
            yield from self._nodes(self._slots(node))

    def _inside(self, block: Nested) -> Iterator[int]:
        """The runs of a block that are in none of its inner blocks, and these."""
        at = max(block.first, self._floor)
        for inner in block.inner:
            yield from range(at, inner.first)
            yield BLOCK + inner.number
            at = max(at, self._graph.runs if inner.stop is None else inner.stop)
        yield from range(at, self._graph.runs if block.stop is None else block.stop)

    def _nodes(self, slots: Sequence[int]) -> Iterator[int]:
        for slot in slots:
            if slot >= END:
                yield BLOCK + self._graph.blocks.ended[slot - END].number
                continue
            node = slot if slot >= GATHER else self._run(slot)
            if node >= self._floor:
                yield node

    def _slots(self, run: int) -> Sequence[int]:
        """The slots that a run has as inputs or waits for."""
        number = bisect_right(self._first_runs, run) - 1
        segment = self._segments[number]
        row = run - segment.first_run
        if not isinstance(segment, CallColumns):
            return segment.slots(row, row + 1)  # type: ignore[no-any-return]
        if number not in self._starts:
            self._starts[number] = list(accumulate(segment.counts, initial=0))
        start, end = self._starts[number][row], self._starts[number][row + 1]
        return [*segment.slots[start:end], *self._graph.orders.get(run, ())]

    def _run(self, slot: int) -> int:
        """The run that an output belongs to."""
        number = bisect_right(self._first_outputs, slot) - 1
        segment = self._segments[number]
        if not isinstance(segment, CallColumns):
            return segment.run_of(slot)  # type: ignore[no-any-return]
        if number not in self._outputs:
            widths = [entry.width for entry in self._graph.entries]
            self._outputs[number] = list(accumulate((widths[t] for t in segment.tasks), initial=segment.first_output))
        return int(segment.first_run) + bisect_right(self._outputs[number], slot) - 1
