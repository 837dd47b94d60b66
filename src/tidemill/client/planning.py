"""What would run, and why, without running it: the same submission by the same engine, in a store that forgets it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import msgspec

from tidemill.client import views
from tidemill.engine import submit
from tidemill.engine.engine import Engine
from tidemill.engine.ids import Ids
from tidemill.engine.turn import Turn
from tidemill.graph.plan import Plan, build
from tidemill.model import delta
from tidemill.model.digest import digest
from tidemill.model.preview import duration
from tidemill.provenance.meaning import Specs
from tidemill.provenance.reasons import Tally, tally
from tidemill.stores.state import blocks, history
from tidemill.stores.state.blocks import Block
from tidemill.stores.state.database import Database
from tidemill.stores.state.rehearsal import rehearsal

TOGETHER = 16
"""Chunks stored in one turn."""

SHOWN = 4
"""Reasons of a task shown."""

ATTEMPTS = 100_000
"""The newest attempts from which times are estimated."""

_FAR = 1 << 50
"""First id in a transaction that is never committed: far from the ids that engines hand out meanwhile."""


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """What would become of the runs of one task.

    Attributes:
        name: of the task.
        total: runs. What these would call in turn is not known before.
        reused: known already.
        done: executed in this same workflow before it was interrupted.
        run: would execute at once.
        waiting: would follow; reused all the same if what they wait for comes out as before.
        shared: equal to another run of this workflow and executed once.
        ended: have failed or were skipped before the interruption.
        seconds: of one run, from what was recorded; None if the task never ran.
        reasons: (reason, number of runs), the most frequent first.
    """

    name: str
    total: int
    reused: int
    done: int
    run: int
    waiting: int
    shared: int
    ended: int
    seconds: float | None
    reasons: list[tuple[str, int]]


class PlanReport(msgspec.Struct, frozen=True, kw_only=True):
    """What running a call would do.

    Attributes:
        name: of the workflow.
        store: its address.
        block: the interrupted block that would be continued, 0 for a new one.
        tasks: in the order of their first runs.
    """

    name: str
    store: str
    block: int
    tasks: list[Planned]

    def total(self, field: str) -> int:
        """The sum of a count over the tasks."""
        return int(sum(getattr(t, field) for t in self.tasks))

    @property
    def seconds(self) -> float:
        """Estimated time of all attempts together, of the tasks whose times are known."""
        return sum((t.seconds or 0.0) * (t.run + t.waiting) for t in self.tasks)

    @property
    def unknown(self) -> list[str]:
        """Tasks that would run and whose times are not known."""
        return [t.name for t in self.tasks if t.seconds is None and t.run + t.waiting]

    def summary(self) -> str:
        """One sentence."""
        run, waiting, reused = self.total("run"), self.total("waiting"), self.total("reused") + self.total("done")
        words = [f"{run:,} would run now", f"{waiting:,} after these", f"{reused:,} reused"]
        text = f"{self.name}: {self.total('total'):,} runs: {', '.join(words)}"
        if self.seconds and run + waiting:
            unknown = f", {', '.join(self.unknown[:3])} not counted" if self.unknown else ""
            text += f"; about {duration(self.seconds)} of work{unknown}"
        return text

    def table(self) -> views.Table:
        """One line per task."""
        heads = ["task", "runs", "reused", "run", "wait", "each", "why"]
        rows = [
            [t.name, t.total, t.reused + t.done, t.run, t.waiting + t.shared, views.span(t.seconds), _why(t)]
            for t in self.tasks
        ]
        return views.Table(heads, rows, numbers=range(1, 6))

    def note(self) -> str:
        """What else there is to say."""
        return f"\nit would go on with block {self.block}, which was interrupted" if self.block else ""

    def __str__(self) -> str:
        return f"{self.table()}\n{self.summary()}{self.note()}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.table().html(self.summary())


def _why(task: Planned) -> str:
    if not task.reasons:
        return ""
    if len(task.reasons) == 1:
        return task.reasons[0][0]
    parts = [f"{n:,} {reason}" for reason, n in task.reasons[:SHOWN]]
    more = len(task.reasons) - SHOWN
    return "; ".join(parts + [f"{more} other reasons"] * (more > 0))


class Where(Protocol):
    """A store as far as planning needs it."""

    url: str

    @property
    def place(self) -> Any:
        """Its parts; `place.state` is the URL of its state."""


def plan(store: Where, call: Any) -> PlanReport:
    """What running a call in a store would do. The store is only read.

    Raises:
        WiringError: the workflow does not fit together.
        ResumeError: an interrupted submission of the same call built another graph.
        StoreError: the store cannot be read.
    """
    built = build(call)
    with rehearsal(store.place.state) as db:
        engine = _Rehearsing(db)
        begun = _submit(engine, built)
        specs = Specs(db)
        found = tally(db, begun.block, specs, engine.index)
        return PlanReport(
            name=built.name,
            store=store.url,
            block=begun.block if begun.resumed else 0,
            tasks=_report(found, _seconds(db, specs)),
        )


class _Rehearsing(Engine):
    """An engine that nobody else notices: on PostgreSQL it takes no ids that others wait for."""

    def __init__(self, db: Database) -> None:
        super().__init__(db)
        if not self.alone:
            self.ids = _FarIds(db)


class _FarIds(Ids):
    """Ids that nobody else has, without asking the store."""

    def __init__(self, db: Database) -> None:
        super().__init__(db)
        self._counters: dict[str, int] = {}

    def take(self, name: str, count: int) -> int:
        first = self._counters.get(name, _FAR)
        self._counters[name] = first + count
        return first


def _submit(engine: Engine, built: Plan) -> submit.Begun:
    """What the process that serves a store does with a submission."""
    with engine.turn() as turn:
        begun = submit.begin(turn, built.key, built.name, delta.encode(built.header))
    if not begun.sealed:
        pending: list[Callable[[Turn], None]] = []
        for seq, part in enumerate(built.chunks()):
            pending.append(_storing(begun.block, seq, part))
            if len(pending) == TOGETHER:
                _do(engine, pending)
                pending = []
        _do(engine, pending)
    _expand(engine, begun.block)
    return begun


def _storing(block: int, seq: int, part: delta.Chunk) -> Callable[[Turn], None]:
    found = digest(delta.encode(part))
    return lambda turn: submit.chunk(turn, block, seq, found, part)


def _do(engine: Engine, acts: Iterable[Callable[[Turn], None]]) -> None:
    with engine.turn() as turn:
        for act in acts:
            act(turn)
            engine.settle(turn)


def _expand(engine: Engine, root: int) -> None:
    """Expand what reused runs grew and what is large enough to be expanded in slices."""
    while waiting := [b for b in history.deltas(engine.db, root) if _unexpanded(engine.db, b)]:
        for row in waiting:
            submitted = blocks.delta(engine.db, row.id)
            assert submitted is not None
            seq = submitted.chunks
            while (stored := blocks.chunk(engine.db, row.id, seq)) is not None:
                with engine.turn() as turn:
                    place = submit.layout(turn, row.id)
                    if place is not None:
                        submit.expand(turn, place, delta.decode_chunk(bytes(stored[1])))
                    seq += 1
                    blocks.set_cursor(turn.db, row.id, seq)
            with engine.turn() as turn:
                submit.seal(turn, row.id)


def _unexpanded(db: Database, row: Block) -> bool:
    submitted = blocks.delta(db, row.id) if row.owner is not None else None
    return submitted is not None and not submitted.sealed


def _seconds(db: Database, specs: Specs) -> dict[str, float]:
    """Mean time of a complete attempt by task name."""
    total: dict[str, tuple[int, float]] = {}
    for task, number, mean in history.seconds(db, 0, ATTEMPTS):
        if mean is not None and math.isfinite(mean):
            n, seconds = total.get(name := specs.of(task).name, (0, 0.0))
            total[name] = (n + number, seconds + number * mean)
    return {name: seconds / n for name, (n, seconds) in total.items()}


def _report(found: dict[str, Tally], seconds: dict[str, float]) -> list[Planned]:
    return [
        Planned(
            name=name,
            total=one.total,
            reused=one.reused,
            done=one.done,
            run=one.run,
            waiting=one.waiting,
            shared=one.shared,
            ended=one.ended,
            seconds=seconds.get(name),
            reasons=one.reasons.most_common(),
        )
        for name, one in found.items()
    ]
