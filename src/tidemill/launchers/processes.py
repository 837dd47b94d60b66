"""Looking at and ending processes: trees, memory, who holds a file open."""

import os
import signal
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import NamedTuple

from tidemill.workers.identity import own_proc

_PAGE = os.sysconf("SC_PAGE_SIZE")
_ROUNDS = 20
"""Looks at the process table until nothing new is found in a tree; two are usual."""


class Process(NamedTuple):
    """One line of the process table. `rss` is resident memory in bytes, `start` as in `Identity.start`."""

    pid: int
    parent: int
    session: int
    rss: int
    start: str


def table() -> dict[int, Process]:
    """All processes that can be seen, by pid, zombies excepted. None can where /proc is another pid namespace's."""
    if not os.path.exists("/proc/self/stat"):
        return _portable_table()
    found: dict[int, Process] = {}
    if not own_proc():
        return found
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError), open(f"/proc/{name}/stat", "rb", buffering=0) as file:
                # proc(5): after the name in parentheses come state, ppid, pgrp, session, …; 22 is starttime, 24 is rss
                fields = file.read(1024).rpartition(b")")[2].split()
                if fields[0] not in {b"Z", b"X"}:
                    pid, rss = int(name), int(fields[21]) * _PAGE
                    found[pid] = Process(pid, int(fields[1]), int(fields[3]), rss, fields[19].decode())
    return found


def _portable_table() -> dict[int, Process]:
    import psutil

    found = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError), process.oneshot():
            if process.status() != psutil.STATUS_ZOMBIE:
                rss, start = process.memory_info().rss, repr(process.create_time())
                found[process.pid] = Process(process.pid, process.ppid(), os.getsid(process.pid), rss, start)
    return found


def trees(roots: Iterable[int], processes: Mapping[int, Process]) -> dict[int, list[Process]]:
    """For each root: itself and all that descend from it or are in its session."""
    found: dict[int, list[Process]] = {root: [] for root in roots}
    root_of: dict[int, int] = {root: root for root in found}

    def find(pid: int) -> int:
        seen = []
        while pid not in root_of:
            seen.append(pid)
            process = processes.get(pid)
            if process is None or pid <= 1:
                root_of[pid] = 0
            elif process.session in found:
                root_of[pid] = process.session
            else:
                pid = process.parent
        for one in seen:
            root_of[one] = root_of[pid]
        return root_of[pid]

    for process in processes.values():
        root = find(process.pid)
        if root:
            found[root].append(process)
    return found


def proportional(tree: Iterable[Process]) -> int:
    """Bytes of memory that these processes have together, those of mapped files aside: a page that several have counts
    once, and for a part only where others have it too. What cannot be told so counts as resident. It is dear: a
    millisecond for some 100 MB.
    """
    return sum(_share(one) for one in tree)


def _share(one: Process) -> int:
    try:
        with open(f"/proc/{one.pid}/smaps_rollup", "rb") as file:
            found = {line.split()[0]: int(line.split()[1]) * 1024 for line in file if line.startswith(b"Pss")}
        return found.get(b"Pss:", one.rss) - found.get(b"Pss_File:", 0)
    except (ProcessLookupError, FileNotFoundError):
        if os.path.exists("/proc/self/smaps_rollup"):
            return 0  # it has ended since
    except OSError:
        pass  # it is another user's
    return one.rss


def kill_tree(root: int) -> None:
    """Kill a session leader with its process group, its session and everything that descends from it.

    All of them are stopped first: what is stopped can start nothing that would be missed.
    """
    found: dict[int, Process] = {}
    for _ in range(_ROUNDS):
        fresh = [process for process in trees([root], table())[root] if process.pid not in found]
        if not fresh:
            break
        send(signal.SIGSTOP, fresh)
        found.update((process.pid, process) for process in fresh)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(root, signal.SIGKILL)
    send(signal.SIGKILL, found.values())


def send(number: signal.Signals, processes: Iterable[Process]) -> None:
    """Send a signal to processes that have just been looked up; those that have ended since are no error."""
    for process in processes:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(process.pid, number)


def holders(path: str | os.PathLike[str]) -> list[int]:
    """Pids of the processes, this one excepted, that have the file open. Processes of other users are not seen."""
    name = os.path.realpath(path)
    found: list[int] = []
    if not own_proc():
        return found
    with suppress(FileNotFoundError):
        for pid in os.listdir("/proc"):
            if pid.isdigit() and int(pid) != os.getpid() and _holds(pid, name):
                found.append(int(pid))
    return found


def _holds(pid: str, name: str) -> bool:
    with suppress(OSError):
        for descriptor in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                if os.readlink(f"/proc/{pid}/fd/{descriptor}") == name:
                    return True
    return False
