"""Following a block until it ends, with progress shown and Ctrl-C understood."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from tidemill.client import display, startup
from tidemill.client.connection import Connection, connect
from tidemill.client.later import Later
from tidemill.client.submission import Submission
from tidemill.graph.plan import Plan, build
from tidemill.model import session
from tidemill.model.errors import UsageError
from tidemill.model.states import BlockState
from tidemill.stores.objects import ObjectStore, fetch_url
from tidemill.stores.state import blocks

if TYPE_CHECKING:
    from tidemill.client import queries
    from tidemill.client.store import Store
else:
    queries = Later("tidemill.client.queries")


class Ended(NamedTuple):
    """How a workflow ended."""

    block: int
    name: str
    state: BlockState


def execute(store: Store, call: Any, *, workers: int | None, progress: bool | None, stop: bool) -> Ended:
    """Submit a call, or find its interrupted submission, and work on it until it ends; see `Store.run`."""
    connection = connect(store.place, checked(workers))
    try:
        plan = build(call, lambda url: fetch_url(store.objects, url))
        shown = display.display(plan.name, progress)
        submission = Submission(connection, shown)
        connection.welcome()
        options = blocks.STOP_ON_FAILURE if stop else 0
        submission.begin(plan, options, startup.now(workers, options))
        if submission.resumed:
            shown.note(f"continuing block {submission.block} where it was interrupted")
            _try_again(store, connection, submission.block)
        state = follow(submission, plan, shown, lambda: store.objects)
    finally:
        connection.close()
    return Ended(submission.block, plan.name, state)


def _try_again(store: Store, connection: Connection, block: int) -> None:
    """To go on is to try again what had failed before, whether the workflow was interrupted or ended with that."""
    row = blocks.get(store.db, block)
    if row is None or row.state not in (BlockState.OPEN, BlockState.ERROR):
        return
    if failed := queries.ended_badly(store.db, block, "error"):
        connection.ask("retry", runs=failed)


def follow(
    submission: Submission, plan: Plan | None, shown: display.Display, objects: Callable[[], ObjectStore]
) -> BlockState:
    """Send a plan, if there is one, and wait. Ctrl-C once finishes what runs, twice stops at once.

    Raises:
        KeyboardInterrupt: stopped by Ctrl-C; everything finished so far is stored.
    """

    def pressed(times: int) -> None:
        if times == 1:
            shown.note("finishing what runs; Ctrl-C again stops at once (nothing is lost either way)")
        submission.detach(now=times > 1)

    try:
        with submission.interruptible(pressed):
            if plan is not None:
                submission.send(plan, objects)
            state = submission.wait()
    finally:
        shown.close()
    if state is None:
        raise KeyboardInterrupt
    return state


def follow_block(
    store: Store, block: int, *, name: str, workers: int | None, progress: bool | None, again: bool = False
) -> BlockState:
    """Work on a block that was submitted before, until it ends; how it ended.

    Args:
        again: also try again what had failed before, if it was interrupted or ended with that.

    Raises:
        NotFoundError: there is no such workflow block.
        KeyboardInterrupt: stopped by Ctrl-C.
    """
    connection = connect(store.place, checked(workers))
    try:
        submission = Submission(connection, shown := display.display(name, progress))
        connection.welcome()
        if again:
            _try_again(store, connection, block)
        submission.watch(block)
        return follow(submission, None, shown, lambda: store.objects)
    finally:
        connection.close()


def cancel(store: Store, found: list[int], runs: list[int]) -> object:
    """Cancel workflow blocks and runs, and wait until nothing of the blocks is running any more; the engine's answer.

    Raises:
        NotFoundError: there is no store, or no such block.
    """
    _ = store.db
    connection = connect(store.place)
    try:
        connection.welcome()
        answer = connection.ask("cancel", blocks=found, runs=runs)
        for block in found:
            row = blocks.get(store.db, block)
            if row is not None and row.parent is None:
                _wait_closed(connection, block)
        return answer
    finally:
        connection.close()


def _wait_closed(connection: Connection, block: int) -> None:
    connection.send(session.Watch(block))
    connection.wait_for(lambda m: isinstance(m, session.Closed) and m.block == block)


def checked(workers: object) -> int | None:
    """The number of workers asked for; None if nobody said how many.

    Raises:
        UsageError: it is no positive integer.
    """
    if workers is None:
        return None
    if not isinstance(workers, int) or isinstance(workers, bool) or workers < 1:
        raise UsageError(f"workers must be a positive integer, not {workers!r}")
    return workers
