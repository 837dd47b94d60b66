"""Nested blocks: one for each workflow called inside another, as soon as it has a run."""

from collections.abc import Iterator

from tidemill.model.delta import BlockSpec


class Blocks:
    """The blocks of a graph.

    Attributes:
        current: local number of the innermost block that has been opened, 0 for the graph's own.
        pending: a block around the next call has not been opened yet.
        opened: (number of runs before it, block) of each.
    """

    def __init__(self) -> None:
        self.current = 0
        self.pending = False
        self.opened: list[tuple[int, BlockSpec]] = []
        self._stack: list[tuple[str, int]] = []

    def enter(self, name: str) -> None:
        """What follows belongs to a new block."""
        self._stack.append((name, 0))
        self.pending = True

    def leave(self) -> None:
        """The innermost block ends."""
        self._stack.pop()
        self._update()

    def open(self, runs: int) -> None:
        """A run follows: number the blocks around it."""
        parent = 0
        for depth, (name, found) in enumerate(self._stack):
            number = found
            if not number:
                number = len(self.opened) + 1
                self._stack[depth] = (name, number)
                self.opened.append((runs, BlockSpec(number, parent, name)))
            parent = number
        self._update()

    def _update(self) -> None:
        numbers = [number for _, number in self._stack]
        self.pending = bool(numbers) and not numbers[-1]
        self.current = max((n for n in numbers if n), default=0)

    def __iter__(self) -> Iterator[tuple[int, BlockSpec]]:
        return iter(self.opened)
