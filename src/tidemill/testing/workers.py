"""A pool of real executors and just enough of an engine to talk to them: messages by hand, no store, no decisions."""

import os
import select
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tidemill.launchers.local import LocalPool, LocalWorker
from tidemill.model import protocol
from tidemill.model.digest import digest
from tidemill.model.errors import TidemillError
from tidemill.model.file import File
from tidemill.model.fileid import FileId
from tidemill.model.protocol import (
    Answer,
    Ask,
    Claimed,
    Done,
    Forget,
    Hello,
    Input,
    Note,
    Out,
    Outcome,
    Read,
    Setup,
    Stop,
    Told,
    Work,
)
from tidemill.model.spec import Command, Port, Python, TaskSpec, encode_spec
from tidemill.model.values import Ref, decode, encode, id_ref
from tidemill.stores.objects import ObjectStore, open_objects

PATIENCE = 60.0
"""Seconds after which something that should have happened counts as a failure. Nothing waits this long otherwise."""


def python_spec(
    qualname: str,
    inputs: Sequence[Port | str] = (),
    outputs: Sequence[str] = ("result",),
    *,
    code: bytes = bytes(32),
    **where: Any,
) -> TaskSpec:
    """A Python task. `where` are the remaining fields of `spec.Python`; `code` is its digest."""
    return TaskSpec(
        name=qualname,
        digest=code,
        inputs=_ports(inputs),
        outputs=_ports(outputs),
        python=Python(qualname=qualname, spread=len(outputs) > 1, **where),
    )


def command_spec(template: str, inputs: Sequence[Port | str] = (), **fields: Any) -> TaskSpec:
    """A command task. `fields` are the remaining ones of `spec.Command`, from which its output ports follow."""
    command = Command(template, **fields)
    names = [*command.outputs, *([command.stdout] if command.stdout else [])]
    return TaskSpec(
        name="command",
        digest=bytes(32),
        kind="command",
        inputs=_ports(inputs),
        outputs=_ports(names or ["result"]),
        command=command,
    )


def _ports(ports: Sequence[Port | str]) -> tuple[Port, ...]:
    return tuple(port if isinstance(port, Port) else Port(port) for port in ports)


def wait_gone(pids: Iterable[int]) -> None:
    """Wait until none of these processes runs any more.

    Raises:
        TimeoutError: if one of them goes on.
    """
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        ended = select.select([descriptor], [], [], PATIENCE)[0]
        os.close(descriptor)
        if not ended:
            raise TimeoutError(f"process {pid} is still there")


