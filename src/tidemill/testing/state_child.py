"""A process beside a test of the suite of state stores: it opens the test's store, and may be killed.

As a command, `python -m tidemill.testing.state_child ACT` reads from its standard input what opens the store, says
`here`, waits for a line and does one of the acts below, each of which says line by line what it has done.
"""

import base64
import itertools
import os
import pickle
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Self

from tidemill.stores.state import events, memo, meta

if TYPE_CHECKING:  # it imports pytest, for which a process to be killed need not wait
    from tidemill.testing.state_base import Opener

TOGETHER = 3
"""How many rows a transaction of `write` writes into each of two tables."""


def _say(word: object) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def _open(opener: "Opener") -> None:
    """Open the store and take a number."""
    with closing(opener()) as db:
        with db.transaction():
            found = meta.take(db, "run", 1)
        _say(found)


def _write(opener: "Opener") -> None:
    """Commit transactions for ever; say of each that it is done."""
    with closing(opener()) as db:
        for number in itertools.count(1):
            with db.transaction():
                first = meta.take(db, "run", TOGETHER)
                ids = list(range(first, first + TOGETHER))
                memo.add(db, [number] * TOGETHER, ids)
                for i in ids:
                    events.add(db, float(number), 1, i, b"e")
            _say(number)


def _hold(opener: "Opener") -> None:
    """Begin a transaction, write, and never commit."""
    with closing(opener()) as db:
        db.begin()
        meta.take(db, "run", 1000)
        memo.add(db, [1], [1])
        _say("held")
        sys.stdin.readline()


ACTS = {"open": _open, "write": _write, "hold": _hold}


class Child:
    """Such a process. It has been started and does nothing until `go`."""

    def __init__(self, act: str, opener: "Opener") -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tidemill.testing.state_child", act],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self._tell(base64.b64encode(pickle.dumps(opener)).decode())
        assert self.hear() == "here"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def go(self) -> None:
        """Let it act."""
        self._tell("go")

    def hear(self) -> str:
        """The next thing it says; "" at its end."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def kill(self) -> list[str]:
        """End it by SIGKILL; what it had still said. A second time does nothing."""
        assert self._process.stdin is not None and self._process.stdout is not None
        if self._process.stdout.closed:
            return []
        self._process.kill()
        said = self._process.stdout.read().split("\n")[:-1]
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()
        return said

    def end(self) -> int:
        """Wait for its end; the exit code."""
        return self._process.wait()


if __name__ == "__main__":
    opens = pickle.loads(base64.b64decode(sys.stdin.readline()))
    _say("here")
    sys.stdin.readline()
    ACTS[sys.argv[1]](opens)
