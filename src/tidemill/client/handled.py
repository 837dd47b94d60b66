"""Failures that a workflow has dealt with itself, so that it has a result all the same."""

from tidemill.model.states import RunState
from tidemill.provenance.meaning import Specs
from tidemill.stores.state import blocks, edges, gathers, overview, runs
from tidemill.stores.state.database import Database

MOST = 1000
"""Failures looked at; with more than these a workflow counts as failed."""


def all_handled(db: Database, block: int) -> bool:
    """Whether every failed run of a root block is an input of a complete run or a complete list, and nothing was
    skipped or cancelled because of one. What failed in contained blocks is left out.
    """
    row = blocks.get(db, block)
    if row is None or row.skipped or row.cancelled or not 0 < row.failed <= MOST:
        return False
    aside = overview.contained(db, block)
    failed = [r for r in runs.failed_of_root(db, block, 10 * MOST) if r.block not in aside]
    if len(failed) != row.failed:
        return False
    specs = Specs(db)
    outputs = {r.out + p: r.id for r in failed for p in range(len(specs.of(r.task).outputs))}
    users = edges.consumers(db, list(outputs))
    states = {i: r.state for i, r in runs.get(db, sorted({u for _, u, _ in users})).items()}
    handled = {outputs[datum] for datum, user, _ in users if states.get(user) == RunState.COMPLETE}
    lists = gathers.containing(db, list(outputs))
    ended = gathers.states(db, sorted({g for g, _, _ in lists}))
    handled |= {outputs[datum] for g, _, datum in lists if ended.get(g) == gathers.COMPLETE}
    return len(handled) == len(failed)
