"""Escalation: a run whose attempt exceeded what it had asked for asks for more of that, and of nothing else, before it
is tried again.
"""

from typing import Any, NamedTuple

from tidemill.engine import flags
from tidemill.engine.lease import Leased
from tidemill.engine.turn import Turn
from tidemill.model.protocol import Outcome
from tidemill.model.spec import Raise, TaskSpec
from tidemill.model.states import Reason
from tidemill.stores.state import classes, runs
from tidemill.stores.state.classes import Class

USUAL = Raise(2.0)
"""For what a task declared, where it does not say how its requests grow."""

_DIMENSIONS = {Reason.OUT_OF_MEMORY: "memory", Reason.DISK_FULL: "disk", Reason.TIMEOUT: "timeout"}
_COLUMNS = {"memory": "memory", "disk": "disk", "timeout": "walltime"}


class Raised(NamedTuple):
    """What a run asks more of: bytes, or seconds."""

    run: int
    dimension: str
    old: float
    new: float

    @property
    def note(self) -> list[object]:
        """As the event tells it."""
        return [self.dimension, self.old, self.new]


def escalate(turn: Turn, again: list[tuple[Outcome, Leased]]) -> list[Raised]:
    """Move runs that are to be tried again, and failed for want of memory, disk or time, to classes with more of it."""
    found = []
    for o, lease in again:
        reason = o.failure.reason if o.failure is not None else 0
        dimension = _DIMENSIONS.get(reason)  # type: ignore[call-overload]
        if dimension is None:
            continue
        column = _COLUMNS[dimension]
        own = turn.engine.classes[lease.cls]
        spec = turn.engine.spec(turn.db, lease.task)
        old = getattr(own, column) or (spec.timeout if dimension == "timeout" else 0)
        new = _more(spec, dimension, old, {"memory": o.rss, "disk": o.disk}.get(dimension, 0))
        if dimension == "memory" and turn.engine.memory:
            new = min(new, max(turn.engine.memory, old))
        if new > old:
            _move(turn, o.run, lease, own, column, new)
            found.append(Raised(o.run, dimension, old, new))
    return found


def _more(spec: TaskSpec, dimension: str, old: float, used: int) -> float:
    """What to ask for next: bytes or seconds; `old` where it stays as it was.

    Args:
        old: what was asked for, 0 for nothing.
        used: what the attempt used at most, 0 where that is not known.
    """
    usual = USUAL if old else None
    policy = usual if spec.escalate is None else spec.escalate.get(dimension)
    if policy is None:
        return old
    new = (old or used) * policy.factor
    if policy.most:
        new = min(new, policy.most)
    return new if dimension == "timeout" else int(new)


def _move(turn: Turn, run: int, lease: Leased, own: Class, column: str, new: float) -> None:
    """To classes that differ in one column: its own, and those it stands in on further hubs."""
    engine = turn.engine
    more: dict[str, Any] = {column: new}
    runs.set_class(turn.db, [run], [engine.class_id(turn.db, own.hub, own._replace(**more).spec)])
    if not lease.flags & flags.SEVERAL_HUBS:
        return
    for _, cls in classes.actions(turn.db, [run]):
        there = engine.classes[cls]
        classes.withdraw(turn.db, [run], [cls])
        classes.act(turn.db, [run], [engine.class_id(turn.db, there.hub, there._replace(**more).spec)])
