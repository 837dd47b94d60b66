"""One step alone, in this terminal: its inputs fetched, its files in a fresh directory, the store untouched."""

import contextlib
import os
import pdb  # noqa: T100 — to debug is what this is for
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple, TextIO

from tidemill.client.apart import apart
from tidemill.engine import gathers_read
from tidemill.graph import context
from tidemill.graph.growth import Growing
from tidemill.graph.literals import describe
from tidemill.model.delta import RunFlag
from tidemill.model.digest import digest
from tidemill.model.errors import RunFailedError, UsageError
from tidemill.model.ids import Id, run_id
from tidemill.model.protocol import Input
from tidemill.model.spec import TaskSpec
from tidemill.model.states import DatumState, Reason
from tidemill.model.values import Ref, decode
from tidemill.provenance.find import find_run
from tidemill.provenance.meaning import Meaning, Specs, meanings
from tidemill.stores.objects import ObjectStore
from tidemill.stores.state import data, runs
from tidemill.stores.state.data import Datum
from tidemill.stores.state.database import Database
from tidemill.workers.execute import Keeper, Produced, execute
from tidemill.workers.failure import Fault
from tidemill.workers.failure import describe as describe_failure
from tidemill.workers.inputs import Inputs
from tidemill.workers.loader import Loaded, Loader, caller, plain
from tidemill.workers.staging import Scratch

Debugger = Literal["none", "after", "before"]
"""No debugger; pdb where an exception was raised; pdb from the first line."""


class Replay(NamedTuple):
    """What came of running a step alone.

    Attributes:
        run: public id.
        values: of its outputs; empty if it failed or called tasks.
        calls: the number of runs that it called.
        error: what it raised.
        traceback: of the user's frames.
        directory: where it ran; what it wrote is still there, and if it wrote nothing the directory is gone.
        changed: its code is not what the run executed.
    """

    run: str
    values: list[Any]
    calls: int
    error: BaseException | None
    traceback: str
    directory: Path
    changed: bool


def replay(
    db: Database,
    objects: Callable[[], ObjectStore],
    what: Id,
    *,
    debugger: Debugger = "none",
    directory: Path | None = None,
    stream: TextIO | None = None,
) -> Replay:
    """Run one step again, here. Nothing is written to the store, whatever comes of it.

    Args:
        db: the state, for reading.
        objects: the object store, for reading.
        what: the run.
        debugger: see `Debugger`.
        directory: one that `laying.lay_out` has made for this run: it runs there, with the files that are there now. By
            default a new temporary directory.
        stream: where to say what is being done.

    Raises:
        NotFoundError: there is no such run.
        RunFailedError: one of its inputs has no value.
        Fault: its code cannot be imported.
        UsageError: the directory is none.
    """
    row = find_run(db, what)
    meaning = meanings(db, Specs(db), [row.id])[row.id]
    if directory is not None and not directory.is_dir():
        raise UsageError(f"{directory} is no directory", hint="tidemill debug RUN --directory makes one")
    before = Path.cwd()
    loader = _Lenient(_project(meaning.spec))
    task = loader.prepare(meaning.spec)
    scratch = _fresh(row.id, objects) if directory is None else _LaidOut(directory.absolute(), objects)
    try:
        args = arguments(db, meaning, scratch)
        if stream is not None:
            _announce(stream, meaning, args, scratch.path, loader.changed)
            _warn(stream, _ended_services(db, meaning))
        with apart(objects, scratch.path, row.id):
            produced, error = _execute(task, args, scratch, debugger)
    finally:
        sys.stdout.flush()  # what it printed comes before what is said about it, also into a pipe
        os.chdir(before)
        if directory is None:
            with contextlib.suppress(OSError):  # unless it has left files there
                scratch.path.rmdir()
                scratch.path.parent.rmdir()
    return Replay(
        run=run_id(row.block, row.id),
        values=produced.values if produced is not None else [],
        calls=produced.growth.header.runs if produced is not None and produced.growth is not None else 0,
        error=error,
        traceback=describe_failure(error, Reason.EXCEPTION).traceback if error is not None else "",
        directory=scratch.path,
        changed=loader.changed,
    )


class Aside(Scratch):
    """A directory from which nothing goes to the store."""

    def _capture(self, path: Path, what: str, *, move: bool = False) -> Ref:
        if not path.exists():
            raise Fault(Reason.BAD_OUTPUT, f"{what}, but it was not written", hint=f"expected at {path}")
        return describe(str(path))

    def put_bytes(self, data: bytes) -> bytes:
        return digest(data)


class _LaidOut(Aside):
    """A directory in which the files of a run were laid out before: they are taken as they are now.

    A file has the same place whenever the arguments are the same, whether it is still there or not.
    """

    def __init__(self, path: Path, objects: Callable[[], ObjectStore]) -> None:
        self._used: set[Path] = set()
        super().__init__(path, objects)

    def _clear(self) -> None:
        """It is there."""

    def _create(self) -> None:
        self._fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)

    def _is_used(self, path: Path) -> bool:
        return path in self._used

    def stage(self, ref: Ref) -> object:
        if ref.kind == "value":
            return super().stage(ref)
        path = self._place(ref.name or ref.digest.hex()[:16])
        self._used |= {path, path.parent}
        return path


