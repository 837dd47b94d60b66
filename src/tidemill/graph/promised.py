"""Requests that an earlier step computes: `f.options(cpus=future)(x)`.

A small step that stays with the engine waits for the values; when they are there it calls the task with them, and its
result is that call's. So it is growth like any other.
"""

from collections.abc import Mapping, Sequence
from inspect import Parameter
from typing import TYPE_CHECKING, Any

from msgspec import structs

from tidemill.graph import context
from tidemill.graph.call import Call
from tidemill.graph.check import UNKNOWN
from tidemill.graph.future import Pending
from tidemill.graph.locate import pickled
from tidemill.graph.ports import BindError, Signature
from tidemill.graph.problems import place
from tidemill.graph.roles import PROMISED, as_role
from tidemill.model.errors import UsageError, WiringError
from tidemill.model.spec import Port, Resources, TaskSpec

if TYPE_CHECKING:
    from tidemill.graph.index import Axis
    from tidemill.graph.task import Task

PROMISES = ("cpus", "memory", "disk", "accelerators", "timeout")
"""Options that may be the result of a step."""


def split(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options that are known and those that are to come.

    Raises:
        UsageError: one is to come that has to be known.
    """
    coming = {name: value for name, value in options.items() if isinstance(value, Pending)}
    wrong = [name for name in coming if name not in PROMISES]
    if wrong:
        raise UsageError(
            f"the option {wrong[0]!r} must be known while the workflow is being built",
            hint=f"Only {', '.join(PROMISES)} may be the result of another step.",
        )
    return {name: value for name, value in options.items() if name not in coming}, coming


class Promised:
    """A task some of whose options are results of other steps. It is called like the task.

    Args:
        task: with the options that are known.
        coming: futures by option.
    """

    def __init__(self, task: "Task[..., Any]", coming: Mapping[str, Any]) -> None:
        self.task = task
        self.name = task.name
        self.__name__ = task.name
        self._coming = dict(coming)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        graph = context.current()
        try:
            values = self.task.signature.bind(args, kwargs)
        except BindError as error:
            if graph is None:
                raise WiringError([(place(), text) for text in error.texts]) from None
            for text in error.texts:
                graph.problem(text)
            return graph.broken()
        names = tuple(sorted(self._coming))
        step = self.task.promises.get(names)
        if step is None:
            step = self.task.promises[names] = Step(self.task, names)
        return step(*values, *(self._coming[name] for name in names))

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """The same as calling it."""
        return self(*args, **kwargs)

    def options(self, **options: Any) -> "Promised | Task[..., Any]":
        """A copy with other options; the task itself if none is to come any more.

        Raises:
            UsageError: if one is unknown or has an impossible value.
        """
        fixed, coming = split(options)
        kept = {name: value for name, value in self._coming.items() if name not in fixed}
        task = self.task.options(**fixed)
        return Promised(task, kept | coming) if kept or coming else task

    def repeat(self, n: Any, name: str | None = None) -> "Promised":
        """It, run `n` times with the same arguments, for different draws."""
        return Promised(self.task.repeat(n, name), self._coming)

    def __repr__(self) -> str:
        return f"<task {self.name} with {', '.join(self._coming)} to come>"


class Step:
    """The step that waits for options of a task: a definition with the ports of the task, and one for each option."""

    fn = None

    def __init__(self, task: "Task[..., Any]", names: tuple[str, ...]) -> None:
        self.task = task
        self.names = names
        self.name = f"{task.name}.resources"
        self.axis: Axis | None = task.axis
        self.output_types: Sequence[object] = task.output_types
        self.output_names = task.output_names
        self.mapping = task.mapping
        own = task.signature
        count = len(own.ports) + len(names)
        ports = (*own.ports, *(Port(f"option {name}") for name in names))
        types = (*own.types, *(UNKNOWN for _ in names))
        self.signature = Signature(
            task.name, ports, types, [Parameter.POSITIONAL_OR_KEYWORD] * count, [Parameter.empty] * count
        )

    def __call__(self, *values: Any) -> Any:
        """One call, the values in port order."""
        graph = context.current()
        return Call(self, values, {}) if graph is None else graph.call(self, values)

    @property
    def spec(self) -> TaskSpec:
        """The specification."""
        base = structs.replace(self.task.spec, inputs=self.signature.ports, doc="")
        alone = base.python is None or base.python.pickled
        role = f"{PROMISED}:{','.join(self.names)}"
        found = as_role(base, role, self.task.details, pickled(self.task, self.task.name) if alone else b"")
        return structs.replace(found, resources=Resources(local=True))

    def options(self, **options: Any) -> "Step":
        """The same for the task with other options, apart from those that are to come."""
        fixed = {name: value for name, value in options.items() if name not in self.names}
        return Step(self.task.options(**fixed), self.names) if fixed else self


def resolved(task: "Task[..., Any]", names: Sequence[str], values: Sequence[Any]) -> Any:
    """Call a task with options that have come; they stand behind its arguments."""
    count = len(values) - len(names)
    positional, named = task.signature.spread(values[:count])
    return task.options(**dict(zip(names, values[count:], strict=True)))(*positional, **named)
