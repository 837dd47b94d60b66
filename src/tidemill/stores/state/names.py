"""Named files: versioned pointers, moved by whoever inserts the next version first.

A version is never reused. One without digest says that the name was given up.
"""

from typing import NamedTuple

from tidemill.stores.state import schema
from tidemill.stores.state.database import Database, Statement

_SINCE = 3

_COLUMNS = "scope, name, version, digest, size, kind, mode, base, run, who, t"
_INSERT = Statement(
    f"insert into name({_COLUMNS}) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict do nothing returning version"
)
_NEWEST = Statement(f"select {_COLUMNS} from name where scope = ? and name = ? order by version desc limit 1")
_HISTORY = Statement(f"select {_COLUMNS} from name where scope = ? and name = ? order by version")
_IS_CURRENT = "not exists (select 1 from name m where m.scope = n.scope and m.name = n.name and m.version > n.version)"
_EVERY = Statement(
    f"select {', '.join('n.' + c for c in _COLUMNS.split(', '))} from name n where n.digest is not null "
    f"and {_IS_CURRENT} order by n.scope, n.name"
)
_LIVE = Statement(f"select distinct n.digest from name n where n.digest is not null and {_IS_CURRENT}")
_NAMED = Statement("select 1 from name where digest = ? limit 1")


class Version(NamedTuple):
    """One version of a name.

    Attributes:
        digest: None where the name was given up.
        size: bytes.
        kind: "file" or "dir".
        mode: permission bits of a private copy.
        base: the name of the file that was put.
        run: who put it; 0 for a program outside.
        who: in words.
        t: seconds since the epoch.
    """

    scope: int
    name: str
    version: int
    digest: bytes | None
    size: int
    kind: str
    mode: int
    base: str
    run: int
    who: str
    t: float


def known(db: Database) -> bool:
    return schema.version(db) >= _SINCE


def _version(row: tuple[object, ...]) -> Version:
    found = Version._make(row)
    return found if found.digest is None else found._replace(digest=bytes(found.digest))


def add(db: Database, version: Version) -> bool:
    """Insert a version; False if somebody else has inserted one of this number."""
    return bool(db.rows(_INSERT, *version))


def newest(db: Database, scope: int, name: str) -> Version | None:
    """The newest version, None if there never was one."""
    row = db.one(_NEWEST, scope, name)
    return _version(row) if row else None


def history(db: Database, scope: int, name: str) -> list[Version]:
    """All versions, the oldest first."""
    return [_version(r) for r in db.rows(_HISTORY, scope, name)]


def every(db: Database) -> list[Version]:
    """The newest versions of all names that have not been given up, by scope and name."""
    return [_version(r) for r in db.rows(_EVERY)] if known(db) else []


def live(db: Database) -> set[bytes]:
    """Digests that names point to now."""
    return {bytes(r[0]) for r in db.rows(_LIVE)} if known(db) else set()


def named(db: Database, digest: bytes) -> bool:
    """Whether a name points to these bytes, or did."""
    return db.one(_NAMED, digest) is not None
