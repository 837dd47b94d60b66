"""Roles: tasks that stand in for a task of the user's, which whoever executes them has to find first."""

import pickle
from typing import TYPE_CHECKING, Any

from msgspec import structs

from tidemill.graph.code import combine
from tidemill.model.digest import digest
from tidemill.model.spec import Python, Resources, TaskSpec

if TYPE_CHECKING:
    from tidemill.graph.task import Details, Task

CHECKPOINT, JUDGE, PROMISED = "checkpoint", "judge", "resources"
"""Roles. Behind that of a judge stands the number of the try that it judges, behind the last the options that it waits
for.
"""


def as_role(spec: TaskSpec, role: str, details: "Details", pickled: bytes = b"") -> TaskSpec:
    """The specification of what stands in for a task.

    Args:
        spec: ports and place, and the code of the task.
        role: what it does for the task.
        details: what the task was called with.
        pickled: the task, where it cannot be imported.
    """
    python = spec.python or Python(spec.name)
    found = structs.replace(
        python,
        role=role,
        base=python.base or spec.digest,
        details=pickle.dumps(details),
        spread=False,
        pickled=pickled or python.pickled,
    )
    # A store keeps one specification of each digest, and this one carries the options of its call.
    parts = spec.parts | {"role": digest(f"tidemill:{role}:{details.policies}".encode())}
    return structs.replace(
        spec,
        name=f"{spec.name}.{role.partition(':')[0]}",
        digest=combine(parts),
        parts=parts,
        kind="python",
        python=found,
        command=None,
        resources=Resources(),
        retries=0,
        timeout=0.0,
        escalate=None,
    )


def task_of(found: Any, python: Python, make: "type[Task[..., Any]]") -> "Task[..., Any]":
    """The task that a role stands in for, with the details that it was called with.

    Args:
        found: the task, or its function or class.
        python: of the role.
        make: makes a task of a function.
    """
    details = pickle.loads(python.details)
    return found.with_details(details) if hasattr(found, "with_details") else make(found, details)
