"""One run, given its task and decoded arguments: the values of its outputs, or what it grew.

This is all that a worker does to the user's code, apart from watching it; `tidemill debug` does the same in a terminal.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from tidemill.graph.growth import Growing, draw_of, grow
from tidemill.model.delta import Growth
from tidemill.model.spec import TaskSpec
from tidemill.model.states import Reason
from tidemill.model.values import Ref
from tidemill.workers.command import run_command
from tidemill.workers.failure import Fault
from tidemill.workers.loader import Loaded
from tidemill.workers.serving import Link, serve
from tidemill.workers.staging import Scratch


class Produced(NamedTuple):
    """What a run gave.

    Attributes:
        values: one per output port; empty if it grew.
        growth: calls that the task returned.
        rss: peak memory in bytes of the largest process it started, if that is known.
    """

    values: list[Any]
    growth: Growth | None = None
    rss: int = 0


class Keeper:
    """Puts what grown calls have as arguments where results go, too."""

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch

    def file(self, leaf: object) -> Ref:
        return self._scratch.put(leaf)

    def value(self, data: bytes) -> Ref:
        return Ref(self._scratch.put_bytes(data), len(data), "value")


def execute(task: Loaded, args: list[Any], scratch: Scratch, growing: Growing, link: Link | None = None) -> Produced:
    """Run a task; the process must stand in the scratch directory.

    Args:
        task: from `Loader.prepare`.
        args: values of the input ports, in order, and behind them which draw it is, see `draw_of`.
        scratch: where it runs.
        growing: what tasks call while they run, installed in this process.
        link: to the users of a service.

    Raises:
        Fault: if a command fails or an output is not what was declared.
        WiringError: if calls that the task made do not fit together.
        BaseException: whatever the user's function raises.
    """
    if task.call is None:
        values, rss = run_command(task.spec, args, scratch.path, scratch.take)
        return Produced(values, None, rss)
    count = len(task.spec.inputs)
    growing.draw = draw_of(args[count:]) if len(args) > count else []
    value = task.call(args)
    if task.spec.service:
        value = _serve(task, value, link)
    growth = grow(value, growing, task.spec)
    if growth is not None:
        if task.spec.service:
            raise Fault(Reason.BAD_OUTPUT, f"the service {task.spec.name} calls tasks; only its users can")
        return Produced([], growth)
    return Produced(spread(task.spec, value) if task.spread else [value])


def _serve(task: Loaded, made: Any, link: Link | None) -> Any:
    if link is None:
        raise Fault(Reason.BAD_INPUT, f"{task.spec.name} is a service", hint="run one of the steps that use it instead")
    return serve(made, task.spec.name, task.spec.service, link)


def spread(spec: TaskSpec, value: Any) -> list[Any]:
    """The values of several outputs out of one: from a mapping or attributes by name, from a tuple or list in order.

    Raises:
        Fault: BAD_OUTPUT if they do not fit.
    """
    names = [port.name for port in spec.outputs]
    if not names:
        return []
    listed = ", ".join(names)
    if isinstance(value, Mapping):
        missing = [name for name in names if name not in value]
        extra = [str(key) for key in value if key not in names]
        if missing or extra:
            problems = [f"no {', '.join(missing)}"] * bool(missing) + [f"also {', '.join(extra)}"] * bool(extra)
            raise Fault(
                Reason.BAD_OUTPUT, f"{spec.name} must return a mapping of {listed}, but it has {' and '.join(problems)}"
            )
        return [value[name] for name in names]
    if isinstance(value, (tuple, list)):
        if len(value) != len(names):
            raise Fault(Reason.BAD_OUTPUT, f"{spec.name} must return {len(names)} values ({listed}), not {len(value)}")
        return list(value)
    missing = [name for name in names if not hasattr(value, name)]
    if missing:
        raise Fault(
            Reason.BAD_OUTPUT,
            f"{spec.name} must return {len(names)} values ({listed}), but returned a {type(value).__qualname__}",
            hint="return a tuple in this order, a dict, or an object with these attributes",
        )
    return [getattr(value, name) for name in names]
