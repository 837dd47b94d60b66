"""What failed and why: the report a user sees, from the rows."""

import msgspec

from tidemill.model.errors import RunFailedError
from tidemill.model.protocol import Failure
from tidemill.model.spec import decode_spec
from tidemill.stores.state import attempts, blocks, runs, tasks
from tidemill.stores.state.database import Database

SHOWN = 3
LOG_LINES = 10
_decode = msgspec.msgpack.Decoder(Failure).decode


def error_of(db: Database, store: str, block: int) -> RunFailedError:
    """The error for a root block that ended with failures: the first of them in full."""
    row = blocks.get(db, block)
    assert row is not None
    failed = runs.failed_of_root(db, block, SHOWN)
    parts = [report(db, store, r) for r in failed]
    more = row.failed - len(failed)
    if more > 0:
        parts.append(f"… and {more} more: tidemill list --state error --block {block}")
    what = f"{row.failed} of {row.total} runs failed" + (f", {row.skipped} skipped" if row.skipped else "")
    return RunFailedError(
        f"{row.name}: {what}\n\n" + "\n\n".join(parts),
        run=str(failed[0].id) if failed else "",
        report="\n\n".join(parts),
    )


def report(db: Database, store: str, run: runs.Run) -> str:
    """One failed run: what, why, the last lines it printed, its attempts, and the command that runs it alone."""
    encoded = tasks.spec(db, run.task)
    name = decode_spec(encoded).name if encoded else f"task {run.task}"
    tries = attempts.of(db, [run.id])
    last = next((a for a in reversed(tries) if a.body), None)
    lines = [f"✗ {name} (run {run.block}.{run.id})"]
    if last is not None and last.body is not None:
        failure = _decode(last.body)
        lines.append(f"  {failure.kind}: {failure.message}")
        if failure.traceback:
            lines += ["  " + line for line in failure.traceback.rstrip().splitlines()]
        if failure.scratch:
            lines.append(f"  its directory was kept: {failure.scratch}")
    elif run.cause not in (None, run.id):
        lines.append(f"  because of run {run.cause}")
    logs = attempts.logs(db, run.id)
    if logs:
        text = logs[-1][1].decode(errors="replace").rstrip().splitlines()
        lines += ["  last lines it printed:", *["    " + line for line in text[-LOG_LINES:]]]
    if len(tries) > 1:
        lines.append(f"  {len(tries)} attempts")
    where = "" if store == ".tidemill" else f" --store {store}"
    lines.append(f"  run it alone, here: tidemill debug {run.id}{where}")
    return "\n".join(lines)


