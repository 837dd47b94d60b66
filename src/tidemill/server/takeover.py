"""Taking over from engines that are gone: their processes first, then their leases."""

from pathlib import Path

from tidemill.engine import reclaim
from tidemill.engine.engine import Engine
from tidemill.launchers.reaping import reap_orphans
from tidemill.stores.state import workers
from tidemill.stores.state.workers import Worker
from tidemill.workers.identity import Identity


def take_over(engine: Engine, directory: Path) -> int:
    """Take back the leases of engines that are gone, once nothing of their workers is left; how many still have some.

    An engine whose workers cannot be seen from here (another machine or pid namespace) keeps its leases until its deadline.
    """
    with engine.turn() as turn:
        found = reclaim.dead_engines(turn)
    gone = [one for one in found if _cleared(engine, one, directory)]
    with engine.turn() as turn:
        reclaim.reap(turn, gone, set())
    return len(found) - len(gone)


def _cleared(engine: Engine, one: Worker, directory: Path) -> bool:
    """Whether nothing of a dead engine's workers is left."""
    with engine.db.transaction(write=False):
        executors = workers.executors(engine.db, [one.id])
    if not executors:
        return True
    records = [Identity(w.host, w.boot, w.space, w.pid, w.start) for w in executors]
    locks = sorted((directory / "work").glob(f"engine-{one.id}-*/alive"))
    if not locks:
        return one.deadline < engine.clock.monotonic()
    return all([reap_orphans(records, lock) for lock in locks])
