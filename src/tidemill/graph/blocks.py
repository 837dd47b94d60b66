"""Nested blocks: one for each workflow called inside another, and one for each `with tm.block()`, as soon as it has a
run or somebody waits for its end.
"""

import pickle
from collections.abc import Iterator
from typing import Any

from tidemill.graph.future import Future, Kind
from tidemill.model.delta import BlockSpec

END = 1 << 61
"""Slots from here on are ends of blocks. Their outputs are numbered after those of gathered lists, as yet uncounted."""


class Nested:
    """A block of the graph that is being built.

    Attributes:
        name: as shown.
        parent: the block around it, None for the graph's own.
        flags: `BlockFlag` bits.
        number: its local number once it has been opened, else 0.
        first: runs before it; `stop` is how many there were when it ended, None while it goes on.
        end: number of its end among those that somebody waits for, -1 for none.
        served: number of the run, a service, that ends when the block does; -1 for none.
        inner: the blocks in it that have been opened.
    """

    __slots__ = ("end", "first", "flags", "inner", "name", "number", "parent", "served", "stop")

    def __init__(self, name: str, parent: "Nested | None", flags: int, first: int) -> None:
        self.name = name
        self.parent = parent
        self.flags = flags
        self.number = 0
        self.first = first
        self.stop: int | None = None
        self.end = -1
        self.served = -1
        self.inner: list[Nested] = []


class Blocks:
    """The blocks of a graph.

    Attributes:
        current: local number of the innermost block that has been opened, 0 for the graph's own.
        pending: a block around the next call has not been opened yet.
        opened: (number of runs before it, block) of each.
        ended: blocks for whose end somebody waits.
    """

    def __init__(self) -> None:
        self.current = 0
        self.pending = False
        self.opened: list[tuple[int, Nested]] = []
        self.ended: list[Nested] = []
        self._stack: list[Nested] = []
        self._served: dict[int, Nested] = {}

    def enter(self, name: str, runs: int, flags: int = 0) -> Nested:
        """What follows belongs to a new block."""
        made = Nested(name, self._stack[-1] if self._stack else None, flags, runs)
        self._stack.append(made)
        self.pending = True
        return made

    def leave(self, runs: int) -> None:
        """The innermost block ends."""
        self._stack.pop().stop = runs
        self._update()

    def open(self, runs: int) -> None:
        """A run follows: number the blocks around it."""
        if self._stack:
            self._open(self._stack[-1], runs)
        self._update()

    def serve(self, block: Nested, run: int, slot: int) -> None:
        """A service, run number `run`, ends when this block does; they are handed on together."""
        block.served = run
        self._served[slot] = block
        self._open(block, run)
        self._update()

    def _open(self, block: Nested, runs: int) -> None:
        waiting = []
        at: Nested | None = block
        while at is not None and not at.number:
            waiting.append(at)
            at = at.parent
        for one in reversed(waiting):
            one.number = len(self.opened) + 1
            self.opened.append((runs, one))
            if one.parent is not None:
                one.parent.inner.append(one)

    def _update(self) -> None:
        numbers = [block.number for block in self._stack]
        self.pending = bool(numbers) and not numbers[-1]
        self.current = max((n for n in numbers if n), default=0)

    # ---------------------------------------------------------------------------------------------------------- ends

    def end_of(self, block: Nested, runs: int) -> int:
        """The slot of a block's end."""
        if block.end < 0:
            self._open(block, runs)
            self._update()
            block.end = len(self.ended)
            self.ended.append(block)
        return END + block.end

    def around(self, slot: int) -> str:
        """The name of the block with this end, if it has not ended yet: what is called now stands in it."""
        block = self.ended[slot - END]
        return block.name if block.stop is None else ""

    def outlives(self, slot: int) -> str:
        """The name of the service whose address this is, if its block has ended already."""
        block = self._served[slot]
        return "" if block.stop is None else block.name

    def specs(self, ends: int) -> Iterator[tuple[int, BlockSpec]]:
        """(runs before it, block) in the order in which they are handed on; ends are numbered from output `ends` on."""
        for runs, block in self.opened:
            out = ends + block.end if block.end >= 0 else -1
            parent = block.parent.number if block.parent else 0
            yield runs, BlockSpec(block.number, parent, block.name, out, block.flags, block.served)


class Block:
    """A set of calls that finishes as one: what `with tm.block() as below:` gives.

    Whoever waits for it waits for everything below it: the calls made in the block and all that they grow.

    Attributes:
        nested: what the graph knows of it.
    """

    def __init__(self, graph: Any, nested: Nested) -> None:
        self._graph = graph
        self.nested = nested

    @property
    def name(self) -> str:
        return self.nested.name

    @property
    def done(self) -> Any:
        """A future that is True once everything in the block has ended well. A task with `on_error="run"` gets None
        where something failed.
        """
        slot = self._graph.end_of(self.nested)
        return Future(self._graph, slot, (), Kind(f"the block {self.name}", "done", bool), -1)

    def __reduce_ex__(self, protocol: object) -> Any:
        raise pickle.PicklingError(f"the block {self.name} is no value; wait for it with after, or pass its .done")

    def __repr__(self) -> str:
        return f"<block {self.name}>"
