"""Blocks: sets of runs that finish as one. A block counts what is unfinished inside it; a counter at zero closes it
and counts in its parent. On PostgreSQL changes of the counters are appended and folded by `fold`, so that engines do
not wait for each other at the root block's row.
"""

from collections.abc import Mapping
from typing import NamedTuple

from tidemill.model.delta import decode_header
from tidemill.model.errors import NotFoundError
from tidemill.model.states import BlockState
from tidemill.stores.state.database import Column, Database, Row, Statement, insert, update

_COLUMNS = (
    "id, parent, root, scope, hub, state, generation, previous, owner, name, out, open, done, reused, failed, skipped, "
    "cancelled, total, run_lo, run_n, out_lo, out_n, block_lo, block_n, flags, cause, t_open, t_close"
)
_INSERT = insert(
    "block",
    "id:i parent:i root:i scope:i hub:i state:i generation:i previous:i owner:i name:t out:i open:i done:i reused:i "
    "failed:i "
    "skipped:i cancelled:i total:i run_lo:i run_n:i out_lo:i out_n:i block_lo:i block_n:i flags:i t_open:r",
)
_COUNT = Statement(
    "update block set open = open + ?, done = done + ?, reused = reused + ?, failed = failed + ?, skipped = skipped "
    "+ ?, "
    "cancelled = cancelled + ?, total = total + ? where id = ? "
    "returning id, parent, open, failed, skipped, cancelled, state, out, flags, owner, done, reused, total"
)
_COUNT_MANY = update(
    "block",
    "open = open + {open}, done = done + {done}, reused = reused + {reused}, failed = failed + {failed}, "
    "skipped = skipped + {skipped}, cancelled = cancelled + {cancelled}, total = total + {total}",
    "id = {id}",
    "open:i done:i reused:i failed:i skipped:i cancelled:i total:i id:i",
)
_COUNTED = Statement(
    "select b.id, b.parent, b.open, b.failed, b.skipped, b.cancelled, b.state, b.out, b.flags, b.owner, b.done, "
    "b.reused, b.total from {ids} {join} block b on b.id = j.value"
)
_GROWTHS = insert("delta", "block:i header:b body:b chunks:i sealed:i")
_CLOSE_MANY = update(
    "block", "state = {state}, t_close = {now}", "id = {id} and state in (0, 1) and open = 0", "id:i state:i now:r"
)
_APPEND = insert("block_delta", "open:i done:i reused:i failed:i skipped:i cancelled:i total:i block:i")
_FOLD_LOCK = Statement("select 1", "select pg_try_advisory_xact_lock(7414)")
_FOLD = Statement(
    "select 1",
    "with gone as (delete from block_delta returning *), "
    "s as (select block, sum(open)::bigint o, sum(done)::bigint d, sum(reused)::bigint u, sum(failed)::bigint f, "
    "sum(skipped)::bigint k, sum(cancelled)::bigint c, sum(total)::bigint t from gone group by block) "
    "update block b set open = b.open + s.o, done = b.done + s.d, reused = b.reused + s.u, failed = b.failed + s.f, "
    "skipped = b.skipped + s.k, cancelled = b.cancelled + s.c, total = b.total + s.t from s where b.id = s.block "
    "returning b.id, b.parent, b.open, b.failed, b.skipped, b.cancelled, b.state, b.out, b.flags, b.owner, "
    "b.done, b.reused, b.total",
)
_CLOSE = Statement("update block set state = ?, t_close = ? where id = ? and state in (0, 1) and open = 0 returning id")
_REOPEN = Statement(
    "update block set state = 0, t_close = null, cause = null where id = ? and state in (2, 3, 4) returning id"
)
_STOP = Statement("update block set state = 1, cause = ? where id = ? and state = 0 returning id")
_GET = Statement(f"select {_COLUMNS} from block where id = ?")
_MANY = Statement(
    f"select {', '.join('b.' + c for c in _COLUMNS.split(', '))} from {{ids}} {{join}} block b on b.id = j.value"
)
_ROOTS = Statement(f"select {_COLUMNS} from block where parent is null order by id desc limit ?")
_CHILDREN = Statement(f"select {_COLUMNS} from block where parent = ? order by id")
_OWNED = Statement(f"select {_COLUMNS} from block where owner = ? order by id desc")
_ADD_DELTA = Statement(
    "insert into delta(block, key, header, body, chunks, sealed, result, place) values (?, ?, ?, ?, ?, ?, ?, ?)"
)
_DELTA = Statement("select block, key, header, body, chunks, sealed, result from delta where block = ?")
_OPEN_BY_KEY = Statement(
    "select d.block, d.chunks, d.sealed from delta d join block b on b.id = d.block "
    "where d.key = ? and b.state = 0 and b.parent is null order by d.block desc limit 1"
)
_ADD_CHUNK = Statement("insert into chunk(block, seq, digest, body) values (?, ?, ?, ?)")
_CHUNK = Statement("select digest, body from chunk where block = ? and seq = ?")
_CHUNK_DIGESTS = Statement("select digest from chunk where block = ? order by seq limit ?")
_PROGRESS = Statement("update delta set chunks = ? where block = ?")
_SEAL = Statement("update delta set sealed = 1 where block = ? and sealed = 0")
_ABANDON = Statement("update delta set key = null where block = ?")
_UNSEAL = Statement(
    "update delta set sealed = 0 where block = ? and sealed = 1 and key is null "
    "and chunks < (select count(*) from chunk c where c.block = delta.block and c.body is not null)"
)
_UNSEALED = Statement("select block, chunks from delta where sealed = 0 and key is null order by block limit 1")
_UNSEALED_HUBS = Statement(
    "select distinct b.hub from delta d join block b on b.id = d.block where d.sealed = 0 and b.state in (0, 1)"
)
_SET_OUT = Statement("update block set out = ? where id = ?")
_FLAGS = Statement("update block set flags = ? where id = ?")
_SUBTREE = Statement(
    "with recursive t(id) as (select id from block where id = ? union all "
    "select b.id from block b join t on b.parent = t.id) "
    f"select {', '.join('b.' + c for c in _COLUMNS.split(', '))} from t join block b on b.id = t.id order by b.id"
)
_WITH_DATUM = Statement(f"select {_COLUMNS} from block where out_lo <= ? and out_lo + out_n > ? limit 1")
_UNSEALED_OF = Statement("select d.block from {ids} {join} delta d on d.block = j.value where d.sealed = 0")
_GENERATION = Statement("select max(generation) from block where parent = ? and previous = ?")
_OPEN_CANCELLING = Statement("select id from block where state = 1 order by id")

