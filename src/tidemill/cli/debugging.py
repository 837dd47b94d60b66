"""`debug`: one step alone, in this terminal."""

import os
import subprocess
import sys
from pathlib import Path
from pprint import pformat
from typing import Annotated

import msgspec
from cyclopts import Parameter

from tidemill.cli import output
from tidemill.cli.options import Json, Objects, RunId, StorePath, open_store
from tidemill.client.debugging import Debugger, Replay, replay
from tidemill.client.laying import lay_out
from tidemill.model.errors import UsageError
from tidemill.model.ids import parse_as


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a step, for programs. `values` are those of its outputs, `calls` the runs that it called."""

    run: str
    ok: bool
    values: list[object]
    calls: int
    error: str
    traceback: str
    directory: str
    code_changed: bool


def debug(
    run: RunId,
    /,
    *,
    pdb: Annotated[bool, Parameter(name="--pdb", negative="", help="Open pdb where an exception is raised.")] = False,
    step: Annotated[bool, Parameter(name="--step", negative="", help="Open pdb at the step's first line.")] = False,
    shell: Annotated[
        bool, Parameter(name="--shell", negative="", help="Do not run it: open a shell where its inputs are.")
    ] = False,
    directory: Annotated[
        Path | None, Parameter(name="--directory", help="Do not run it: lay out its inputs in this new directory.")
    ] = None,
    inside: Annotated[
        Path | None, Parameter(name="--in", help="Run it in this directory, which --directory made before.")
    ] = None,
    store: StorePath = None,
    objects: Objects = "",
    json: Json = False,
) -> int:
    """Run one step alone, here: its inputs are fetched, its files are in a fresh directory, the store is not touched.

    The code is that of today, so edit and try again. With --shell or --directory, a directory is made with the step's
    files and a script `run.sh` that executes it there, with what the files are then; of a shell command, the command is
    printed as it was executed.
    """
    if json and (pdb or step or shell):
        raise UsageError("a debugger needs the terminal, and so does a shell", hint="leave out --json")
    if (pdb or step) and (shell or directory):
        raise UsageError("a debugger runs the step, --shell and --directory do not", hint="use run.sh --pdb there")
    if inside and (shell or directory):
        raise UsageError("--in runs the step, --shell and --directory do not", hint="leave out one of them")
    if shell or directory:
        return _lay_out(run, directory, store, objects, shell=shell, json=json)
    debugger: Debugger = "before" if step else "after" if pdb else "none"
    with open_store(store, objects) as found:
        what = parse_as(run, "run")
        done = replay(found.db, lambda: found.objects, what, debugger=debugger, directory=inside, stream=sys.stderr)
    if json:
        output.emit(_record(done), as_json=True)
    else:
        _print(done)
    return 0 if done.error is None else 1


def _lay_out(run: str, directory: Path | None, store: str | None, objects: str, *, shell: bool, json: bool) -> int:
    """Make the step's directory, and open a shell in it; the exit code, that of the shell."""
    with open_store(store, objects) as found:
        what = parse_as(run, "run")
        laid = lay_out(found.db, lambda: found.objects, what, found.url, directory)
    if not shell:
        output.emit(laid, as_json=json)
        return 0
    sys.stderr.write(f"{laid}\nleave this shell with exit; the directory stays\n")
    variables = {"TIDEMILL_STORE": found.place.state, "TIDEMILL_RUN": laid.run}
    program = os.environ.get("SHELL") or "/bin/sh"
    return subprocess.run([program], cwd=laid.directory, env=os.environ | variables, check=False).returncode


def _print(done: Replay) -> None:
    if done.error is not None:
        sys.stderr.write(done.traceback or f"{done.error}\n")
    elif done.calls:
        output.emit(f"it called {done.calls:,} runs, which were not executed", as_json=False)
    else:
        for value in done.values:
            output.emit(value if isinstance(value, str) else pformat(value, width=100), as_json=False)
    if done.directory.exists():
        sys.stderr.write(f"its files are in {done.directory}\n")


def _record(done: Replay) -> Replayed:
    return Replayed(
        run=done.run,
        ok=done.error is None,
        values=[output.plain(v) for v in done.values],
        calls=done.calls,
        error="" if done.error is None else f"{type(done.error).__name__}: {done.error}",
        traceback=done.traceback,
        directory=str(done.directory),
        code_changed=done.changed,
    )
