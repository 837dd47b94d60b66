"""The compiled workflow: a header, and chunks that are generated while somebody takes them."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tidemill.graph import context, cycles, gathering
from tidemill.graph.builder import Builder
from tidemill.graph.columns import CallColumns
from tidemill.graph.emit import Emission, encode_result, header
from tidemill.graph.future import Loose
from tidemill.graph.identity import Identities
from tidemill.graph.literals import Fetch, PlanKeeper
from tidemill.model.delta import Chunk
from tidemill.model.errors import TidemillError, UsageError, WiringError


class Plan:
    """What a workflow compiles to. It holds calls and recipes, not runs: a sweep of a million is a few lines.

    Attributes:
        name: of the workflow or task.
        key: 32 bytes; equal for equal code and arguments.
        header: see `tidemill.model.delta.Header`.
        files: digest -> path of files and directories among the arguments. They must be in the store before the chunk
            that names the digest in `objects`; a chunk's files are here when the chunk has been generated.
        blobs: digest -> encoded value, for values over 64 kB. Those of a sweep's elements leave again when the next
            chunk is asked for.
        counts: number of runs by task name.
        functions: task digest -> the Python function, for tasks that are functions.
    """

    def __init__(
        self, graph: Builder, keeper: PlanKeeper, name: str, key: bytes, result: Any, slots: list[int]
    ) -> None:
        self.name = name
        self.key = key
        self.header = header(graph, encode_result(graph, result), slots)
        self.files: dict[bytes, Path] = keeper.files
        self.blobs: dict[bytes, bytes] = keeper.blobs
        self.counts = _counts(graph)
        self.functions: dict[bytes, Callable[..., Any]] = {
            entry.digest: entry.task.fn for entry in graph.entries if entry.task.fn is not None
        }
        self._graph = graph
        self._objects = graph.writer.take()
        self._keeper = keeper

    @property
    def tasks(self) -> list[str]:
        """The names of the tasks, in the order of their first call."""
        return list(self.counts)

    def chunks(self) -> Iterator[Chunk]:
        """The chunks from the beginning; each call gives the same. A chunk may have lists or objects and no runs."""
        return Emission(self._graph, self._objects, self._keeper.passing).chunks()

    def __repr__(self) -> str:
        parts = ", ".join(f"{n} × {name}" for name, n in self.counts.items())
        return (
            f"<plan {self.name}: {self.header.runs} run{'s' * (self.header.runs != 1)}{': ' if parts else ''}{parts}>"
        )

    def _repr_html_(self) -> str:
        import html

        rows = "".join(
            f"<tr><td>{html.escape(name)}</td><td style='text-align:right'>{n:,}</td></tr>"
            for name, n in self.counts.items()
        )
        return f"<table><caption>{html.escape(self.name)}</caption><tr><th>task</th><th>runs</th></tr>{rows}</table>"


def _counts(graph: Builder) -> dict[str, int]:
    found: dict[str, int] = {}
    for segment in graph.segments:
        per_task = Counter(segment.tasks) if isinstance(segment, CallColumns) else {segment.task: segment.size}
        for index, n in per_task.items():
            name = graph.entries[index].name
            found[name] = found.get(name, 0) + n
    return found


def build(call: Any, fetch: Fetch | None = None) -> Plan:
    """Compile a call of a workflow or task.

    Args:
        call: what to compile.
        fetch: stores files that the call has by their addresses; by default they are only looked at.

    Raises:
        UsageError: if it is something else.
        WiringError: if it does not fit together, with every problem found and its place.
    """
    if not isinstance(call, Loose):
        raise UsageError(f"only calls of workflows and tasks can be run, not {call!r}")
    context.new_epoch()
    keeper = PlanKeeper(fetch)
    graph = Builder(keeper)
    graph.root = call
    try:
        result, slots = gathering.template(gathering.resolved(graph, graph.materialise(call)))
        cycles.check(graph)
    except Exception as error:
        graph.problems.check(error)
        raise
    graph.problems.check()
    try:
        key = Identities().of(graph.made)
        name = getattr(call.fn_, "name", "call")
        return Plan(graph, keeper, name, key, result, slots)
    except TidemillError as error:
        raise WiringError([(call.place_, str(error.args[0]))]) from error
