"""What the ids on a command line name."""

from tidemill.client.store import Store
from tidemill.model.errors import UsageError
from tidemill.model.ids import parse
from tidemill.provenance.find import find_run
from tidemill.stores.state import blocks as block_rows
from tidemill.stores.state import lineage


def split(store: Store, ids: list[str]) -> tuple[list[int], list[int]]:
    """Blocks and runs among ids, each known to exist.

    Raises:
        NotFoundError: one does not.
        UsageError: one is no id, or that of a datum.
    """
    blocks, runs = [], []
    for one in ids:
        what = parse(one)
        if what.kind == "datum":
            raise UsageError(f"{one} is a datum; blocks and runs are wanted here")
        if what.kind == "run":
            runs.append(find_run(store.db, what).id)
        else:
            blocks.append(block_rows.find(store.db, what.number).id)
    return blocks, runs


def roots(store: Store, blocks: list[int], runs: list[int]) -> list[int]:
    """The workflows that blocks and runs belong to."""
    heads = lineage.heads(store.db, runs)
    found = [*blocks, *(heads[r].block for r in runs)]
    return list(dict.fromkeys(block_rows.find(store.db, b).root for b in found))
