"""Data: values written once, then immutable. A datum's row is inserted when it ends; until then it is pending.

`src` names the datum that holds the value, for an alias; it never names another alias.
"""

from typing import NamedTuple

from tidemill.model.states import DatumState
from tidemill.stores.state.database import Column, Database, Row, Statement, insert, update, upsert

VALUE, GATHER, BLOCK = 1, 2, 3
"""Kinds: an encoded value, a collection, the end of a block."""
COMPLETE, PUBLISHED = 2, 9
GONE = frozenset({int(s) for s in (DatumState.EXPIRED, DatumState.DELETED, DatumState.LOST)})
"""States of data that were complete and have no value any more."""

_INSERT = insert("datum", "id:i run:i port:i state:i kind:i size:i digest:b value:b")
_ALIASES = insert("datum", "id:i run:i port:i state:i kind:i size:i src:i digest:b")
_DEAD = upsert(
    "datum", "id:i run:i port:i state:i kind:i size:i cause:i",
    "state = excluded.state, cause = excluded.cause where datum.state in (1, 9) and excluded.state in (5, 7)",
)  # fmt: skip
_OPEN = insert("datum", "id:i run:i port:i state:i kind:i size:i", ignore=True)
_PUBLISH = Statement(
    "insert into datum(id, run, port, state, kind, size, digest, value) values (?, ?, ?, 9, 1, ?, ?, ?) "
    "on conflict (id) do nothing"
)
_SETTLE = Statement("update datum set state = 2 where id in (select value from {ids}) and state = 9 returning id")
_FILL = Statement(
    "insert into datum(id, port, state, kind, size, digest, value) values (?, 0, 2, 1, ?, ?, ?) on conflict (id) do "
    "update "
    "set state = 2, size = excluded.size, digest = excluded.digest, value = excluded.value where datum.state = 1"
)
_GET = Statement(
    "select d.id, d.run, d.port, d.state, d.kind, d.size, d.src, d.cause, d.digest, d.value "
    "from {ids} {join} datum d on d.id = j.value"
)
_HEADS = Statement(
    "select d.id, d.run, d.port, d.state, d.kind, d.size, d.src, d.cause, d.digest, null "
    "from {ids} {join} datum d on d.id = j.value"
)
_STATES = Statement("select d.id, d.state from {ids} {join} datum d on d.id = j.value")
_RESET = Statement("delete from datum where id in (select value from {ids}) and state in (1, 5, 6, 7, 9) returning id")
_EXPIRE = Statement(
    "update datum set state = 3, value = null where id in (select value from {ids}) and state = 2 and kind <> 3 "
    "returning id"
)
_LOSE = Statement(
    "update datum set state = 8 where id in (select value from {ids}) and state = 2 and kind <> 3 returning id"
)
_DELETE = Statement(
    "update datum set state = 4, value = null where id in (select value from {ids}) and state in (2, 3, 8) returning id"
)
_RESTORE = Statement(
    "update datum set state = 2, value = coalesce(?, value) where id = ? and state in (3, 8) returning id"
)
_INPUTS = Statement(
    "select e.run, e.port, d.id, d.state, d.kind, d.size, d.src, d.digest, d.value from {ids} "
    "cross join edge e on e.run = j.value and e.port >= 0 cross join datum d on d.id = e.datum",
    "select e.run, e.port, d.id, d.state, d.kind, d.size, d.src, d.digest, d.value from {ids} "
    "join edge e on e.run = j.value and e.port >= 0 join datum d on d.id = e.datum order by e.run, e.port",
)
_DIGESTS = Statement(
    "select e.run, d.digest from {ids} cross join edge e on e.run = j.value and e.port >= 0 "
    "cross join datum d on d.id = e.datum",
    "select e.run, d.digest from {ids} join edge e on e.run = j.value and e.port >= 0 join datum d on d.id = e.datum "
    "order by e.run, e.port",
)
_SPAN = Statement("select id, state, kind, size, src, digest, value from datum where id >= ? and id <= ? order by id")
_OBJECTS = insert("content", "datum:i digest:b", ignore=True)
_NAMES = Statement("select c.datum, c.digest from {ids} {join} content c on c.datum = j.value")
_LITERALS = insert("literal", "block:i digest:b", ignore=True)
_FORWARD = insert("forward", "datum:i target:i run:i port:i open:i")
_FORWARDED = Statement(
    "select f.datum, f.target, f.run, f.port from {ids} {join} forward f on f.target = j.value where f.open = 1"
)
_KEPT = Statement(
    "select f.datum, f.target, f.run, f.port from {ids} {join} forward f on f.target = j.value order by f.datum"
)
_OF_DATA = Statement("select f.datum, f.target, f.run, f.port from {ids} {join} forward f on f.datum = j.value")
_TO_SPAN = Statement("select datum, target, run, port from forward where target >= ? and target < ?")
_SET_OPEN = update("forward", "open = {open}", "datum = {datum}", "datum:i open:i")
_OPEN_PROMISE = Statement("select 1 from forward where datum >= ? and datum < ? and open = 1 {share}")
_STILL_OPEN = Statement(
    "select r.id from {ids} {join} run r on r.id = j.value {join} forward f on f.datum = r.out and f.run = r.id "
    "where f.open = 1 or (exists (select 1 from forward g where g.datum = r.out + 1 and g.run = r.id) and exists ("
    "select 1 from forward g where g.datum > r.out and g.datum < r.out + 1000 and g.run = r.id and g.open = 1))"
)
"""Most runs have one output; the data behind it, which are others', are looked at for the rest only."""
_FORWARDS = Statement("select count(*) from forward where open = 1")
_ALL_OBJECTS = Statement(
    "select digest from datum where value is null and state = 2 and kind = 1 and src is null and size > 0 "
    "union select c.digest from content c join datum d on d.id = c.datum where d.state = 2 union select digest from "
    "literal"
)
_MAKERS = Statement(
    "select r.id, r.block from run r where r.state = 3 and r.id in (select d.run from datum d where d.src is null and "
    "((d.digest = ? and d.value is null) or exists (select 1 from content c where c.datum = d.id and c.digest = ?))) "
    "order by r.id"
)
_ANY_OBJECT = Statement(
    "select exists (select 1 from content), exists (select 1 from literal), exists (select 1 from datum where value is "
    "null and state = 2 and kind = 1 and src is null and size > 0)"
)
_LIFETIME = insert("lifetime", "datum:i kind:i block:i", ignore=True)
_LIFETIMES = Statement("select count(*) from lifetime")
_BLOCK_LIFETIMES = Statement("delete from lifetime where block in (select value from {ids}) returning datum")


