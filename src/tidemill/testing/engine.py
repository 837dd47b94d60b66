"""Driving an engine without processes: graphs in, a worker that is a Python function per task, any turn may be the
last.

Time stands still unless it is moved, so that nothing depends on how fast the machine is.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from tidemill.engine import claim, complete, reclaim, retry, serve, submit
from tidemill.engine.complete import Answer
from tidemill.engine.engine import Engine
from tidemill.engine.turn import Turn
from tidemill.model import delta
from tidemill.model.delta import RunFlag
from tidemill.model.digest import digest
from tidemill.model.errors import NotFoundError
from tidemill.model.protocol import Claimed, Failure, Out, Outcome, Started
from tidemill.model.states import AttemptState, BlockState, Reason
from tidemill.stores.state import serves
from tidemill.stores.state.open import open_database
from tidemill.stores.state.workers import Worker
from tidemill.testing.engine_rows import EngineRows
from tidemill.testing.graphs import Graph, Task, arguments

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder().decode
MANY_TURNS = 20_000


class StandingClock:
    """A clock that is moved by hand."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


class Crash(Exception):  # noqa: N818 — what happens, not what is wrong
    """A task's function raises it to have its worker die."""


class EngineDriver(EngineRows):
    """One engine and one worker over a store.

    Args:
        url: a store directory or `postgresql://…`.
        tasks: what the graphs are made of.
        clock: shared by drivers of one store.
        batch: runs claimed at once.
        shared: complete and claim in turns that other engines may join (PostgreSQL).

    Attributes:
        log: (task, arguments) of every execution, in order.
        closed: blocks that this engine saw closing, with their states.
        stopped: (run, worker) of leases taken back while the worker held them.
        up: the services that this driver's worker runs and has published, by run; they end when they are told.
    """

    def __init__(
        self,
        url: str,
        tasks: Iterable[Task],
        *,
        clock: StandingClock | None = None,
        batch: int = 100,
        shared: bool = False,
    ) -> None:
        self.url = url
        self.tasks = {t.name: t for t in tasks}
        self.clock = clock or StandingClock()
        self.batch = batch
        self.shared = shared
        self.log: list[tuple[str, list[Any]]] = []
        self.closed: dict[int, BlockState] = {}
        self.stopped: list[tuple[int, int]] = []
        self.inbox: list[Outcome] = []
        self.up: dict[int, Outcome] = {}
        self.open()

    # ------------------------------------------------------------------------------------------------- life

    def open(self) -> None:
        """Connect, and register an engine with one worker."""
        self.engine = Engine(open_database(self.url, durable=False), self.clock)
        me = Worker(0, None, 0, "engine", "here", "boot", "space", 1, "start", 0.0, 0.0)
        with self.engine.turn() as turn:
            reclaim.register(turn, me)
        with self.engine.turn() as turn:
            self.worker = reclaim.register_worker(turn, "worker", me)

    def crash(self) -> None:
        """The engine and its worker are gone; another engine takes over what they held."""
        dead = self.engine.id
        self.engine.db.close()
        self.inbox = []
        self.up = {}
        self.open()
        self.reap(dead)

    def reap(self, engine: int) -> None:
        """Take over from an engine that is gone."""
        self.clock.now += 2 * reclaim.LEASE_SECONDS
        with self.engine.turn() as turn:
            reclaim.beat(turn)
            found = [w for w in reclaim.dead_engines(turn, lambda _: False) if w.id == engine]
            reclaim.reap(turn, found)

    def close(self) -> None:
        self.engine.db.close()

    # ------------------------------------------------------------------------------------------------- submission

    def graph(self) -> Graph:
        return Graph(self.tasks)

    def begin(self, graph: Graph, key: str = "", options: int = 0) -> submit.Begun:
        """Open a root block for a graph."""
        header = delta.encode(graph.header())
        parts = [delta.encode(c) for c in graph.chunks()]
        found = digest(key.encode() if key else header + b"".join(parts))
        with self.engine.turn() as turn:
            return submit.begin(turn, found, "test", header, options=options)

    def part(self, block: int, seq: int, chunk: delta.Chunk) -> None:
        """Hand in one chunk."""
        body = delta.encode(chunk)
        with self.engine.turn() as turn:
            submit.chunk(turn, block, seq, digest(body), delta.decode_chunk(body))

    def submit(self, graph: Graph, key: str = "", options: int = 0, size: int = 500) -> int:
        """Submit a graph; its block. A graph that was submitted before and has not ended is found again."""
        begun = self.begin(graph, key, options)
        for seq, chunk in enumerate(graph.chunks(size)):
            self.part(begun.block, seq, chunk)
        with self.engine.turn() as turn:
            submit.seal(turn, begun.block)
        self._saw(turn)
        return begun.block

    # ------------------------------------------------------------------------------------------------- work

    def step(self) -> bool:
        """One turn: hand in what was executed, do the engine's own work, claim more; False if there was nothing to
        do.
        """
        engine = self.engine
        if not engine.alone:
            with engine.db.transaction(write=False):
                engine.refresh_ready()
            self._look_around()
        inbox = self.inbox

        def work(turn: Turn) -> tuple[Turn, list[Claimed], bool]:
            if inbox:
                complete.complete(turn, self.worker, inbox)
                engine.settle(turn)
            busy = engine.busy
            if busy:
                engine.upkeep(turn)
                engine.settle(turn)
            return turn, claim.claim(turn, self.worker, lambda _, waiting: min(waiting, self.batch)), busy

        turn, claimed, busy = engine.transact(work, shared=self.shared)
        self.inbox = []
        self._saw(turn)
        dropped = {run for run, worker in turn.stopped if worker == self.worker}
        for c in claimed:
            if c.run not in dropped and (o := self.execute(c)) is not None:
                self.inbox.append(o)
        return bool(inbox or claimed or busy or engine.busy or self.inbox)

    def _look_around(self) -> None:
        """Several engines: another one may have closed the block of a service's users."""
        needed = serves.still_needed(self.engine.db, list(self.up)) if self.up else set()
        self.inbox += [self.up.pop(run) for run in list(self.up) if run not in needed]

    def _saw(self, turn: Turn) -> None:
        self.closed.update((c.block, c.state) for c in turn.closed)
        self.stopped += turn.stopped
        for run, _ in turn.stopped:
            self.up.pop(run, None)
        for run, fence, _ in turn.over:
            if run in self.up and self.up[run].fence == fence:
                self.inbox.append(self.up.pop(run))

    def publish(self, up: Outcome) -> bool:
        """A service is up: its users get what it will give in the end. Whether it was taken."""
        with self.engine.turn() as turn:
            taken = serve.publish(turn, self.worker, up.run, up.fence, up.outs[0])
        if taken:
            self.up[up.run] = up
        self._saw(turn)
        return taken

    def falls(self, run: int, *, charge: bool) -> None:
        """The worker of a service that is up dies; `charge`: by the service's own doing."""
        up = self.up.pop(run)
        now = self.clock.now
        failure = Failure(int(Reason.WORKER_DIED), "signal", "the service fell")
        with self.engine.turn() as turn:
            if charge:
                bad = Outcome(run, up.fence, int(AttemptState.ERROR), [], now, now, failure=failure)
                complete.complete(turn, self.worker, [bad])
            else:
                retry.lose(turn, run, up.fence, self.worker, now, failure)
        self._saw(turn)

    def execute(self, claimed: Claimed) -> Outcome | None:
        """What the worker makes of a run; None if it died of it."""
        task = self.tasks[self.engine.spec(self.engine.db, claimed.task).name]
        now = self.clock.now
        try:
            args = arguments(claimed.args, [self._input(i) for i in claimed.inputs])
        except NotFoundError as problem:
            return self._failed(claimed, Reason.BAD_INPUT, problem)
        self.log.append((task.name, args))
        try:
            value = task.function(*args)
        except Crash as problem:
            failure = Failure(int(Reason.WORKER_DIED), "signal", str(problem))
            with self.engine.turn() as turn:
                self._lose(turn, claimed, failure)
            return None
        except Exception as problem:  # noqa: BLE001  whatever user code raises
            return self._failed(claimed, Reason.EXCEPTION, problem)
        done = int(AttemptState.COMPLETE)
        if isinstance(value, Graph):
            return Outcome(claimed.run, claimed.fence, done, [], now, now, growth=delta.encode(value.growth()))
        values = value if task.outputs != 1 else [value]
        outs = [Out(body := _pack(v), digest(body), len(body)) for v in values]
        outcome = Outcome(claimed.run, claimed.fence, done, outs, now, now)
        lease = self.engine.flight.get(claimed.run)
        if lease is not None and lease.flags & RunFlag.SERVICE:
            self.publish(outcome)
            return None
        return outcome

    def _failed(self, claimed: Claimed, reason: Reason, problem: Exception) -> Outcome:
        failure = Failure(int(reason), type(problem).__name__, str(problem))
        now = self.clock.now
        return Outcome(claimed.run, claimed.fence, int(AttemptState.ERROR), [], now, now, failure=failure)

    def _lose(self, turn: Turn, claimed: Claimed, failure: Failure) -> None:
        started = Started(claimed.run, claimed.fence, self.clock.now, self.clock.now)
        retry.worker_died(turn, self.worker, started, failure, b"", charge=False)
        self.up = {}

    def settle(self, *, patient: bool = True) -> None:
        """Work until there is nothing left to do; `patient` moves the clock to timers that are set."""
        for _ in range(MANY_TURNS):
            if self.step():
                continue
            if not patient or self.engine.next_timer == float("inf"):
                return
            self.clock.now = max(self.clock.now, self.engine.next_timer)
        raise AssertionError("there is no end of it")

    def control(self, command: Any, *args: Any, **options: Any) -> Any:
        """Do a control command in a turn of its own."""
        with self.engine.turn() as turn:
            result = command(turn, *args, **options)
        self._saw(turn)
        return result

    # ------------------------------------------------------------------------------------------------- looking

    def count(self, task: str) -> int:
        """How often a task was executed."""
        return sum(1 for name, _ in self.log if name == task)

    def hand_in(self, *outcomes: Outcome) -> list[Answer]:
        """Complete these outcomes in a turn of their own."""
        with self.engine.turn() as turn:
            answers = complete.complete(turn, self.worker, list(outcomes))
        self._saw(turn)
        return answers

    def take(self, limit: int = 100) -> list[Claimed]:
        """Claim without executing."""
        with self.engine.turn() as turn:
            return claim.claim(turn, self.worker, lambda _, waiting: min(waiting, limit))
