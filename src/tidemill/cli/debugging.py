"""`debug`: one step alone, in this terminal."""

import sys
from pprint import pformat
from typing import Annotated

import msgspec
from cyclopts import Parameter

from tidemill.cli import output
from tidemill.cli.options import Json, Objects, RunId, StorePath, open_store
from tidemill.client.debugging import Debugger, Replay, replay
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
    store: StorePath = None,
    objects: Objects = "",
    json: Json = False,
) -> int:
    """Run one step alone, here: its inputs are fetched, its files are in a fresh directory, the store is not touched.

    The code is that of today, so edit and try again.
    """
    if json and (pdb or step):
        raise UsageError("a debugger needs the terminal", hint="leave out --json")
    debugger: Debugger = "before" if step else "after" if pdb else "none"
    with open_store(store, objects) as found:
        what = parse_as(run, "run")
        done = replay(found.db, lambda: found.objects, what, debugger=debugger, stream=sys.stderr)
    if json:
        output.emit(_record(done), as_json=True)
    else:
        _print(done)
    return 0 if done.error is None else 1


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
