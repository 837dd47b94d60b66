"""What displays are told: runs by root block, task and state, counted as the engine reports changes."""

from tidemill.engine.engine import Engine
from tidemill.engine.turn import CANCELLED, DONE, FAILED, REUSED, SKIPPED, TOTAL, Turn
from tidemill.model.session import Progress, TaskProgress
from tidemill.model.states import RunState
from tidemill.stores.state import runs

_FIELDS = {
    DONE: ("done",),
    REUSED: ("done", "reused"),
    FAILED: ("failed",),
    SKIPPED: ("skipped",),
    CANCELLED: ("cancelled",),
    TOTAL: ("total",),
}
"""Reused runs are done, too, as in the blocks' own counters."""
_STORED = {
    RunState.COMPLETE: "done",
    RunState.ERROR: "failed",
    RunState.SKIPPED: "skipped",
    RunState.CANCELLED: "cancelled",
}


class Board:
    """Counters of the root blocks that somebody watches."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._rows: dict[int, dict[int, TaskProgress]] = {}
        self.changed: set[int] = set()

    def open(self, root: int, *, fresh: bool) -> None:
        """Start counting a root block; what an older one has already is read from the rows."""
        self.changed.add(root)
        if root in self._rows:
            return
        self._rows[root] = {}
        if fresh:
            return
        for task, state, n in runs.counts_of_root(self._engine.db, root):
            row = self._row(root, task)
            row.total += n
            name = _STORED.get(RunState(state))
            if name:
                setattr(row, name, getattr(row, name) + n)

    def close(self, root: int) -> None:
        self._rows.pop(root, None)
        self.changed.discard(root)

    def _row(self, root: int, task: int) -> TaskProgress:
        rows = self._rows[root]
        row = rows.get(task)
        if row is None:
            row = rows[task] = TaskProgress(task, self._engine.spec(self._engine.db, task).name)
        return row

    def take(self, turn: Turn) -> None:
        """Count what a turn did."""
        for (block, task, what), n in turn.progress.items():
            root = self._engine.facts(turn.db, block).root
            if root in self._rows:
                row = self._row(root, task)
                for name in _FIELDS[what]:
                    setattr(row, name, getattr(row, name) + n)
                self.changed.add(root)

    def show(self, root: int, stored: int, running: dict[int, int]) -> Progress:
        """The message for a root block; `running` counts leased runs per task."""
        rows = self._rows.get(root, {})
        for task, row in rows.items():
            row.running = running.get(task, 0)
        return Progress(root, stored, list(rows.values()))
