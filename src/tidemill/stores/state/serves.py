"""Services: which run goes on until which block has ended."""

from tidemill.stores.state.database import Column, Database, Row, Statement, insert, update

_INSERT = insert("serves", "block:i run:i", ignore=True)
_OF_BLOCKS = Statement("select s.block, s.run from {ids} {join} serves s on s.block = j.value order by s.block, s.run")
_OPEN = Statement(
    "select distinct s.run from {ids} {join} serves s on s.run = j.value {join} block b on b.id = s.block "
    "where b.state in (0, 1)"
)
_MOVE = update("serves", "run = {new}", "run = {old}", "old:i new:i")


def add(db: Database, blocks: Column, runs: Column) -> None:
    """These runs go on until these blocks have ended."""
    db.many(_INSERT, blocks, runs)


def of_blocks(db: Database, blocks: list[int]) -> list[Row]:
    """(block, run) of the services that end with these blocks."""
    return db.rows(_OF_BLOCKS, db.ids(blocks))


def still_needed(db: Database, runs: list[int]) -> set[int]:
    """Which of these runs serve a block that has not ended."""
    return {r[0] for r in db.rows(_OPEN, db.ids(runs))}


def move(db: Database, old: Column, new: Column) -> None:
    """New runs take the place of old ones."""
    db.many(_MOVE, old, new)
