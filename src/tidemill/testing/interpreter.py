"""The reference for results: executes a plan in memory, one run after the other, by calling the functions.

It has no store, no reuse, no retries and no parallelism, and knows nothing of an engine. What an engine returns for a
plan must equal what this returns.
"""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from tidemill.graph import context
from tidemill.graph.growth import Growing, draw_of, grow
from tidemill.graph.literals import PlanKeeper
from tidemill.graph.locate import attribute
from tidemill.graph.plan import Plan
from tidemill.graph.ports import signature
from tidemill.model.delta import Chunk, GatherSpec, Growth, Header
from tidemill.model.errors import RunFailedError, UsageError
from tidemill.model.spec import TaskSpec, decode_spec
from tidemill.model.states import OnInput
from tidemill.model.values import Ref, decode, encode


@dataclass(frozen=True)
class Ended:
    """What stands for a datum without a value: "error" or "skipped", and the exception at its root."""

    state: str
    cause: BaseException


Datum = bytes | list[Any] | Ended
"""An encoded value, a collection of data, or the end of one without a value."""


class Interpreter:
    """Executes plans.

    Args:
        functions: task digest -> function, for functions that cannot be imported; others are found by their
            specification, as a worker does.

    Attributes:
        executed: name of the task of each run, in order.
    """

    def __init__(self, functions: Mapping[bytes, Callable[..., Any]] | None = None) -> None:
        self.executed: list[str] = []
        self._functions = dict(functions or {})
        self._keeper = PlanKeeper()

    def run(self, plan: Plan) -> Any:
        """The result of a plan.

        Raises:
            RunFailedError: if the result depends on a run that failed; its cause is the exception.
        """
        self._functions.update(plan.functions)
        delta = _Delta(self, plan.header)
        for chunk in plan.chunks():
            self._keeper.files.update(plan.files)
            self._keeper.blobs.update(plan.blobs)
            delta.execute(chunk)
        self._keeper.blobs.update(plan.blobs)
        inputs = [self.value(delta.outputs[-1 - ref]) for ref in plan.header.result_refs]
        for found in inputs:
            if isinstance(found, Ended):
                raise RunFailedError(f"a run that the result needs ended: {found.state}") from found.cause
        return decode(plan.header.result, inputs, self._get)

    # ------------------------------------------------------------------------------------------------------- one run

    def apply(self, spec: TaskSpec, args: bytes, inputs: Sequence[Datum]) -> list[Datum]:
        """The outputs of one run."""
        self.executed.append(spec.name)
        ended = _ended(spec, inputs)
        if ended is not None:
            return [ended] * len(spec.outputs)
        growing = Growing(self._keeper)
        growing.install()
        try:
            values = decode(args, [None if isinstance(i, Ended) else self.value(i) for i in inputs], self._get)
            growing.draw = draw_of(values[len(spec.inputs) :])
            result = self._call(spec, values[: len(spec.inputs)])
            grown = grow(result, growing, spec)
        except Exception as error:  # noqa: BLE001 — whatever user code raises is how the run ended
            return [Ended("error", error)] * len(spec.outputs)
        finally:
            context.install(None)
        if grown is not None:
            return self._grow(grown)
        return [encode(part, self._keeper.file) for part in _parts(result, spec)]

    def _call(self, spec: TaskSpec, values: list[Any]) -> Any:
        if spec.kind == "builtin" and spec.name == "assemble":
            return values[0]
        fn = self._functions.get(spec.digest) or load(spec)
        args, kwargs = signature(fn, spec.name).spread(values)
        return fn(*args, **kwargs)

    def _grow(self, growth: Growth) -> list[Datum]:
        delta = _Delta(self, growth.header)
        for chunk in growth.chunks:
            delta.execute(chunk)
        return [delta.outputs[-1 - ref] for ref in growth.outputs]

    # ------------------------------------------------------------------------------------------------------- values

    def value(self, datum: Datum) -> Any:
        """The value of a datum; members without a value are None, `Ended` itself is returned."""
        if isinstance(datum, bytes):
            return decode(datum, (), self._get)
        if isinstance(datum, list):
            return [None if isinstance(member, Ended) else self.value(member) for member in datum]
        return datum

    def _get(self, ref: Ref) -> Any:
        if ref.kind == "value":
            return decode(self._keeper.blobs[ref.digest], (), self._get)
        return Path(self._keeper.files[ref.digest])


