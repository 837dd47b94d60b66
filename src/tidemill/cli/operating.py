"""Commands that operate a store: `stats`, `kill`, `config`, `clean`, `destroy`."""

import sys
from typing import Annotated

import msgspec
from cyclopts import Parameter

from tidemill.cli import output
from tidemill.cli.named import split
from tidemill.cli.options import BlockId, Json, StorePath, open_store, seconds
from tidemill.client import configuration, destroying, engines, startup, views
from tidemill.client import stats as client_stats
from tidemill.model.errors import UsageError
from tidemill.model.ids import parse_as
from tidemill.model.states import BlockState
from tidemill.stores.state import blocks as block_rows

Blocks = Annotated[list[str] | None, Parameter(help="Workflows, such as 3; tidemill status lists them.", negative="")]
DryRun = Annotated[bool, Parameter(name=["--dry-run", "-n"], negative="", help="Only say what would go.")]


def stats(
    block: BlockId | None = None,
    /,
    *,
    sort: Annotated[client_stats.Sort, Parameter(help="Which tasks come first.")] = "wall",
    per_run: Annotated[bool, Parameter(negative="", help="Also every attempt.")] = False,
    store: StorePath = None,
    json: Json = False,
) -> None:
    """What tasks took, of one workflow or of all: how often they ran and failed, and how time, processors, memory and
    disk are spread over their attempts. `wait` is the time in which no processor was busy with an attempt."""
    with open_store(store) as found:
        number = parse_as(block, "block").number if block else 0
        record = client_stats.stats(found.db, number, per_run=per_run, sort=sort)
    if json or not record.tasks:
        output.emit(record, as_json=json)
        return
    record.table().print(sys.stdout)
    if per_run:
        output.emit("", as_json=False)
        record.run_table().print(sys.stdout)


def kill(
    blocks: Blocks = None,
    /,
    *,
    now: Annotated[bool, Parameter(negative="", help="At once, instead of letting end what runs.")] = False,
    store: StorePath = None,
    json: Json = False,
) -> int:
    """Stop all work on a store, or that on some workflows, whoever started it and wherever it runs; then the engine and
    its workers end. Nothing is cancelled or marked: the same commands, or `resume`, go on later.

    Programs that wait for the work end with code 130. With --now, an engine of this machine that does not answer within
    5 seconds is killed. If nobody works on the store, there is nothing to do.
    """
    with open_store(store) as found:
        chosen = [parse_as(one, "block").number for one in blocks or []]
        record = engines.halt(found, chosen, now=now)
    output.emit(record, as_json=json)
    return 0 if record.ended or chosen else 1


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """A setting of a store: its value, "" if it is not set, and what counts then."""

    name: str
    value: str
    usual: str
    meaning: str


def config(
    name: Annotated[str | None, Parameter(help="A setting.")] = None,
    value: Annotated[str | None, Parameter(help="What it shall be.")] = None,
    /,
    *,
    unset: Annotated[bool, Parameter(negative="", help="Go back to what is usual.")] = False,
    block: Annotated[str | None, Parameter(help="Show how this workflow was started, instead.")] = None,
    store: StorePath = None,
    json: Json = False,
) -> None:
    """Show or change what a store does when nobody says otherwise; or show how a workflow was started, which `resume`
    goes by."""
    with open_store(store) as found:
        if block is not None:
            row = block_rows.find(found.db, parse_as(block, "block").number)
            started = startup.of(found.db, row.root)
            if json:
                output.emit(started, as_json=True)
            else:
                output.emit(_told(started) if started else "that is not known", as_json=False)
            return
        if name is None and unset:
            raise UsageError("say which setting", hint=f"there are {', '.join(configuration.KNOWN)}")
        if name is not None and (unset or value is not None):
            configuration.configure(found, name, "" if unset else value or "")
            found.close()
        values = configuration.configuration(found)
        if name is not None:
            configuration.setting(found, name)
    records = [
        Setting(name=n, value=v, usual=configuration.KNOWN[n].usual, meaning=configuration.KNOWN[n].meaning)
        for n, v in values.items()
        if name in (None, n)
    ]
    if json:
        output.emit(records, as_json=True)
    else:
        rows = [[r.name, r.value or f"({r.usual})", r.meaning] for r in records]
        views.Table(["setting", "value", "meaning"], rows).print(sys.stdout)


def _told(started: startup.Started) -> str:
    variables = " ".join(f"{n}={v}" for n, v in started.environment.items())
    return views.fields(
        [
            ("command", " ".join(started.argv)),
            ("directory", started.cwd),
            ("workers", started.workers or "(not said)"),
            ("stop at the first failure", "yes" if started.stop else ""),
            ("detached", "yes" if started.detached else ""),
            ("variables", variables),
            ("by", f"{started.user} on {started.host}"),
            ("at", views.moment(started.time)),
            ("version", started.version),
        ]
    )


def clean(
    blocks: Blocks = None,
    /,
    *,
    older: Annotated[str, Parameter(help="All workflows that ended so long ago: 12h, 30d, ….")] = "",
    all_: Annotated[bool, Parameter(name="--all", negative="", help="All workflows that have ended.")] = False,
    failed: Annotated[bool, Parameter(negative="", help="Of these only those that failed or were cancelled.")] = False,
    dry_run: DryRun = False,
    store: StorePath = None,
    json: Json = False,
) -> None:
    """Delete the results of workflows that have ended, and the stored bytes that nothing needs then.

    What ran, when, and from what stays on record. Results that other workflows use stay with these. Bytes younger than
    the setting `gc-grace` stay for `tidemill gc`.
    """
    if bool(blocks) + bool(older) + all_ != 1:
        raise UsageError("say what to clean up", hint="workflows, or --older 30d, or --all")
    with open_store(store) as found:
        if blocks:
            chosen, runs = split(found, blocks)
            if runs:
                raise UsageError("only whole workflows can be cleaned up", hint="name blocks, such as 3")
        else:
            states = (BlockState.ERROR, BlockState.CANCELLED)
            ended = (BlockState.COMPLETE, *states)
            age = seconds(older) if older else 0.0
            chosen = list(destroying.ended(found, older=age, states=states if failed else ended))
        grace = seconds(configuration.setting(found, configuration.GRACE))
        output.emit(destroying.clean(found, chosen, grace=grace, dry_run=dry_run), as_json=json)


def destroy(
    store: Annotated[str, Parameter(help="The store: a directory or postgresql://….")],
    /,
    *,
    yes: Annotated[bool, Parameter(negative="", help="Yes, delete all that is in it.")] = False,
    json: Json = False,
) -> None:
    """Delete a store with all results in it, also one that is damaged or half deleted. Files beside them that are not
    the store's own stay; in PostgreSQL, its tables go and nothing else. Nobody may be working on it."""
    if not yes:
        raise UsageError(f"this deletes the store {store} with all its results", hint="add --yes if you mean it")
    with open_store(store) as found:
        output.emit(destroying.destroy(found.place), as_json=json)
