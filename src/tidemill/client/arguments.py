"""The engine's options in the user's own argparse: `tidemill.arguments`.

parser = argparse.ArgumentParser()
parser.add_argument("--symbol", default="Cu")
tm.arguments.add(parser)
given = parser.parse_args()
print(tm.arguments.start(equation_of_state(given.symbol), given))
"""

from __future__ import annotations

import argparse
from typing import Any

from tidemill.model.errors import UsageError, without_our_frames

_NAMES = {"store": "store", "objects": "objects", "workers": "workers", "stop_on_failure": "stop", "quiet": "progress"}
"""Options, and what they are called where a call is run."""


def add(parser: argparse.ArgumentParser, group: str = "tidemill", prefix: str = "") -> argparse.ArgumentParser:
    """Add the options of `tidemill run` to a parser, and return it.

    Args:
        parser: the user's own.
        group: the heading under which they stand in the help.
        prefix: begin of their names, where a program has options of the same names: with "engine-", `--engine-store`.
            There are no short options, which are the user's.

    Raises:
        UsageError: the parser has an option of such a name already.
    """
    options = parser.add_argument_group(group) if group else parser

    def option(name: str, **how: Any) -> None:
        options.add_argument(f"--{prefix}{name}", dest=_attribute(prefix, name), **how)

    try:
        option("store", metavar="PLACE", help="a directory or postgresql://…; default: $TIDEMILL_STORE, else .tidemill")
        option("objects", metavar="PLACE", help="where files and large values are, if not in the store")
        option("workers", metavar="N", type=_positive, help="worker processes; default: one per processor")
        option("stop-on-failure", action="store_true", help="start nothing more after the first failure")
        option("quiet", action="store_true", help="show no progress")
    except argparse.ArgumentError as error:
        raise UsageError(f"the parser has such an option already: {error}", hint='use prefix="engine-"') from error
    return parser


def parser(**options: Any) -> argparse.ArgumentParser:
    """A parser that has these options, and nothing else yet. `options` are those of `argparse.ArgumentParser`."""
    return add(argparse.ArgumentParser(**options))


def defaults(**options: Any) -> argparse.Namespace:
    """What a parser gives for an empty command line, to be changed by the program: `workers`, `store`, ….

    Raises:
        UsageError: there is no such option.
    """
    found = parser().parse_args([])
    for name, value in options.items():
        if name not in _NAMES:
            raise UsageError(f"there is no option {name!r}", hint=f"there are {', '.join(_NAMES)}")
        setattr(found, name, value)
    return found


def of(given: argparse.Namespace, prefix: str = "") -> dict[str, Any]:
    """The options as keyword arguments: `call.run(**tm.arguments.of(given))`, or `submit` instead of `run`.

    Args:
        given: what the parser found.
        prefix: as it was given to `add`.
    """
    found: dict[str, Any] = {}
    for name, keyword in _NAMES.items():
        value = getattr(given, _attribute(prefix, name), None)
        if value:  # what was not given is not passed on
            found[keyword] = False if name == "quiet" else value
    return found


@without_our_frames
def start(call: Any, given: argparse.Namespace, prefix: str = "") -> Any:
    """Execute a call as the options say, and return its result; `Store.run` tells what is raised."""
    return call.run(**of(given, prefix))


def _attribute(prefix: str, name: str) -> str:
    return f"{prefix}{name}".replace("-", "_")


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer")
    return int(text)
