"""Clearing up after an engine that died: kill what is left of its executors, and know when all of it is gone."""

import fcntl
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from tidemill.launchers import processes
from tidemill.launchers.processes import Process
from tidemill.workers.identity import Identity, identity

_STEP = 0.005
_HOLDERS = 0.5
"""Seconds after which those who still hold the liveness lock are looked for and killed."""


def reap_orphans(records: Sequence[Identity], alive: Path, patience: float = 10.0) -> bool:
    """Kill the executors of a dead engine with everything they started, and wait until they are gone.

    Executors die with their engine by themselves; this is for certainty before their runs execute again. Nothing is
    killed that counts pids in another host's, boot's or namespace's way.

    Args:
        records: the executors.
        alive: the lock file of that engine's pool.
        patience: seconds to wait.

    Returns:
        Whether all is known to be gone. False means: wait for the leases to expire.
    """
    here = identity()
    near = [record for record in records if record.beside(here) and record.start]
    processes.kill_all(_remains(near))
    deadline = time.monotonic() + patience
    hunt = time.monotonic() + _HOLDERS
    while not _released(alive):
        now = time.monotonic()
        if now >= deadline:
            return False
        if near and now >= hunt:
            hunt = now + _HOLDERS
            table = processes.table()
            processes.kill_all(table[pid] for pid in processes.holders(alive) if pid in table)
        time.sleep(_STEP)
    return len(near) == len(records) or alive.exists()


def _remains(records: Iterable[Identity]) -> list[Process]:
    """The executors that live, and what is left in the sessions of those that do not.

    While a session has members its number is not given to another process; so if somebody else has it, it is empty.
    """
    table = processes.table()
    found: list[Process] = []
    for record in records:
        leader = table.get(record.pid)
        if leader is not None and leader.start == record.start:
            found += processes.trees([record.pid], table)[record.pid]
        elif leader is None:
            since = float(record.start)
            found += [one for one in table.values() if one.session == record.pid and float(one.start) >= since]
    return found


def _released(alive: Path) -> bool:
    """Whether nobody holds the liveness lock."""
    try:
        descriptor = os.open(alive, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
