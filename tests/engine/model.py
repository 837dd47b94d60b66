"""A model of the engine for its property test: what the graphs mean, without rows, transactions, keys or counters.

A run has an outcome of its own (it was completed, failed or cancelled) or none; everything else follows from its
inputs and is computed anew each time it is asked for. Where the engine may choose (which of two failed inputs is heard
first, whether equal runs wait for one another), the model says what is allowed and adopts what it sees.
"""

from dataclasses import dataclass, field
from typing import Any

from tidemill.model.states import BlockState, DatumState, OnInput, RunView
from tidemill.testing.graphs import Graph, Slot, Task

V = RunView
ENDED_BADLY = {V.ERROR: DatumState.ERROR, V.SKIPPED: DatumState.SKIPPED, V.CANCELLED: DatumState.CANCELLED}

_END_OF = {
    BlockState.OPEN: DatumState.PENDING,
    BlockState.COMPLETE: DatumState.COMPLETE,
    BlockState.ERROR: DatumState.ERROR,
    BlockState.CANCELLED: DatumState.CANCELLED,
}


@dataclass(frozen=True)
class Datum:
    """A reference to a datum of the store, among arguments."""

    id: int


@dataclass
class Call:
    """A run of a plan. Arguments are integers, `Slot`s of the plan or `Datum`s of the store."""

    task: str
    args: list[Any]
    after: list[Any] = field(default_factory=list)
    flags: int = 0
    block: int = 0


@dataclass
class Collection:
    """A gather over slots, made after `position` calls."""

    members: list[Slot]
    tolerate: int
    position: int


@dataclass
class Nest:
    """A block of a plan in a block of it (0 for the plan's own), and the slot of its end if somebody waits for that."""

    parent: int
    contained: bool
    end: Slot | None = None


class Plan:
    """A small graph as the test draws it; it can be handed to the engine, and to the model, piece by piece."""

    def __init__(self, tasks: dict[str, Task]) -> None:
        self.tasks = tasks
        self.graph = Graph(tasks)
        self.calls: list[Call] = []
        self.collections: list[tuple[Slot, Collection]] = []
        self.slots: list[Slot] = []
        self.nests: list[Nest] = []

    def block(self, parent: int, *, contained: bool) -> int:
        """A further block; its number."""
        self.nests.append(Nest(parent, contained))
        return self.graph.block("inner", parent, contained=contained)

    def end(self, block: int) -> Slot:
        """The end of a block, in which nothing may be called any more."""
        found = self.nests[block - 1].end = self.graph.end(block)
        return found

    def call(self, call: Call) -> None:
        args = [Slot(id=a.id) if isinstance(a, Datum) else a for a in call.args]
        after = [Slot(id=a.id) if isinstance(a, Datum) else a for a in call.after]
        found = self.graph.run(call.task, *args, after=after, flags=call.flags, block=call.block)
        self.calls.append(call)
        self.slots += [found[p] for p in range(self.tasks[call.task].outputs)]

    def collect(self, members: list[Slot], tolerate: int) -> None:
        found = self.graph.gather(members, tolerate=tolerate)
        self.collections.append((found, Collection(members, tolerate, len(self.calls))))
        self.slots.append(found)


@dataclass
class Run:
    """A run as the model knows it.

    Attributes:
        own: COMPLETE, ERROR or CANCELLED if that happened to this very run, else None.
        swept: it lived when its workflow was cancelled.
        chosen: how it was seen to end where several ends were possible.
        lease: (worker, fence) of who has it.
        retried: it was told to run again by hand, and may execute whatever is known.
    """

    id: int
    block: int
    task: Task
    args: list[Any]
    after: list[int]
    out: int
    cached: bool
    own: RunView | None = None
    swept: bool = False
    chosen: RunView | None = None
    lease: tuple[int, int] | None = None
    tries: int = 0
    losses: int = 0
    retried: bool = False
    grew: bool = False

    @property
    def retries(self) -> int:
        return int(self.task.options.get("retries", 0))

    def policy(self, state: DatumState) -> RunView | None:
        """How it ends on an input that ended so; None if it runs all the same."""
        name = {DatumState.SKIPPED: "on_skipped", DatumState.CANCELLED: "on_cancelled"}.get(state, "on_error")
        policy = self.task.options.get(name, OnInput.SKIP)
        return {OnInput.FAIL: V.ERROR, OnInput.SKIP: V.SKIPPED, OnInput.RUN: None}[policy]


