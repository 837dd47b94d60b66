"""Files that attempts write, read and delete; which bytes nobody needs any more.

What an accepted outcome says of files becomes rows in its own transaction. A file that is deleted, or temporary when
the block of its run has ended well, changes its state there, and its digest goes to the journal. `condemned` later says
which of these bytes nothing names; whoever serves the store deletes them and then reports them `gone`.

What keeps bytes: a file that is there, an argument, a value that is or names them (a value that only holds the *id* of
a file does not: the file's own row counts), a version of a name. What may be in a directory is decided by who
can read its manifest.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from tidemill.engine import expire
from tidemill.engine.lease import Leased
from tidemill.engine.turn import Turn
from tidemill.model.errors import NotFoundError, UsageError
from tidemill.model.fileid import FileId, Origin
from tidemill.model.protocol import Out, Outcome
from tidemill.model.states import AttemptState, BlockState
from tidemill.model.values import refs
from tidemill.stores.state import files, names, overview
from tidemill.stores.state.files import FileRow

HOLDERS = 100
"""Values looked into for what they name; bytes that more values name stay."""

_COMPLETE = files.COMPLETE
_DIR = re.compile(rb"\xa3dir|\xa5value")
"""What an encoded value holds that names a directory, or a value of its own that may."""


def record(turn: Turn, taken: list[tuple[Outcome, Leased]]) -> None:
    """Files, deletions and uses of attempts that have ended. Of one that failed only what it read counts; what it wrote
    is to be deleted, like what any has deleted of its own, which never becomes a row."""
    written: list[FileRow] = []
    doomed: list[FileId] = []
    gone: list[bytes] = []
    used: list[tuple[int, int, bytes, int, float, str]] = []
    for o, lease in taken:
        used += [(o.run, o.fence, digest, source, t, text(place)) for digest, t, place, source in o.used]
        if o.state != AttemptState.COMPLETE:
            gone += [w.digest for w in o.files]
            continue
        written += [
            FileRow(
                o.run, o.fence, w.n, w.digest, w.size, w.mode, text(w.name), int(w.temporary), lease.block, _COMPLETE
            )
            for w in o.files
        ]
        named = _ids(o.deleted)
        doomed += named
        gone += [one.digest for one in named if one.origin[:2] == (o.run, o.fence)]
    if used:
        files.use(turn.db, *zip(*used, strict=True))
    if written:
        files.add(turn.db, written)
        turn.engine.temporary = turn.engine.temporary or any(w.temporary for w in written)
    gone += [digest for one in doomed if (digest := files.remove(turn.db, one.origin)) is not None]
    _journal(turn, gone)


def _ids(texts: Iterable[str]) -> list[FileId]:
    """What a worker says, as far as it makes sense: an outcome is not refused for this."""
    found = []
    for one in texts:
        try:
            found.append(FileId(one))
        except UsageError:
            continue
    return found


def text(found: str) -> str:
    """A text as every database can hold it."""
    return found.replace("\0", "\ufffd")


def _journal(turn: Turn, digests: list[bytes]) -> None:
    if digests:
        files.journal(turn.db, digests, turn.now)
        turn.engine.journaled = True


def block_closed(turn: Turn, block: int, parent: int | None, state: BlockState) -> None:
    """COMPLETE -> EXPIRED for temporary files of a block that ended well; one with failures keeps them, so that it can
    be retried. Where a run outside follows from the one that wrote them, they live until the block around has ended.
    """
    if state is not BlockState.COMPLETE:
        return
    if parent is not None:
        writers = files.temporary_of(turn.db, block)
        needed = [run for run in writers if expire.is_followed(turn, run)]
        if needed:
            files.hand_up(turn.db, needed, [block] * len(needed), [parent] * len(needed))
    _journal(turn, files.expire(turn.db, [block]))


def runs_deleted(turn: Turn, ids: list[int]) -> None:
    """What deleted runs wrote is deleted with them."""
    _journal(turn, files.remove_of(turn.db, ids))


# ------------------------------------------------------------------------------------------------- from outside


def write(turn: Turn, digest: bytes, size: int, mode: int, name: str) -> FileId:
    """Record a file whose bytes a program outside has put into the object store; its id."""
    origin = Origin(0, turn.engine.reserve("file", 1), 1)
    found = FileId.of(origin, digest, size, name, executable=bool(mode & 0o100))
    files.add(turn.db, [FileRow(*origin, digest, size, mode, text(name), 0, 0, _COMPLETE)])
    return found


def delete(turn: Turn, one: FileId) -> bool:
    """COMPLETE, EXPIRED or LOST -> DELETED; False if it was deleted before.

    Raises:
        NotFoundError: there never was such a file.
    """
    digest = files.remove(turn.db, one.origin)
    if digest is None:
        find(turn, one)
        return False
    _journal(turn, [digest])
    return True


def find(turn: Turn, one: FileId) -> FileRow:
    """The row of a file.

    Raises:
        NotFoundError: there is no such file; one that an attempt wrote is there once the attempt has ended well.
    """
    row = files.get(turn.db, one.origin)
    if row is None or row.digest != one.digest:
        raise NotFoundError(
            f"there is no file {one}", hint="A file is there for others once the attempt that wrote it has ended well."
        )
    return row


def exists(turn: Turn, one: FileId) -> bool:
    """Whether a file is there."""
    row = files.get(turn.db, one.origin)
    return row is not None and row.digest == one.digest and row.state == _COMPLETE


# ------------------------------------------------------------------------------------------------- directories


def note_folders(turn: Turn, outs: Iterable[Out]) -> None:
    """Remember which stored objects that values name may be directories."""
    found: list[bytes] = []
    for out in outs:
        found += out.objects if out.value is None else _folders([out.value], out.objects)
    if found:
        files.note_folders(turn.db, found)


def note_literal_folders(turn: Turn, args: Iterable[bytes], objects: list[bytes]) -> None:
    """The same of arguments: `objects` are named by them, or by large values that they name."""
    found = _folders(args, objects)
    if found:
        files.note_folders(turn.db, found)


def _folders(values: Iterable[bytes], objects: list[bytes]) -> list[bytes]:
    """The directories that values name; all `objects` where that cannot be seen, because it stands in an object."""
    found: list[bytes] = []
    for one in values:
        if _DIR.search(one):
            named = refs(one)
            if any(r.kind == "value" for r in named):
                return objects
            found += [r.digest for r in named if r.kind == "dir"]
    return found


# ------------------------------------------------------------------------------------------------- what may be deleted


class Condemned(NamedTuple):
    """Bytes that nothing names any more.

    Attributes:
        since: when they were put into the journal the last time, seconds since the epoch.
    """

    digest: bytes
    since: float


class Sentence(NamedTuple):
    """A slice of the journal.

    Attributes:
        condemned: bytes to be deleted.
        before: since when the oldest attempt under way has been running, or now: who it is may have put some of the
            bytes again and not told of it yet. Seconds since the epoch.
        last: the last digest looked at; b"" at the end of the journal.
    """

    condemned: list[Condemned]
    before: float
    last: bytes


def condemned(turn: Turn, after: bytes, limit: int) -> Sentence:
    """Look at the next `limit` digests of the journal: those that something names are taken off it."""
    if overview.unfinished(turn.db):
        return Sentence([], turn.now, after)  # what it names stands in no row yet
    rows = files.journaled(turn.db, after, limit)
    looked = [Condemned(digest, t) for digest, t in rows]
    named = {one for one in looked if _needed(turn, one.digest)}
    if named:
        files.drop(turn.db, *zip(*named, strict=True))
    oldest = files.oldest_lease(turn.db)
    return Sentence(
        [one for one in looked if one not in named],
        turn.now if oldest is None else min(turn.now, oldest),
        rows[-1][0] if len(rows) == limit else b"",
    )


def gone(turn: Turn, found: list[Condemned]) -> None:
    """These bytes have been deleted, or something in a directory names them: nothing is left to be done, unless they
    have been given up anew meanwhile."""
    if found:
        files.drop(turn.db, *zip(*found, strict=True))
    turn.engine.journaled = files.any_journaled(turn.db)


def _needed(turn: Turn, digest: bytes) -> bool:
    if files.needed(turn.db, digest) or names.named(turn.db, digest):
        return True
    found = files.holders(turn.db, digest, HOLDERS)
    return len(found) == HOLDERS or any(_names(value, digest) for _, value in found)


def _names(value: bytes | None, digest: bytes) -> bool:
    """Whether a value holds more of these bytes than the id of a file."""
    return value is None or any(r.digest == digest and r.kind != "id" for r in refs(value))
