"""Files that attempts (or programs outside) wrote to the store, what attempts read, and bytes that may be deleted.

A file's row has a state as data have: it is inserted COMPLETE; a temporary one expires, any may be deleted. Its digest
then stands in the journal until somebody has made sure that nothing else names the bytes and has deleted them.
"""

from typing import NamedTuple

from tidemill.model.fileid import Origin
from tidemill.stores.state import schema
from tidemill.stores.state.database import Column, Database, Row, Statement, delete, insert, update

COMPLETE = 2
_SINCE = 3
"""The schema version that brought the tables."""

_COLUMNS = "run, fence, n, digest, size, mode, name, temporary, block, state"
_INSERT = insert(
    "file", "run:i fence:i n:i digest:b size:i mode:i name:t temporary:i block:i state:i", ignore=True
)  # fmt: skip
_GET = Statement(f"select {_COLUMNS} from file where run = ? and fence = ? and n = ?")
_BETWEEN = Statement(f"select {_COLUMNS} from file where run >= ? and run < ? order by run, fence, n")
_EXPIRE = Statement(
    "update file set state = 3 where temporary = 1 and state = 2 and block in (select value from {ids}) "
    "returning digest"
)
_TEMPORARY_OF = Statement("select distinct run from file where block = ? and temporary = 1 and state = 2 order by run")
_HAND_UP = update(
    "file", "block = {parent}", "run = {run} and block = {block} and temporary = 1 and state = 2",
    "run:i block:i parent:i",
)  # fmt: skip
_DELETE = Statement(
    "update file set state = 4 where run = ? and fence = ? and n = ? and state in (2, 3, 8) returning digest"
)
_DELETE_OF = Statement(
    "update file set state = 4 where run in (select value from {ids}) and state in (2, 3, 8) returning digest"
)
_TEMPORARY = Statement("select exists (select 1 from file where temporary = 1 and state = 2)")
_LIVE = Statement("select distinct digest from file where state = 2")
_USE = insert("used", "run:i fence:i digest:b source:i t:r place:t", ignore=True)
_USED = Statement(
    "select u.run, u.fence, u.digest, u.t, u.place from {ids} {join} used u on u.run = j.value "
    "order by u.run, u.fence, u.t, u.digest"
)
_JOURNAL = insert("journal", "digest:b t:r").followed_by(" on conflict (digest) do update set t = excluded.t")
_PENDING = Statement("select digest, t from journal where digest > ? order by digest limit ?")
_ANY_PENDING = Statement("select exists (select 1 from journal)")
_DROP = delete("journal", "digest = {digest} and t = {t}", "digest:b t:r")
_NEEDED = Statement(
    "select 1 where exists (select 1 from file where digest = ? and state = 2) "
    "or exists (select 1 from literal where digest = ?) or exists (select 1 from datum where digest = ? "
    "and value is null and state = 2 and kind = 1 and src is null and size > 0)"
)
_HOLDERS = Statement(
    "select d.id, d.value from content c join datum d on d.id = c.datum where c.digest = ? and d.state = 2 "
    "order by d.id limit ?"
)
_FOLDER = insert("folder", "digest:b", ignore=True)
_FOLDERS = Statement("select digest from folder where digest > ? order by digest")
_OLDEST = Statement("select min(t) from lease")


class FileRow(NamedTuple):
    """A file.

    Attributes:
        run, fence, n: who wrote it, see `Origin`.
        block: the block that the run stands in, 0 for a file from outside.
        state: a `DatumState`.
    """

    run: int
    fence: int
    n: int
    digest: bytes
    size: int
    mode: int
    name: str
    temporary: int
    block: int
    state: int


def known(db: Database) -> bool:
    """Whether the store has these tables yet; one that nobody has written to since an older version has not."""
    return schema.version(db) >= _SINCE


def add(db: Database, rows: list[FileRow]) -> None:
    """Insert files."""
    db.many(_INSERT, *zip(*rows, strict=True))


def get(db: Database, origin: Origin) -> FileRow | None:
    """One file."""
    row = db.one(_GET, *origin)
    return FileRow._make(row) if row else None


