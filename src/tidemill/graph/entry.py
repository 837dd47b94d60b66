"""A task as one graph knows it: its number there, and what its calls have in common."""

from collections.abc import Sequence
from typing import Any, Protocol

from msgspec import structs

from tidemill.graph.check import plain
from tidemill.graph.future import Elements, Future, Group, Kind, Mapped, Owner
from tidemill.graph.index import Axis, row_major
from tidemill.graph.literals import SCALARS
from tidemill.graph.ports import Signature
from tidemill.model.delta import ClassSpec, RunFlag
from tidemill.model.spec import AUTO, TaskSpec, encode_spec
from tidemill.model.values import Input, encode

INPUTS = tuple(Input(n) for n in range(64))
"""Placeholders of whole values."""


class Definition(Protocol):
    """What a graph asks of a task.

    Attributes:
        fn: the Python function, or None.
        signature: its inputs.
        output_types: resolved annotations of its outputs.
        output_names: the outputs' names if the user gave them, else ().
        mapping: the function answers a mapping of its outputs, not a tuple.
        axis: the axis of repeats, or None.
    """

    @property
    def name(self) -> str: ...
    @property
    def fn(self) -> Any: ...
    @property
    def output_types(self) -> Sequence[object]: ...
    @property
    def output_names(self) -> tuple[str, ...]: ...
    @property
    def mapping(self) -> bool: ...
    @property
    def axis(self) -> Axis | None: ...
    @property
    def signature(self) -> Signature: ...
    @property
    def spec(self) -> TaskSpec: ...
    def options(self, **options: Any) -> Any: ...


class Entry:
    """A task in one graph. A worker takes it on to the next graph, with new numbers.

    Attributes:
        task: its definition; `encoded` is its specification.
        index: its number in the header.
        digest: of its meaning.
        width: number of outputs.
        cls: number of the class its runs stand in; `flags` are their bits.
        accepted: for each port, kinds of futures and classes of values that have been found to fit.
        plain: the argument template of a call with nothing but whole futures.
        slow: every call needs a closer look.
        axis: the axis of repeats, or None.
    """

    __slots__ = (
        "accepted", "axis", "cls", "digest", "encoded", "flags", "index", "kinds", "mapping", "name", "names", "plain",
        "signature", "slow", "spec", "task", "width",
    )  # fmt: skip

    def __init__(self, task: Definition) -> None:
        spec = task.spec
        self.task = task
        self.index = self.cls = 0
        self.spec = spec
        self.encoded = encode_spec(spec)
        self.name = spec.name
        self.digest = spec.digest
        self.width = len(spec.outputs)
        self.flags = 0 if spec.cache else RunFlag.NO_CACHE
        if spec.service:
            self.flags |= RunFlag.SERVICE
        self.signature = task.signature
        self.names = task.output_names
        self.mapping = task.mapping
        self.kinds = tuple(
            Kind(spec.name, port.name, plain(found), named=bool(task.output_names))
            for port, found in zip(spec.outputs, task.output_types, strict=True)
        )
        count = len(spec.inputs)
        self.accepted: tuple[set[object], ...] = tuple(set() for _ in range(count))
        self.axis = task.axis
        self.slow = task.axis is not None or count > len(INPUTS)
        self.plain = b"" if self.slow else encode(list(INPUTS[:count]))

    def learn(self, values: Sequence[Any]) -> None:
        """These arguments were found to fit."""
        for value, accepted in zip(values, self.accepted, strict=True):
            if type(value) is Future and not value.kind_.attached:
                accepted.add(value.kind_)
            elif type(value) in SCALARS:
                accepted.add(type(value))

    def future(self, owner: Owner, run: int, slot: int) -> Any:
        """What a call of run number `run` returns."""
        if self.width == 1:
            return Future(owner, slot, (), self.kinds[0], run)
        return self._group(owner, [Future(owner, slot + p, (), kind, run) for p, kind in enumerate(self.kinds)], ())

    def elements(self, owner: Owner, runs: Mapped, axes: tuple[Axis, ...]) -> Any:
        """What a call with sweeps returns."""
        terms = row_major(axes, self.width)
        found = [
            Elements(owner, axes, terms, base=runs.first_output + p, kind=kind, runs=runs)
            for p, kind in enumerate(self.kinds)
        ]
        return found[0] if self.width == 1 else self._group(owner, found, axes)

    def _group(self, owner: Owner, items: list[Any], axes: tuple[Axis, ...]) -> Group:
        value = dict(zip(self.names, items, strict=True)) if self.mapping else tuple(items)
        return Group(owner, self.name, value, self.names, axes)


def class_of(spec: TaskSpec) -> ClassSpec:
    """The class that a task's runs stand in."""
    found = spec.resources
    if AUTO in (found.memory, found.disk):
        found = structs.replace(found, like=spec.name)
    if spec.service:
        found = structs.replace(found, service=True)
    return ClassSpec(spec.priority, 1.0, found)
