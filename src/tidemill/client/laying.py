"""A step's directory made again: its inputs staged, and a script that executes it. The store is only read."""

from __future__ import annotations

import os
import shlex
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from tidemill.client.debugging import Aside, arguments
from tidemill.model.errors import UsageError
from tidemill.model.file import File
from tidemill.model.ids import Id, run_id
from tidemill.model.preview import shorten
from tidemill.model.spec import Command, TaskSpec
from tidemill.model.values import Ref
from tidemill.provenance.find import find_run
from tidemill.provenance.meaning import Specs, meanings
from tidemill.stores.objects import ObjectStore
from tidemill.stores.state.database import Database
from tidemill.workers.command import prepare

SCRIPT = "run.sh"
_LONG = 1000
"""Characters of an input that are shown."""


class Laid(msgspec.Struct, frozen=True, kw_only=True):
    """A step's directory.

    Attributes:
        run, task: which step.
        directory: where its inputs are.
        script: executes it there.
        command: what a shell command executes, word for word; "" for Python.
        inputs: the values by port, as Python writes them; files by their path in the directory.
    """

    run: str
    task: str
    directory: str
    script: str
    command: str
    inputs: dict[str, str]

    def __str__(self) -> str:
        lines = [f"{self.task} (run {self.run}) in {self.directory}"]
        lines += [f"  {name} = {value}" for name, value in self.inputs.items()]
        lines.append(f"execute it with {self.script}" + (":" if self.command else ""))
        return "\n".join([*lines, self.command]).rstrip()


def lay_out(
    db: Database, objects: Callable[[], ObjectStore], what: Id, store: str, directory: Path | None = None
) -> Laid:
    """Make a directory in which a step can be executed by hand, as a worker would.

    Args:
        db: the state, for reading.
        objects: the object store, for reading.
        what: the run.
        store: address of the store, for the script.
        directory: where; it must be empty or missing. A new temporary directory by default.

    Raises:
        NotFoundError: there is no such run.
        RunFailedError: one of its inputs has no value.
        UsageError: there is something in the directory.
    """
    row = find_run(db, what)
    meaning = meanings(db, Specs(db), [row.id])[row.id]
    name, spec = run_id(row.block, row.id), meaning.spec
    where = directory or Path(tempfile.mkdtemp(prefix=f"tidemill-{row.id}-"))
    where = where.absolute()
    if where.exists() and (not where.is_dir() or any(where.iterdir())):
        raise UsageError(f"{where} is not an empty directory", hint="name a new one")
    before = os.getcwd()
    try:
        scratch = _Copies(where, objects)
        values = arguments(db, meaning, scratch)[: len(spec.inputs)]
        command = prepare(spec, values, where) if spec.command is not None else None
    finally:
        os.chdir(before)
    script = _free_name(where)
    body = _shell(*command) if command else _python(spec, name, store)
    script.write_text(f"#!/bin/sh\n# {spec.name}, run {name}\n{body}\n", encoding="utf-8")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return Laid(
        run=name,
        task=spec.name,
        directory=str(where),
        script=str(script),
        command=command[1].strip() if command else "",
        inputs={
            port.name: shorten(_shown(value, where), _LONG) for port, value in zip(spec.inputs, values, strict=False)
        },
    )


class _Copies(Aside):
    """A directory of files that may be changed."""

    def stage(self, ref: Ref) -> object:
        if ref.kind not in {"file", "dir"}:
            return super().stage(ref)
        path = self._place(ref.name or ref.digest.hex()[:16])
        if ref.kind == "dir":
            self._objects().get_dir(ref.digest, path)
        else:
            self._objects().get_file(ref.digest, path, mode=ref.mode | stat.S_IWUSR)
        return path


def _free_name(where: Path) -> Path:
    """A name for the script that no input has."""
    names = (SCRIPT, *(f"run-{n}.sh" for n in range(1, 1000)))
    return next(where / name for name in names if not (where / name).exists())


def _shell(command: Command, text: str) -> str:
    """The command in the script's own directory; its output goes where it went, if that is a file."""
    stdout = "" if command.stdout_text else command.outputs.get(command.stdout, command.stdout)
    redirected = f"{{\n{text}\n}} > {shlex.quote(stdout)}" if stdout else text
    return f'cd "$(dirname "$0")" || exit\n{redirected}'


def _python(spec: TaskSpec, run: str, store: str) -> str:
    """A Python function is executed by `tidemill debug`, which takes further options: `./run.sh --pdb`. It is imported
    from where it was, and runs in the script's own directory."""
    cwd = spec.python.cwd if spec.python is not None else ""
    words = [sys.executable, "-m", "tidemill", "debug", run, "--store", store]
    move = f"cd {shlex.quote(cwd)} || exit\n" if cwd else ""
    return f'here=$(cd "$(dirname "$0")" && pwd) || exit\n{move}exec {shlex.join(words)} --in "$here" "$@"'


def _shown(value: Any, where: Path) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_shown(one, where) for one in value)}]"
    if isinstance(value, (os.PathLike, File)):
        path = Path(os.fspath(value))
        return repr(str(path.relative_to(where) if path.is_relative_to(where) else path))
    return repr(value)
