"""Clearing up after an engine that died: kill what is left of its executors, and know when all of it is gone."""

import fcntl
import os
import signal
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from tidemill.launchers import processes
from tidemill.workers.identity import Identity, identity

_STEP = 0.005
_HUNT = 0.5
"""Seconds between two looks for those who still hold the liveness lock, to kill them."""


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
    _kill(near)
    deadline = time.monotonic() + patience
    hunt = time.monotonic() + _HUNT
    while not _released(alive):
        now = time.monotonic()
        if now >= deadline:
            return False
        if near and now >= hunt:
            hunt = now + _HUNT
            _kill(near)
            table = processes.table()
            processes.send(signal.SIGKILL, [table[pid] for pid in processes.holders(alive) if pid in table])
        time.sleep(_STEP)
    return len(near) == len(records) or alive.exists()


def _kill(records: Iterable[Identity]) -> None:
    """Kill the executors that live, and what is left in the sessions of those that do not.

    While a session has members its number is not given to another process; so if somebody else has it, it is empty.
    """
    table = processes.table()
    for record in records:
        leader = table.get(record.pid)
        if leader is not None and leader.start == record.start:
            processes.kill_tree(record.pid)
        elif leader is None:
            since = float(record.start)
            rest = [one for one in table.values() if one.session == record.pid and float(one.start) >= since]
            processes.send(signal.SIGKILL, rest)


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
