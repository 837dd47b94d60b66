"""Graphs for tests of the engine, written compactly: runs by task name and arguments, collections, blocks, results.

A value among the arguments of a run may be a `Slot`: an output of the same graph, a collection, or a datum of the
store.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tidemill.model.delta import (
    BlockFlag,
    BlockSpec,
    Chunk,
    ClassSpec,
    GatherSpec,
    Growth,
    Header,
    Members,
    RunFlag,
    local,
)
from tidemill.model.digest import digest
from tidemill.model.spec import Port, Resources, TaskSpec, encode_spec

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder().decode
_GATHERED = 1 << 40
_SPARE, _ENDS = 2 * _GATHERED, 3 * _GATHERED


class Slot(msgspec.Struct, frozen=True):
    """An output: number `number` of a graph (collections, data that no run makes and ends of blocks are counted apart,
    from `_GATHERED`, `_SPARE` and `_ENDS` on), or datum `id` of the store.
    """

    number: int = -1
    id: int = 0
    run: int = -1

    def __getitem__(self, port: int) -> "Slot":
        """Another output of the same run."""
        return Slot(self.number + port, run=self.run)


def stored(datum: int) -> Slot:
    """A datum that the store has (or will have) already."""
    return Slot(id=datum)


@dataclass
class Task:
    """A task of a test.

    Attributes:
        function: called with the run's arguments; gives the value, a list of values for several outputs, or a `Graph`
            for growth. An exception is a failure.
        options: further fields of the specification.
    """

    name: str
    function: Callable[..., Any] = lambda *args: list(args)
    outputs: int = 1
    options: dict[str, Any] = field(default_factory=dict)

    def spec(self) -> TaskSpec:
        names = ["result"] if self.outputs == 1 else [f"result{i}" for i in range(self.outputs)]
        ports = tuple(Port(n) for n in names)
        options = {"backoff": 0.0, **self.options}
        return TaskSpec(name=self.name, digest=digest(self.name.encode()), outputs=ports, **options)


@dataclass
class _Run:
    task: str
    args: bytes
    edges: list[tuple[int, Slot]]
    block: int
    cls: ClassSpec
    flags: int
    need: int
    out: int


class Graph:
    """A graph under construction.

    Args:
        tasks: by name.
    """

    def __init__(self, tasks: dict[str, Task]) -> None:
        self._tasks = tasks
        self._runs: list[_Run] = []
        self._outputs = 0
        self._gathers: list[tuple[int, Sequence[Slot], dict[str, Any]]] = []
        self._blocks: list[tuple[int, str, int, int]] = []
        self._ends: list[int] = []
        self._spare = 0
        self.result: list[Slot] = []
        self.forwards: list[Slot] = []

    def run(
        self,
        task: str,
        *args: Any,
        after: Iterable[Slot] = (),
        block: int = 0,
        priority: int = 0,
        weight: float = 1.0,
        cpus: float = 1.0,
        flags: int = 0,
        need: int = 0,
        resources: Resources | None = None,
    ) -> Slot:
        """A run of `task`; `after` are outputs it only waits for, `need` says how many of its inputs it needs,
        `resources` more than its `cpus`.
        """
        edges: list[tuple[int, Slot]] = []
        template: list[Any] = []
        for value in args:
            if isinstance(value, Slot):
                template.append([1, len(edges)])
                edges.append((len(edges), value))
            else:
                template.append([0, value])
        edges += [(-1 - i, s) for i, s in enumerate(after)]
        if need:
            flags |= RunFlag.PARTIAL
        cls = ClassSpec(priority, weight, resources or Resources(cpus))
        out = self._outputs
        self._runs.append(_Run(task, _pack(template), edges, block, cls, flags, need or len(edges), out))
        self._outputs += self._tasks[task].outputs
        return Slot(out, run=len(self._runs) - 1)

    def gather(
        self, members: Sequence[Slot], *, block: int = 0, tolerate: int = 0, need: int = 0, one: bool = False
    ) -> Slot:
        """A collection of outputs made so far."""
        options = {"tolerate": tolerate, "need": need, "one": one, "block": block}
        self._gathers.append((len(self._runs), list(members), options))
        return Slot(_GATHERED + len(self._gathers) - 1)

    def service(self, task: str, *args: Any, block: int = 0, after: Iterable[Slot] = (), cpus: float = 1.0) -> Slot:
        """A run that publishes what its function gives, and goes on until the block that it is given to has ended."""
        flags = RunFlag.SERVICE | RunFlag.NO_CACHE
        return self.run(task, *args, block=block, after=after, flags=flags, resources=Resources(cpus, service=True))

    def block(self, name: str, parent: int = 0, *, contained: bool = False, serves: Slot | None = None) -> int:
        """A block of the graph; its local number. What fails in a `contained` one is nobody else's failure; `serves`
        is a service that ends when the block does.
        """
        served = -1 if serves is None else serves.run
        self._blocks.append((parent, name, BlockFlag.CONTAINED if contained else 0, served))
        return len(self._blocks)

    def end(self, block: int) -> Slot:
        """The end of a block of the graph: True once everything in it has ended well."""
        if block not in self._ends:
            self._ends.append(block)
        return Slot(_ENDS + self._ends.index(block))

    def outside(self) -> Slot:
        """A datum that no run makes. Ask for it after all runs and collections."""
        self._spare += 1
        return Slot(_SPARE + self._spare - 1)

    # ------------------------------------------------------------------------------------------------- the delta

    def number(self, slot: Slot) -> int:
        """The local output number of a slot of this graph."""
        if slot.number >= _ENDS:
            return self._outputs + len(self._gathers) + self._spare + slot.number - _ENDS
        if slot.number >= _SPARE:
            return self._outputs + len(self._gathers) + slot.number - _SPARE
        return slot.number if slot.number < _GATHERED else self._outputs + slot.number - _GATHERED

    def _ref(self, slot: Slot) -> int:
        return slot.id or local(self.number(slot))

    def header(self) -> Header:
        """The header; the tasks and classes in order of first use."""
        outputs = self._outputs + len(self._gathers) + self._spare + len(self._ends)
        specs = [encode_spec(self._tasks[t].spec()) for t in self._names()]
        refs = [self._ref(s) for s in self.result]
        return Header(specs, self._classes(), len(self._runs), outputs, len(self._blocks), _pack(len(refs)), refs)

    def _names(self) -> list[str]:
        return list(dict.fromkeys(r.task for r in self._runs))

    def _classes(self) -> list[ClassSpec]:
        return list(dict.fromkeys(r.cls for r in self._runs)) or [ClassSpec()]

    def chunks(self, size: int = 500) -> list[Chunk]:
        """The chunks, of `size` runs each."""
        names = {n: i for i, n in enumerate(self._names())}
        classes = {c: i for i, c in enumerate(self._classes())}
        blocks = [self._block(number) for number in range(1, len(self._blocks) + 1)]
        made = []
        for low in range(0, max(1, len(self._runs)), size):
            high = min(low + size, len(self._runs))
            mine = self._runs[low:high]
            edges = [(i, port, self._ref(s)) for i, r in enumerate(mine) for port, s in r.edges]
            made.append(
                Chunk(
                    first=low,
                    first_output=mine[0].out if mine else 0,
                    task=[names[r.task] for r in mine],
                    args=[r.args for r in mine],
                    keys=b"".join(digest(digest(r.task.encode()) + r.args) for r in mine),
                    pending=[r.need for r in mine],
                    block=[r.block for r in mine],
                    cls=[classes[r.cls] for r in mine],
                    flags=[r.flags for r in mine],
                    edge_run=[e[0] for e in edges],
                    edge_port=[e[1] for e in edges],
                    edge_ref=[e[2] for e in edges],
                    gathers=[
                        self._gather(i) for i, g in enumerate(self._gathers) if low < g[0] <= high or low == g[0] == 0
                    ],
                    blocks=blocks if low == 0 else [],
                )
            )
        return made

    def _block(self, number: int) -> BlockSpec:
        parent, name, bits, served = self._blocks[number - 1]
        out = self.number(self.end(number)) if number in self._ends else -1
        return BlockSpec(number, parent, name, out, bits, served)

    def _gather(self, index: int) -> GatherSpec:
        _, slots, options = self._gathers[index]
        members = tuple(Members(self._ref(s)) for s in slots)
        step = all(b == a - 1 for a, b in zip([m.ref for m in members], [m.ref for m in members[1:]], strict=False))
        if members and step and members[0].ref < 0:
            members = (Members(members[0].ref, len(members), 1),)
        return GatherSpec(self._outputs + index, members, **options)

    def growth(self, size: int = 500) -> Growth:
        """The graph as what a run grew; the growing run's outputs are promised as `forwards`."""
        return Growth(self.header(), self.chunks(size), [self._ref(s) for s in self.forwards])


def arguments(template: bytes, inputs: Sequence[Any]) -> list[Any]:
    """The arguments of a run, its inputs in their places."""
    return [inputs[value] if kind else value for kind, value in _unpack(template)]
