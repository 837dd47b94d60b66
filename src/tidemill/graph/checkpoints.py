"""Checkpoints: steps from which everything below is done again when some of it fails.

A call of a task with `checkpoint=True` is a run that grows the step in a block whose failures are its own, and a judge
of how the block ended: it hands on the step's results, or grows the step again as another draw, so that nothing of the
failed generation is reused. The last try stands in no such block, and so fails as any step does.
"""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from tidemill.graph import context
from tidemill.graph.check import UNKNOWN
from tidemill.graph.locate import pickled
from tidemill.graph.ports import P, Signature
from tidemill.graph.roles import JUDGE, as_role
from tidemill.graph.sweep import block
from tidemill.graph.task import Task
from tidemill.model.spec import Port, TaskSpec
from tidemill.model.states import OnInput


class _Judge(Task[..., Any]):
    """Gets the step's results, whether all below it ended well, and what the step was called with.

    Attributes:
        step: the user's task, no checkpoint itself.
        number: of the try.
    """

    def __init__(self, step: Task[..., Any], number: int) -> None:
        # what somebody cancelled is not done again
        policies = replace(
            step.details.policies, on_error=OnInput.RUN, on_skipped=OnInput.RUN, on_cancelled=OnInput.SKIP
        )
        super().__init__(step.fn, replace(step.details, policies=policies))
        self.step = step
        self.number = number

    def _signature(self) -> Signature:
        names = [f"result_{name}" for name in self.step.output_names or ("",)] + ["done_"]
        own = self.step.signature
        ports = [*(Port(name) for name in names), *own.ports]
        types = [UNKNOWN] * len(names) + list(own.types)
        found = Signature(self.name, ports, types, [P.POSITIONAL_OR_KEYWORD] * len(ports), [P.empty] * len(ports))
        found.returns = own.returns
        return found

    def _specify(self) -> TaskSpec:
        step, policies = self.step, self.details.policies
        alone = step.spec.python is not None and step.spec.python.pickled
        found = replace(
            step.spec,
            inputs=self.signature.ports,
            on_error=policies.on_error,
            on_skipped=policies.on_skipped,
            on_cancelled=policies.on_cancelled,
        )
        return as_role(found, f"{JUDGE}:{self.number}", step.details, pickled(step, step.name) if alone else b"")


def begin(step: Task[..., Any], values: Sequence[Any]) -> Any:
    """The first try of a step."""
    graph: Any = context.current()
    if graph.draw:  # else its second try would be what the second try of a checkpoint around it begins with
        graph.draw = [0, *graph.draw]
    return _try(step, 0, values)


def judge(step: Task[..., Any], number: int, values: Sequence[Any]) -> Any:
    """What comes of a try, given its results, whether all below it ended well, and what the step was called with."""
    width = max(1, len(step.output_names))
    results, done, rest = values[:width], values[width], values[width + 1 :]
    if done:
        return results[0] if width == 1 else tuple(results)
    graph: Any = context.current()
    graph.draw = [number + 1, *graph.draw]
    return _try(step, number + 1, rest)


def _try(step: Task[..., Any], number: int, values: Sequence[Any]) -> Any:
    """Grow the step once; contained, and judged, if it may be tried again."""
    graph: Any = context.current()
    once = step.options(retries=0)
    if number >= step.details.policies.retries:
        return graph.call(once, values)
    with block(step.name, contained=True) as below:
        found = graph.call(once, values)
    names = step.output_names
    results = [found] if len(names) < 2 else [found.select_(name) for name in names]
    return graph.call(_Judge(step, number), [*results, below.done, *values])
