"""The executor process: `python -m tidemill.workers.executor SOCKET [LIFELINE [ALIVE]]`, three inherited descriptors.

It reads frames, runs what they ask for in order, and sends outcomes in batches: soon enough that nobody waits for them,
seldom enough that a run of a few microseconds does not pay for a message of its own.
"""

import atexit
import os
import select
import socket
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from tidemill.model import protocol
from tidemill.model.errors import error_of
from tidemill.model.protocol import (
    Answer,
    Ask,
    Claimed,
    Done,
    Forget,
    Hello,
    Input,
    Note,
    Outcome,
    Over,
    Published,
    Read,
    Setup,
    Stop,
    Told,
    Work,
)
from tidemill.model.states import Reason
from tidemill.workers import lifeline
from tidemill.workers.attempt import Attempts
from tidemill.workers.failure import FAILED, Fault
from tidemill.workers.wire import Channel

LONG = 0.001
"""Seconds. Outcomes are sent before a run that is expected to take longer."""

DELAY = 0.002
"""Seconds for which an outcome waits for others to be sent with."""

BATCH = 500
"""Outcomes in a message at most."""

POLL = 0.001
"""Seconds between two looks at the socket while there is work."""


class Executor:
    """The loop of one executor process. Everything but `tick` runs on the main thread."""

    def __init__(self, channel: Channel, setup: Setup) -> None:
        self._channel = channel
        self._queue: deque[tuple[Claimed, float]] = deque()
        self._unsent: list[Outcome] = []
        self._sending = threading.Lock()
        self._reading = threading.Lock()
        self._answers: dict[int, Answer | Told] = {}
        self._asked = 0
        self._overs: set[tuple[int, int]] = set()
        self._stopping = False
        self._seen: Outcome | None = None
        self._attempts = Attempts(setup, self._read, self)
        os.register_at_fork(after_in_child=self._in_child)

    def serve(self, frames: list[bytes]) -> bool:
        """Work, beginning with `frames`; True when told to stop, False when the engine has gone."""
        self._take(frames)
        queue, attempts, unsent = self._queue, self._attempts, self._unsent
        monotonic = time.monotonic
        look = oldest = monotonic()
        while True:
            if not queue:
                attempts.idle()
                self._flush()
                if self._stopping:
                    return True
                with self._reading:
                    arrived = self._channel.wait()
                if not self._take(arrived):
                    return False
                attempts.resume()
                look = monotonic() + POLL
                continue
            claim, seconds = queue.popleft()
            if unsent and (seconds > LONG or attempts.expected(claim.task) > LONG):
                self._flush()
            outcome = attempts.run(claim)
            now = monotonic()
            if not unsent:
                oldest = now
            unsent.append(outcome)
            if now - oldest >= DELAY or len(unsent) >= BATCH:
                self._flush()
            if now >= look:
                look = now + POLL
                with self._reading:
                    arrived = self._channel.receive()
                if not self._take(arrived):
                    return False

    def tick(self) -> bool:
        """Send outcomes that a run of unexpected length holds back. Called from the lifeline's thread.

        Returns:
            Whether there is anything to look after soon.
        """
        oldest = self._unsent[:1]
        if oldest and oldest[0] is self._seen:
            with suppress(OSError):
                self._flush()
        self._seen = oldest[0] if oldest else None
        return bool(oldest or self._queue)

    def _flush(self) -> None:
        """Send all outcomes. The list stays the same object, and what is appended meanwhile stays in it."""
        if not self._unsent:
            return
        with self._sending:
            batch = self._unsent[:]
            if batch:
                self._channel.send_all(protocol.encode(Done(batch)))
                del self._unsent[: len(batch)]

    def _take(self, frames: list[bytes] | None) -> bool:
        """Handle what has come in; False if the engine has gone. Of a second `Setup` only the path counts."""
        if frames is None:
            return False
        for frame in frames:
            message = protocol.decode_to_worker(frame)
            if isinstance(message, Work):
                self._attempts.loader.learn(message.tasks)
                seconds = message.seconds
                self._queue.extend([(claim, seconds) for claim in message.runs])
            elif isinstance(message, Forget):
                gone = set(message.runs)
                kept = [item for item in self._queue if item[0].run not in gone]
                self._queue.clear()
                self._queue.extend(kept)
            elif isinstance(message, (Answer, Told)):
                self._answers[message.number] = message
            elif isinstance(message, Over):
                self._overs.update(message.runs)
            elif isinstance(message, Setup):
                self._attempts.loader.look_in(message.path)
            elif isinstance(message, Stop):
                self._stopping = True
            if self._stopping:
                self._queue.clear()
        return True

    def _read(self, gather: int, first: int, count: int) -> list[Input]:
        """Ask the engine for members of a collection and wait for them; other frames are handled meanwhile.

        Raises:
            Fault: BAD_INPUT if the engine has no such members.
        """
        answer = self._exchange(lambda number: Read(number, gather, first, count))
        if not isinstance(answer, Answer) or answer.error:
            raise Fault(Reason.BAD_INPUT, answer.error if isinstance(answer, Answer) else answer.message)
        return answer.inputs

    def ask(self, run: int, fence: int, name: str, args: dict[str, object]) -> object:
        """Ask the engine something for a running task. Safe for its threads.

        Raises:
            TidemillError: what the engine answers.
        """
        told = self._exchange(lambda number: Ask(number, run, fence, name, args))
        if isinstance(told, Answer):
            raise TypeError(f"the engine has answered {name} with members of a collection")
        if told.code:
            raise error_of(told.code, told.message, told.hint)
        return told.result

    def publish(self, published: Published) -> None:
        """Tell that a service is up, after what has ended before it."""
        self._flush()
        with self._sending:
            self._channel.send_all(protocol.encode(published))

    def over(self, run: int, fence: int, seconds: float) -> bool:
        """Wait, at most so long, until a service has no users any more; whether that is so."""
        deadline = time.monotonic() + seconds
        while (run, fence) not in self._overs and not self._stopping:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._channel], [], [], left)[0]:
                return False
            with self._reading:
                arrived = self._channel.receive()
            if not self._take(arrived):
                lifeline.kill_group()
        self._overs.discard((run, fence))
        return True

    def note(self, note: Note) -> None:
        """Send a message of a running task. Safe for its threads."""
        with self._sending:
            self._channel.send_all(protocol.encode(note))

    def _exchange(self, make: Callable[[int], Read | Ask]) -> Answer | Told:
        """Send a question, made for a number, and wait for its answer; other frames are handled meanwhile.

        Nobody else may read from the channel until then: the loop does not while a task is running, its threads wait.
        """
        self._flush()
        with self._reading:
            self._asked += 1
            number = self._asked
            with self._sending:
                self._channel.send_all(protocol.encode(make(number)))
            while number not in self._answers:
                if not self._take(self._channel.wait()):
                    lifeline.kill_group()
            return self._answers.pop(number)

    def _in_child(self) -> None:
        """User code has forked: the child must neither hold the socket open nor carry on with our loop."""
        self._attempts.forked()
        self._channel.close()


