"""Runs that wait for each other: only `after` can arrange that, by naming a call that comes later."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

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
        if any(search.finds_circle(run) for run in range(first, first + count)):
            raise WiringError([(place, "this call waits, by way of others, for itself")])


class _Search:
    """Depth first, from runs to what they wait for. Nodes are run numbers, and slots of gathered lists."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self._floor = min(first for first, _, _ in graph.forward)
        self._segments = [s for s in graph.segments if not isinstance(s, CallColumns) or len(s)]
        self._first_runs = [s.first_run for s in self._segments]
        self._first_outputs = [s.first_output for s in self._segments]
        self._starts: dict[int, Sequence[int]] = {}
        self._outputs: dict[int, Sequence[int]] = {}
        self._done: set[int] = set()

    def finds_circle(self, start: int) -> bool:
        if start in self._done:
            return False
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
                return True
            elif following not in self._done:
                open_nodes.add(following)
                path.append((following, self._needs(following)))
        return False

    def _needs(self, node: int) -> Iterator[int]:
        """What a node waits for, as far as it can lead to a circle: nothing below the floor waits for a later run."""
        if node >= GATHER:
            for first, count, step in self._graph.gathers.members(node):
                yield from self._nodes(range(first, first + count * step, step))
        else:
            yield from self._nodes(self._slots(node))

    def _nodes(self, slots: Sequence[int]) -> Iterator[int]:
        for slot in slots:
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
