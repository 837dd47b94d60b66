"""Generations: which datum, run or block stands in for an older one after a rerun."""

from tidemill.stores.state.database import Column, Database, Statement, insert

DATUM, RUN, BLOCK = 1, 2, 3

_ADD = insert("supersede", "kind:i old:i new:i", ignore=True)
_NEXT = Statement("select new from supersede where kind = ? and old = ?")
_NEXT_OF = Statement("select s.old, s.new from {ids} {join} supersede s on s.kind = ? and s.old = j.value")


def add(db: Database, old: Column, new: Column, kind: int = DATUM) -> None:
    """Record that new ones of a kind stand in for old ones; what has a successor already keeps it."""
    if old:
        db.many(_ADD, [kind] * len(old), old, new)


def newest(db: Database, old: int, kind: int = DATUM) -> int:
    """The newest generation of a datum, run or block: itself if it was never superseded."""
    while (row := db.one(_NEXT, kind, old)) is not None:
        old = int(row[0])
    return old


def latest(db: Database, ids: list[int], kind: int = DATUM) -> dict[int, int]:
    """The newest generation of those that have a newer one."""
    found = step = successors(db, ids, kind)
    while step:
        step = successors(db, sorted(set(found.values())), kind)
        found = {old: step.get(new, new) for old, new in found.items()}
    return found


def successors(db: Database, ids: list[int], kind: int = DATUM) -> dict[int, int]:
    """The next generation of those that have one."""
    return dict(db.rows(_NEXT_OF, db.ids(ids), kind))
