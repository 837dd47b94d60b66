"""Calls made by a running task: the graph that its run grows, handed in with its completion."""

from collections.abc import Sequence
from typing import Any

from tidemill.graph import context, cycles, gathering
from tidemill.graph.builder import Builder
from tidemill.graph.emit import Emission, ends_from, header
from tidemill.graph.entry import Entry
from tidemill.graph.future import Future, Group, Pending
from tidemill.graph.gathers import reference
from tidemill.graph.literals import Keeper
from tidemill.graph.structure import pending
from tidemill.model.delta import Growth
from tidemill.model.errors import WiringError
from tidemill.model.spec import TaskSpec
from tidemill.model.values import encode

_KNOWN = 1000
"""Tasks that are remembered from one growth to the next."""


class Growing:
    """The runs that a worker executes, one after the other.

    It costs a run nothing unless that calls a task. After a run that failed, call `reset`.

    Args:
        keeper: stores the files and large values among the arguments of grown calls.

    Attributes:
        draw: which draw the run under way is, see `draw_of`; what it grows are parts of the same.
    """

    def __init__(self, keeper: Keeper) -> None:
        self.builder: Builder | None = None
        self._keeper = keeper
        self._known: dict[Any, Entry] = {}
        self.draw: list[int] = []

    def open(self) -> Builder:
        if self.builder is None:
            if len(self._known) > _KNOWN:
                self._known.clear()
            self.builder = Builder(self._keeper, self._known)
            self.builder.draw = self.draw
        return self.builder

    def reset(self) -> None:
        """Forget what was called."""
        self.builder = None

    def install(self) -> None:
        """Calls made in this process from now on grow the run under way."""
        context.install(self)


def grow(value: Any, growing: Growing, spec: TaskSpec) -> Growth | None:
    """What the run under way grew, given what its function returned; None if it called no task.

    Args:
        value: the result: futures, a structure with futures in it, or anything else.
        growing: the worker's; it is ready for the next run afterwards.
        spec: of the task that ran: its outputs are forwarded, each on its own.

    Raises:
        WiringError: if the calls do not fit together.
        ValueCodecError: if the returned structure cannot be encoded.
    """
    graph = growing.builder
    if graph is None:
        if not isinstance(value, Pending):
            return None
        graph = growing.open()
    try:
        if graph.runs == 0 and not pending(value):  # there was a block, and nothing in it
            graph.problems.check()
            return None
        slots = [_forwarded(graph, part) for part in _outputs(value, spec)]
        cycles.check(graph)
    except WiringError as error:
        graph.problems.check(error)
        raise
    finally:
        growing.reset()
    graph.problems.check()
    outputs = [reference(slot, graph.outputs, ends_from(graph)) for slot in slots]
    emission = Emission(graph, draw=encode(graph.draw) if graph.draw else b"")
    return Growth(header(graph, b"", []), list(emission.chunks()), outputs)


def draw_of(behind: Sequence[Any]) -> list[int]:
    """Which draw a run is, as the runs that it grows are told: its own number before those that it was told itself.

    Args:
        behind: what it was given behind its arguments: its own number, if that was asked for, and what it was told.
    """
    own = [number for number in behind if not isinstance(number, list)]
    told = next((numbers for numbers in behind if isinstance(numbers, list)), [])
    return [*own, *told]


def _outputs(value: Any, spec: TaskSpec) -> list[Any]:
    """What was returned, one for each output port.

    Raises:
        WiringError: if the number does not fit.
    """
    names = [port.name for port in spec.outputs]
    if len(names) == 1:
        return [value]
    if isinstance(value, Group):
        value = value.value_
    try:
        if isinstance(value, dict):
            return [value[name] for name in names]
        parts = [value[i] for i in range(len(names))] if isinstance(value, Future) else list(value)
    except (KeyError, TypeError):
        parts = []
    if len(parts) != len(names):
        raise WiringError(
            [(spec.place, f"{spec.name} should return its outputs {', '.join(names)}, but returned {value!r}")]
        )
    return parts


def _forwarded(graph: Builder, value: Any) -> int:
    """The slot whose value is the output's."""
    found = gathering.resolved(graph, value)
    graph.problems.check()
    if not isinstance(found, Future) or found.path_:
        found = graph.assemble(found)
        graph.problems.check()
    return int(found.slot_)
