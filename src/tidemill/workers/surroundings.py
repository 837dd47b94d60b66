"""What all runs of a process share unless it is put back: environment variables, file mode mask, signals and timers."""

import os
import signal
import sys
from typing import Any

SHORT = 0.0005
"""Seconds. After shorter runs only what costs next to nothing to look at is put back."""

_SIGNALS = (
    "SIGALRM", "SIGCHLD", "SIGHUP", "SIGINT", "SIGPIPE", "SIGPROF", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGVTALRM",
)  # fmt: skip


class Surroundings:
    """Takes note of the process's surroundings when made, and puts them back after each run.

    What happens while modules are imported is kept: a library may set variables and handlers for good, once.
    """

    def __init__(self) -> None:
        self._environ: Any = os.environ
        self._raw: dict[Any, Any] = {}
        self._variables: dict[str, str] = {}
        self._handlers: list[tuple[int, Any]] = []
        self._modules = 0
        self._mask = os.umask(0o22)
        self.keep()

    def keep(self) -> None:
        """Take what is now for what should be. The mask stays: no import has business with it."""
        self._modules = len(sys.modules)
        self._raw = self._environ._data.copy()  # noqa: SLF001 (as bytes, which are compared in a third of the time)
        self._variables = self._environ.copy()
        found = [(number, signal.getsignal(number)) for name in _SIGNALS if (number := getattr(signal, name, None))]
        self._handlers = [(number, handler) for number, handler in found if handler is not None]
        os.umask(self._mask)

    def restore(self, wall: float) -> None:
        """Put everything back after a run of `wall` seconds. Only the main thread may call this."""
        os.umask(self._mask)
        if len(sys.modules) != self._modules:
            self.keep()
            return
        if os.environ is not self._environ:
            os.environ = self._environ  # noqa: B003 (the run has put another there)
        if self._environ._data != self._raw:  # noqa: SLF001
            self._restore_variables()
        if wall >= SHORT:
            signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in self._handlers:
                if signal.getsignal(number) is not handler:
                    signal.signal(number, handler)

    def _restore_variables(self) -> None:
        for name in [name for name in self._environ if name not in self._variables]:
            del self._environ[name]
        self._environ.update(self._variables)
