"""What a run used: CPU seconds and peak memory of this process and of the children it waited for.

Linux keeps the peak resident size of a process in `VmHWM` of /proc/PID/status and resets it when "5" is written to
/proc/PID/clear_refs (proc(5)). `ru_maxrss` is no substitute: a process that was started by vfork inherits its parent's.
"""

import os
import resource
import sys
import time
from contextlib import suppress

SHORT = 0.0005
"""Seconds. A shorter run is not measured for memory and children: starting a process takes longer than that."""

_UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes in one unit of `ru_maxrss`."""


class Meter:
    """CPU and peak memory from one `take` to the next. Not thread safe."""

    def __init__(self) -> None:
        self._status = _open("/proc/self/status", os.O_RDONLY)
        self._clear = _open("/proc/self/clear_refs", os.O_WRONLY)
        self._cpu = time.process_time()
        self._children = 0.0
        self._rss = 0
        self._resident = 0
        self._changed = True
        self.measure()

    def start(self) -> None:
        """Count from here; needed only after a pause, since `take` starts the next count."""
        self._cpu = time.process_time()

    def take(self, wall: float) -> tuple[float, int]:
        """(CPU seconds, peak memory in bytes) of what took `wall` seconds until now.

        CPU includes all threads and finished children. For runs under `SHORT` the memory is the resident size when it
        was last measured. Where children ran, theirs counts too: the peak of the largest child so far.
        """
        now = time.process_time()
        cpu = now - self._cpu
        self._cpu = now
        if wall < SHORT:
            return cpu, self._rss
        self._changed = True
        children, peak = self.measure()
        return cpu + children, peak

    def resident(self) -> int:
        """Bytes that this process holds, those of mapped files aside, as of the first call since a run of `SHORT` or
        more; 0 if that is unknown.
        """
        if self._changed and self._status is not None:
            text = os.pread(self._status, 4096, 0)
            self._resident = _kilobytes(text, b"VmRSS:") - _kilobytes(text, b"RssFile:")
        self._changed = False
        return self._resident

    def measure(self) -> tuple[float, int]:
        """(CPU seconds of children, peak in bytes) since the last call; starts the next peak."""
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        total = used.ru_utime + used.ru_stime
        children, self._children = total - self._children, total
        peak, self._rss = self._peak()
        if children > 0:
            peak = max(peak, used.ru_maxrss * _UNIT)
        return children, peak

    def _peak(self) -> tuple[int, int]:
        """(peak, current) resident size in bytes."""
        if self._status is None:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT
            return peak, peak
        text = os.pread(self._status, 4096, 0)
        peak, current = _kilobytes(text, b"VmHWM:"), _kilobytes(text, b"VmRSS:")
        if self._clear is not None:
            try:
                os.pwrite(self._clear, b"5", 0)
            except OSError:
                os.close(self._clear)
                self._clear = None
                current = peak
        return peak, current


class OutOfMemory:
    """Tells whether the kernel has killed a process for want of memory since it was last asked.

    The count is the machine's, so it only explains a SIGKILL that has been seen.
    """

    def __init__(self, path: str = "/proc/vmstat") -> None:
        self._path = path
        self._seen = self._count()

    def struck(self) -> bool:
        before, self._seen = self._seen, self._count()
        return self._seen > before

    def _count(self) -> int:
        with suppress(OSError), open(self._path, encoding="ascii") as file:
            for line in file:
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
        return 0


def _kilobytes(text: bytes, name: bytes) -> int:
    at = text.find(name)
    return int(text[at + len(name) :].split(None, 1)[0]) * 1024 if at >= 0 else 0


def _open(path: str, flags: int) -> int | None:
    try:
        return os.open(path, flags | os.O_CLOEXEC)
    except OSError:
        return None
