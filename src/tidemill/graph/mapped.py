"""Runs of a call with sweeps: a recipe from which any stretch of them is generated when it is wanted."""

import os
from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Any

from tidemill.graph.columns import CHUNK, Piece
from tidemill.graph.future import Elements, Pending
from tidemill.graph.index import Axis, Flat, Term, at, flatten, indices, total
from tidemill.graph.literals import INLINE, SCALARS, Writer, array
from tidemill.graph.structure import rewrite
from tidemill.model.errors import UsageError
from tidemill.model.values import Ref, encode

Source = tuple[int, tuple[Term, ...]]
"""Where an input comes from: a slot, or the first of several and the terms that choose one."""


class Leaf(Pending):
    """A literal element in a template, different in each run."""

    __slots__ = ("elements",)

    def __init__(self, elements: Elements) -> None:
        self.elements = elements

    def what_(self) -> str:
        return self.elements.what_()


class MappedCall:
    """One call with sweeps.

    Attributes:
        task: index of the task.
        axes: its runs are in row-major order over these.
        size: number of runs.
        first_run, first_output: of the first run.
        width: outputs of each.
        explicit: repeated runs have their numbers as draws even where these are 0.
        lazy: the runs are generated chunk by chunk, not written out at the call.
        named: stored objects that all of them name.
    """

    def __init__(
        self, task: int, axes: tuple[Axis, ...], replica: Axis | None, first: tuple[int, int], width: int
    ) -> None:
        self.task = task
        self.axes = axes
        self.size = total(axes)
        self.first_run, self.first_output = first
        self.width = width
        self.block = 0
        self.lazy = self.explicit = False
        self.named: list[bytes] = []
        self._replica = None if replica is None else flatten((Term(replica, 1, replica.size, 1),), axes)
        self._parts: list[bytes | Elements | object] = []
        self._flats: list[Flat] = []
        self._encoded: dict[int, list[bytes]] = {}
        self._inputs: list[tuple[int, Flat]] = []
        self._orders: list[tuple[int, Flat]] = []

    def add_varying(self, template: Any) -> None:
        """The next port's argument, with `Leaf`s in it."""
        if isinstance(template, Leaf):
            self._flats.append(flatten(template.elements.terms_, self.axes))
            self._parts.append(template.elements)
        else:
            self._flats.append(())
            self._parts.append(template)

    def add_const(self, data: bytes, named: Sequence[bytes]) -> None:
        """The next port's argument, encoded and the same in all runs."""
        self._flats.append(())
        self._parts.append(data)
        self.named += named

    def add_source(self, source: Source, *, order: bool = False) -> None:
        """The next input, or something to wait for."""
        flat = (source[0], flatten(source[1], self.axes))
        (self._orders if order else self._inputs).append(flat)

    def run_of(self, slot: int) -> int:
        """The run that an output belongs to."""
        return self.first_run + (slot - self.first_output) // self.width

    @property
    def ports(self) -> list[int]:
        """Edge ports of each run."""
        return [*range(len(self._inputs)), *range(-1, -1 - len(self._orders), -1)]

    def pieces(self, writer: Writer) -> Iterator[Piece]:
        """The runs, `CHUNK` at a time."""
        for low in range(0, self.size, CHUNK):
            high = min(low + CHUNK, self.size)
            args = self.args(low, high, writer)
            yield Piece(
                self.first_run + low,
                self.first_output + low * self.width,
                self.task,
                args,
                self.slots(low, high),
                self.ports,
                (),
                self.block,
                list(dict.fromkeys(self.named + writer.take())),
            )

    # -------------------------------------------------------------------------------------------------------- inputs

    def slots(self, low: int, high: int) -> Sequence[int]:
        """The slots of the inputs and of what is waited for, run by run."""
        columns = []
        for base, flat in self._inputs + self._orders:
            found = indices(flat, low, high, self.size)
            columns.append(_shifted(found, base))
        if len(columns) == 1:
            return columns[0]
        return [slot for row in zip(*columns, strict=True) for slot in row]

    # ----------------------------------------------------------------------------------------------------- arguments

    def args(self, low: int, high: int, writer: Writer) -> list[bytes]:
        """The argument templates of runs `low … high-1`."""
        head = array(len(self._parts))
        columns: list[Any] = [[head] * (high - low)]
        const: list[bytes] = []
        for part, flat in zip(self._parts, self._flats, strict=True):
            if isinstance(part, bytes):
                const.append(part)
                continue
            columns += [repeat(b"".join(const)), self._column(part, flat, low, high, writer)]
            const = []
        columns.append(repeat(b"".join(const)))
        if self._replica is not None:
            self._number_replicas(columns, low, high)
        elif len(columns) == 2:
            return [head + b"".join(const)] * (high - low)
        return list(map(b"".join, zip(*columns, strict=False)))

    def _number_replicas(self, columns: list[Any], low: int, high: int) -> None:
        """One more element, the replica, where it is not 0 or all are wanted."""
        assert self._replica is not None
        head, longer = array(len(self._parts)), array(len(self._parts) + 1)
        numbers = indices(self._replica, low, high, self.size)
        columns[0] = [longer if r or self.explicit else head for r in numbers]
        columns.append([encode(r) if r or self.explicit else b"" for r in numbers])

    def _column(self, part: object, flat: Flat, low: int, high: int, writer: Writer) -> list[bytes]:
        if not isinstance(part, Elements):
            return [writer.template(rewrite(part, self._filler(n))) for n in range(low, high)]
        assert part.values_ is not None
        found = indices(flat, low, high, self.size)
        if part.path_ or not part.values_.types <= SCALARS:
            return [writer.part(part.literal_(i)) for i in found]
        items = part.values_.items
        if self.size >= 2 * len(items):
            encoded = self._all_encoded(part)
            data = [encoded[i] for i in found]
        elif isinstance(found, range) and found.step == 1:
            data = list(map(encode, items[found.start : found.stop]))
        else:
            data = [encode(items[i]) for i in found]
        if data and max(map(len, data)) > INLINE:
            return [d if len(d) <= INLINE else writer.large(d) for d in data]
        return data

    def _all_encoded(self, part: Elements) -> list[bytes]:
        """Each element of an axis, encoded once though many runs use it."""
        assert part.values_ is not None
        key = id(part)
        if key not in self._encoded:
            self._encoded[key] = list(map(encode, part.values_.items))
        return self._encoded[key]

    def _filler(self, number: int) -> Any:
        def fill(leaf: Any) -> Any:
            elements = leaf.elements
            return elements.literal_(at(flatten(elements.terms_, self.axes), number))

        return fill


def _shifted(found: Sequence[int], base: int) -> Sequence[int]:
    if base == 0:
        return found
    if isinstance(found, range):
        return range(found.start + base, found.stop + base, found.step)
    return [base + i for i in found]


def try_encoding(leaves: list[Leaf]) -> None:
    """Encode what varies once where that could fail, so that nothing is handed on before it is known to succeed.

    Files are looked for, and not read yet.

    Raises:
        ValueCodecError: if an element cannot be encoded, or has nothing at the selected place.
        UsageError: if there is no such file.
    """
    for leaf in leaves:
        values = leaf.elements.values_
        assert values is not None
        if leaf.elements.path_ or not values.types <= SCALARS:
            for i in range(len(values.items)):
                encode(leaf.elements.literal_(i), _look)


def _look(leaf: Any) -> Ref:
    if not os.path.exists(leaf) and getattr(leaf, "ref", None) is None:
        raise UsageError(f"there is no file {os.fspath(leaf)!r}")
    return Ref(bytes(32), 0, "file")