class FakeEngine:
    """Talks to `count` executors as an engine does. A context manager.

    Args:
        directory: an empty directory; objects, scratch and run files go below it.
        count: executors.
        path: entries for `sys.path` of the executors.
        inline: as in `Setup`.
        keep: as in `Setup`.
        objects: address of the object store, instead of a directory of its own.
        cache: as in `Setup`.

    Attributes:
        objects: the object store.
        outcomes: every outcome that came in, by run.
        batches: how many outcomes each message brought.
        gathers: members of collections by id, for inputs made with `gather`.
        reads: the `Read` messages that came in.
        notes: the messages of tasks that came in.
        asks: the questions of tasks that came in.
        answer: the result that a question gets; a `TidemillError` that it raises is told.
        gone: numbers of the workers whose channel has ended.
    """

    def __init__(
        self,
        directory: Path,
        count: int = 1,
        path: Sequence[str] = (),
        inline: int = 65536,
        keep: bool = True,
        objects: str = "",
        cache: str = "",
    ) -> None:
        self.directory = directory
        self.scratch = directory / "work"
        self.objects: ObjectStore = open_objects(objects or directory / "objects")
        self.outcomes: dict[int, Outcome] = {}
        self.batches: list[int] = []
        self.gathers: dict[int, list[Input]] = {}
        self.reads: list[Read] = []
        self.notes: list[Note] = []
        self.asks: list[Ask] = []
        self.answer: Callable[[Ask], object] = lambda ask: ask.name == "file.exists" or None
        self.hello: set[int] = set()
        self.gone: set[int] = set()
        self._path = list(path)
        self._inline = inline
        self._keep = keep
        self._cache = cache
        self._tasks: list[bytes] = []
        self._told: dict[int, int] = {}
        self._runs = 0
        self.pool = LocalPool(count, self._setup, directory / "run")

    def _setup(self, worker: LocalWorker) -> Setup:
        self._told[worker.number] = 0
        self.gone.discard(worker.number)
        self.hello.discard(worker.number)
        return Setup(
            worker.number + 1, self.objects.url, str(self.scratch), worker.index, self._path, self._inline, self._keep,
            cache=self._cache,
        )  # fmt: skip

    def __enter__(self) -> Self:
        self.pool.start()
        self.wait(lambda: len(self.hello) == len(self.pool.workers))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.pool.stop(grace=0)
        self.objects.close()

    # ------------------------------------------------------------------------------------------------ tasks and inputs

    def task(self, spec: TaskSpec) -> int:
        """Make a task known; its id."""
        self._tasks.append(encode_spec(spec))
        return len(self._tasks)

    def claim(self, task: int, *args: object, inputs: Sequence[Input] = (), run: int = 0) -> Claimed:
        """A lease of a new run with these arguments, in which `values.Input(i)` stands for `inputs[i]`."""
        self._runs += 1
        return Claimed(run or self._runs, 1, task, encode(list(args), self._put), list(inputs))

    def input(self, value: object) -> Input:
        """A resolved input, inline or by the object store as its size asks for."""
        data = encode(value, self._put)
        if len(data) > self._inline:
            return Input(None, self.objects.put(data), len(data))
        return Input(data, digest(data), len(data))

    def gather(self, values: Sequence[object]) -> Input:
        """A collection as an input."""
        number = len(self.gathers) + 1
        self.gathers[number] = [self.input(value) for value in values]
        return Input(None, b"", len(values), number)

    def _put(self, leaf: object) -> Ref:
        if isinstance(leaf, FileId):
            return id_ref(leaf)
        if not isinstance(leaf, (Path, File)):
            raise TypeError(f"not a file: {leaf!r}")
        path = Path(leaf)
        if path.is_dir():
            return Ref(*self.objects.put_dir(path), "dir", path.name)
        return Ref(*self.objects.put_file(path), "file", path.name, 0o755 if path.stat().st_mode & 0o100 else 0o644)

    # ---------------------------------------------------------------------------------------------------------- talking

    def send(self, runs: Sequence[Claimed], worker: int = 0, seconds: float = 0.0) -> None:
        """Hand out runs, with the tasks that this worker has not been told about."""
        known = self._told[worker]
        tasks = [(number + 1, self._tasks[number]) for number in range(known, len(self._tasks))]
        self._told[worker] = len(self._tasks)
        self._channel(worker).send(protocol.encode(Work(list(runs), tasks, seconds)))

    def forget(self, runs: Sequence[int], worker: int = 0) -> None:
        self._channel(worker).send(protocol.encode(Forget(list(runs))))

    def stop(self, worker: int = 0) -> None:
        self._channel(worker).send(protocol.encode(Stop()))

    def _channel(self, worker: int) -> Any:
        return self.pool.workers[worker].channel

    def run(self, task: int, *args: object, inputs: Sequence[Input] = ()) -> Outcome:
        """One run from claim to outcome on the first worker."""
        claim = self.claim(task, *args, inputs=inputs)
        self.send([claim])
        return self.finish(claim.run)

    def finish(self, run: int) -> Outcome:
        """Wait for the outcome of a run."""
        self.wait(lambda: run in self.outcomes)
        return self.outcomes[run]

    def value(self, outcome: Outcome, port: int = 0) -> Any:
        """The decoded value of an output; files are their `Ref`s.

        Raises:
            AssertionError: if the attempt failed or the digest is wrong.
        """
        if outcome.failure is not None:
            raise AssertionError(f"the attempt failed: {outcome.failure}\n{outcome.log.decode()}")
        data = self.encoded(outcome.outs[port])
        if digest(data) != outcome.outs[port].digest:
            raise AssertionError("an output does not have the digest it claims")
        return decode(data)

    def encoded(self, out: Out) -> bytes:
        """The encoded value of an output, wherever it is."""
        return self.objects.get(out.digest) if out.value is None else out.value

    def wait(self, until: Callable[[], bool]) -> None:
        """Take in what the workers send until a condition holds.

        Raises:
            TimeoutError: if it does not come to hold.
        """
        deadline = time.monotonic() + PATIENCE
        while not until():
            self.turn(deadline - time.monotonic())

    def turn(self, timeout: float) -> None:
        """Wait for one thing to happen and take it in.

        Raises:
            TimeoutError: if nothing happens for `timeout` seconds.
        """
        poll = select.poll()
        workers = {w.channel.fileno(): w for w in self.pool.workers if w.number not in self.gone}
        for descriptor, worker in workers.items():
            poll.register(descriptor, select.POLLIN | (select.POLLOUT if worker.channel.wants_write else 0))
        found = poll.poll(max(timeout, 0) * 1000)
        if not found:
            logs = b"".join(w.startup_log() + w.log_tail(4096) for w in self.pool.workers).decode(errors="replace")
            raise TimeoutError(f"the workers did not answer; they have printed: {logs or 'nothing'}")
        for descriptor, _ in found:
            worker = workers[descriptor]
            worker.channel.flush()
            frames = worker.channel.receive()
            if frames is None:
                self.gone.add(worker.number)
            for frame in frames or ():
                self._handle(worker, frame)

    def _handle(self, worker: LocalWorker, frame: bytes) -> None:
        message = protocol.decode_to_engine(frame)
        if isinstance(message, Hello):
            self.hello.add(worker.number)
        elif isinstance(message, Done):
            self.batches.append(len(message.outcomes))
            self.outcomes.update((outcome.run, outcome) for outcome in message.outcomes)
        elif isinstance(message, Note):
            self.notes.append(message)
        elif isinstance(message, Ask):
            self.asks.append(message)
            try:
                told = Told(message.number, self.answer(message))
            except TidemillError as problem:
                told = Told(message.number, None, problem.code, str(problem.args[0]), problem.hint)
            worker.channel.send(protocol.encode(told))
        elif isinstance(message, Read):
            self.reads.append(message)
            members = self.gathers.get(message.gather)
            part = [] if members is None else members[message.first : message.first + message.count]
            error = "" if members is not None else f"there is no collection {message.gather}"
            worker.channel.send(protocol.encode(Answer(message.number, part, error)))
