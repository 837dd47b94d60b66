"""Named files: a name points to bytes, and is moved to others by compare-and-swap.

Every put is a new version, counted from 1; giving a name up is a version without bytes. Bytes of older versions stay
until garbage is collected, however they came into the store.
"""

import re
import time
from typing import NamedTuple

from tidemill.engine import files as engine_files
from tidemill.engine.turn import Turn
from tidemill.model.errors import ChangedError, NotFoundError, UsageError
from tidemill.model.fileid import FileId
from tidemill.stores.state import files, names
from tidemill.stores.state.names import Version

SCOPE = 1
"""Of programs outside."""
ATTEMPTS = 20
"""How often a put without `expect` goes behind somebody else's."""
_NAME = re.compile(r"[A-Za-z0-9._-]+")


class Content(NamedTuple):
    """What a name shall point to.

    Attributes:
        kind: "file" or "dir".
        base: the name of the file itself.
        id: the file that it is, where the bytes were in the object store before; else they were put for this.
    """

    digest: bytes
    size: int
    mode: int
    base: str
    kind: str
    id: FileId | None = None


class Writer(NamedTuple):
    """Who asks: a run (0 for a program outside), in words, and the scope of the names."""

    run: int
    who: str
    scope: int = SCOPE


def check(name: object) -> str:
    """A name.

    Raises:
        UsageError: it is none.
    """
    if isinstance(name, str) and _NAME.fullmatch(name):
        return name
    raise UsageError(f"{name!r} cannot be the name of a file", hint="Use letters, digits, dots, _ and - only.")


def get(turn: Turn, scope: int, name: str) -> Version:
    """What a name points to.

    Raises:
        NotFoundError: it points to nothing.
    """
    found = names.newest(turn.db, scope, check(name))
    if found is None or found.digest is None:
        raise missing(name, found)
    return found


def missing(name: str, found: Version | None) -> NotFoundError:
    """How it is said that a name points to nothing."""
    given_up = f": {found.who} gave it up ({_moment(found.t)})" if found is not None else ""
    return NotFoundError(f"there is no named file {name!r}{given_up}", hint="tidemill names lists them")


def put(turn: Turn, by: Writer, name: str, content: Content, expect: int | None) -> int:
    """Let a name point to these bytes; the new version.

    Args:
        expect: the version that it must be at (0: it must point to nothing); None for whatever it is at.

    Raises:
        ChangedError: it is at another version.
        NotFoundError: the file that it shall stand for is not there, or not any more.
        UsageError: it cannot be a name.
    """
    for _ in range(ATTEMPTS):
        found = names.newest(turn.db, by.scope, check(name))
        if found is not None and _is_same(found, by, content, expect):
            return found.version
        _compare(name, found, expect)
        if content.id is not None:
            _find(turn, content.id)
        if _add(turn, by, name, found, content):
            if content.kind != "file":
                files.note_folders(turn.db, [content.digest])
            return found.version + 1 if found is not None else 1
    raise ChangedError(f"{name!r} is being changed by others all the time", hint="Try again.")


def give_up(turn: Turn, by: Writer, name: str, expect: int | None) -> bool:
    """Let a name point to nothing; False if it did so before.

    Raises:
        ChangedError: it is at another version than expected.
    """
    for _ in range(ATTEMPTS):
        found = names.newest(turn.db, by.scope, check(name))
        if found is None or found.digest is None:
            return False
        _compare(name, found, expect)
        if _add(turn, by, name, found, Content(b"", 0, 0, "", "")):
            return True
    raise ChangedError(f"{name!r} is being changed by others all the time", hint="Try again.")


def _find(turn: Turn, one: FileId) -> None:
    """Know, in this transaction, that a row keeps the bytes of a file: what is deleted is decided in another one, which
    sees the name.

    Raises:
        NotFoundError: none does.
    """
    if not (names.named(turn.db, one.digest) if one.shared else engine_files.exists(turn, one)):
        raise NotFoundError(
            f"there is no file {one}, or not any more", hint="Write what the name shall stand for, and put that."
        )


def _add(turn: Turn, by: Writer, name: str, found: Version | None, content: Content) -> bool:
    version = found.version + 1 if found is not None else 1
    digest, size, mode, base, kind, _ = content
    return names.add(
        turn.db,
        Version(
            by.scope, name, version, digest or None, size, kind, mode, engine_files.text(base), by.run, by.who, turn.now
        ),
    )


def _is_same(found: Version, by: Writer, content: Content, expect: int | None) -> bool:
    """Whether this very put has been done before: a run asks again when it heard no answer."""
    if not by.run or found.run != by.run or (expect is not None and found.version != expect + 1):
        return False
    return (found.digest, found.size, found.mode, found.base, found.kind) == content._replace(
        base=engine_files.text(content.base)
    )[:5]


def _compare(name: str, found: Version | None, expect: int | None) -> None:
    if expect is None:
        return
    at = found.version if found is not None else 0
    free = found is None or found.digest is None
    if at == expect or (expect == 0 and free):
        return
    by = f"; {found.who} changed it at {_moment(found.t)}" if found is not None else ""
    raise ChangedError(
        f"{name!r} is at version {at}, not at version {expect}{by}",
        hint="Read it again, make the change again, and put it with the version that was read.",
    )


def _moment(t: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(t))
