"""Options that several commands have."""

import re
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tidemill.client.store import Store
from tidemill.model.errors import UsageError

StorePath = Annotated[
    str | None,
    Parameter(
        name=["--store", "-s"],
        help="The store: a directory or postgresql://…; default: $TIDEMILL_STORE, else .tidemill here.",
    ),
]
Objects = Annotated[str, Parameter(name="--objects", help="Where files and large values are, if not in the store.")]
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON.")]
Quiet = Annotated[bool, Parameter(name=["--quiet", "-q"], negative="", help="Show no progress.")]
Workers = Annotated[
    int | None, Parameter(name=["--workers", "-w"], help="Worker processes; default: one per processor.")
]

RunId = Annotated[str, Parameter(help="A run, such as 3.117.")]
RunIds = Annotated[list[str], Parameter(help="Runs, such as 3.117.")]
Ids = Annotated[list[str], Parameter(help="Blocks, such as 3, or runs, such as 3.117.")]
AnyId = Annotated[str, Parameter(help="A run (3.117), a block (3) or a datum (datum:45).")]
BlockId = Annotated[str, Parameter(help="A workflow's block, such as 3; tidemill status lists them.")]
Script = Annotated[Path, Parameter(help="A Python file with a @workflow.")]

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)")


def open_store(store: str | None, objects: str = "") -> Store:
    """The store that the options name."""
    return Store(store, objects=objects)


def seconds(text: str) -> float:
    """`90`, `30s`, `10m`, `12h`, `7d`, `2w` in seconds.

    Raises:
        UsageError: it is none of these.
    """
    match = _DURATION.fullmatch(text.strip().lower())
    if match is None or match.group(2) not in _UNITS:
        raise UsageError(f"{text!r} is not a duration", hint="write it as 90s, 10m, 12h, 7d or 2w")
    return float(match.group(1)) * _UNITS[match.group(2)]
