"""A connection to the process that serves a store; started here if there is none."""

import atexit
import contextlib
import os
import select
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable

import msgspec

from tidemill.model import errors, session
from tidemill.model.errors import EngineLostError, HaltedError, StoreBusyError, TidemillError
from tidemill.server.addresses import Place, reachable
from tidemill.stores.state.open import shown
from tidemill.workers.wire import Channel

_PATIENCE = 30.0
"""Seconds in which another process that serves the store must answer."""
_AGAIN = 0.02

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_BOOT = (
    "import sys; sys.path.insert(0, {!r}); from tidemill.launchers.nursery import fork_executors; fork_executors({}); "
    "from tidemill.server.main import main; sys.exit(main({!r}))"
)

_started: list[subprocess.Popen[bytes]] = []
"""Servers started here, until they have ended and are collected."""


class Connection:
    """Messages to and from the process that serves a store.

    Args:
        place: the store.
        workers: local workers wanted.
        path: `sys.path` entries that the tasks need.
        usual: nobody asked for that number of workers, so that the store's own setting counts.
        patience: seconds in which another process that serves the store must answer.

    Raises:
        StoreBusyError: another process holds the store and does not answer.
    """

    def __init__(
        self, place: Place, workers: int, path: list[str], *, usual: bool = False, patience: float = _PATIENCE
    ) -> None:
        self._place = place
        self._messages: deque[session.ToClient] = deque()
        self._attach = session.Attach(session.VERSION, workers, path, os.getcwd(), place.objects, usual)
        self._patience = patience
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._number = 0
        self._deadline = time.monotonic() + patience
        self._reach()

    # ------------------------------------------------------------------------------------------------- finding it

    def _reach(self) -> None:
        found = self._connect()
        self._own = found is None
        self._channel = found or self._spawn()
        self.send(self._attach)

    def _connect(self) -> Channel | None:
        if not self._place.alone:
            return None
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(self._patience)
        try:
            with reachable(self._place.socket) as address:
                sock.connect(address)
        except TimeoutError:
            sock.close()
            raise self._busy() from None
        except OSError:
            sock.close()
            return None
        sock.settimeout(None)
        return Channel(sock)

    def _spawn(self) -> Channel:
        _started[:] = [one for one in _started if one.poll() is None]
        ours, theirs = socket.socketpair()
        argv = ["tidemill", shown(self._place.state), self._place.objects, str(theirs.fileno())]
        with theirs:
            process = subprocess.Popen(
                server_command(self._attach.workers, argv),
                stdin=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        _started.append(process)
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError), process.stdin:  # one that is gone is found out by its socket
            process.stdin.write(os.fsencode(self._place.state))
        return Channel(ours)

    def welcome(self) -> session.Welcome:
        """Wait until the store is served.

        Raises:
            StoreBusyError: another process holds the store and does not answer.
            TidemillError: it cannot be served; the error that the server met.
        """
        while True:
            # who was started here has all the time it needs: if it dies, the connection ends
            left = None if self._own else self._deadline - time.monotonic()
            try:
                message = self.receive(left)
            except EngineLostError:
                # a server found by its socket may just be ending
                if self._own:
                    raise
                self._again()
                continue
            if isinstance(message, session.Welcome):
                return message
            if isinstance(message, session.Busy):
                self._again()
            elif message is None and left is not None and time.monotonic() > self._deadline:
                raise self._busy()

    def _again(self) -> None:
        """Somebody else serves the store: talk to them, or take over when they have just ended."""
        self._channel.close()
        if time.monotonic() > self._deadline:
            raise self._busy()
        time.sleep(_AGAIN)
        self._reach()

    def _busy(self) -> StoreBusyError:
        return StoreBusyError(
            f"another process serves the store {self._place.directory} and does not answer",
            hint="it may be stopped, or on another machine; wait for it, or end it",
        )

    # ------------------------------------------------------------------------------------------------- talking

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

    def wake(self) -> None:
        """Let `receive` return. The only thing that a signal handler or another thread may do."""
        self._waker.send(b"!", socket.MSG_DONTWAIT)

    def receive(self, timeout: float | None = None) -> session.ToClient | None:
        """The next message; None when `timeout` seconds have passed or after `wake`.

        Raises:
            EngineLostError: the server ended.
            HaltedError: somebody else has stopped the work.
            TidemillError: the server reports a problem of the session.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._messages:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not self._pump(left):
                return None
        message = self._messages.popleft()
        if isinstance(message, session.Reply) and message.number == 0 and message.code:
            raise error_of(message)
        if isinstance(message, session.Gone) and message.who:
            raise HaltedError(
                f"stopped by {message.who}", hint="nothing is lost: the same command goes on where it was"
            )
        return message

    def _pump(self, timeout: float | None) -> bool:
        """Send and receive what can be; False if nothing happened in time, or somebody called `wake`."""
        watched: list[Channel | socket.socket] = [self._channel, self._woken]
        readable, writable, _ = select.select(watched, watched[: self._channel.wants_write], [], timeout)
        if writable:
            self._channel.flush()
        if self._channel in readable:
            self._read()
        if self._woken in readable:
            self._woken.recv(4096)
            return False
        return bool(readable or writable)

    def _read(self) -> None:
        frames = self._channel.receive()
        if frames is None:
            raise EngineLostError(
                "the engine of this store ended unexpectedly",
                hint="run the same command again: it carries on where it was",
            )
        try:
            self._messages.extend(session.decode_to_client(f) for f in frames)
        except msgspec.MsgspecError as error:
            raise EngineLostError(
                f"the engine of this store is another version of Tidemill: {error}",
                hint="wait until the running engine has ended",
            ) from error

    def ask(self, name: str, /, **args: object) -> object:
        """A control command and its result.

        Raises:
            TidemillError: as answered.
        """
        number = self.next_number()
        self.send(session.Command(number, name, args))
        return self.wait_for(lambda m: isinstance(m, session.Reply) and m.number == number)

    def wait_for(self, wanted: Callable[[session.ToClient], bool]) -> object:
        """Skip messages until one is wanted; the result of a reply, else the message.

        Raises:
            TidemillError: a reply says that something cannot be done.
        """
        while True:
            message = self.receive()
            if message is None:
                continue
            if isinstance(message, session.Reply) and message.code:
                raise error_of(message)
            if wanted(message):
                return message.result if isinstance(message, session.Reply) else message

    def close(self) -> None:
        """Say goodbye without waiting."""
        self._channel.close()
        self._woken.close()
        self._waker.close()


def server_command(workers: int, argv: list[str]) -> list[str]:
    """What starts a process that serves a store, see `server.main`.

    Args:
        workers: how many it will need at once.
        argv: its arguments.
    """
    return [sys.executable, "-P", "-c", _BOOT.format(_ROOT, workers, argv)]


def error_of(reply: session.Reply) -> TidemillError:
    """The error that a reply stands for."""
    return errors.error_of(reply.code, reply.message, reply.hint)


def connect(place: Place, workers: int | None = 0, *, patience: float = _PATIENCE) -> Connection:
    """A connection to the process that serves a store, started if there is none.

    Args:
        place: the store.
        workers: local workers wanted; None for what is usual in this store, else one per CPU.
        patience: seconds in which another process that serves the store must answer.
    """
    number = (os.cpu_count() or 1) if workers is None else workers
    return Connection(place, number, _import_path(), usual=workers is None, patience=patience)


def _import_path() -> list[str]:
    """`sys.path` entries that a worker needs to import what this program can."""
    entries = [os.path.abspath(p) if p else os.getcwd() for p in sys.path]
    own = {os.path.abspath(p) for p in (sys.prefix, sys.base_prefix)}
    return [p for p in dict.fromkeys(entries) if not any(p.startswith(o) for o in own)]


@atexit.register
def _let_go() -> None:
    """Servers outlive this process if they have to: that is no mistake about which to warn."""
    for process in _started:
        process.returncode = process.poll() or 0
