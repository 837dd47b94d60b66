"""Operating a store from Python: `tidemill.operations`. Each function has a command of the same name beside it."""

from __future__ import annotations

import os
from collections.abc import Sequence

from tidemill.client import configuration, destroying, engines, startup
from tidemill.client import stats as client_stats
from tidemill.client.destroying import Cleaned, Destroyed
from tidemill.client.engines import EngineInfo, Halted
from tidemill.client.startup import Started
from tidemill.client.stats import Sort, Stats
from tidemill.client.store import Store

_DAY = 24 * 3600.0


def stats(store: Store, block: int = 0, *, per_run: bool = False, sort: Sort = "wall") -> Stats:
    """What the tasks of a workflow (or of all) took: time, processors, memory, disk, over all attempts.

    Raises:
        NotFoundError: there is no store, or no such workflow.
    """
    return client_stats.stats(store.db, block, per_run=per_run, sort=sort)


def serving(store: Store) -> list[EngineInfo]:
    """The processes that work on a store now: one at most, except on PostgreSQL.

    Raises:
        NotFoundError: there is no store.
    """
    return engines.engines(store.db, store.place)


def kill(store: Store, blocks: Sequence[int] = (), *, now: bool = False) -> Halted:
    """Stop all work on a store, or that on some workflows, whoever started it, and wait until it has stopped. Nothing
    is cancelled: running the same again goes on. Who waits for the work gets a `HaltedError`.

    Args:
        store: where.
        blocks: only these workflows; if there are none, the engine ends, too.
        now: stop what runs at once, instead of letting it end; an engine that does not answer is killed.

    Raises:
        NotFoundError: there is no store, or no such workflow.
        StoreBusyError: the engine does not answer.
    """
    return engines.halt(store, list(blocks), now=now)


def config(store: Store) -> dict[str, str]:
    """The settings of a store by name, "" where one is not set.

    Raises:
        NotFoundError: there is no store.
    """
    return configuration.configuration(store)


def configure(store: Store, name: str, value: str) -> None:
    """Change a setting for everybody who uses the store: "workers", "gc-grace"; "" for what is usual.

    Raises:
        NotFoundError: there is no store.
        UsageError: there is no such setting, or it cannot have this value.
    """
    configuration.configure(store, name, value)


def started(store: Store, block: int) -> Started | None:
    """How a workflow was started, the last time; None if that is not known.

    Raises:
        NotFoundError: there is no store.
    """
    return startup.of(store.db, block)


def clean(store: Store, blocks: Sequence[int], *, grace: float = _DAY, dry_run: bool = False) -> Cleaned:
    """Delete the results of workflows that have ended, and the stored bytes that nothing needs then. What ran, when and
    from what stays on record.

    Args:
        store: where.
        blocks: the workflows.
        grace: seconds; bytes that are younger stay.
        dry_run: change nothing.

    Raises:
        ConflictError: a workflow has not ended, or one that has not ended needs what it made.
        NotFoundError: there is no store, or no such workflow.
    """
    return destroying.clean(store, list(blocks), grace=grace, dry_run=dry_run)


def destroy(url: str | os.PathLike[str]) -> Destroyed:
    """Delete a whole store, also one that is damaged or half deleted, and nothing that is not its own. Doing it again
    does no harm.

    Raises:
        StoreBusyError: somebody works on it.
        StoreFullError: something cannot be deleted.
    """
    return destroying.destroy(Store(url).place)
