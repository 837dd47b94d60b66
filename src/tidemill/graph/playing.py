"""What is done when a role is executed, see `tidemill.graph.roles`."""

from typing import Any

from tidemill.graph import checkpoints, promised
from tidemill.graph.roles import CHECKPOINT, PROMISED, task_of
from tidemill.graph.task import Task
from tidemill.model.spec import TaskSpec


def play(found: Any, spec: TaskSpec, values: list[Any]) -> Any:
    """Execute a role for a task that a worker has found, given the values of the input ports."""
    python = spec.python
    assert python is not None
    step = task_of(found, python, Task)
    role, _, rest = python.role.partition(":")
    if role == PROMISED:
        return promised.resolved(step, rest.split(","), values)
    return checkpoints.begin(step, values) if role == CHECKPOINT else checkpoints.judge(step, int(rest), values)
