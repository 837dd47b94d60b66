"""A store as its users hold it: `tm.open(path_or_url)`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from tidemill.client import display, failures
from tidemill.client.connection import Connection
from tidemill.client.results import Reader
from tidemill.client.submission import Submission
from tidemill.graph.plan import Plan, build
from tidemill.model.errors import RunCancelledError, UsageError
from tidemill.model.states import BlockState
from tidemill.server.addresses import Place, place_of
from tidemill.stores.objects import ObjectStore, open_objects
from tidemill.stores.state import blocks
from tidemill.stores.state.database import Database
from tidemill.stores.state.open import open_database

DEFAULT = ".tidemill"
ENVIRONMENT = "TIDEMILL_STORE"


class Store:
    """A store: its state, its objects, and the way to have work done in it.

    Opening one starts nothing and writes nothing.

    Args:
        url: a directory or `postgresql://…`; default: the environment's TIDEMILL_STORE, else `.tidemill` here.
        objects: where large values and files go; default: `objects` inside the store.
    """

    def __init__(self, url: str | os.PathLike[str] | None = None, *, objects: str = "") -> None:
        self.url = os.fspath(url) if url is not None else os.environ.get(ENVIRONMENT, DEFAULT)
        self.place: Place = place_of(self.url, objects)

    def __repr__(self) -> str:
        return f"<store {self.url}>"

    @cached_property
    def db(self) -> Database:
        """The state, for reading.

        Raises:
            NotFoundError: nothing has been run in this store yet.
        """
        return open_database(self.place.state, read_only=True)

    @cached_property
    def objects(self) -> ObjectStore:
        """The object store."""
        return open_objects(self.place.objects)

    @cached_property
    def reader(self) -> Reader:
        """Turns data into values."""
        return Reader(self.db, lambda: self.objects, self.place.directory / "files")

    def connect(self, workers: int = 0) -> Connection:
        """A connection to the process that serves this store, started if there is none."""
        return Connection(self.place, workers, import_path())

    def run(self, call: Any, *, workers: int | None = None, progress: bool | None = None, stop: bool = False) -> Any:
        """Execute a call durably and return its result.

        Args:
            call: a workflow or task with its arguments.
            workers: worker processes; default: one per CPU.
            progress: True, False, or None for what fits the terminal.
            stop: start nothing more after the first failure, instead of finishing what does not depend on it.

        Raises:
            WiringError: the workflow does not fit together; nothing was stored.
            RunFailedError: something failed; the report says what, where and how to run it alone.
            KeyboardInterrupt: Ctrl-C; everything finished so far is stored.
        """
        connection = self.connect(_count(workers))
        try:
            plan = build(call)
            self._import(plan)
            shown = display.display(plan.name, progress)
            submission = Submission(connection, shown)
            connection.welcome()
            submission.begin(plan, blocks.STOP_ON_FAILURE if stop else 0)
            if submission.resumed:
                shown.note(f"continuing block {submission.block} where it was interrupted")
            state = _follow(submission, plan, shown)
        finally:
            connection.close()
        return self.outcome(submission.block, state)

    def outcome(self, block: int, state: BlockState) -> Any:
        """The result of an ended block.

        Raises:
            RunFailedError, RunCancelledError: it has none.
        """
        if state is BlockState.CANCELLED:
            raise RunCancelledError(f"block {block} was cancelled", hint=f"tidemill retry {block} runs it again")
        if state is BlockState.ERROR:
            raise failures.error_of(self.db, self.url, block)
        return self.reader.result(block)

    def _import(self, plan: Plan) -> None:
        """Put literal files and large literal values into the object store before anything names them."""
        for wanted, path in plan.files.items():
            found, _ = self.objects.put_dir(path) if Path(path).is_dir() else self.objects.put_file(path)
            if found != wanted:
                raise UsageError(f"the file {path} changed while the workflow was being built", hint="run it again")
        if plan.blobs:
            self.objects.put_many(list(plan.blobs.values()))

    def close(self) -> None:
        """Close what is open."""
        if "db" in self.__dict__:
            self.db.close()
            del self.__dict__["db"]
        self.__dict__.pop("reader", None)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _follow(submission: Submission, plan: Plan, shown: display.Display) -> BlockState:
    """Send and wait; Ctrl-C once finishes what runs, twice stops at once."""

    def pressed(times: int) -> None:
        if times == 1:
            shown.note("finishing what runs; Ctrl-C again stops at once (nothing is lost either way)")
        submission.detach(now=times > 1)

    try:
        with submission.interruptible(pressed):
            submission.send(plan)
            state = submission.wait()
    except BaseException:
        shown.close()
        raise
    if state is None:
        shown.close()
        raise KeyboardInterrupt
    shown.close()
    return state


def _count(workers: int | None) -> int:
    if workers is None:
        return os.cpu_count() or 1
    if not isinstance(workers, int) or workers < 1:
        raise UsageError(f"workers must be a positive integer, not {workers!r}")
    return workers


def import_path() -> list[str]:
    """`sys.path` entries that a worker needs to import what this program can."""
    entries = [os.path.abspath(p) if p else os.getcwd() for p in sys.path]
    own = {os.path.abspath(p) for p in (sys.prefix, sys.base_prefix)}
    return [p for p in dict.fromkeys(entries) if not any(p.startswith(o) for o in own)]


def options_of(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split keyword arguments into those that open a store and the rest."""
    opening = {"store": "url", "objects": "objects"}
    first = {opening[k]: v for k, v in options.items() if k in opening}
    return first, {k: v for k, v in options.items() if k not in opening}


