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

from tidemill.client.following import checked
from tidemill.model.errors import UsageError, without_our_frames

_NAMES = {"store": "store", "objects": "objects", "workers": "workers", "stop_on_failure": "stop", "quiet": "progress"}
"""Options, and what they are called where a call is run."""
_SHOWN = "quiet"
"""The option of `run` alone: what is submitted shows no progress."""


def add(parser: argparse.ArgumentParser, group: str = "tidemill", prefix: str = "") -> argparse.ArgumentParser:
    """Add the options of `tidemill run` to a parser, and return it.

    Args:
        parser: the user's own.
        group: the heading under which they stand in the help.
        prefix: begin of their names, where a program has options of the same names: with "engine-", `--engine-store`.
            There are no short options, which are the user's.

    Raises:
        UsageError: the parser has an option or an argument of such a name already, or one whose value is found under
            it. Nothing is added then.
    """
    _refuse_taken(parser, prefix)
    options = parser.add_argument_group(group) if group else parser

    def option(name: str, **how: Any) -> None:
        options.add_argument(_flag(prefix, name), dest=_attribute(prefix, name), **how)

    option("store", metavar="PLACE", help="a directory or postgresql://…; default: $TIDEMILL_STORE, else .tidemill")
    option("objects", metavar="PLACE", help="where files and large values are, if not in the store")
    option("workers", metavar="N", type=_positive, help="worker processes; default: one per processor")
    option("stop_on_failure", action="store_true", help="start nothing more after the first failure")
    option("quiet", action="store_true", help="show no progress")
    return parser


def _refuse_taken(parser: argparse.ArgumentParser, prefix: str) -> None:
    """Before anything is added: neither option strings nor attributes of what is parsed may be shared.

    Raises:
        UsageError: one is.
    """
    attributes = {_attribute(prefix, name): _flag(prefix, name) for name in _NAMES}
    for action in parser._actions:  # noqa: SLF001 — argparse tells it nowhere else, and checks only option strings
        own = "/".join(action.option_strings) or repr(action.dest)
        both = set(action.option_strings) & set(attributes.values())
        if both:
            raise UsageError(f"the parser has an option {both.pop()} already", hint=_PREFIX_HINT)
        if action.dest in attributes:
            raise UsageError(
                f"the parser's argument {own} and {attributes[action.dest]} would both be found as {action.dest!r}",
                hint=_PREFIX_HINT,
            )


_PREFIX_HINT = 'give ours other names: tm.arguments.add(parser, prefix="engine-"), and the same prefix to `start`'


def parser(**options: Any) -> argparse.ArgumentParser:
    """A parser that has these options, and nothing else yet. `options` are those of `argparse.ArgumentParser`."""
    return add(argparse.ArgumentParser(**options))


def defaults(**options: Any) -> argparse.Namespace:
    """What a parser gives for an empty command line, to be changed by the program: `workers`, `store`, ….

    Raises:
        UsageError: there is no such option, or the number of workers is none.
    """
    found = parser().parse_args([])
    for name, value in options.items():
        if name not in _NAMES:
            raise UsageError(f"there is no option {name!r}", hint=f"there are {', '.join(_NAMES)}")
        setattr(found, name, checked(value) if name == "workers" else value)
    return found


def of(given: argparse.Namespace, prefix: str = "", *, submit: bool = False) -> dict[str, Any]:
    """The options as keyword arguments: `call.run(**tm.arguments.of(given))`, or
    `call.submit(**tm.arguments.of(given, submit=True))`.

    Args:
        given: what the parser found.
        prefix: as it was given to `add`.
        submit: they are for `submit`, which shows no progress and so has nothing to be quiet about.
    """
    found: dict[str, Any] = {}
    for name, keyword in _NAMES.items():
        value = getattr(given, _attribute(prefix, name), None)
        if value and not (submit and name == _SHOWN):  # what was not given is not passed on
            found[keyword] = False if name == _SHOWN else value
    return found


@without_our_frames
def start(call: Any, given: argparse.Namespace, prefix: str = "") -> Any:
    """Execute a call as the options say, and return its result; `Store.run` tells what is raised."""
    return call.run(**of(given, prefix))


def _attribute(prefix: str, name: str) -> str:
    return f"{prefix}{name}".replace("-", "_")


def _flag(prefix: str, name: str) -> str:
    return f"--{prefix}{name.replace('_', '-')}"


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer")
    return int(text)