class Datum(NamedTuple):
    """A datum's row."""

    id: int
    run: int | None
    port: int
    state: int
    kind: int
    size: int
    src: int | None
    cause: int | None
    digest: bytes | None
    value: bytes | None


class Forward(NamedTuple):
    """A promise: output `port` of `run` is `datum`, which will end as `target` does."""

    datum: int
    target: int
    run: int
    port: int


class InputRow(NamedTuple):
    """One ended input of a run."""

    run: int
    port: int
    datum: int
    state: int
    kind: int
    size: int
    src: int | None
    digest: bytes | None
    value: bytes | None


def add(db: Database, *columns: Column) -> None:
    """Insert data: id, run, port, state, kind, size, digest, value."""
    db.many(_INSERT, *columns)


def alias(db: Database, *columns: Column) -> None:
    """Insert complete aliases: id, run, port, state, kind, size, src, digest."""
    db.many(_ALIASES, *columns)


def open_writing(db: Database, *columns: Column) -> int:
    """PENDING -> WRITING: id, run, port, state, kind, size; how many were."""
    return db.many(_OPEN, *columns)


def publish(db: Database, datum: int, run: int, port: int, size: int, digest: bytes, value: bytes | None) -> bool:
    """PENDING -> PUBLISHED, with a value that holds for as long as its attempt; False if it was something else."""
    return db.run(_PUBLISH, datum, run, port, size, digest, value) == 1


def settle(db: Database, ids: list[int]) -> list[int]:
    """PUBLISHED -> COMPLETE; those that were."""
    return [r[0] for r in db.rows(_SETTLE, db.ids(ids))]


def fill(db: Database, datum: int, size: int, digest: bytes, value: bytes | None) -> bool:
    """PENDING or WRITING -> COMPLETE for a datum that no run makes; False if it was neither."""
    return db.run(_FILL, datum, size, digest, value) == 1


