"""Which process this is, so that others can tell whether it still lives: host, boot, pid namespace, pid and start time.

A pid alone is used again after a while, and means another process on another host or in another pid namespace.
"""

import os
from typing import NamedTuple


class Identity(NamedTuple):
    """A process among all that ever were.

    Attributes:
        host: the machine's name.
        boot: the kernel's boot id, new with each start of the machine; "" where there is none.
        namespace: the pid namespace in which `pid` counts; "" where there are none.
        pid: process id.
        start: start time in the system's own unit (Linux: clock ticks since boot), as text.
    """

    host: str
    boot: str
    namespace: str
    pid: int
    start: str

    def beside(self, other: "Identity") -> bool:
        """Whether both count pids alike, so that one can see and signal the other."""
        return (self.host, self.boot, self.namespace) == (other.host, other.boot, other.namespace)


def identity(pid: int = 0) -> Identity:
    """The identity of process `pid`, or of this one.

    Raises:
        ProcessLookupError: if there is no such process.
    """
    pid = pid or os.getpid()
    start = start_time(pid)
    if start is None:
        raise ProcessLookupError(f"there is no process {pid}")
    return Identity(os.uname().nodename, _boot(), _namespace(), pid, start)


def start_time(pid: int) -> str | None:
    """The start time of a process as in `Identity.start`; None if there is no such process, or only its zombie."""
    if not os.path.exists("/proc/self/stat"):
        return _portable_start(pid)
    if pid != os.getpid() and not own_proc():
        return None
    try:
        with open(f"/proc/{'self' if pid == os.getpid() else pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in {b"Z", b"X"} else fields[19].decode()


def own_proc() -> bool:
    """Whether /proc counts pids as this process does; in a new pid namespace it may still be the outer one's."""
    try:
        return os.readlink("/proc/self") == str(os.getpid())
    except OSError:
        return False


def alive(who: Identity) -> bool:
    """Whether that process still runs. Only to be asked of a process that `Identity.beside` holds for."""
    return start_time(who.pid) == who.start


def _portable_start(pid: int) -> str | None:
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else repr(process.create_time())
    except psutil.NoSuchProcess:
        return None


def _boot() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
