"""Generations: which datum or run stands in for an older one after a rerun."""

from tidemill.stores.state.database import Column, Database, Statement, insert

_ADD = insert("supersede", "old:i new:i")
_NEXT = Statement("select new from supersede where old = ?")


def add(db: Database, old: Column, new: Column) -> None:
    """Record that new data stand in for old ones."""
    db.many(_ADD, old, new)


def newest(db: Database, datum: int) -> int:
    """The newest generation of a datum: itself if it was never superseded."""
    while (row := db.one(_NEXT, datum)) is not None:
        datum = int(row[0])
    return datum
