"""The control commands by name: what people ask of blocks and runs. Each runs inside the host's transaction."""

from collections.abc import Callable, Mapping
from typing import cast

from tidemill.engine import control, hold, remove, rerun, revive, shares
from tidemill.engine.turn import Turn
from tidemill.model.errors import UsageError
from tidemill.server import filing
from tidemill.stores.state import settings

Arguments = Mapping[str, object]


def order(turn: Turn, name: str, args: Arguments) -> object:
    """Do what a command asks; its answer, which is JSON-able.

    Raises:
        UsageError: there is no such command, or its arguments are wrong.
        TidemillError: it cannot be done.
    """
    found = _ORDERS.get(name)
    if found is None:
        raise UsageError(f"there is no command {name!r}", hint=f"there are {', '.join(sorted(_ORDERS))}")
    return found(turn, args)


def _sync(_turn: Turn, _args: Arguments) -> object:
    """Nothing; but the answer comes after everything that the client sent before is stored."""
    return {}


def _cancel(turn: Turn, args: Arguments) -> object:
    blocks = _ints(args, "blocks")
    for block in blocks:
        control.cancel_block(turn, block)
    runs = _ints(args, "runs")
    return {"blocks": blocks, "runs": control.cancel_runs(turn, runs, 0, running=True) if runs else 0}


def _retry(turn: Turn, args: Arguments) -> object:
    return {"runs": revive.retry(turn, _ints(args, "runs"))}


def _hold(turn: Turn, args: Arguments) -> object:
    return {"runs": hold.hold(turn, _ints(args, "runs"))}


def _unhold(turn: Turn, args: Arguments) -> object:
    return {"runs": hold.unhold(turn, _ints(args, "runs"))}


def _rerun(turn: Turn, args: Arguments) -> object:
    made: dict[int, int] = {}
    for block in _ints(args, "blocks"):
        made |= rerun.rerun_block(turn, block)
    runs = _ints(args, "runs")
    if runs:
        made |= rerun.rerun(turn, runs)
    return {"runs": [[old, new] for old, new in sorted(made.items())]}


def _priority(turn: Turn, args: Arguments) -> object:
    priority, weight = args.get("priority"), args.get("weight")
    if not isinstance(priority, int | None) or not isinstance(weight, float | int | None):
        raise UsageError(f"a priority is an integer and a weight a number, not {priority!r} and {weight!r}")
    changed = 0
    for block in _ints(args, "blocks"):
        changed += shares.change_block(turn, block, priority=priority, weight=weight)
    runs = _ints(args, "runs")
    if runs:
        changed += shares.change_runs(turn, runs, priority=priority, weight=weight)
    return {"runs": changed}


def _invalidate(turn: Turn, args: Arguments) -> object:
    return {"runs": remove.invalidate(turn, _ints(args, "runs"))}


def _delete(turn: Turn, args: Arguments) -> object:
    count = sum(remove.delete_block(turn, block) for block in _ints(args, "blocks"))
    runs = _ints(args, "runs")
    return {"runs": count + (len(remove.delete_runs(turn, runs)) if runs else 0)}


def _configure(turn: Turn, args: Arguments) -> object:
    name, value = args.get("setting"), args.get("value")
    if not isinstance(name, str) or not isinstance(value, str) or ":" in name:
        raise UsageError(f"a setting and its value are texts, not {name!r} and {value!r}")
    settings.put(turn.db, name, value)
    return {name: value}


def _ints(args: Arguments, name: str) -> list[int]:
    value = args.get(name) or []
    if isinstance(value, list) and all(isinstance(v, int) for v in value):
        return cast("list[int]", value)
    raise UsageError(f"{name} must be a list of ids, not {value!r}")


_ORDERS: dict[str, Callable[[Turn, Arguments], object]] = {
    **filing.ORDERS,
    "cancel": _cancel,
    "configure": _configure,
    "delete": _delete,
    "hold": _hold,
    "invalidate": _invalidate,
    "priority": _priority,
    "rerun": _rerun,
    "retry": _retry,
    "sync": _sync,
    "unhold": _unhold,
}
