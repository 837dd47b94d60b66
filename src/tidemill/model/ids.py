"""Public ids: how people name blocks, runs and data.

A block is a plain integer, as in `3`, wherever it stands. A run is its block and its integer, `3.117`. `block:3`,
`run:117` and `datum:45` say what they are.
"""

from typing import Literal, NamedTuple

from tidemill.model.errors import UsageError

Kind = Literal["block", "run", "datum"]
KINDS: tuple[Kind, ...] = ("block", "run", "datum")


class Id(NamedTuple):
    """What a public id names.

    Attributes:
        kind: "block", "run" or "datum".
        number: its integer in the store.
        block: of a run written as `3.117`, the block; else None.
    """

    kind: Kind
    number: int
    block: int | None = None

    def __str__(self) -> str:
        if self.block is not None:
            return f"{self.block}.{self.number}"
        return f"{self.kind}:{self.number}"


def run_id(block: int, run: int) -> str:
    """The public id of a run."""
    return f"{block}.{run}"


def datum_id(datum: int) -> str:
    """The public id of a datum."""
    return f"datum:{datum}"


def parse(text: str | int) -> Id:
    """What a public id names.

    Raises:
        UsageError: if it is not an id.
    """
    words = str(text).strip()
    kind, colon, rest = words.partition(":")
    if colon and kind in KINDS and _is_number(rest):
        return Id(kind, int(rest))
    block, dot, run = words.partition(".")
    if dot and _is_number(block) and _is_number(run):
        return Id("run", int(run), int(block))
    if _is_number(words):
        return Id("block", int(words))
    raise UsageError(
        f"{words!r} is not an id",
        hint="a run is written 3.117, a block 3, a datum datum:45; tidemill status lists blocks",
    )


def parse_as(text: str | int, kind: Kind) -> Id:
    """The same where only one kind makes sense. A plain integer is never a run: it could be meant as a block.

    Raises:
        UsageError: if it is not an id, or that of something else.
    """
    found = parse(text)
    if found.kind != kind:
        hint = f"tidemill list --block {found.number} lists its runs, such as {found.number}.117"
        known = kind == "run" and found.kind == "block"
        raise UsageError(f"{text} is a {found.kind}, but a {kind} is wanted here", hint=hint if known else "")
    return found


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19
