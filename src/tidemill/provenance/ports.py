"""Argument templates by port: the encoded piece of each argument, and which inputs stand in it."""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from tidemill.model.spec import TaskSpec
from tidemill.model.values import inputs_in

_pieces = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode


class Argument(NamedTuple):
    """What a run was given at one port.

    Attributes:
        port: the parameter's name.
        encoded: as in the template, with placeholders for inputs.
    """

    port: str
    encoded: bytes


def arguments(spec: TaskSpec, args: bytes) -> tuple[list[Argument], str]:
    """The arguments by port, and the replica: "" for the first or only one, "3" for the fourth, "3 in 1" for the fourth
    of what the second of another repetition grew.
    """
    pieces = _pieces(args)
    found = [Argument(p.name, bytes(piece)) for p, piece in zip(spec.inputs, pieces, strict=False)]
    extra = pieces[len(spec.inputs) :]
    numbers = [n for piece in extra for n in _numbers(piece)]
    return found, " in ".join(map(str, numbers)) if any(numbers) else ""


def _numbers(piece: msgspec.Raw) -> list[int]:
    found: int | list[int] = msgspec.msgpack.decode(piece, type=int | list[int])
    return found if isinstance(found, list) else [found]


def input_names(spec: TaskSpec, args: bytes) -> dict[int, str]:
    """The port in which each input, by number, stands first."""
    names: dict[int, str] = {}
    for port, number in _placed(spec, args):
        names.setdefault(number, port)
    return names


def _placed(spec: TaskSpec, args: bytes) -> Iterator[tuple[str, int]]:
    for argument in arguments(spec, args)[0]:
        for found in inputs_in(argument.encoded):
            yield argument.port, found.number
