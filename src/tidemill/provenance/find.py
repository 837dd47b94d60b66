"""Finding what a public id names."""

from tidemill.model.errors import NotFoundError
from tidemill.model.ids import Id
from tidemill.stores.state import blocks, runs
from tidemill.stores.state.database import Database
from tidemill.stores.state.runs import Run

HINT = "tidemill status lists the blocks, tidemill list the runs of one"


def find_run(db: Database, what: Id) -> Run:
    """The run that an id names; `3.117` must be in block 3 or in one below it.

    Raises:
        NotFoundError: there is no such run, or it is in another block.
    """
    row = runs.get(db, [what.number]).get(what.number)
    if row is None:
        raise NotFoundError(f"there is no run {what.number}", hint=HINT)
    if what.block is not None and not _within(db, row.block, what.block):
        raise NotFoundError(
            f"there is no run {what.number} in block {what.block}",
            hint=f"it is in block {row.block}: {row.block}.{row.id}",
        )
    return row


def _within(db: Database, block: int, outer: int) -> bool:
    at: int | None = block
    while at is not None and at != outer:
        row = blocks.get(db, at)
        at = row.parent if row is not None else None
    return at is not None
