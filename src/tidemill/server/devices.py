"""The accelerators of this machine: what there is, and which of them a run gets."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from tidemill.model.accelerators import Accelerator, parse
from tidemill.model.errors import ConfigError, UsageError

VARIABLE = "TIDEMILL_ACCELERATORS"
"""Environment variable: what this machine, or this part of it, has. A run is told so what it may use."""

_VISIBLE = {"nvidia": "CUDA_VISIBLE_DEVICES", "amd": "HIP_VISIBLE_DEVICES"}
"""Brand -> the environment variable by which its libraries are told which devices they may use."""
_NVIDIA = re.compile(r"nvidia\d+")


class Device(NamedTuple):
    """One accelerator.

    Attributes:
        number: among all of this machine.
        name: what its libraries call it: its number among those of its brand, or an identifier.
        what: its sort; the number is 1.
    """

    number: int
    name: str
    what: Accelerator


def detect(environment: Mapping[str, str] = os.environ, devices: str = "/dev") -> list[Device]:
    """The accelerators that this process may give to runs: what `TIDEMILL_ACCELERATORS` says, else the NVIDIA devices
    that the system shows and `CUDA_VISIBLE_DEVICES` allows.

    Raises:
        ConfigError: the variable cannot be read.
    """
    text = environment.get(VARIABLE)
    if text is None:
        found = [Accelerator("gpu", "nvidia", "cuda", number=_count(environment, devices))]
    else:
        try:
            found = parse(text)
        except UsageError as error:
            raise ConfigError(f"{VARIABLE}={text!r} cannot be read", hint=error.hint) from error
    sorts = [one._replace(number=1) for one in found for _ in range(one.number)]
    numbers: dict[str, int] = {}
    names = []
    for one in sorts:
        number = numbers[one.brand] = numbers.get(one.brand, -1) + 1
        visible = _visible(environment, one.brand)
        mine = sum(other.brand == one.brand for other in sorts)
        names.append(visible[number] if visible is not None and len(visible) >= mine else str(number))
    return [Device(i, name, what) for i, (name, what) in enumerate(zip(names, sorts, strict=True))]


def _visible(environment: Mapping[str, str], brand: str) -> list[str] | None:
    text = environment.get(_VISIBLE.get(brand, ""))
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def _count(environment: Mapping[str, str], devices: str) -> int:
    visible = _visible(environment, "nvidia")
    try:
        there = sum(_NVIDIA.fullmatch(name) is not None for name in os.listdir(devices))
    except OSError:
        there = 0
    return there if visible is None else min(there, len(visible))


def choose(text: str, free: Iterable[Device], last: Iterable[Device] = ()) -> list[Device] | None:
    """Devices for what a run asks for, in order, those of `last` first; None where `free` does not have them."""
    preferred = set(last)
    left = sorted(free, key=lambda d: (d not in preferred, d.number))
    taken: list[Device] = []
    for want in sorted(parse(text), key=lambda a: sum(not part for part in a[:4])):
        fitting = [d for d in left if want.within(d.what)][: want.number]
        if len(fitting) < want.number:
            return None
        taken += fitting
        left = [d for d in left if d not in fitting]
    return sorted(taken)


def environment(devices: Sequence[Device]) -> dict[str, str]:
    """What tells a run and its libraries which devices it has."""
    found = {VARIABLE: show(devices)}
    for brand, variable in _VISIBLE.items():
        names = [d.name for d in devices if d.what.brand == brand]
        if names:
            found[variable] = ",".join(names)
    return found


def show(devices: Sequence[Device]) -> str:
    """Devices in words, as `TIDEMILL_ACCELERATORS` has them; "" for none."""
    counts: dict[Accelerator, int] = {}
    for d in devices:
        counts[d.what] = counts.get(d.what, 0) + 1
    return " + ".join(sorted(str(what._replace(number=n)) for what, n in counts.items()))