def bury(db: Database, *columns: Column) -> int:
    """PENDING -> ERROR, SKIPPED or CANCELLED (WRITING, PUBLISHED -> ERROR or CANCELLED): id, run, port, state, kind,
    size, cause; how many were."""
    return db.many(_DEAD, *columns)


def get(db: Database, ids: list[int], *, values: bool = True) -> dict[int, Datum]:
    """Rows by id; pending data have none."""
    return {r[0]: Datum._make(r) for r in db.rows(_GET if values else _HEADS, db.ids(ids))}


def states(db: Database, ids: list[int]) -> dict[int, int]:
    """States by id; pending data are missing."""
    return {r[0]: r[1] for r in db.rows(_STATES, db.ids(ids))}


def reset(db: Database, ids: list[int]) -> list[int]:
    """WRITING, PUBLISHED, ERROR, SKIPPED or CANCELLED -> PENDING; those that were."""
    return [r[0] for r in db.rows(_RESET, db.ids(ids))]


def expire(db: Database, ids: list[int]) -> list[int]:
    """COMPLETE -> EXPIRED: the value goes, the digest stays. Ends of blocks stay: nobody makes them again."""
    return [r[0] for r in db.rows(_EXPIRE, db.ids(ids))]


def lose(db: Database, ids: list[int]) -> list[int]:
    """COMPLETE -> LOST: the bytes are not where they should be. Ends of blocks have none."""
    return [r[0] for r in db.rows(_LOSE, db.ids(ids))]


def remove(db: Database, ids: list[int]) -> list[int]:
    """COMPLETE, EXPIRED or LOST -> DELETED."""
    return [r[0] for r in db.rows(_DELETE, db.ids(ids))]


def restore(db: Database, datum: int, value: bytes | None) -> bool:
    """EXPIRED or LOST -> COMPLETE, when the same bytes were made again."""
    return bool(db.rows(_RESTORE, value, datum))


def inputs(db: Database, runs: list[int]) -> list[InputRow]:
    """The ended inputs of runs, by run and port (order-only edges left out)."""
    return [InputRow._make(r) for r in db.rows(_INPUTS, db.ids(runs))]


def input_digests(db: Database, runs: list[int]) -> list[Row]:
    """(run, digest) of the ended inputs, by run and port."""
    return db.rows(_DIGESTS, db.ids(runs))


def span(db: Database, low: int, high: int) -> list[Row]:
    """(id, state, kind, size, src, digest, value) of ended data with `low <= id <= high`."""
    return db.rows(_SPAN, low, high)


def name_objects(db: Database, data: Column, digests: Column) -> None:
    """Record which stored objects the values of data name."""
    db.many(_OBJECTS, data, digests)


def objects_named(db: Database, ids: list[int]) -> list[Row]:
    """(datum, digest) of the stored objects that the values of these data name."""
    return db.rows(_NAMES, db.ids(ids))


def name_literals(db: Database, block: int, digests: list[bytes]) -> None:
    """Record which stored objects the arguments of a block's runs name."""
    db.many(_LITERALS, [block] * len(digests), digests)


def forward(db: Database, data: Column, targets: Column, runs: Column, ports: Column) -> None:
    """Make pending data, outputs of these runs, end as their targets will."""
    db.many(_FORWARD, data, targets, runs, ports, [1] * len(data))


def forwarded(db: Database, targets: list[int]) -> list[Forward]:
    """Data that wait for these targets; they wait no longer, but what they were promised as stays on record."""
    rows = [Forward._make(r) for r in db.rows(_FORWARDED, db.ids(targets))]
    if rows:
        set_open(db, rows, is_open=False)
    return rows


def promised_as(db: Database, targets: list[int]) -> list[Forward]:
    """Data that were ever promised as these targets, by id."""
    return [Forward._make(r) for r in db.rows(_KEPT, db.ids(targets))]


def promises(db: Database, data: list[int]) -> list[Forward]:
    """What these data were promised as."""
    return [Forward._make(r) for r in db.rows(_OF_DATA, db.ids(data))]


