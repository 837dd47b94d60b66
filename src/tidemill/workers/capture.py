"""Standard output and error of user code: one file per executor that holds what the run under way has printed.

Both descriptors point to the file and append, so whatever writes (Python, C libraries, shell children) is captured in
order, and anybody may read the end of the file meanwhile. After each run its content becomes the attempt's log, and it
is emptied.
"""

import faulthandler
import io
import os
import sys
from collections.abc import Callable
from contextlib import suppress

HEAD = 0.25
"""Share of a log's limit that is kept from its beginning when it is too long; the rest is kept from its end."""


class Capture:
    """Redirects descriptors 0, 1 and 2 of this process for good.

    Args:
        path: the file; emptied.
        limit: bytes of the longest log returned in full.
        keep: stores the whole file when its log has to be shortened and returns what to call it.
    """

    def __init__(self, path: str, limit: int, keep: Callable[[str], str]) -> None:
        self.path = path
        self.limit = limit
        self._keep = keep
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        self._redirect()
        faulthandler.enable(2)  # a crash leaves the Python stack in the log
        self._out = self._err = sys.stdout
        self.attach()

    def attach(self) -> None:
        """Give `sys.stdout` and `sys.stderr` new writers, for whatever became of the old ones."""
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 (lives as long as the process)
        self._out = sys.stdout = sys.__stdout__ = _writer(1)  # type: ignore[misc]
        self._err = sys.stderr = sys.__stderr__ = _writer(2)  # type: ignore[misc]

    def take(self) -> bytes:
        """What was printed since the last call, shortened in the middle beyond the limit."""
        self._redirect()
        try:
            self._out.flush()
            self._err.flush()
        except (OSError, ValueError):
            self.attach()
        if sys.stdout is not self._out or sys.stderr is not self._err:
            self._reset()
        size = os.lseek(self._fd, 0, os.SEEK_END)
        if size == 0:
            return b""
        log = os.pread(self._fd, size, 0) if size <= self.limit else self._shorten(size)
        os.ftruncate(self._fd, 0)
        return log

    def _redirect(self) -> None:
        """Let both descriptors mean the log. User code may have closed them, and the next file opened is then one of
        them; to look whether it has costs as much as to do it."""
        os.dup2(self._fd, 1)
        os.dup2(self._fd, 2)

    def _reset(self) -> None:
        """User code put its own writers in place: drain them and take the place back."""
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):  # a stranger's writer may raise anything
                stream.flush()
        sys.stdout, sys.stderr = self._out, self._err

    def _shorten(self, size: int) -> bytes:
        first = int(self.limit * HEAD)
        last = self.limit - first
        head = os.pread(self._fd, first, 0)
        tail = os.pread(self._fd, last, size - last)
        head = head[: head.rfind(b"\n") + 1] or head
        tail = tail[tail.find(b"\n") + 1 :] or tail
        try:
            where = f"; the whole log is {self._keep(self.path)}"
        except Exception as error:  # noqa: BLE001 (a log is not worth an attempt)
            where = f"; the whole log could not be stored: {error}"
        left = size - len(head) - len(tail)
        return b"".join((head, f"[... {left} bytes left out{where} ...]\n".encode(), tail))


def _writer(fd: int) -> io.TextIOWrapper:
    raw = io.FileIO(fd, "w", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8", errors="backslashreplace", line_buffering=True)
