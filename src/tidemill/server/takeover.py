"""Taking over from engines that are gone: their processes first, then their leases."""

import re
from contextlib import suppress
from pathlib import Path

from tidemill.engine import reclaim
from tidemill.engine.engine import Engine
from tidemill.launchers import leftovers
from tidemill.launchers.local import ALIVE
from tidemill.launchers.reaping import reap_orphans
from tidemill.stores.state import workers
from tidemill.stores.state.workers import Worker
from tidemill.workers import staging
from tidemill.workers.deferred import FOLDER
from tidemill.workers.identity import Identity, alive, identity

_KEPT = re.compile(r"\d+\.\d+")
"""Names of directories that failed attempts have left, see `staging.kept_directory`."""


def take_over(engine: Engine, directory: Path) -> int:
    """Take back the leases of engines that are gone, once nothing of their workers is left; how many still have some.

    An engine whose workers cannot be seen from here (another machine or pid namespace) keeps its leases until its
    deadline.
    """
    here = identity()
    found = engine.transact(lambda turn: reclaim.dead_engines(turn, lambda one: _gone(one, here)))
    if not found:
        return 0
    gone = [one for one in found if _cleared(engine, one, directory)]
    engine.transact(lambda turn: reclaim.reap(turn, gone))
    for one in gone:
        for pool in _pools(directory, one):
            tidy(pool)
    return len(found) - len(gone)


def _gone(one: Worker, here: Identity) -> bool:
    """Whether the process of an engine has ended, as far as that can be seen from here."""
    who = Identity(one.host, one.boot, one.space, one.pid, one.start)
    return who.beside(here) and bool(who.start) and not alive(who)


def _pools(directory: Path, one: Worker) -> list[Path]:
    some = pool_directory(directory, one.id, 0)
    return sorted(some.parent.glob(some.name.removesuffix("0") + "*"))


def pool_directory(store: Path, engine: int, number: int) -> Path:
    """Where a pool keeps its shared memory, logs and scratch."""
    return store / "work" / f"engine-{engine}-{number}"


def _cleared(engine: Engine, one: Worker, directory: Path) -> bool:
    """Whether nothing of a dead engine's workers is left."""
    with engine.db.transaction(write=False):
        executors = workers.executors(engine.db, [one.id])
    if not executors:
        return True
    records = [Identity(w.host, w.boot, w.space, w.pid, w.start) for w in executors]
    locks = [pool / ALIVE for pool in _pools(directory, one) if (pool / ALIVE).exists()]
    if not locks:
        # its own last act was to clear up, or its workers were elsewhere
        none = pool_directory(directory, one.id, 0) / ALIVE
        return reap_orphans(records, none) or one.deadline < engine.clock.monotonic()
    return min(reap_orphans(records, lock) for lock in locks)


def do_left_over(directory: Path) -> None:
    """Start to do what attempts of engines that are gone had deferred on this machine."""
    for folder in (directory / "work").glob(f"*/{FOLDER}"):
        _do(folder.parent)


def _do(pool: Path) -> None:
    started = leftovers.start(pool)
    if started is not None:
        leftovers.let_go(started, 0.0)


def tidy(pool: Path) -> None:
    """Remove what ended workers have left in their pool's directory, except the directories of failed attempts, and
    what they had deferred, which removes itself when it is done.
    """
    _do(pool)
    with suppress(OSError):
        for found in list(pool.iterdir()):
            if found.name == FOLDER:
                _drop_unfinished(found)
            elif not found.is_dir():
                found.unlink()
            elif not _KEPT.fullmatch(found.name):
                staging.remove(found)
        pool.rmdir()


def _drop_unfinished(folder: Path) -> None:
    """Remove the directory of deferred things if there is nothing to do in it."""
    for found in folder.glob(".*"):
        found.unlink()
    with suppress(OSError):  # not empty
        folder.rmdir()