FEW = 3
"""Blocks that are counted one by one."""

STOP_ON_FAILURE = 1
DETACHED = 2
CANCELLING = 4
ABANDONED = 8
CONTAINED = 16
SERVED = 32
ATTACHED = 64
HANDED_DOWN = STOP_ON_FAILURE | ATTACHED
"""Flags of a block: stop at the first failure (for all blocks below a root that asked for it); go on without the
client that submitted it; being cancelled: running runs are stopped too; stopped before all of it was submitted, so that
it is never complete; what fails in it is nobody else's failure; services end
when it does; it lies in one of those, or is one. `HANDED_DOWN` are those that every block below has too."""


class Block(NamedTuple):
    """A block's row."""

    id: int
    parent: int | None
    root: int
    scope: int
    hub: int
    state: int
    generation: int
    previous: int | None
    owner: int | None
    name: str
    out: int | None
    open: int
    done: int
    reused: int
    failed: int
    skipped: int
    cancelled: int
    total: int
    run_lo: int
    run_n: int
    out_lo: int
    out_n: int
    block_lo: int
    block_n: int
    flags: int
    cause: int | None
    t_open: float
    t_close: float | None


class Counted(NamedTuple):
    """A block's counters after a change."""

    id: int
    parent: int | None
    open: int
    failed: int
    skipped: int
    cancelled: int
    state: int
    out: int | None
    flags: int
    owner: int | None
    done: int
    reused: int
    total: int


class Delta(NamedTuple):
    """What a block was submitted as."""

    block: int
    key: bytes | None
    header: bytes
    body: bytes | None
    chunks: int
    sealed: int
    result: bytes | None


def add(db: Database, *columns: Column) -> None:
    """Insert blocks; the columns of `Block` without `cause` and `t_close`."""
    db.many(_INSERT, *columns)