def _fresh(run: int, objects: Callable[[], ObjectStore]) -> Aside:
    return Aside(Path(tempfile.mkdtemp(prefix=f"tidemill-debug-{run}-")) / "scratch", objects)


def _ended_services(db: Database, meaning: Meaning) -> list[str]:
    """Names of the services that a run used, as far as they are up no more."""
    rows = data.get(db, [k.datum for k in meaning.inputs.values()], values=False)
    made = runs.get(db, sorted({d.run for d in rows.values() if d.run is not None}))
    ended = [r for r in made.values() if r.flags & RunFlag.SERVICE and r.state not in (runs.LIVE, runs.HELD)]
    specs = Specs(db)
    return sorted({specs.of(r.task).name for r in ended})


def _warn(stream: TextIO, services: list[str]) -> None:
    for name in services:
        print(f"  note: the service {name} is over; start it by hand where this needs it", file=stream)
    stream.flush()


def _announce(stream: TextIO, meaning: Meaning, args: list[Any], path: Path, changed: bool) -> None:
    name = run_id(meaning.run.block, meaning.run.id)
    print(f"{meaning.spec.name} (run {name}) in {path}", file=stream)
    for port, value in zip(meaning.spec.inputs, args, strict=False):
        text = repr(value)
        print(f"  {port.name} = {text if len(text) <= 200 else text[:199] + '…'}", file=stream)
    if changed:
        print("  note: its code has been edited since; this runs it as it is now", file=stream)
    stream.flush()


# -------------------------------------------------------------------------------------------------------------- running


def _execute(
    task: Loaded, args: list[Any], scratch: Scratch, debugger: Debugger
) -> tuple[Produced | None, BaseException | None]:
    growing = Growing(Keeper(scratch))
    growing.install()
    try:
        if debugger == "before":
            # our own frames are passed over: it stops at the first line of the user's function
            return pdb.Pdb(skip=["tidemill.*"]).runcall(execute, task, args, scratch, growing), None
        return execute(task, args, scratch, growing), None
    except Exception as error:  # noqa: BLE001 — the user's
        if debugger == "after":
            sys.stdout.flush()
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            pdb.post_mortem(error.__traceback__)
        return None, error
    finally:
        context.install(None)


class _Lenient(Loader):
    """Loads a task as it is now: to debug is to edit.

    Attributes:
        changed: it is not what the run executed.
    """

    changed = False

    def prepare(self, spec: TaskSpec) -> Loaded:
        try:
            return super().prepare(spec)
        except Fault as fault:
            if fault.reason is not Reason.CODE_CHANGED or spec.python is None:
                raise
        self.changed = True
        with context.import_only():
            function, main = self._find(spec, spec.python)
        return Loaded(spec, caller(plain(function), spec), main)


def _project(spec: TaskSpec) -> list[str]:
    """Where to import the task from: the directory in which its module's name begins, and the current one."""
    found = [os.getcwd()]
    python, file = spec.python, spec.place.rpartition(":")[0]
    if python is not None and python.module and file:
        above = Path(file).with_suffix("").parts
        parts = python.module.split(".")
        if list(above[-len(parts) :]) == parts:
            found.insert(0, str(Path(*above[: -len(parts)])))
    return [p for p in dict.fromkeys(found) if p not in sys.path]


# --------------------------------------------------------------------------------------------------------------- inputs


def arguments(db: Database, meaning: Meaning, scratch: Scratch) -> list[Any]:
    """The values that a run was given, files among them staged in a directory; behind them which draw it is.

    Raises:
        RunFailedError: one of them is not there yet.
    """
    inputs = Inputs(scratch.get, scratch.stage, lambda g, first, n: gathers_read.members(db, g, first, n))
    values = inputs.values(_inputs(db, meaning)) if meaning.inputs else ()
    return list(decode(meaning.run.args, values, scratch.stage))


def _inputs(db: Database, meaning: Meaning) -> list[Input]:
    """The inputs by number, as a worker gets them."""
    rows = data.get(db, [k.datum for k in meaning.inputs.values()])
    sources = data.get(db, [d.src for d in rows.values() if d.src])
    found = {}
    for number, link in meaning.inputs.items():
        row = rows.get(link.datum)
        if row is None or row.state in {DatumState.PENDING, DatumState.WRITING}:
            name = meaning.names.get(number, str(number))
            raise RunFailedError(
                f"input {name} of {meaning.spec.name} {run_id(meaning.run.block, meaning.run.id)} is not there yet",
                hint="run the workflow up to it first",
            )
        found[number] = _input(row, sources)
    return [found.get(n) or Input(None, b"") for n in range(max(found) + 1)]


def _input(row: Datum, sources: dict[int, Datum]) -> Input:
    if row.state not in {DatumState.COMPLETE, DatumState.PUBLISHED} or row.digest is None:
        return Input(None, b"")
    if row.kind == data.GATHER:
        return Input(None, row.digest, row.size, row.src or row.id)
    value = row.value
    if value is None and row.src is not None and row.src in sources:
        value = sources[row.src].value
    return Input(value, row.digest, row.size)
