"""Executors forked before their engine has anything open: a pool takes them instead of starting interpreters.

An interpreter that loads what an executor needs takes longer than many a workflow. The engine needs nearly all of it,
too, so that it forks when it has loaded that and nothing else: no thread is there yet, no file, no database. What was
forked waits at a socket for the descriptors of its pool. If the engine ends before, it ends as well.
"""

import os
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from fcntl import F_DUPFD, fcntl
from typing import NoReturn

from tidemill.workers import lifeline
from tidemill.workers.executor import main

_COMPILED = "PYTHONDONTWRITEBYTECODE"
"""Executors compile what they import: each would do it anew."""


class Forked:
    """A process that was forked here.

    Attributes:
        pid: process id.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None

    def wait(self) -> int:
        """Wait for the end: the exit code, or minus the number of the signal."""
        if self._code is None:
            self._code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._code


_waiting: list[tuple[Forked, socket.socket]] = []
_environment: dict[str, str] = {}
"""The variables that they have."""


def fork_executors(count: int) -> None:
    """Fork as many as can be of use, where that is safe. To be called before anything but imports.

    In the forked processes it does not return; `sys.path[0]`, by which the engine found this package, is not theirs.
    """
    if sys.platform != "linux" or sys.stdout is None or sys.stderr is None:
        return
    _environment.update(environment_of(os.environ))
    for _ in range(min(count, os.cpu_count() or 1)):
        ours, theirs = socket.socketpair()
        try:
            pid = os.fork()
        except OSError:  # the pool starts one, or says why that cannot be
            ours.close()
            theirs.close()
            return
        if pid == 0:
            ours.detach()
            _be_executor(theirs)
        theirs.close()
        _waiting.append((Forked(pid), ours))


def environment_of(variables: Mapping[str, str]) -> dict[str, str]:
    """What executors get of these variables."""
    return {name: value for name, value in variables.items() if name != _COMPILED}


def take(environment: dict[str, str], descriptors: list[int], output: int) -> Forked | None:
    """Give one of those that wait what an executor needs; None if none waits that was born with this environment.

    Args:
        environment: what the executor is to have.
        descriptors: socket, lifeline and liveness lock as `executor.main` takes them, then others that it must have
            under the same numbers.
        output: descriptor of what it prints.
    """
    while _waiting and environment == _environment:
        process, sock = _waiting.pop()
        with sock, suppress(OSError):
            socket.send_fds(sock, [" ".join(map(str, descriptors)).encode()], [*descriptors, output])
            return process
        process.wait()
    return None


def dismiss() -> None:
    """End those that still wait."""
    while _waiting:
        process, sock = _waiting.pop()
        sock.close()
        process.wait()


def _be_executor(sock: socket.socket) -> NoReturn:
    """In a forked process: wait to be taken, then be an executor like one that was started."""
    _keep_nothing_but(sock)
    lifeline.lead()
    del sys.path[0]
    os.environ.pop(_COMPILED, None)
    sys.dont_write_bytecode = False
    told = b""
    received: list[int] = []
    with suppress(OSError):
        told, received, _, _ = socket.recv_fds(sock, 1 << 12, 16)
    if not received:
        os._exit(0)
    sock.close()
    numbers = [int(number) for number in told.split()]
    _renumber(received, [*numbers, 1])
    os.dup2(1, 2)
    sys.stdout.reconfigure(line_buffering=False)  # type: ignore[union-attr]  # it may have been a terminal
    main(numbers[:3])


def _keep_nothing_but(sock: socket.socket) -> None:
    """Close what the engine has open: others hear of an end when the last who holds it has closed it."""
    for _, other in _waiting:
        other.detach()
    _waiting.clear()
    for name in os.listdir("/proc/self/fd"):
        if (descriptor := int(name)) > 2 and descriptor != sock.fileno():
            with suppress(OSError):  # that of the directory, which is closed by now
                os.close(descriptor)
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):  # they lead to whoever reads what the user's program prints
        os.dup2(nothing, standard)
    os.close(nothing)


def _renumber(descriptors: list[int], numbers: list[int]) -> None:
    """Give open files other numbers, none of which is needed for anything else."""
    above = max(*descriptors, *numbers) + 1
    moved = [fcntl(one, F_DUPFD, above) for one in descriptors]
    for one in descriptors:
        os.close(one)
    for one, number in zip(moved, numbers, strict=True):
        os.dup2(one, number)
        os.close(one)
