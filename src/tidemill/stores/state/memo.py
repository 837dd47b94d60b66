"""The key index: from the first 64 bits of a run key to the run. Derived data; the key itself is in the run row."""

from tidemill.stores.state.database import Column, Database, Row, Statement, insert

_INSERT = insert("memo", "k:i run:i", ignore=True)
_FIND = Statement("select m.k, m.run from {ids} {join} memo m on m.k = j.value")
_SOURCE = "select r.id, r.key, r.out, r.state, r.flags, r.task, d.state, d.kind, d.size, d.src, d.digest from {ids} "
_SOURCES = Statement(_SOURCE + "{join} run r on r.id = j.value left join datum d on d.id = r.out")
_KEYS = Statement("select r.id, r.key, r.state, r.flags from {ids} {join} run r on r.id = j.value")
_BY_KEY = Statement(
    _SOURCE + "{join} memo m on m.k = j.value {join} run r on r.id = m.run left join datum d on d.id = r.out"
)
_FOLLOW = insert("follow", "run:i leader:i", ignore=True)
_FOLLOWERS = Statement("select f.run, f.leader from {ids} {join} follow f on f.leader = j.value")
_UNFOLLOW = Statement("delete from follow where leader in (select value from {ids})")
_LEAVE = Statement("delete from follow where run in (select value from {ids})")
_LEADERS = Statement("select f.run, f.leader from {ids} {join} follow f on f.run = j.value")
_FOLLOWING = Statement(
    "select f.run, f.leader, r.class from follow f join run r on r.id = f.run join run l on l.id = f.leader "
    "join class rc on rc.id = r.class join class lc on lc.id = l.class join block b on b.id = l.block "
    "where rc.hub = ? or lc.hub = ? or b.hub = ? order by f.run"
)
_ANY_FOLLOW = Statement("select count(*) from follow")


def short(key: bytes) -> int:
    """The first 64 bits of a key as a signed integer."""
    return int.from_bytes(key[:8], "little", signed=True)


def add(db: Database, shorts: Column, runs: Column) -> None:
    """Insert in ascending order of `shorts`: a sorted merge touches each page once."""
    db.many(_INSERT, shorts, runs)


def find(db: Database, shorts: list[int]) -> list[Row]:
    """(short, run) candidates; the caller compares whole keys."""
    return db.rows(_FIND, db.ids(shorts))


def sources(db: Database, runs: list[int]) -> list[Row]:
    """(id, key, out, state, flags, task) of runs, with (state, kind, size, src, digest) of their first output."""
    return db.rows(_SOURCES, db.ids(runs))


def keys(db: Database, runs: list[int]) -> list[Row]:
    """(id, key, state, flags) of runs."""
    return db.rows(_KEYS, db.ids(runs))


def sources_by_key(db: Database, shorts: list[int]) -> list[Row]:
    """The same of the candidates for keys; the caller compares whole keys."""
    return db.rows(_BY_KEY, db.ids(shorts))


def follow(db: Database, runs: Column, leaders: Column) -> None:
    """Let runs wait for runs of equal key that are under way."""
    db.many(_FOLLOW, runs, leaders)


def followers(db: Database, leaders: list[int]) -> list[Row]:
    """(run, leader) of those that wait for these runs; they wait no longer."""
    ids = db.ids(leaders)
    rows = db.rows(_FOLLOWERS, ids)
    if rows:
        db.run(_UNFOLLOW, ids)
    return rows


def leave(db: Database, runs: list[int]) -> int:
    """These runs wait for nobody any more (they ended otherwise); how many did."""
    return db.run(_LEAVE, db.ids(runs))


def following(db: Database, hub: int) -> list[Row]:
    """(run, leader, class of the run) of those who wait for an equal run, where either belongs to a hub."""
    return db.rows(_FOLLOWING, hub, hub, hub)


def leaders(db: Database, runs: list[int]) -> dict[int, int]:
    """Whom these runs wait for."""
    return dict(db.rows(_LEADERS, db.ids(runs)))


def any_follow(db: Database) -> int:
    row = db.one(_ANY_FOLLOW)
    return int(row[0]) if row else 0