def between(db: Database, low: int, high: int) -> list[FileRow]:
    """Files that runs with `low <= id < high` wrote, in order."""
    return [FileRow._make(r) for r in db.rows(_BETWEEN, low, high)]


def expire(db: Database, blocks: list[int]) -> list[bytes]:
    """COMPLETE -> EXPIRED for the temporary files of these blocks; their digests."""
    return [bytes(r[0]) for r in db.rows(_EXPIRE, db.ids(blocks))]


def temporary_of(db: Database, block: int) -> list[int]:
    """The runs whose temporary files live until a block has ended."""
    return [r[0] for r in db.rows(_TEMPORARY_OF, block)]


def hand_up(db: Database, runs: Column, blocks: Column, parents: Column) -> None:
    """Temporary files of these runs live until the blocks around theirs have ended."""
    db.many(_HAND_UP, runs, blocks, parents)


def remove(db: Database, origin: Origin) -> bytes | None:
    """COMPLETE, EXPIRED or LOST -> DELETED; its digest, None if it was none of these."""
    row = db.one(_DELETE, *origin)
    return bytes(row[0]) if row else None


def remove_of(db: Database, runs: list[int]) -> list[bytes]:
    """COMPLETE, EXPIRED or LOST -> DELETED for what these runs wrote; their digests."""
    return [bytes(r[0]) for r in db.rows(_DELETE_OF, db.ids(runs))]


def any_temporary(db: Database) -> bool:
    """Whether there is a temporary file that has not expired."""
    row = db.one(_TEMPORARY)
    return bool(row and row[0])


def live(db: Database) -> set[bytes]:
    """Digests of all files that have neither expired nor been deleted."""
    return {bytes(r[0]) for r in db.rows(_LIVE)}


def use(db: Database, *columns: Column) -> None:
    """Record what attempts read: run, fence, digest, the run that wrote it (0 for none), time, path."""
    db.many(_USE, *columns)


def used(db: Database, runs: list[int]) -> list[Row]:
    """(run, fence, digest, time, path) of what runs read beside their inputs."""
    return [(r[0], r[1], bytes(r[2]), r[3], r[4]) for r in db.rows(_USED, db.ids(runs))]


def journal(db: Database, digests: list[bytes], t: float) -> None:
    """Bytes that may be deleted once nothing names them any more."""
    found = sorted(set(digests))
    db.many(_JOURNAL, found, [t] * len(found))


def journaled(db: Database, after: bytes, limit: int) -> list[tuple[bytes, float]]:
    """(digest, since when the last time) of bytes in the journal with digests behind `after`, in order."""
    return [(bytes(d), t) for d, t in db.rows(_PENDING, after, limit)]


def any_journaled(db: Database) -> bool:
    row = db.one(_ANY_PENDING)
    return bool(row and row[0])


def drop(db: Database, digests: Column, since: Column) -> int:
    """Take digests off the journal that have not been put into it again since then; how many there were."""
    return db.many(_DROP, digests, since)


def needed(db: Database, digest: bytes) -> bool:
    """Whether a file, an argument or a value says that these bytes must stay; see `holders` for values that name
    them.
    """
    return db.one(_NEEDED, digest, digest, digest) is not None


def holders(db: Database, digest: bytes, limit: int) -> list[tuple[int, bytes | None]]:
    """(datum, value) of at most `limit` complete data that name these bytes."""
    return [(d, None if v is None else bytes(v)) for d, v in db.rows(_HOLDERS, digest, limit)]


def note_folders(db: Database, digests: list[bytes]) -> None:
    """These objects may be directories: what is in them is named by nothing but them."""
    db.many(_FOLDER, sorted(set(digests)))


def folders(db: Database, after: bytes = b"") -> list[bytes]:
    """Digests of objects that may be directories, behind `after`, in order."""
    return [bytes(r[0]) for r in db.rows(_FOLDERS, after)]


def oldest_lease(db: Database) -> float | None:
    """Since when the oldest attempt under way has its lease."""
    row = db.one(_OLDEST)
    return None if row is None else row[0]