class _Delta:
    """The runs of one delta, with their outputs by local number."""

    def __init__(self, interpreter: Interpreter, header: Header) -> None:
        self.outputs: dict[int, Datum] = {}
        self._interpreter = interpreter
        self._specs = [decode_spec(data) for data in header.tasks]
        self._lists: list[GatherSpec] = []
        self._runs: list[_Run] = []

    def execute(self, chunk: Chunk) -> None:
        """Execute the runs of a chunk, and earlier ones that have waited for it."""
        self._lists += chunk.gathers
        edges: dict[int, dict[int, int]] = {}
        for row, port, ref in zip(chunk.edge_run, chunk.edge_port, chunk.edge_ref, strict=True):
            edges.setdefault(row, {})[port] = -1 - ref
        output = chunk.first_output
        for row, args in enumerate(chunk.args):
            spec = self._specs[_at(chunk.task, row)]
            self._runs.append(_Run(spec, args, edges.get(row, {}), output))
            assert len(self._runs[-1].edges) == _at(chunk.pending, row)
            output += len(spec.outputs)
        left = -1
        while left != len(self._runs):
            left = len(self._runs)
            self._runs = [run for run in self._runs if not self._execute(run)]
        self._collect()

    def _execute(self, run: "_Run") -> bool:
        """Execute a run if what it waits for is there."""
        if not self.outputs.keys() >= set(run.edges.values()):
            self._collect()
            if not self.outputs.keys() >= set(run.edges.values()):
                return False
        inputs = [self.outputs[run.edges[port]] for port in range(sum(1 for port in run.edges if port >= 0))]
        ended = _ended(run.spec, [self.outputs[n] for port, n in run.edges.items() if port < 0])
        if ended is not None:
            found: list[Datum] = [ended] * len(run.spec.outputs)
        else:
            found = self._interpreter.apply(run.spec, run.args, inputs)
        self.outputs.update(enumerate(found, run.output))
        return True

    def _collect(self) -> None:
        """Put together the collections whose members are all there."""
        waiting = []
        for spec in self._lists:
            numbers = [-1 - m.ref + i * m.step for m in spec.members for i in range(m.count)]
            if all(n in self.outputs for n in numbers):
                self.outputs[spec.output] = _collection([self.outputs[n] for n in numbers], spec.tolerate)
            else:
                waiting.append(spec)
        self._lists = waiting


class _Run(NamedTuple):
    """A run of a delta: `edges` has output numbers by port, `output` is the number of its first output."""

    spec: TaskSpec
    args: bytes
    edges: dict[int, int]
    output: int


def _collection(members: list[Datum], tolerate: int) -> Datum:
    ended = [m for m in members if isinstance(m, Ended)]
    return ended[0] if len(ended) > tolerate else members


def _ended(spec: TaskSpec, inputs: Iterable[Datum]) -> Ended | None:
    """How a run ends, by its policies, that has such inputs; None if it runs."""
    for found in inputs:
        if isinstance(found, Ended):
            policy = spec.on_error if found.state == "error" else spec.on_skipped
            if policy is not OnInput.RUN:
                return Ended("error" if policy is OnInput.FAIL else "skipped", found.cause)
    return None


def _parts(result: Any, spec: TaskSpec) -> list[Any]:
    """What was returned, one for each output."""
    if len(spec.outputs) == 1:
        return [result]
    parts = [result[port.name] for port in spec.outputs] if isinstance(result, Mapping) else list(result)
    if len(parts) != len(spec.outputs):
        raise ValueError(f"{spec.name} has {len(spec.outputs)} outputs and returned {len(parts)} values")
    return parts


def _at(column: int | list[int], row: int) -> int:
    return column if isinstance(column, int) else column[row]


def load(spec: TaskSpec) -> Callable[..., Any]:
    """The function of a task, from where its specification says.

    Raises:
        UsageError: if it is no Python function that can be found here.
    """
    where = spec.python
    if where is None:
        raise UsageError(f"{spec.name} is no Python function")
    if where.pickled:
        import cloudpickle

        found = cloudpickle.loads(where.pickled)
    else:
        module: ModuleType = sys.modules["__main__"]
        if where.module:
            __import__(where.module)
            module = sys.modules[where.module]
        found = attribute(module, where.qualname)
    return getattr(found, "fn", found)  # type: ignore[no-any-return]
