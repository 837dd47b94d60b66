"""How a task is scheduled: options that do not change what it computes."""

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from tidemill.model import accelerators, amounts
from tidemill.model.errors import UsageError
from tidemill.model.spec import AUTO, Raise, Resources
from tidemill.model.states import OnInput

Escalation = tuple[tuple[str, Raise], ...]
"""By dimension; hashable."""


class Policies(msgspec.Struct, frozen=True, kw_only=True):
    """See `tidemill.model.spec.TaskSpec` for the meaning of each."""

    retries: int = 0
    backoff: float = 1.0
    timeout: float = 0.0
    cpus: float = 1.0
    memory: int = 0
    disk: int = 0
    accelerators: str = ""
    preemptible: bool = False
    local: bool = False
    escalate: Escalation | None = None
    cache: bool = True
    priority: int = 0
    checkpoint: bool = False
    on_error: OnInput = OnInput.SKIP
    on_skipped: OnInput = OnInput.SKIP
    on_cancelled: OnInput = OnInput.SKIP

    def changed(self, options: dict[str, Any]) -> "Policies":
        """These policies with some of them replaced.

        Raises:
            UsageError: if one is unknown or has an impossible value.
        """
        unknown = [name for name in options if name not in _NAMES]
        if unknown:
            raise UsageError(
                f"unknown option {', '.join(map(repr, unknown))}", hint=f"The options are {', '.join(_NAMES)}."
            )
        return msgspec.structs.replace(self, **{name: _checked(name, value) for name, value in options.items()})

    @property
    def resources(self) -> Resources:
        return Resources(
            self.cpus, self.memory, self.disk, self.accelerators, self.preemptible, self.timeout, self.local
        )


_MEANING = {
    "cache": "True or False",
    "checkpoint": "True or False",
    "local": "True or False",
    "preemptible": "True or False",
    "cpus": "a number above 0 and below 1e9",
    "priority": "an integer between -1e9 and 1e9",
    "retries": "an integer, 0 or more",
}
_MOST = {"priority": 1e9, "cpus": 1e9}
_NAMES = Policies.__struct_fields__


_SWITCHES = frozenset({"cache", "checkpoint", "local", "preemptible"})
_DIMENSIONS = ("memory", "disk", "timeout")


def _checked(name: str, value: Any) -> Any:
    if name in {"memory", "disk"}:
        return AUTO if value == "auto" else amounts.size(name, value)
    if name == "timeout":
        return amounts.seconds(name, value)
    if name == "accelerators":
        return accelerators.canonical(value)
    if name == "escalate":
        return _escalation(value)
    if name.startswith("on_"):
        return _on_input(name, value)
    if name in _SWITCHES:
        wanted: tuple[type, ...] = (bool,)
    else:
        wanted = (int,) if name in {"retries", "priority"} else (int, float)
    negative = name != "priority" and isinstance(value, (int, float)) and value < 0
    right = isinstance(value, wanted) and isinstance(value, bool) == (name in _SWITCHES)
    if not right or negative or (name == "cpus" and value == 0) or not abs(value) <= _MOST.get(name, math.inf):
        raise UsageError(f"{name}={value!r} must be {_MEANING.get(name, 'a number, 0 or more')}")
    return float(value) if wanted == (int, float) else value


def _escalation(value: Any) -> Escalation | None:
    """A factor for all dimensions, or a mapping of dimensions to a factor or to (factor, ceiling); False for none."""
    if value is None:
        return None
    if value is False:
        return ()
    if not isinstance(value, Mapping):
        value = dict.fromkeys(_DIMENSIONS, value)
    if unknown := [name for name in value if name not in _DIMENSIONS]:
        raise UsageError(
            f"escalate: {', '.join(map(repr, unknown))} cannot be escalated",
            hint=f"What can is {', '.join(_DIMENSIONS)}.",
        )
    return tuple(sorted((name, _raise(name, one)) for name, one in value.items()))


def _raise(name: str, value: Any) -> Raise:
    factor, most = value if isinstance(value, (tuple, list)) and len(value) == 2 else (value, 0)
    if not isinstance(factor, (int, float)) or isinstance(factor, bool) or not 1 <= factor <= 1e6:
        raise UsageError(
            f"escalate: {name}={value!r} must be a factor, 1 or more, or a pair (factor, ceiling)",
            hint='Write escalate=2, or escalate={"memory": (2, "64 GiB"), "timeout": 1.5}; False for never.',
        )
    ceiling = amounts.seconds(name, most) if name == "timeout" else amounts.size(name, most)
    return Raise(float(factor), float(ceiling))


def _on_input(name: str, value: Any) -> OnInput:
    try:
        return OnInput(value)
    except ValueError:
        raise UsageError(f'{name}={value!r} must be "fail", "skip" or "run"') from None
