"""The step that calls a task with options that have come; see `tidemill.graph.promised`."""

import pickle
from collections.abc import Callable
from typing import Any

from tidemill.graph.task import Task
from tidemill.model.spec import TaskSpec


def caller(found: Any, spec: TaskSpec) -> Callable[[list[Any]], Any]:
    """What is called with the values of the task's ports and, behind them, those of its options.

    Args:
        found: the task, or its function.
        spec: of the step.
    """
    assert spec.python is not None
    names, details = pickle.loads(spec.python.promised)
    function = getattr(found, "fn", found)
    task: Task[..., Any] = found.with_details(details) if function is None else Task(function, details)
    count = len(spec.inputs) - len(names)

    def call(args: list[Any]) -> Any:
        positional, named = task.signature.spread(args[:count])
        options = dict(zip(names, args[count:], strict=False))
        return task.options(**options)(*positional, **named)

    return call
