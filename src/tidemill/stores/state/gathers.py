"""Collections: many data as one, with stretches of members that count down apart.

Members stand in *stretches* `lo, lo + step, …`, none of which goes over a multiple of `STRETCH` members. A stretch is
found from a member by its *level* (the number of bits of its span), one index probe per level that the store has; so a
member costs no row. A stretch whose members have all ended has a digest over theirs; the collection has one over those
of each `STRETCH` members.
"""

from typing import NamedTuple

from tidemill.stores.state.database import Database, Row, Statement, insert

STRETCH = 1024
OPEN, COMPLETE, DEAD = 0, 2, 5

_INSERT = insert(
    "gather",
    "id:i block:i state:i members:i pending:i complete:i failed:i tolerate:i need:i one:i",
)
_MEMBERS = insert("member", "gather:i seq:i level:i lo:i n:i step:i pending:i")
_LEVELS = Statement(
    "with recursive l(v) as (select min(level) from member where pending > 0 union all "
    "select (select min(level) from member where pending > 0 and level > l.v) from l where l.v is not null) "
    "select v from l where v is not null"
)
_HITS = Statement(
    "select m.gather, m.seq, j.value from {ids} cross join member m indexed by member_lo on m.level = ? and "
    "m.pending > 0 "
    "and m.lo <= j.value and m.lo > j.value - ? and j.value <= m.lo + (m.n - 1) * m.step and (j.value - m.lo) % "
    "m.step = 0",
    "select m.gather, m.seq, j.value from {ids} join member m on m.level = ? and m.pending > 0 "
    "and m.lo <= j.value and m.lo > j.value - ? and j.value <= m.lo + (m.n - 1) * m.step and (j.value - m.lo) % "
    "m.step = 0",
)
_ALL_HITS = Statement(
    "select m.gather, m.seq, j.value from {ids} {join} member m on m.level = ? "
    "and m.lo <= j.value and m.lo > j.value - ? and j.value <= m.lo + (m.n - 1) * m.step and (j.value - m.lo) % "
    "m.step = 0"
)
_ALL_LEVELS = Statement(
    "with recursive l(v) as (select min(level) from member union all "
    "select (select min(level) from member where level > l.v) from l where l.v is not null) "
    "select v from l where v is not null"
)
_LOCK = Statement("select 1", "select 1 from gather where id in (select value from {ids}) order by id for update")
_COUNT = Statement(
    "update member set pending = pending - ? where gather = ? and seq = ? returning pending, lo, n, step"
)
_DIGEST = Statement("update member set digest = ? where gather = ? and seq = ?")
_DOUBT = Statement("update member set digest = null where gather = ? and seq = ?")
_TELL = Statement(
    "update gather set pending = pending - ?, complete = complete + ?, failed = failed + ? where id = ? and state = 0 "
    "returning id, block, members, pending, complete, failed, tolerate, need, one"
)
_END = Statement("update gather set state = ? where id = ? and state = 0")
_RECOUNT = Statement("update gather set state = ?, pending = ?, complete = ?, failed = ? where id = ?")
_RECOUNT_STRETCH = Statement("update member set pending = ?, digest = ? where gather = ? and seq = ?")
_OF = Statement("select seq, lo, n, step, pending, digest from member where gather = ? order by seq")
_EXISTING = Statement("select g.id, g.state from {ids} {join} gather g on g.id = j.value")
_GET = Statement(
    "select id, block, state, members, pending, complete, failed, tolerate, need, one from gather where id = ?"
)


class Gather(NamedTuple):
    """A collection's counters, as returned when one changes."""

    id: int
    block: int
    members: int
    pending: int
    complete: int
    failed: int
    tolerate: int
    need: int
    one: int


class Stretch(NamedTuple):
    """One stretch of members."""

    seq: int
    lo: int
    n: int
    step: int
    pending: int
    digest: bytes | None


def level(n: int, step: int) -> int:
    """The level of a stretch: a stretch that holds `x` starts at most `2**level` before it."""
    return ((n - 1) * step).bit_length()


def add(db: Database, rows: list[tuple[int, ...]], members: list[tuple[int, ...]]) -> None:
    """Insert collections (id, block, state, members, pending, complete, failed, tolerate, need, one) and their
    stretches (gather, seq, level, lo, n, step, pending)."""
    db.many(_INSERT, *zip(*rows, strict=True))
    if members:
        db.many(_MEMBERS, *zip(*members, strict=True))


def levels(db: Database) -> set[int]:
    """The levels that stretches still open have."""
    return {r[0] for r in db.rows(_LEVELS)}


def hits(db: Database, data: list[int], levels: set[int]) -> list[Row]:
    """(gather, seq, datum) of open stretches that these data are members of."""
    ids = db.ids(data)
    return [row for lv in sorted(levels) for row in db.rows(_HITS, ids, lv, (1 << lv) + 1)]


def containing(db: Database, data: list[int]) -> list[Row]:
    """(gather, seq, datum) of all stretches, closed ones too, that these data are members of."""
    ids = db.ids(data)
    return [row for (lv,) in db.rows(_ALL_LEVELS) for row in db.rows(_ALL_HITS, ids, lv, (1 << lv) + 1)]


def lock(db: Database, gathers: list[int]) -> None:
    """Serialise the engines that change these collections (nothing to do on SQLite)."""
    if db.dialect == "postgres":
        db.rows(_LOCK, db.ids(sorted(gathers)))


def count(db: Database, gather: int, seq: int, n: int) -> tuple[int, int, int, int]:
    """`n` more members of a stretch have ended: (pending, lo, n, step) of it."""
    row = db.one(_COUNT, n, gather, seq)
    assert row is not None
    return (row[0], row[1], row[2], row[3])


def close_stretch(db: Database, gather: int, seq: int, digest: bytes) -> None:
    db.run(_DIGEST, digest, gather, seq)


def doubt(db: Database, stretches: list[tuple[int, int]]) -> None:
    """Members of these stretches (gather, seq) have no value any more."""
    for gather, seq in stretches:
        db.run(_DOUBT, gather, seq)


def tell(db: Database, gather: int, stretches: int, complete: int, failed: int) -> Gather | None:
    """Count what ended into the collection; None if it had ended already."""
    row = db.one(_TELL, stretches, complete, failed, gather)
    return Gather._make(row) if row else None


def end(db: Database, gather: int, state: int) -> bool:
    """OPEN -> COMPLETE or DEAD."""
    return db.run(_END, state, gather) == 1


def recount(db: Database, gather: int, state: int, pending: int, complete: int, failed: int) -> None:
    """Set a collection's state and counters as its members' rows say."""
    db.run(_RECOUNT, state, pending, complete, failed, gather)


def recount_stretch(db: Database, gather: int, seq: int, pending: int, digest: bytes | None) -> None:
    """Set a stretch's counter and digest as its members' rows say."""
    db.run(_RECOUNT_STRETCH, pending, digest, gather, seq)


def stretches(db: Database, gather: int) -> list[Stretch]:
    """The stretches of a collection in order."""
    return [Stretch._make(r) for r in db.rows(_OF, gather)]


def states(db: Database, ids: list[int]) -> dict[int, int]:
    """The states of those data that are collections."""
    return dict(db.rows(_EXISTING, db.ids(ids)))


def get(db: Database, gather: int) -> tuple[Gather, int] | None:
    """A collection's counters and its state."""
    row = db.one(_GET, gather)
    return (Gather(row[0], row[1], *row[3:]), row[2]) if row else None
