"""Gathered lists: which slots make up each, and when they are known well enough to be handed on."""

from collections.abc import Iterator, Sequence

import msgspec

from tidemill.graph.blocks import END
from tidemill.graph.future import Elements
from tidemill.graph.index import Axis, Flat, compress, flatten, indices, stretches, total
from tidemill.model.delta import GatherSpec, Members, local

GATHER = 1 << 60
"""Slots from here on are gathered lists. Their outputs are numbered after those of all runs, as yet uncounted."""
LONG = 1024
"""Members from which on a list is long."""


def reference(slot: int, outputs: int, ends: int) -> int:
    """What a slot is called in a delta whose runs have `outputs` outputs; ends of blocks are numbered from `ends`."""
    if slot < GATHER:
        return local(slot)
    return local(outputs + slot - GATHER if slot < END else ends + slot - END)


class Lists(msgspec.Struct, frozen=True):
    """Equally built lists, one for each combination of the axes that stay.

    Attributes:
        number: of the first list; the others follow in row-major order over the axes that stay.
        position: all their members are among this many runs.
        block: the block they belong to.
        pattern: (first, count, step) of the members' slots, relative to `base` and the combination's index.
        kept: that index; `size` is the number of combinations.
    """

    number: int
    position: int
    block: int
    pattern: list[tuple[int, int, int]]
    base: int
    kept: Flat
    size: int

    @property
    def handed_on(self) -> int:
        """How many runs are handed on before them: long lists are told of at once, so that their members are counted
        as they end, not all in one go. They are few."""
        count = sum(n for _, n, _ in self.pattern)
        return 0 if count > LONG and self.block == 0 else self.position

    def specs(self, outputs: int, ends: int) -> Iterator[GatherSpec]:
        for low in range(0, self.size, 1024):
            high = min(low + 1024, self.size)
            for n, offset in zip(range(low, high), indices(self.kept, low, high, self.size), strict=True):
                base = self.base + offset
                members = tuple(
                    Members(reference(base + first, outputs, ends), count, step) for first, count, step in self.pattern
                )
                yield GatherSpec(outputs + self.number + n, members, self.block)


class Gathers:
    """All gathered lists of a graph."""

    def __init__(self) -> None:
        self.count = 0
        self._lists: list[Lists] = []

    def add_elements(
        self, elements: Elements, over: Sequence[Axis], keep: Sequence[Axis], position: int, block: int
    ) -> int:
        """The elements along `over`, for each combination of `keep`; the slot of the first list."""
        pattern = stretches(flatten(elements.terms_, over), total(over))
        return self._add(position, block, pattern, elements.base_, flatten(elements.terms_, keep), total(keep))

    def add_slots(self, slots: Sequence[int], position: int, block: int) -> int:
        """Any slots in this order; the slot of the list."""
        return self._add(position, block, compress(slots), 0, (), 1)

    def _add(
        self, position: int, block: int, pattern: list[tuple[int, int, int]], base: int, kept: Flat, size: int
    ) -> int:
        slot = GATHER + self.count
        self._lists.append(Lists(self.count, position, block, pattern, base, kept, size))
        self.count += size
        return slot

    def position(self, slot: int) -> int:
        """How many runs come before a list."""
        number = slot - GATHER
        return next(lists.position for lists in reversed(self._lists) if lists.number <= number)

    def members(self, slot: int) -> list[tuple[int, int, int]]:
        """The slots in a list, as (first, count, step)."""
        number = slot - GATHER
        found = next(lists for lists in reversed(self._lists) if lists.number <= number)
        base = found.base + indices(found.kept, number - found.number, number - found.number + 1, found.size)[0]
        return [(base + first, count, step) for first, count, step in found.pattern]

    def specs(self, outputs: int) -> Iterator[tuple[int, GatherSpec]]:
        """(position, list) in the order in which they can be handed on."""
        for lists in sorted(self._lists, key=lambda found: found.handed_on):
            for spec in lists.specs(outputs, outputs + self.count):
                yield lists.handed_on, spec
