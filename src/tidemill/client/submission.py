"""A submission: a plan streamed to the server in chunks, and followed until its block ends."""

import contextlib
import signal
from collections import deque
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Protocol

from tidemill.client.connection import Connection
from tidemill.client.literals import Literals
from tidemill.graph.plan import Plan
from tidemill.model import delta, session
from tidemill.model.digest import digest
from tidemill.model.errors import ResumeError
from tidemill.model.states import BlockState
from tidemill.stores.objects import ObjectStore

WINDOW = 100
"""Chunks under way that the store has not confirmed."""


class Watcher(Protocol):
    """Who is shown what happens."""

    def progress(self, message: session.Progress) -> None:
        """Counters have changed."""

    def failed(self, message: session.Failed) -> None:
        """A run ended with an error."""

    def said(self, message: session.Said) -> None:
        """A task said something that should be seen."""

    def note(self, text: str) -> None:
        """Something worth a line."""


class Submission:
    """A root block as its client sees it.

    Args:
        connection: an open connection.
        watcher: who is shown what happens.
    """

    def __init__(self, connection: Connection, watcher: Watcher) -> None:
        self._connection = connection
        self._watcher = watcher
        self.block = 0
        self.resumed = False
        self.state: BlockState | None = None
        self._stored = 0
        self._gone = False
        self._presses: deque[int] = deque()
        self._act: Callable[[int], None] = lambda _: None
        self.leaving = False

    def begin(self, plan: Plan, options: int, started: str = "") -> None:
        """Open a block for a plan, or find the open one it was interrupted in. `started` is kept for `resume`.

        Raises:
            ResumeError: that one was another plan.
        """
        number = self._connection.next_number()
        header = delta.encode(plan.header)
        self._connection.send(session.Begin(number, plan.key, plan.name, header, options, started))
        begun = self._connection.wait_for(
            lambda m: isinstance(m, (session.Begun, session.Reply)) and m.number == number
        )
        assert isinstance(begun, session.Begun)
        self.block, self.resumed, self._stored = begun.block, begun.resumed, begun.chunks
        self._begun = begun

    def send(self, plan: Plan, objects: Callable[[], ObjectStore]) -> None:
        """Stream the chunks that the store does not have, each after the files and large values that it names.

        Raises:
            ResumeError: a chunk differs from the one stored before the interruption.
            UsageError: a file changed while the workflow was being built.
        """
        if self._begun.sealed:
            return
        known = self._begun.digests
        literals = Literals(plan, objects)
        for seq, chunk in enumerate(plan.chunks()):
            body = delta.encode(chunk)
            found = digest(body)
            if seq < len(known):
                if known[seq] != found:
                    raise ResumeError(
                        f"part {seq} of the interrupted submission (block {self.block}) differs from what is stored",
                        hint=f"a workflow must build the same graph each time; or: tidemill cancel {self.block}",
                    )
                continue
            literals.store(chunk.objects)
            while seq - self._stored >= WINDOW and not self._over():
                self._take(None)
            if self._over():
                return
            self._connection.send(session.Part(self.block, seq, found, body))
            self._take(0.0)
            while self._connection.sending and not self._over():
                self._take(None)
        self._connection.send(session.Seal(self.block))

    def _over(self) -> bool:
        return self.state is not None or self.leaving

    def watch(self, block: int) -> None:
        """Follow a block that was submitted before."""
        self.block = block
        self._connection.send(session.Watch(block))

    def wait(self) -> BlockState | None:
        """Follow until the block has ended, or (None) until the server has let go of it after `detach`."""
        while self.state is None and not self._gone:
            self._take(None)
        return self.state

    def detach(self, *, now: bool) -> None:
        """Ask the server to let go: `wait` then ends as soon as nothing of ours runs any more."""
        self.leaving = True
        self._connection.send(session.Detach(now))

    @contextlib.contextmanager
    def interruptible(self, act: Callable[[int], None]) -> Iterator[None]:
        """While the block runs, Ctrl-C calls `act` with how often it was pressed, instead of raising.

        Only in the main thread. The signal may come at any point of the program, so its handler only takes note of it;
        `act` is called between two messages and may use the submission.
        """
        self._act = act
        times = 0

        def handler(_signal: int, _frame: FrameType | None) -> None:
            nonlocal times
            times += 1
            self._presses.append(times)
            self._connection.wake()

        try:
            before = signal.signal(signal.SIGINT, handler)
        except ValueError:
            yield
            return
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _take(self, timeout: float | None) -> bool:
        message = self._connection.receive(timeout)
        while self._presses:
            self._act(self._presses.popleft())
        if message is None:
            return False
        if isinstance(message, session.Stored):
            self._stored = max(self._stored, message.chunks)
        elif isinstance(message, session.Progress):
            self._watcher.progress(message)
        elif isinstance(message, session.Failed):
            self._watcher.failed(message)
        elif isinstance(message, session.Said):
            self._watcher.said(message)
        elif isinstance(message, session.Closed) and message.block == self.block:
            self.state = BlockState(message.state)
        elif isinstance(message, session.Gone):
            self._gone = True
        return True
