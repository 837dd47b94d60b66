"""Tasks: what to do, identified by the digest of its meaning."""

from tidemill.stores.state.database import Database, Statement

_PUT = Statement(
    "insert into task(digest, name, spec) values (?, ?, ?) on conflict (digest) do nothing",
    "insert into task(id, digest, name, spec) select coalesce(max(id), 0) + 1, ?, ?, ? from task "
    "on conflict (digest) do nothing",
)
_LOCK = Statement("select 1", "select pg_advisory_xact_lock(7415)")
_ID = Statement("select id, spec from task where digest = ?")
_SPEC = Statement("select spec from task where id = ?")
_UPDATE = Statement("update task set spec = ? where id = ? and spec <> ?")
_ALL = Statement("select id, name, digest, spec from task order by id")


def put(db: Database, digest: bytes, name: str, spec: bytes) -> int:
    """The id of the task with this digest, inserted if new. What is not part of the meaning (retries, resources, where
    the code lies) is kept as last declared."""
    row = db.one(_ID, digest)
    if row is None:
        db.rows(_LOCK)
        db.run(_PUT, digest, name, spec)
        row = db.one(_ID, digest)
        assert row is not None
    elif bytes(row[1]) != spec:
        db.run(_UPDATE, spec, row[0], spec)
    return int(row[0])


def spec(db: Database, task: int) -> bytes | None:
    """The encoded specification, or None."""
    row = db.one(_SPEC, task)
    return bytes(row[0]) if row else None


def every(db: Database) -> list[tuple[int, str, bytes, bytes]]:
    """(id, name, digest, encoded specification) of all tasks."""
    return [(i, n, bytes(d), bytes(s)) for i, n, d, s in db.rows(_ALL)]