def main(descriptors: list[int]) -> NoReturn:
    """Run an executor on inherited descriptors: the socket, the lifeline's reading end, the liveness lock.

    The lock is handed on to everything that user code starts: who can take it knows that all of it has ended.
    """
    lifeline.lead()
    for descriptor in descriptors[:2]:
        os.set_inheritable(descriptor, False)
    for descriptor in descriptors[1:2]:
        lifeline.arm(descriptor)
    for descriptor in descriptors[2:]:
        os.set_inheritable(descriptor, True)
    channel = Channel(socket.socket(fileno=descriptors[0]))
    frames = channel.wait()
    if frames is None:
        os._exit(0)
    setup = protocol.decode_to_worker(frames[0])
    if not isinstance(setup, Setup):
        raise TypeError(f"the first message must be Setup, not {type(setup).__name__}")
    told = False
    try:
        executor = Executor(channel, setup)
        lifeline.watch(descriptors[:2], executor.tick)
        channel.send_all(protocol.encode(Hello(setup.worker, os.getpid())))
        told = executor.serve(frames[1:])
    except (BrokenPipeError, ConnectionResetError):
        pass  # the engine has gone
    except BaseException:  # noqa: BLE001 (whatever it is, the log must say so)
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(FAILED)
    if told:
        _leave()
    lifeline.kill_group()
    os._exit(FAILED)


def _leave() -> NoReturn:
    """End now: run what user code has registered for the end, but wait for none of its threads."""
    with suppress(BaseException):
        atexit._run_exitfuncs()  # noqa: SLF001 (there is no public way to run them and still end at once)
    os._exit(0)


if __name__ == "__main__":
    main([int(text) for text in sys.argv[1:]])
