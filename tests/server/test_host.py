"""The loop of an engine, in this process: what comes of messages that arrive together."""

import ctypes
import os
import select
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Self

import pytest

import tidemill as tm
from tests.server.support import PATIENCE, Gate
from tidemill.client.connection import Connection
from tidemill.client.submission import Submission
from tidemill.engine import reclaim
from tidemill.engine.clock import SystemClock
from tidemill.engine.engine import Engine
from tidemill.graph.plan import Plan
from tidemill.model import delta, session
from tidemill.model.digest import digest
from tidemill.model.states import BlockState
from tidemill.server import host, settling
from tidemill.server.addresses import place_of
from tidemill.server.host import Host
from tidemill.server.slots import Slot, Slots
from tidemill.stores.state import attempts
from tidemill.stores.state.open import open_database
from tidemill.stores.state.workers import Worker
from tidemill.workers.identity import identity

ROOT = Path(__file__).parents[2]


@tm.task
def refused_at(gate: str) -> int:
    Path(f"{gate}.here").write_text(f"{os.getpid()}\n")
    with open(f"{gate}.gate", "rb") as file:
        file.read(1)
    raise ValueError("not by this way")


@tm.task(cache=False)
def passes(gate: str) -> int:
    Path(f"{gate}.here").write_text(f"{os.getpid()}\n")
    with open(f"{gate}.gate", "rb") as file:
        file.read(1)
    return os.getpid()


@tm.task(cache=False)
def leaves_a_child(flag: str) -> int:
    """Killed at its first try, with a child that C code has forked: it holds all that the worker had open."""
    if os.path.exists(flag):
        return 2
    Path(flag).touch()
    held = os.open(f"{flag}.child", os.O_RDWR)
    c = ctypes.CDLL(None)
    if c.fork() == 0:
        c.setsid()
        c.read(held, ctypes.create_string_buffer(1), 1)
        c._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)
    return 1


@tm.task(on_error="run", on_skipped="run")
def by_another(went_well: bool | None) -> int:
    return 1 if went_well else 2


@tm.workflow
def two_ways(gate: str) -> int:
    with tm.block("first", contained=True) as attempt:
        refused_at(gate)
    return by_another(attempt.done)


@tm.workflow
def several(gates: list[str]) -> list[int]:
    return [passes(gate) for gate in gates]


@tm.workflow
def orphaned(flag: str) -> int:
    return leaves_a_child(flag)


class Holding(SystemClock):
    """A clock that, when asked to, holds up who asks it for the time: an engine at the beginning of a turn."""

    def __init__(self) -> None:
        super().__init__()
        self._hold = False
        self._held, self._go_on = threading.Event(), threading.Event()

    def time(self) -> float:
        if self._hold:
            self._hold = False
            self._held.set()
            assert self._go_on.wait(PATIENCE)
        return super().time()

    def hold(self, cause: Callable[[], None]) -> None:
        """Hold up the turn that `cause` brings about."""
        self._hold = True
        cause()
        assert self._held.wait(PATIENCE), "no turn began"

    def let_go(self) -> None:
        self._go_on.set()


class Watcher:
    def progress(self, message: session.Progress) -> None: ...
    def failed(self, message: session.Failed) -> None: ...
    def said(self, message: session.Said) -> None: ...
    def note(self, text: str) -> None: ...


class Served:
    """A store served by a thread of this process."""

    def __init__(self, directory: Path) -> None:
        self.place = place_of(str(directory / "store"))
        self.clock = Holding()
        self.host: Host
        # an engine stays as long as its first client does
        self._first, self._theirs = socket.socketpair()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        self.place.directory.mkdir()
        engine = Engine(open_database(self.place.state), self.clock)
        who = identity()
        me = Worker(0, None, 0, "engine", who.host, who.boot, who.namespace, who.pid, who.start, 0.0, 0.0)
        engine.transact(lambda turn: reclaim.register(turn, me))
        objects = engine.transact(lambda turn: settling.settle(turn.db, self.place))
        self.host = Host(engine, me, self.place, objects, Slots(2.0, 1 << 30))
        with closing(self.host):
            self.host.desk.listen(self.place.socket)
            self.host.desk.add_client(self._theirs)
            self._up.set()
            self.host.serve()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._up.wait(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self._first.close()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the engine did not end"

    def outcome_waits(self) -> None:
        """Wait until the only worker has sent something that the engine has not taken."""
        (slot,) = self.host.slots.all
        self.sent(slot)

    def sent(self, slot: Slot) -> None:
        """Wait until a worker has sent something that the engine has not taken."""
        assert select.select([slot.worker.channel], [], [], PATIENCE)[0], "the worker sent nothing"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path) as found:
        yield found


