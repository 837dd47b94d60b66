"""Roles: tasks that stand in for a task of the user's, which whoever executes them has to find first."""

from dataclasses import asdict, replace

import msgspec

from tidemill.graph.code import combine
from tidemill.graph.policies import Policies
from tidemill.model.digest import digest
from tidemill.model.spec import Resources, TaskSpec

CHECKPOINT, JUDGE = "checkpoint", "judge"
"""Roles; that of a judge is followed by the number of the try that it judges."""


def as_role(spec: TaskSpec, role: str, policies: Policies, base: bytes, pickled: bytes = b"") -> TaskSpec:
    """The specification of what stands in for a task.

    Args:
        spec: ports and place.
        role: what it does for the task.
        policies: those that the task was called with.
        base: digest of the task.
        pickled: the task, where it cannot be imported.
    """
    assert spec.python is not None
    parts = spec.parts | {"role": digest(f"tidemill:{role}:{policies.retries}".encode())}
    python = msgspec.structs.replace(
        spec.python,
        role=role,
        base=base,
        options=asdict(replace(policies, checkpoint=False)),
        spread=False,
        pickled=pickled or spec.python.pickled,
    )
    name = f"{spec.name}.{role.partition(':')[0]}"
    spec = msgspec.structs.replace(spec, name=name, digest=combine(parts), parts=parts, python=python)
    return msgspec.structs.replace(spec, retries=0, timeout=0.0, resources=Resources())
