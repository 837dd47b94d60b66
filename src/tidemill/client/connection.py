"""A connection to the process that serves a store; started here if there is none."""

import os
import select
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable

from tidemill.model import errors, session
from tidemill.model.errors import EngineLostError, StoreBusyError, TidemillError
from tidemill.server.addresses import Place
from tidemill.workers.wire import Channel

_ERRORS: dict[str, type[TidemillError]] = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, TidemillError) and kind.__init__ is TidemillError.__init__
}
_PATIENCE = 10.0
"""Seconds in which another process that serves the store must answer."""

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_BOOT = "import sys; sys.path.insert(0, {!r}); from tidemill.server.main import main; sys.exit(main({!r}))"


class Connection:
    """Messages to and from the process that serves a store.

    Args:
        place: the store.
        workers: local workers wanted.
        path: `sys.path` entries that the tasks need.

    Raises:
        TidemillError: what the server answered, under its own code.
        StoreBusyError: another process holds the store and does not answer.
    """

    def __init__(self, place: Place, workers: int, path: list[str]) -> None:
        self._place = place
        self._messages: deque[session.ToClient] = deque()
        self._attach = session.Attach(session.VERSION, workers, path, os.getcwd())
        self._channel = self._connect() or self._spawn()
        self._number = 0
        self.send(self._attach)

    def _connect(self) -> Channel | None:
        if not self._place.alone:
            return None
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(self._place.socket)
        except OSError:
            sock.close()
            return None
        return Channel(sock)

    def _spawn(self) -> Channel:
        ours, theirs = socket.socketpair()
        argv = ["tidemill", self._place.state, self._place.objects, str(theirs.fileno())]
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _BOOT.format(_ROOT, argv)],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        return Channel(ours)

    def welcome(self) -> session.Welcome:
        """Wait until the store is served.

        Raises:
            StoreBusyError: another process holds the store and does not answer.
            TidemillError: it cannot be served.
        """
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                message = self.receive()
            except EngineLostError:
                # a server found by its socket may just be ending, and one started here may have lost the race for the lock
                if time.monotonic() > deadline or not self._place.alone:
                    raise
                self._again()
                continue
            if isinstance(message, session.Welcome):
                return message
            if isinstance(message, session.Busy):
                if time.monotonic() > deadline:
                    raise StoreBusyError(
                        f"another process serves the store {self._place.directory} and does not answer",
                        hint="it may be stopped, or on another machine; wait for it, or end it",
                    )
                self._again()

    def _again(self) -> None:
        """Somebody else serves the store: talk to them, or take over when they have just ended."""
        self._channel.close()
        time.sleep(0.02)
        self._channel = self._connect() or self._spawn()
        self.send(self._attach)

    @property
    def sending(self) -> bool:
        """Whether something waits to be sent."""
        return self._channel.wants_write

    def send(self, message: session.ToServer) -> None:
        self._channel.send(session.encode(message))

    def next_number(self) -> int:
        """A number for a message that is answered by number."""
        self._number += 1
        return self._number

    def receive(self, timeout: float | None = None) -> session.ToClient | None:
        """The next message; None when `timeout` seconds have passed.

        Raises:
            EngineLostError: the server ended.
            TidemillError: the server reports a problem of the session.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._messages:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not self._pump(left) and left is not None and left <= 0:
                return None
        message = self._messages.popleft()
        if isinstance(message, session.Reply) and message.number == 0 and message.code:
            raise error_of(message)
        return message

    def _pump(self, timeout: float | None) -> bool:
        """Send and receive what can be; whether anything came."""
        want = [self._channel] if self._channel.wants_write else []
        readable, writable, _ = select.select([self._channel], want, [], timeout)
        if writable:
            self._channel.flush()
        if not readable:
            return bool(writable)
        frames = self._channel.receive()
        if frames is None:
            raise EngineLostError(
                "the engine of this store ended unexpectedly",
                hint="run the same command again: it carries on where it was",
            )
        self._messages.extend(session.decode_to_client(f) for f in frames)
        return True

    def ask(self, name: str, **args: object) -> object:
        """A control command and its result.

        Raises:
            TidemillError: as answered.
        """
        number = self.next_number()
        self.send(session.Command(number, name, args))
        return self.wait_for(lambda m: isinstance(m, session.Reply) and m.number == number)

    def wait_for(self, wanted: Callable[[session.ToClient], bool]) -> object:
        """Skip messages until one is wanted; the result of a reply, else the message."""
        while True:
            message = self.receive()
            assert message is not None
            if isinstance(message, session.Reply) and message.code:
                raise error_of(message)
            if wanted(message):
                return message.result if isinstance(message, session.Reply) else message

    def close(self) -> None:
        """Say goodbye without waiting."""
        self._channel.close()


def error_of(reply: session.Reply) -> TidemillError:
    """The error that a reply stands for."""
    kind = _ERRORS.get(reply.code, TidemillError)
    return kind(reply.message, hint=reply.hint)