def test_the_last_of_a_submission_and_the_outcome_that_its_end_turns_on_in_one_turn(
    served: Served, tmp_path: Path
) -> None:
    """A block can only close once all of it is submitted: what waits for its end is ready after the turn's claims."""
    gate = Gate(tmp_path, "gate")
    plan = two_ways(str(tmp_path / "gate")).plan_graph()
    (part,) = [delta.encode(chunk) for chunk in plan.chunks()]
    with closing(Connection(served.place, 1, [str(ROOT)])) as client, closing(gate):
        client.welcome()
        submission = Submission(client, Watcher())
        submission.begin(plan, 0)
        client.send(session.Part(submission.block, 0, digest(part), part))
        gate.reached()
        served.clock.hold(lambda: client.send(session.Watch(submission.block)))
        gate.open()
        served.outcome_waits()
        client.send(session.Seal(submission.block))
        served.clock.let_go()
        messages = iter(lambda: client.receive(PATIENCE), None)
        closed = next((m for m in messages if isinstance(m, session.Closed)), None)
        assert closed == session.Closed(submission.block, BlockState.COMPLETE)


def start(client: Connection, plan: Plan) -> int:
    """Hand in a whole workflow; its block."""
    (part,) = [delta.encode(chunk) for chunk in plan.chunks()]
    submission = Submission(client, Watcher())
    submission.begin(plan, 0)
    client.send(session.Part(submission.block, 0, digest(part), part))
    client.send(session.Seal(submission.block))
    return submission.block


def ending(client: Connection) -> session.Closed | None:
    messages = iter(lambda: client.receive(PATIENCE), None)
    return next((m for m in messages if isinstance(m, session.Closed)), None)


def attempts_made(served: Served) -> list[tuple[int, int]]:
    """(run, attempt) of all that ended."""
    with closing(open_database(served.place.state, read_only=True)) as db, db.transaction(write=False):
        return [(a.run, a.n) for a in attempts.of(db, [1, 2, 3])]


def test_what_a_dead_worker_had_finished_counts_though_requests_wait(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "SUBMITTING_DONE", 0)
    """One message of a worker is taken at a time, and before the last one is, its sender's end is known, too."""
    gates = [Gate(tmp_path, name) for name in ("one", "two", "three")]
    with closing(Connection(served.place, 3, [str(ROOT)])) as client, ExitStack() as stack:
        for gate in gates:
            stack.callback(gate.close)
        client.welcome()
        block = start(client, several([str(tmp_path / gate.name) for gate in gates]).plan_graph())
        pids = [gate.reached() for gate in gates]
        slots = [next(s for s in served.host.slots.all if s.worker.pid == pid) for pid in pids]
        served.clock.hold(lambda: client.send(session.Watch(block)))
        for gate, slot in zip(gates, slots, strict=True):
            gate.open()
            served.sent(slot)
        os.kill(pids[-1], signal.SIGKILL)
        assert select.select([slots[-1].worker.sentinel], [], [], PATIENCE)[0]
        for request in (session.Watch(block), session.Command(1, "sync", {}), session.Watch(block)):
            client.send(request)
        served.clock.let_go()
        assert ending(client) == session.Closed(block, BlockState.COMPLETE)
        assert attempts_made(served) == [(1, 1), (2, 1), (3, 1)]


def test_a_dead_worker_is_noticed_while_what_it_forked_lives(served: Served, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    os.mkfifo(f"{flag}.child")
    child = os.open(f"{flag}.child", os.O_RDWR)
    with closing(Connection(served.place, 1, [str(ROOT)])) as client:
        client.welcome()
        block = start(client, orphaned(str(flag)).plan_graph())
        try:
            assert ending(client) == session.Closed(block, BlockState.COMPLETE)
        finally:
            os.write(child, b"!")
            os.close(child)
        assert attempts_made(served) == [(1, 1), (1, 2)]
