"""The executor's bond to its engine: when the engine's process is gone, the executor's whole process group dies.

On Linux the kernel does it: the lifeline is a pipe whose other end only the engine holds, and its owner is set to the
process group, its signal to SIGKILL (fcntl(2), F_SETOWN and F_SETSIG). That needs no cooperation, so it works while
user code holds the interpreter's lock. A thread that waits for the hang-up does the same elsewhere, and for sockets.
"""

import fcntl
import os
import select
import signal
import threading
from collections.abc import Callable
from contextlib import suppress

_HANG_UP = getattr(select, "POLLRDHUP", 0) | select.POLLHUP
_BUSY = 0.05
_IDLE = 1.0
"""Seconds between two ticks while something was ticking and while nothing was."""


def call_it(name: str) -> None:
    """Give this process a name of at most 15 bytes, which `top` and `ps -e` show, where that can be done."""
    with suppress(OSError), open("/proc/self/comm", "wb") as file:
        file.write(name.encode())


def lead() -> None:
    """Become the leader of a session and process group, if not one already; the terminal's Ctrl-C no longer arrives."""
    call_it("tidemill-worker")
    if os.getpgrp() != os.getpid():
        with suppress(PermissionError):
            os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def arm(lifeline: int) -> None:
    """Let the kernel kill the process group when the other end of the pipe `lifeline` is closed, where it can."""
    try:
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    except (OSError, AttributeError):
        return


def watch(descriptors: list[int], tick: Callable[[], bool]) -> None:
    """Start the thread that kills the process group when one of `descriptors` hangs up.

    Args:
        descriptors: the engine's socket and the lifeline.
        tick: called now and then; answers whether it should be called again soon.
    """
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, _HANG_UP)

    def loop() -> None:
        busy = True
        while not poll.poll((_BUSY if busy else _IDLE) * 1000):
            busy = tick()
        kill_group()

    threading.Thread(target=loop, name="tidemill-lifeline", daemon=True).start()


def kill_group() -> None:
    """Kill this process and everything in its group."""
    os.killpg(os.getpgrp(), signal.SIGKILL)
