"""Commands that change what is stored: `cancel`, `hold`, `unhold`, `priority`, `invalidate`, `gc`."""

from collections.abc import Iterator
from typing import Annotated, Any

from cyclopts import Parameter

from tidemill.cli import output
from tidemill.cli.named import split
from tidemill.cli.options import Ids, Json, Objects, RunIds, StorePath, open_store, seconds
from tidemill.client import configuration, following
from tidemill.client.store import Store
from tidemill.model.errors import UsageError
from tidemill.model.ids import parse_as, run_id
from tidemill.model.states import BlockState
from tidemill.provenance.find import find_run
from tidemill.stores.state import blocks as block_rows
from tidemill.stores.state import lineage
from tidemill.stores.state import runs as run_rows


def cancel(ids: Ids, /, *, store: StorePath = None, json: Json = False) -> None:
    """End what has not ended: what waits never starts, what runs is stopped. Results that are there stay."""
    with open_store(store) as found:
        blocks, runs = split(found, ids)
        answer: Any = following.cancel(found, blocks, runs)
        _tell(answer, json=json, text="\n".join(_cancelled(found, blocks, runs, answer["runs"])))


def hold(ids: RunIds, /, *, store: StorePath = None, json: Json = False) -> int:
    """Keep runs that have not started from starting, until `unhold`."""
    return _for_runs("hold", "held", ids, store, json=json)


def unhold(ids: RunIds, /, *, store: StorePath = None, json: Json = False) -> int:
    """Let held runs go on."""
    return _for_runs("unhold", "let go", ids, store, json=json)


def invalidate(ids: RunIds, /, *, store: StorePath = None, json: Json = False) -> int:
    """Never reuse the results of these runs again. The results stay; `rerun` replaces them."""
    return _for_runs("invalidate", "marked invalid", ids, store, json=json)


def priority(
    ids: Ids,
    /,
    *,
    priority: Annotated[int | None, Parameter(name="--priority", help="Higher ones start first.")] = None,
    weight: Annotated[float | None, Parameter(name="--weight", help="The share among equal priorities.")] = None,
    store: StorePath = None,
    json: Json = False,
) -> None:
    """Start some runs before others."""
    if priority is None and weight is None:
        raise UsageError("say what to change", hint="--priority N or --weight X")
    with open_store(store) as found:
        blocks, runs = split(found, ids)
        answer: Any = found.command("priority", blocks=blocks, runs=runs, priority=priority, weight=weight)
        _tell(answer, json=json, text=f"changed {answer['runs']:,} runs")


def gc(
    *,
    dry_run: Annotated[bool, Parameter(name=["--dry-run", "-n"], negative="", help="Only say what would go.")] = False,
    grace: Annotated[
        str, Parameter(help="Keep what is younger: 30m, 12h, 7d, …; default: the setting gc-grace, else 1d.")
    ] = "",
    store: StorePath = None,
    objects: Objects = "",
    json: Json = False,
) -> None:
    """Delete stored bytes that no result and no argument names, and directories that failed runs left behind."""
    with open_store(store, objects) as found:
        age = seconds(grace or configuration.setting(found, configuration.GRACE))
        output.emit(found.gc(grace=age, dry_run=dry_run), as_json=json)


# ------------------------------------------------------------------------------------------------------------- helpers


def _for_runs(command: str, done: str, ids: list[str], store: str | None, *, json: bool) -> int:
    with open_store(store) as found:
        runs = [find_run(found.db, parse_as(one, "run")).id for one in ids]
        answer: Any = found.command(command, runs=runs)
        heads = lineage.heads(found.db, answer["runs"])
        names = ", ".join(run_id(heads[r].block, r) for r in answer["runs"])
        states = run_rows.views(found.db, runs)
        left = ", ".join(f"{one} is {states[r]}" for one, r in zip(ids, runs, strict=True) if r not in heads)
        _tell(answer, json=json, text=f"{done}: {names}" if names else f"none of these could be {done}: {left}")
    return 0 if names else 1


def _cancelled(store: Store, blocks: list[int], runs: list[int], count: int) -> Iterator[str]:
    """What became of each block, and of the runs together."""
    for block in blocks:
        yield f"block {block} is {BlockState(block_rows.find(store.db, block).state).name.lower()}"
    if runs:
        yield f"cancelled {count:,} of {len(runs):,} runs" + "; the others had ended" * (count < len(runs))


def _tell(answer: Any, *, json: bool, text: str) -> None:
    output.emit(answer if json else text, as_json=json)