@dataclass
class Block:
    """A root block: whether nothing more will be handed in, and whether because it was cancelled half-way."""

    id: int
    sealed: bool = False
    abandoned: bool = False


class Model:
    """All runs, data and blocks of a store.

    Args:
        tasks: by name.
    """

    def __init__(self, tasks: dict[str, Task]) -> None:
        self.tasks = tasks
        self.runs: dict[int, Run] = {}
        self.blocks: dict[int, Block] = {}
        self.roots: dict[int, int] = {}
        self.producers: dict[int, tuple[int, int]] = {}
        self.collections: dict[int, tuple[list[int], int]] = {}
        self.aliases: dict[int, int] = {}
        self.parents: dict[int, int] = {}
        self.contained: set[int] = set()
        self.growths: set[int] = set()
        self.ends: dict[int, int] = {}
        self._memo: dict[int, tuple[DatumState, Any]] = {}

    # ------------------------------------------------------------------------------------------------- what is there

    def add(self, plan: Plan, block: int, root: int, run_lo: int, out_lo: int, low: int, high: int) -> None:
        """Calls `low … high-1` of a plan are in the store, in a block whose ids start there; its blocks follow it."""

        def datum(ref: Any) -> int:
            return ref.id if isinstance(ref, Datum) or ref.id else out_lo + plan.graph.number(ref)

        self.roots[block] = root
        for number, nest in enumerate(plan.nests, 1):
            self.roots[block + number] = root
            self.parents[block + number] = block + nest.parent
            if nest.contained:
                self.contained.add(block + number)
            if nest.end is not None:
                self.ends[datum(nest.end)] = block + number
        for i in range(low, high):
            call = plan.calls[i]
            args = [Datum(datum(a)) if isinstance(a, (Slot, Datum)) else a for a in call.args]
            task = self.tasks[call.task]
            out = out_lo + plan.graph._runs[i].out
            run = Run(
                run_lo + i, block + call.block, task, args, [datum(a) for a in call.after], out, not call.flags & 1
            )
            self.runs[run.id] = run
            self.producers.update({out + p: (run.id, p) for p in range(task.outputs)})
        for slot, made in plan.collections:
            if low < made.position <= high or made.position == low == 0:
                self.collections[datum(slot)] = ([datum(m) for m in made.members], made.tolerate)
        self.touch()

    def touch(self) -> None:
        """Something changed: what was derived is derived again."""
        self._memo.clear()

    # ------------------------------------------------------------------------------------------------- what follows

    def datum(self, datum: int) -> tuple[DatumState, Any]:
        """State and value of a datum."""
        found = self._memo.get(datum)
        if found is None:
            found = self._memo[datum] = self._datum(datum)
        return found

    def _datum(self, datum: int) -> tuple[DatumState, Any]:
        if datum in self.aliases:
            return self.datum(self.aliases[datum])
        if datum in self.collections:
            return self._collection(*self.collections[datum])
        if datum in self.ends:
            end = self.block(self.ends[datum])
            return _END_OF[end], True if end is BlockState.COMPLETE else None
        if datum not in self.producers:
            return DatumState.PENDING, None
        run, port = self.producers[datum]
        row = self.runs[run]
        if row.own is V.COMPLETE:
            if row.grew:
                return DatumState.PENDING, None
            value = self.outcome(row)
            if isinstance(value, Plan):
                return DatumState.PENDING, None
            return DatumState.COMPLETE, value if row.task.outputs == 1 else value[port]
        (view, *_) = self.views(row)
        return ENDED_BADLY.get(view, DatumState.PENDING), None

    def _collection(self, members: list[int], tolerate: int) -> tuple[DatumState, Any]:
        found = [self.datum(m) for m in members]
        if sum(s in ENDED_BADLY.values() for s, _ in found) > tolerate:
            return DatumState.ERROR, None
        if any(s is DatumState.PENDING for s, _ in found):
            return DatumState.PENDING, None
        return DatumState.COMPLETE, [v for _, v in found]

    def inputs(self, row: Run) -> list[int]:
        return [*[a.id for a in row.args if isinstance(a, Datum)], *row.after]

    def views(self, row: Run) -> list[RunView]:
        """How the run may be seen; the first is what its consumers take it for."""
        if row.own is not None:
            return [row.own]
        if row.lease is not None:
            return [V.RUNNING]
        states = [self.datum(d)[0] for d in self.inputs(row)]
        ends = [e for s in states if s in ENDED_BADLY.values() and (e := row.policy(s)) is not None]
        if row.swept:
            return [V.CANCELLED, *ends]
        if ends:
            return [row.chosen] if row.chosen in ends else list(dict.fromkeys(ends))
        return [V.WAITING] if DatumState.PENDING in states else [V.READY]

    def values(self, row: Run) -> list[Any]:
        """The arguments; an input without a value is None."""
        return [self.datum(a.id)[1] if isinstance(a, Datum) else a for a in row.args]

    def outcome(self, row: Run) -> Any:
        """What the run's function gives."""
        return row.task.function(*self.values(row))

    def key(self, row: Run) -> tuple[Any, ...] | None:
        """What decides whether a result is known, for runs all of whose inputs are there; None if nothing is reused."""
        if not row.cached or any(self.datum(d)[0] is DatumState.PENDING for d in self.inputs(row)):
            return None
        return row.task.name, repr(self.values(row))

    def known(self, row: Run) -> bool:
        """Whether an equal run is complete, with its outputs."""
        key = self.key(row)
        return key is not None and any(
            other.own is V.COMPLETE and other.id != row.id and self.key(other) == key and self._whole(other)
            for other in self.runs.values()
        )

    def _whole(self, row: Run) -> bool:
        return all(self.datum(row.out + p)[0] is DatumState.COMPLETE for p in range(row.task.outputs))

    def block(self, block: int) -> BlockState:
        """How a block stands once nothing is left to do."""
        root = self.blocks[self.roots.get(block, block)]
        inside = [(r, self.views(r)[0]) for r in self.inside(block)]
        grown = any(b in self.growths for b in self._around(block))  # such are handed in as a whole
        if not (root.sealed or grown) or any(
            v in (V.WAITING, V.READY, V.RUNNING) or self._growing(r) for r, v in inside
        ):
            return BlockState.OPEN
        if any(v is V.ERROR and not self._is_contained(r, block) for r, v in inside):
            return BlockState.ERROR
        abandoned = root.abandoned and root.id == block
        return BlockState.CANCELLED if abandoned or any(v is V.CANCELLED for _, v in inside) else BlockState.COMPLETE

    def inside(self, block: int) -> list[Run]:
        """The runs in a block and below it."""
        return [r for r in self.runs.values() if block in self._around(r.block)]

    def _around(self, block: int) -> list[int]:
        """A block and what it lies in, from the inside."""
        found = [block]
        while found[-1] in self.parents:
            found.append(self.parents[found[-1]])
        return found

    def _is_contained(self, row: Run, block: int) -> bool:
        """Whether what fails in a run is no failure of this block around it."""
        around = self._around(row.block)
        return not self.contained.isdisjoint(around[: around.index(block)])

    def _growing(self, row: Run) -> bool:
        """Whether a run grew what has not been looked at."""
        return (
            row.own is V.COMPLETE and not row.grew and row.task.name == "grow" and isinstance(self.outcome(row), Plan)
        )

    # ------------------------------------------------------------------------------------------------- adopting

    def adopt(self, seen: dict[int, RunView]) -> bool:
        """Where the engine had a choice, take over what it chose; whether there was anything."""
        before = [(row.own, row.chosen, row.swept) for row in self.runs.values()]
        for row in list(self.runs.values()):
            allowed, found = self.views(row), seen[row.id]
            if found is V.COMPLETE and allowed == [V.READY] and self.known(row):
                row.own = found
                self.touch()
            elif found in allowed and (len(allowed) > 1 or row.swept):
                row.own = found if row.swept and found is V.CANCELLED else None
                row.swept, row.chosen = False, found
                self.touch()
        return before != [(row.own, row.chosen, row.swept) for row in self.runs.values()]

    def check(self, seen: dict[int, RunView]) -> None:
        """Compare with how runs are seen.

        Raises:
            AssertionError: something is not allowed.
        """
        wrong = {r: (self.views(row), seen[r]) for r, row in self.runs.items() if seen[r] not in self.views(row)}
        assert not wrong, f"runs may be seen as …, but are …: {wrong}"
