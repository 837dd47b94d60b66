"""How a task is scheduled: options that do not change what it computes."""

import math
import re
from dataclasses import dataclass, fields, replace
from typing import Any

from tidemill.model.errors import UsageError
from tidemill.model.spec import Resources
from tidemill.model.states import OnInput

_UNITS = {
    "": 1,
    "K": 1000,
    "M": 1000**2,
    "G": 1000**3,
    "T": 1000**4,
    "KI": 1 << 10,
    "MI": 1 << 20,
    "GI": 1 << 30,
    "TI": 1 << 40,
}
_MEMORY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?I?)B?\s*", re.IGNORECASE)


def memory(value: int | str) -> int:
    """Bytes from a number of bytes or a text such as "2 GiB" or "500MB".

    Raises:
        UsageError: if it is neither.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    found = _MEMORY.fullmatch(value) if isinstance(value, str) else None
    if found is None or found[2].upper() not in _UNITS:
        raise UsageError(
            f"memory={value!r} is not an amount of memory", hint='Write bytes as an integer, or a text such as "2 GiB".'
        )
    return int(float(found[1]) * _UNITS[found[2].upper()])


@dataclass(frozen=True)
class Policies:
    """See `tidemill.model.spec.TaskSpec` for the meaning of each."""

    retries: int = 0
    backoff: float = 1.0
    timeout: float = 0.0
    cpus: float = 1.0
    memory: int = 0
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
        return replace(self, **{name: _checked(name, value) for name, value in options.items()})

    @property
    def resources(self) -> Resources:
        return Resources(self.cpus, self.memory)


_MEANING = {
    "cache": "True or False",
    "checkpoint": "True or False",
    "cpus": "a number above 0 and below 1e9",
    "priority": "an integer between -1e9 and 1e9",
    "retries": "an integer, 0 or more",
}
_SWITCHES = {"cache", "checkpoint"}
_MOST = {"priority": 1e9, "cpus": 1e9}
_NAMES = tuple(f.name for f in fields(Policies))


def _checked(name: str, value: Any) -> Any:
    if name == "memory":
        return memory(value)
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


def _on_input(name: str, value: Any) -> OnInput:
    try:
        return OnInput(value)
    except ValueError:
        raise UsageError(f'{name}={value!r} must be "fail", "skip" or "run"') from None
