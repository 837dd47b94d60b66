"""Running something in a fresh store, and looking at what it left there."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from measure import Watch, below

import tidemill as tm
from tidemill.client.connection import connect

HERE = Path(__file__).parent


def execute(store: str | Path, call: Any, workers: int = 2) -> Watch:
    """Run a call, from the first byte of a new engine to the result; what that took."""
    with Watch() as watch:
        tm.open(store).run(call, workers=workers, progress=False)
    return watch


@contextlib.contextmanager
def engine(store: Path, workers: int = 2) -> Iterator[tm.Store]:
    """A store that is served already, by an engine with idle workers."""
    with tm.open(store) as opened:
        connection = connect(opened.place, workers)
        try:
            connection.welcome()
            opened.run(warm(), workers=workers, progress=False)
            yield opened
        finally:
            connection.close()


def warm() -> Any:
    """A call that makes every worker ready."""
    from work import sweep

    return sweep(100, -1000)


def ask(store: Path, query: str) -> list[tuple[Any, ...]]:
    """Rows of the state database, while it is being written or not."""
    with contextlib.closing(sqlite3.connect(f"file:{store}/state.db?mode=ro", uri=True)) as db:
        return db.execute(query).fetchall()


def starts(store: Path) -> list[float]:
    """When the runs that are complete started, in the order of their ids."""
    return [t for (t,) in ask(store, "select t0 from attempt where state = 3 order by run")]


class Program:
    """A workflow in a process of its own, which can be killed with all that it started."""

    def __init__(self, store: Path, *command: str) -> None:
        self.began = time.time()
        self._process = subprocess.Popen(
            [sys.executable, HERE / "work.py", store, *command], stdout=subprocess.DEVNULL, start_new_session=True
        )

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL for the program, its engine and its workers, at once."""
        for pid in (*below(self._process.pid), self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