def count(db: Database, changes: Mapping[int, list[int]]) -> list[Counted]:
    """Apply changes [open, done, reused, failed, skipped, cancelled, total] per block; the blocks changed.

    On PostgreSQL nothing is returned here: `fold` does.
    """
    if db.dialect == "postgres":
        rows = [[*change, block] for block, change in changes.items()]
        if rows:
            db.many(_APPEND, *zip(*rows, strict=True))
        return []
    if len(changes) < FEW:
        return [Counted._make(row) for block, change in changes.items() for row in db.rows(_COUNT, *change, block)]
    db.many(_COUNT_MANY, *zip(*changes.values(), strict=True), list(changes))
    return [Counted._make(row) for row in db.rows(_COUNTED, db.ids(list(changes)))]


def fold(db: Database) -> list[Counted] | None:
    """Fold appended changes into the rows; the blocks changed. None when another engine is at it."""
    if db.dialect == "sqlite":
        return []
    got = db.one(_FOLD_LOCK)
    return [Counted._make(r) for r in db.rows(_FOLD)] if got and got[0] else None


def close(db: Database, block: int, state: BlockState, now: float) -> bool:
    """OPEN or CLOSING -> COMPLETE, ERROR or CANCELLED once nothing inside is unfinished."""
    return bool(db.rows(_CLOSE, int(state), now, block))


def close_many(db: Database, ids: Column, states: Column, now: float) -> int:
    """The same for several blocks; how many were."""
    return db.many(_CLOSE_MANY, ids, states, [now] * len(ids))


def reopen(db: Database, block: int) -> bool:
    """COMPLETE, ERROR or CANCELLED -> OPEN."""
    return bool(db.rows(_REOPEN, block))


def stop(db: Database, block: int, cause: int | None) -> bool:
    """OPEN -> CLOSING: nothing new starts in it."""
    return bool(db.rows(_STOP, cause, block))


def get(db: Database, block: int) -> Block | None:
    row = db.one(_GET, block)
    return Block._make(row) if row else None


def find(db: Database, block: int) -> Block:
    """A block that must be there.

    Raises:
        NotFoundError: there is none of this number.
    """
    row = get(db, block)
    if row is None:
        raise NotFoundError(f"there is no block {block}", hint="tidemill status lists the blocks")
    return row


def get_many(db: Database, ids: list[int]) -> dict[int, Block]:
    return {r[0]: Block._make(r) for r in db.rows(_MANY, db.ids(ids))}


def roots(db: Database, limit: int = 100) -> list[Block]:
    """Root blocks, the newest first."""
    return [Block._make(r) for r in db.rows(_ROOTS, limit)]


def children(db: Database, block: int) -> list[Block]:
    return [Block._make(r) for r in db.rows(_CHILDREN, block)]


def subtree(db: Database, block: int) -> list[Block]:
    """A block and everything below it, by id."""
    return [Block._make(r) for r in db.rows(_SUBTREE, block)]


def delta_of(db: Database, row: Block) -> Block:
    """The block whose delta brought this one: itself, unless it is an inner block of a larger delta."""
    at: Block | None = row
    while at is not None and at.parent is not None and not (row.run_n or row.block_n):
        at = get(db, at.parent)
        if at is not None and at.block_lo <= row.id < at.block_lo + at.block_n:
            return at
    return row


def span(db: Database, row: Block) -> tuple[int, int]:
    """(first, number) of the run ids of the delta that a block came with."""
    found = delta_of(db, row)
    return found.run_lo, found.run_n


def with_datum(db: Database, datum: int) -> Block | None:
    """The block whose delta has this datum; reads all blocks."""
    row = db.one(_WITH_DATUM, datum, datum)
    return Block._make(row) if row else None


def unsealed_of(db: Database, ids: list[int]) -> list[int]:
    """Which of these blocks have a delta that is not complete."""
    return [r[0] for r in db.rows(_UNSEALED_OF, db.ids(ids))]


def unsealed_hubs(db: Database) -> list[int]:
    """The hubs of blocks that have not ended and are still being submitted."""
    return [r[0] for r in db.rows(_UNSEALED_HUBS)]


def last_generation(db: Database, block: int) -> int:
    """The newest generation among the blocks that stand in for parts of this one; 0 if there are none."""
    row = db.one(_GENERATION, block, block)
    return int(row[0] or 0) if row else 0


def all_owned_by(db: Database, run: int) -> list[int]:
    """The blocks that a run grew, in all generations."""
    return [r[0] for r in db.rows(_OWNED, run)]


