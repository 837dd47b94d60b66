"""A workflow that goes on without the program that submitted it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from tidemill.client import display, startup
from tidemill.client.connection import Connection, connect
from tidemill.client.following import checked
from tidemill.client.queries import BlockStatus
from tidemill.client.submission import Submission
from tidemill.graph.plan import build
from tidemill.model import session
from tidemill.model.errors import RunError, without_our_frames
from tidemill.model.states import BlockState
from tidemill.stores.objects import fetch_url
from tidemill.stores.state import blocks

if TYPE_CHECKING:
    from tidemill.client.store import Store

_OPEN = (BlockState.OPEN, BlockState.CLOSING)


class Handle:
    """A submitted workflow: wait for it, ask how far it is, take its result. It can be pickled.

    Args:
        store: where it is.
        block: its block.
        name: of the workflow.
        workers: how many to start if nobody works on it when `wait` is called; None for what is usual.

    Attributes:
        block: its number, for `tidemill status`, `show` and `cancel`.
        name: of the workflow.
    """

    def __init__(self, store: Store, block: int, name: str, workers: int | None) -> None:
        self._kind = type(store)
        self._place = store.place
        self.block = block
        self.name = name
        self._workers = workers

    def _open(self) -> Store:
        """The store, for one question: a handle holds nothing open."""
        return self._kind(self._place.state, objects=self._place.objects)

    @property
    def status(self) -> BlockStatus:
        """How far it is, by task."""
        with self._open() as store:
            return store.status(self.block).blocks[0]

    @property
    def done(self) -> bool:
        """Whether it has ended, however."""
        with self._open() as store:
            return _state(store, self.block) not in _OPEN

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has ended.

        Args:
            timeout: seconds; None for as long as it takes.

        Returns:
            whether it has ended.
        """
        if self.done:
            return True
        with self._open() as store:
            connection = connect(store.place, self._workers)
            try:
                connection.welcome()
                connection.send(session.Watch(self.block))
                return _ends(connection, self.block, timeout) or self.done
            finally:
                connection.close()

    @without_our_frames
    def result(self, timeout: float | None = None) -> Any:
        """Its result, waited for.

        Raises:
            TimeoutError: it has not ended in `timeout` seconds.
            RunFailedError, RunCancelledError: it has no result.
        """
        if not self.wait(timeout):
            raise TimeoutError(f"{self.name} (block {self.block}) has not ended in {timeout:g} s")
        with self._open() as store:
            return store.result(self.block)

    def exception(self, timeout: float | None = None) -> RunError | None:
        """Why it has no result, waited for; None if it has one.

        Raises:
            TimeoutError: it has not ended in `timeout` seconds.
        """
        try:
            self.result(timeout)
        except RunError as error:
            return error
        return None

    def cancel(self) -> None:
        """End what has not ended; what is running is stopped."""
        with self._open() as store:
            store.cancel(self.block)

    def __repr__(self) -> str:
        return f"<{self.name}: block {self.block} of {self._place.state}>"

    def _repr_html_(self) -> str:
        return self.status._repr_html_()


def _state(store: Store, block: int) -> BlockState:
    row = blocks.get(store.db, block)
    assert row is not None, f"block {block} has vanished"
    return BlockState(row.state)


def _ends(connection: Connection, block: int, timeout: float | None) -> bool:
    """Whether a watched block ends within `timeout` seconds."""
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        message = connection.receive(left)
        if isinstance(message, session.Closed) and message.block == block:
            return True
        if message is None and deadline is not None and time.monotonic() >= deadline:
            return False


def submit(store: Store, call: Any, *, workers: int | None, stop: bool) -> Handle:
    """Store a call and have it executed, without waiting.

    Raises:
        WiringError: the workflow does not fit together; nothing was stored.
    """
    plan = build(call, lambda url: fetch_url(store.objects, url))
    number = checked(workers)
    connection = connect(store.place, number)
    try:
        submission = Submission(connection, display.Quiet())
        connection.welcome()
        options = blocks.DETACHED | (blocks.STOP_ON_FAILURE if stop else 0)
        submission.begin(plan, options, startup.now(number, options))
        submission.send(plan, lambda: store.objects)
        connection.ask("sync")
    finally:
        connection.close()
    return Handle(store, submission.block, plan.name, number)
