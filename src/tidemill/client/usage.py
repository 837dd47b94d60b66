"""What tasks used, and what they should therefore ask for."""

import msgspec

from tidemill.model.amounts import spare_bytes, spare_seconds
from tidemill.model.spec import decode_spec
from tidemill.stores.state import tasks, usage
from tidemill.stores.state.database import Database


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """A figure over the attempts for which it is known: seconds or bytes."""

    least: float
    median: float
    mean: float
    most: float
    total: float


class TaskUse(msgspec.Struct, frozen=True, kw_only=True):
    """What the complete attempts of a task used.

    Attributes:
        name: of the task; tasks of equal name count together.
        number: of attempts.
        wall, cpu: seconds.
        memory, disk: peaks in bytes; None where no attempt told (of disk: where none wrote files).
    """

    name: str
    number: int
    wall: Spread | None = None
    cpu: Spread | None = None
    memory: Spread | None = None
    disk: Spread | None = None


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """A request that fits what a task used so far.

    Attributes:
        task: its name.
        option: "memory", "disk" (bytes) or "timeout" (seconds).
        number: of attempts that it is known from.
        declared: what the task asks for, 0 for nothing, -1 for "auto".
        used: the most that a complete attempt used.
        proposed: a fifth more than that, rounded up.
    """

    task: str
    option: str
    number: int
    declared: float
    used: float
    proposed: float


def task_uses(db: Database, root: int = 0) -> list[TaskUse]:
    """What was used, by task name in alphabetical order.

    Args:
        db: the store's state.
        root: id of a workflow, 0 for the whole store.
    """
    found: dict[str, dict[str, Spread]] = {}
    for metric in usage.METRICS:
        for s in usage.spread(db, metric, root):
            row = Spread(least=s.least, median=s.median, mean=s.mean, most=s.most, total=s.total)
            found.setdefault(s.task, {})[metric] = row
    numbers = usage.numbers(db, root)
    return [TaskUse(name=name, number=n, **found.get(name, {})) for name, n in numbers.items()]


def proposals(db: Database, root: int = 0) -> list[Proposal]:
    """What tasks should ask for, by what their complete attempts used; arguments as for `task_uses`."""
    declared: dict[str, tuple[float, float, float]] = {}
    for _, name, _, encoded in tasks.every(db):
        spec = decode_spec(encoded)
        declared[name] = (spec.resources.memory, spec.resources.disk, spec.timeout)
    made = []
    for use in task_uses(db, root):
        memory, disk, timeout = declared[use.name]
        options = (("memory", memory, use.memory), ("disk", disk, use.disk), ("timeout", timeout, use.wall))
        for option, asked, found in options:
            if found is not None and found.most > 0:
                enough = spare_seconds(found.most) if option == "timeout" else spare_bytes(int(found.most))
                made.append(
                    Proposal(
                        task=use.name, option=option, number=use.number, declared=asked, used=found.most,
                        proposed=enough,
                    )
                )  # fmt: skip
    return made