def owned_by(db: Database, run: int) -> Block | None:
    """The newest block that a run grew."""
    row = db.one(_OWNED, run)
    return Block._make(row) if row else None


def stopping(db: Database) -> list[int]:
    """Blocks that are CLOSING."""
    return [r[0] for r in db.rows(_OPEN_CANCELLING)]


def add_growths(db: Database, blocks: Column, headers: Column, bodies: Column) -> None:
    """What runs grew, all of it expanded."""
    n = len(blocks)
    db.many(_GROWTHS, blocks, headers, bodies, [0] * n, [1] * n)


def add_delta(
    db: Database, block: int, key: bytes | None, header: bytes, body: bytes | None, sealed: bool, result: bytes | None
) -> None:
    """Record what a block was submitted as. `body` is an encoded growth, kept so that the run that grew it can be
    reused.
    """
    db.run(_ADD_DELTA, block, key, header, body, 0, int(sealed), result, None)


def delta(db: Database, block: int) -> Delta | None:
    row = db.one(_DELTA, block)
    return Delta._make(row) if row else None


def open_by_key(db: Database, key: bytes) -> Row | None:
    """(block, chunks, sealed) of the newest open root block submitted under `key`."""
    return db.one(_OPEN_BY_KEY, key)


def add_chunk(db: Database, block: int, seq: int, digest: bytes, body: bytes | None) -> None:
    db.run(_ADD_CHUNK, block, seq, digest, body)


def chunk(db: Database, block: int, seq: int) -> Row | None:
    """(digest, body) of a chunk."""
    return db.one(_CHUNK, block, seq)


def chunk_digests(db: Database, block: int, limit: int) -> list[bytes]:
    return [bytes(r[0]) for r in db.rows(_CHUNK_DIGESTS, block, limit)]


def set_cursor(db: Database, block: int, chunks: int) -> None:
    """`chunks` chunks of the block's delta have been expanded."""
    db.run(_PROGRESS, chunks, block)


def seal(db: Database, block: int) -> bool:
    """The delta is complete; False if it was already."""
    return db.run(_SEAL, block) == 1


def unexpanded(db: Database) -> Row | None:
    """(block, chunks expanded) of the oldest growth whose stored chunks are not all expanded."""
    return db.one(_UNSEALED)


def abandon(db: Database, block: int) -> None:
    """Nobody shall find this submission again to go on with it."""
    db.run(_ABANDON, block)


def unseal(db: Database, block: int) -> bool:
    """A growth that was stopped before all its stored chunks were expanded goes on; False if there is nothing left of
    it.
    """
    return db.run(_UNSEAL, block) == 1


def set_out(db: Database, block: int, datum: int | None) -> None:
    """Give the block a datum that completes when it closes; None takes it away."""
    db.run(_SET_OUT, datum, block)


def set_flags(db: Database, block: int, flags: int) -> None:
    db.run(_FLAGS, flags, block)


def result_of(submitted: Delta, out_lo: int) -> tuple[bytes, list[int]] | None:
    """The template of what a workflow returns, and the data its placeholders stand for; None if it returns nothing."""
    header = decode_header(bytes(submitted.header))
    if not header.result:
        return None
    return header.result, [ref if ref >= 0 else out_lo - 1 - ref for ref in header.result_refs]


_STATE = Statement("select state from block where id = ?")


def is_stopping(db: Database, block: int) -> bool:
    """Whether the block is CLOSING."""
    row = db.one(_STATE, block)
    return row is not None and row[0] == BlockState.CLOSING


_STOPPING_AMONG = Statement("select b.id from {ids} {join} block b on b.id = j.value where b.state = 1")


def stopping_among(db: Database, ids: list[int]) -> set[int]:
    """Which of these blocks are CLOSING."""
    return {r[0] for r in db.rows(_STOPPING_AMONG, db.ids(sorted(ids)))}


_STRAYS = Statement(
    f"select {', '.join('b.' + c for c in _COLUMNS.split(', '))} from block p join block b on b.parent = p.id "
    "where p.state = 1 and b.state = 0 order by b.id"
)


def strays(db: Database) -> list[Block]:
    """Open blocks inside of blocks that are being stopped."""
    return [Block._make(r) for r in db.rows(_STRAYS)]