def forwards_into(db: Database, low: int, high: int) -> list[Forward]:
    """Data that were promised as targets with `low <= target < high`."""
    return [Forward._make(r) for r in db.rows(_TO_SPAN, low, high)]


def promise_open(db: Database, low: int, high: int) -> bool:
    """Whether any datum with `low <= id < high` waits for what it was promised as; on PostgreSQL that stays so until
    the transaction ends."""
    return bool(db.rows(_OPEN_PROMISE, low, high))


def runs_with_promises(db: Database, runs: list[int]) -> set[int]:
    """Which of these runs have outputs that wait for what they were promised as."""
    return {r[0] for r in db.rows(_STILL_OPEN, db.ids(runs))}


def set_open(db: Database, links: list[Forward], *, is_open: bool) -> None:
    """Whether these data wait for their targets."""
    db.many(_SET_OPEN, [f.datum for f in links], [int(is_open)] * len(links))


def any_forward(db: Database) -> int:
    row = db.one(_FORWARDS)
    return int(row[0]) if row else 0


def live_objects(db: Database) -> set[bytes]:
    """Digests of all stored objects that complete data or arguments name."""
    return {bytes(r[0]) for r in db.rows(_ALL_OBJECTS)}


def makers(db: Database, digest: bytes) -> list[Row]:
    """(id, block) of the complete runs whose results are this object or name it; reads all data once."""
    return db.rows(_MAKERS, digest, digest)


def any_object(db: Database) -> bool:
    """Whether any datum or argument is in the object store; may read all data once."""
    row = db.one(_ANY_OBJECT)
    return row is not None and any(row)


AFTER_USE, AFTER_BLOCK = 1, 2


def set_lifetime(db: Database, data: Column, kinds: Column, blocks: Column) -> int:
    """Record when data expire: after their last consumer ended, or when their block closes; how many had no record
    yet.
    """
    return db.many(_LIFETIME, data, kinds, blocks)


def any_lifetime(db: Database) -> int:
    row = db.one(_LIFETIMES)
    return int(row[0]) if row else 0


def lifetimes_of(db: Database, blocks: list[int]) -> list[int]:
    """Data whose lifetime ends with these blocks; their records are removed."""
    return [r[0] for r in db.rows(_BLOCK_LIFETIMES, db.ids(blocks))]


_SHORT_LIVED = Statement(
    "select l.datum from {ids} {join} lifetime l on l.datum = j.value where l.kind = 1 order by l.datum"
)
_END_LIFETIME = Statement("delete from lifetime where datum in (select value from {ids})")


def short_lived(db: Database, data: list[int]) -> list[int]:
    """Which of these data live only until they have been used."""
    return [r[0] for r in db.rows(_SHORT_LIVED, db.ids(sorted(set(data))))]


def forget_lifetimes(db: Database, data: list[int]) -> int:
    """Remove the records of when these data expire; how many there were."""
    return db.run(_END_LIFETIME, db.ids(data))


_ALIASES_OF = Statement(
    "select d.id, d.src from datum d where d.src in (select value from {ids}) and d.state = 2 order by d.id"
)
_INHERIT = Statement(
    "update datum set value = (select s.value from datum s where s.id = ?), src = null where id = ? and src = ?"
)
_INHERIT_OBJECTS = Statement(
    "insert into content(datum, digest) select ?, c.digest from content c where c.datum = ? on conflict do nothing"
)
_POINT = update("datum", "src = {src}", "id = {id}", "id:i src:i")
_COLLECTIONS = Statement("select id from gather where block in (select value from {ids}) order by id")


def aliases(db: Database, data: list[int]) -> list[Row]:
    """(alias, datum) of complete data that take their value from these; reads all data once."""
    return db.rows(_ALIASES_OF, db.ids(data))


def inherit(db: Database, alias: int, source: int) -> None:
    """An alias takes over the value of what it points at."""
    db.run(_INHERIT, source, alias, source)
    db.run(_INHERIT_OBJECTS, alias, source)


def point(db: Database, aliases: Column, sources: Column) -> None:
    """Let aliases take their value from other data."""
    db.many(_POINT, aliases, sources)


def collections_of(db: Database, blocks: list[int]) -> list[int]:
    """The collections that belong to blocks."""
    return [r[0] for r in db.rows(_COLLECTIONS, db.ids(blocks))]
