"""Commands about files, names, messages and settings: what programs outside of tasks ask for.

Digests are bytes, or hexadecimal text where a command must be JSON-able.
"""

from collections.abc import Callable, Mapping

from tidemill.engine import files, messages, names
from tidemill.engine.turn import Turn
from tidemill.model.digest import SIZE
from tidemill.model.errors import UsageError
from tidemill.model.fileid import FileId
from tidemill.stores.state.names import Version

Arguments = Mapping[str, object]

_KINDS = ("file", "dir")


def text(args: Arguments, name: str, default: str | None = None) -> str:
    """A text among arguments.

    Raises:
        UsageError: it is missing, or something else.
    """
    found = args.get(name, default)
    if isinstance(found, str):
        return found
    raise UsageError(f"{name} must be a text, not {found!r}")


def number(args: Arguments, name: str, default: int | None = None) -> int:
    """An integer among arguments that is not negative.

    Raises:
        UsageError: it is missing, or something else.
    """
    found = args.get(name, default)
    if isinstance(found, int) and not isinstance(found, bool) and 0 <= found < 1 << 62:
        return found
    raise UsageError(f"{name} must be an integer that is not negative, not {found!r}")


def optional(args: Arguments, name: str) -> int | None:
    """The same where None says that there is none."""
    return None if args.get(name) is None else number(args, name)


def digest(args: Arguments) -> bytes:
    """The digest among arguments.

    Raises:
        UsageError: it is missing, or no digest.
    """
    found = args.get("digest")
    if isinstance(found, str):
        try:
            found = bytes.fromhex(found)
        except ValueError:
            found = b""
    if isinstance(found, bytes) and len(found) == SIZE:
        return found
    raise UsageError(f"digest must be {SIZE} bytes, not {args.get('digest')!r}")


def content(args: Arguments) -> names.Content:
    """What a name shall point to.

    Raises:
        UsageError: the arguments do not say.
    """
    if args.get("id") is not None:
        one = FileId(text(args, "id"))
        return names.Content(one.digest, one.size, one.mode, one.name, "file", one)
    kind = text(args, "kind", "file")
    if kind not in _KINDS:
        raise UsageError(f"kind must be one of {', '.join(_KINDS)}, not {kind!r}")
    mode = number(args, "mode", 0o644) & 0o777
    return names.Content(digest(args), number(args, "size"), mode, text(args, "base", ""), kind)


def shown(found: Version) -> dict[str, object]:
    """A version as it is told."""
    return {
        "name": found.name,
        "version": found.version,
        "digest": found.digest,
        "size": found.size,
        "mode": found.mode,
        "base": found.base,
        "kind": found.kind,
        "run": found.run,
        "who": found.who,
        "t": found.t,
    }


def _file_write(turn: Turn, args: Arguments) -> object:
    mode = number(args, "mode", 0o644) & 0o777
    return {"id": str(files.write(turn, digest(args), number(args, "size"), mode, text(args, "name")))}


def _file_delete(turn: Turn, args: Arguments) -> object:
    return {"deleted": files.delete(turn, FileId(text(args, "id")))}


def _name_put(turn: Turn, args: Arguments) -> object:
    by = names.Writer(0, files.text(text(args, "who", "")))
    return {"version": names.put(turn, by, text(args, "name"), content(args), optional(args, "expect"))}


def _name_delete(turn: Turn, args: Arguments) -> object:
    by = names.Writer(0, files.text(text(args, "who", "")))
    return {"deleted": names.give_up(turn, by, text(args, "name"), optional(args, "expect"))}


def _messages_seen(turn: Turn, args: Arguments) -> object:
    before, to = number(args, "before"), number(args, "to")
    return {"moved": messages.seen(turn, text(args, "reader"), number(args, "root"), before, to)}


ORDERS: dict[str, Callable[[Turn, Arguments], object]] = {
    "file.delete": _file_delete,
    "file.write": _file_write,
    "messages.seen": _messages_seen,
    "name.delete": _name_delete,
    "name.put": _name_put,
}
