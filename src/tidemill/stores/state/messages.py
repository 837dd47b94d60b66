"""What attempts told their workflow, in the order in which it was recorded, and up to where readers have been told."""

from typing import NamedTuple

from tidemill.stores.state import schema
from tidemill.stores.state.database import Database, Row, Statement, insert

_SINCE = 3

_INSERT = insert("message", "id:i root:i run:i fence:i t:r level:i stream:t text:t")
_SELECT = "select m.id, m.root, m.run, m.fence, m.t, m.level, m.stream, m.text from message m where "
_AFTER = Statement(_SELECT + "m.root = ? and m.id > ? order by m.id limit ?")
_STREAMS = Statement(
    "select m.fence, m.stream, m.text from message m where m.root = ? and m.run = ? and m.stream <> '' order by m.id"
)
_ROOTS = Statement("select distinct root from message order by root")
_SEEN = Statement("select seen from reader where name = ? and root = ?")
_BEGIN = Statement("insert into reader(name, root, seen) values (?, ?, 0) on conflict do nothing")
_MOVE = Statement("update reader set seen = ? where name = ? and root = ? and seen = ?")


class Message(NamedTuple):
    """One message.

    Attributes:
        root: the workflow's block.
        run, fence: who sent it: the run and its attempt.
        t: seconds since the epoch, by the clock of the machine it came from.
        level: as in `logging`.
        stream: "" for a line, else the name of the stream that `text` is.
    """

    id: int
    root: int
    run: int
    fence: int
    t: float
    level: int
    stream: str
    text: str


def add(db: Database, rows: list[Message]) -> None:
    """Record messages; ids ascend in the order of commits."""
    db.many(_INSERT, *zip(*rows, strict=True))


def after(db: Database, root: int, seen: int, limit: int) -> list[Message]:
    """At most `limit` messages of a workflow behind id `seen`, in order."""
    return [Message._make(r) for r in db.rows(_AFTER, root, seen, limit)]


def streams(db: Database, root: int, run: int) -> list[Row]:
    """(attempt, name, text) of the streams that a run has sent."""
    return db.rows(_STREAMS, root, run) if schema.version(db) >= _SINCE else []


def roots(db: Database) -> list[int]:
    """Workflows that have messages."""
    return [r[0] for r in db.rows(_ROOTS)] if schema.version(db) >= _SINCE else []


def seen(db: Database, reader: str, root: int) -> int:
    """The id of the last message that a reader has been given, 0 for none."""
    row = db.one(_SEEN, reader, root)
    return int(row[0]) if row else 0


def move(db: Database, reader: str, root: int, before: int, to: int) -> bool:
    """Move a reader from one message to a later one; False if it does not stand there any more."""
    db.run(_BEGIN, reader, root)
    return db.run(_MOVE, to, reader, root, before) == 1
