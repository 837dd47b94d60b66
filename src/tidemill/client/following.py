"""Following a block until it ends, with progress shown and Ctrl-C understood."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tidemill.client import display
from tidemill.client.submission import Submission
from tidemill.graph.plan import Plan
from tidemill.model.errors import UsageError
from tidemill.model.states import BlockState

if TYPE_CHECKING:
    from tidemill.client.store import Store


def follow(submission: Submission, plan: Plan | None, shown: display.Display) -> BlockState:
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
                submission.send(plan)
            state = submission.wait()
    finally:
        shown.close()
    if state is None:
        raise KeyboardInterrupt
    return state


def follow_block(store: Store, block: int, *, name: str, workers: int | None, progress: bool | None) -> BlockState:
    """Work on a block that was submitted before, until it ends; how it ended.

    Raises:
        NotFoundError: there is no such workflow block.
        KeyboardInterrupt: stopped by Ctrl-C.
    """
    connection = store.connect(count(workers))
    try:
        submission = Submission(connection, shown := display.display(name, progress))
        connection.welcome()
        submission.watch(block)
        return follow(submission, None, shown)
    finally:
        connection.close()


def count(workers: int | None) -> int:
    """The number of workers asked for; by default one per CPU.

    Raises:
        UsageError: it is no positive integer.
    """
    if workers is None:
        return os.cpu_count() or 1
    if isinstance(workers, bool) or workers < 1:
        raise UsageError(f"workers must be a positive integer, not {workers!r}")
    return workers
