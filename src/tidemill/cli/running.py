"""Commands that execute: `run`, `plan`, `resume`, `retry`, `rerun`."""

import sys
from pprint import pformat
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from tidemill.cli import output, script
from tidemill.cli.named import roots, split
from tidemill.cli.options import BlockId, Ids, Json, Objects, Quiet, Script, StorePath, Workers, open_store
from tidemill.client import following, queries, startup
from tidemill.client.failures import FailureReport, failures
from tidemill.client.store import Store
from tidemill.model.errors import NotFoundError, RunError
from tidemill.model.states import BlockState
from tidemill.stores.state import blocks as block_rows

MOST = 10_000
"""Characters of a result that are printed, if it is no text."""

WorkflowName = Annotated[str | None, Parameter(name="--workflow", help="Which workflow, if the file has several.")]
Settings = Annotated[
    list[str] | None,
    Parameter(name="--set", help="A parameter of the workflow: name=value. May be given several times.", negative=""),
]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a workflow ended, for programs.

    Attributes:
        block: its number.
        workflow: its name.
        state: "complete", "error", "cancelled".
        total, done, reused, failed, skipped, cancelled: runs.
        result: what it returned, as far as JSON can have it.
        failures: the first ones.
    """

    block: int
    workflow: str
    state: str
    total: int
    done: int
    reused: int
    failed: int
    skipped: int
    cancelled: int
    result: Any
    failures: list[FailureReport]


def run(
    file: Script,
    /,
    *,
    workflow: WorkflowName = None,
    set_: Settings = None,
    workers: Workers = None,
    store: StorePath = None,
    objects: Objects = "",
    stop_on_failure: Annotated[
        bool, Parameter(negative="", help="Start nothing more after the first failure.")
    ] = False,
    quiet: Quiet = False,
    json: Json = False,
) -> int:
    """Execute the workflow in a Python file, durably: interrupt it and run it again.

    Results that are known already are reused. Ctrl-C once finishes what runs, twice stops at once.
    """
    call = script.load_call(file, workflow, set_ or [])
    with open_store(store, objects) as found:
        ended = following.execute(found, call, workers=workers, progress=False if quiet else None, stop=stop_on_failure)
        return _finish(found, ended.block, ended.state, json=json)


def plan(
    file: Script,
    /,
    *,
    workflow: WorkflowName = None,
    set_: Settings = None,
    store: StorePath = None,
    json: Json = False,
) -> None:
    """Say what running a workflow would execute, what it would reuse, and why. Nothing is executed or stored."""
    call = script.load_call(file, workflow, set_ or [])
    with open_store(store) as found:
        report = found.plan(call)
    if json:
        output.emit(report, as_json=True)
    else:
        report.table().print(sys.stdout)
        output.emit(report.summary() + report.note(), as_json=False)


def resume(
    block: BlockId,
    /,
    *,
    workers: Workers = None,
    store: StorePath = None,
    objects: Objects = "",
    quiet: Quiet = False,
    json: Json = False,
) -> int:
    """Go on with a workflow that was interrupted or ended in failures, and try again what had failed before; with as
    many workers as were asked for when it was started, unless you say otherwise.

    If not all of it had been submitted, run the file it came from again instead.
    """
    with open_store(store, objects) as found:
        chosen = roots(found, *split(found, [block]))
        workers = startup.restore(found.db, chosen[0], workers)
        return _go_on(found, chosen, workers, quiet=quiet, json=json, again=True)


def retry(
    ids: Ids,
    /,
    *,
    workers: Workers = None,
    store: StorePath = None,
    objects: Objects = "",
    quiet: Quiet = False,
    json: Json = False,
) -> int:
    """Execute failed and cancelled runs again, and then what could not run because of them."""
    with open_store(store, objects) as found:
        blocks, runs = split(found, ids)
        chosen = runs + [run for block in blocks for run in queries.ended_badly(found.db, block, "error", "cancelled")]
        if not chosen:
            raise NotFoundError("nothing failed or was cancelled there", hint="tidemill status shows how runs ended")
        found.command("retry", runs=chosen)
        return _go_on(found, roots(found, blocks, runs), workers, quiet=quiet, json=json)


def rerun(
    ids: Ids,
    /,
    *,
    workers: Workers = None,
    store: StorePath = None,
    objects: Objects = "",
    quiet: Quiet = False,
    json: Json = False,
) -> int:
    """Execute ended runs again, whatever is known, and what follows from them where their results differ.

    Nothing is overwritten: new runs stand in for the old ones.
    """
    with open_store(store, objects) as found:
        blocks, runs = split(found, ids)
        found.command("rerun", blocks=blocks, runs=runs)
        return _go_on(found, roots(found, blocks, runs), workers, quiet=quiet, json=json)


def _go_on(
    store: Store, blocks: list[int], workers: int | None, *, quiet: bool, json: bool, again: bool = False
) -> int:
    """Work on workflows that were submitted before, one after the other; the exit code."""
    code = 0
    progress = False if quiet else None
    for block in blocks:
        name = block_rows.find(store.db, block).name
        state = following.follow_block(store, block, name=name, workers=workers, progress=progress, again=again)
        code = max(code, _finish(store, block, state, json=json))
    return code


def _cut(text: str, block: int) -> str:
    """A result as it is worth looking at."""
    if len(text) <= MOST:
        return text
    where = f"tidemill.open().result({block}) in Python has all of it"
    return f"{text[:MOST].rpartition(chr(10))[0] or text[:MOST]}\n… ({len(text):,} characters; {where})"


def _finish(store: Store, block: int, state: BlockState, *, json: bool) -> int:
    """Print what came of a workflow; the exit code."""
    store.close()  # a new connection sees what the engine has just written
    if not json:
        try:
            value = store.result(block)
        except RunError as error:
            return output.complain(error, 1)
        if value is not None:
            output.emit(value if isinstance(value, str) else _cut(pformat(value, width=100), block), as_json=False)
        return 0
    status = queries.status(store.db, store.place, store.url, block=block).blocks[0]
    good = state is BlockState.COMPLETE
    output.emit(
        Outcome(
            block=block,
            workflow=status.name,
            state=status.state,
            total=status.total,
            done=status.done,
            reused=status.reused,
            failed=status.failed,
            skipped=status.skipped,
            cancelled=status.cancelled,
            result=output.plain(store.reader.result(block)) if good else None,
            failures=failures(store.db, store.url, block) if state is BlockState.ERROR else [],
        ),
        as_json=True,
    )
    return 0 if good else 1
