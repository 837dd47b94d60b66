"""Walking the graph: which nodes (see `stores.state.lineage`) come before or after others."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence

from tidemill.model.errors import NotFoundError, UsageError
from tidemill.model.ids import Id
from tidemill.model.spec import TaskSpec, decode_spec
from tidemill.model.states import RunState
from tidemill.provenance.find import find_run
from tidemill.stores.state import blocks, data, gathers, lineage, runs, supersedes, tasks
from tidemill.stores.state.database import Database
from tidemill.stores.state.lineage import Shape, Span

Step = Callable[[Sequence[int]], list[int]]


class Walk:
    """Finds nodes.

    Args:
        db: the store.
        order: whether order-only edges count.

    Attributes:
        makers: the runs that make the data met that are pending.
        waiting: the members of the lists met that are pending.
    """

    def __init__(self, db: Database, *, order: bool) -> None:
        self.db = db
        self.order = order
        self.makers: dict[int, int] = {}
        self.waiting: dict[int, list[int]] = {}
        self._spans: list[Span] | None = None
        self._shape: Shape | None = None
        self._specs: dict[int, TaskSpec] = {}

    # ---------------------------------------------------------------------------------------------------- the subject

    def start(self, what: Id) -> list[int]:
        """The nodes that the subject is."""
        if what.kind == "run":
            return [find_run(self.db, what).id]
        if what.kind == "datum":
            return self._of_datum(what.number)
        row = blocks.find(self.db, what.number)
        if row.owner is not None:
            return [row.owner]
        submitted = blocks.delta(self.db, what.number)
        result = blocks.result_of(submitted, row.out_lo) if submitted else None
        if result is None or not result[1]:
            raise UsageError(
                f"block {what.number} has no result that was computed", hint="name one of its runs instead"
            )
        refs = [supersedes.newest(self.db, ref) for ref in result[1]]
        return list(dict.fromkeys(n for ref in refs for n in self._of_datum(ref)))

    def _of_datum(self, datum: int) -> list[int]:
        row = data.get(self.db, [datum], values=False).get(datum)
        if row is not None and row.src is not None:
            return self._of_datum(row.src)
        if row is not None and row.run is not None:
            return [row.run]
        if row is None and not lineage.lists(self.db, [datum]):
            self._make([datum])
            if datum not in self.makers:
                raise NotFoundError(f"there is no datum {datum}")
            return [self.makers[datum]]
        return [-datum]

    # ----------------------------------------------------------------------------------------------------- upwards

    def up(self, start: Sequence[int], depth: int | None) -> list[int]:
        """What these come from, themselves first."""
        found = dict.fromkeys(start)
        # a run that took over a result comes from the run that made it, and from nothing else
        reused = self.reused_from(start)
        fresh = [n for n in dict.fromkeys([*start, *reused.values()]) if n not in reused]
        found.update(dict.fromkeys(fresh))
        if depth is None:
            while fresh:
                reached = lineage.before(self.db, fresh, order=self.order)
                found.update(dict.fromkeys(reached))
                fresh = [m for m in self._resolve(reached) if m not in found]
        else:
            self._hops(found, fresh, depth, self._before)
        return [n for n in found if -n not in self.makers]

    def _before(self, nodes: Sequence[int]) -> list[int]:
        reached = lineage.hop_before(self.db, nodes, order=self.order)
        return [*reached, *self._resolve(reached)]

    def _hops(self, found: dict[int, None], frontier: list[int], depth: int, step: Step) -> None:
        """Follow step by step. Data on the way count for nothing: a hop ends at runs."""
        for _ in range(depth):
            reached: dict[int, None] = {}
            pending = frontier
            while pending:
                fresh = [n for n in step(pending) if n not in found and n not in reached]
                reached.update(dict.fromkeys(fresh))
                pending = [n for n in fresh if n < 0]
            if not reached:
                return
            found.update(reached)
            frontier = [n for n in reached if n > 0]

    def reused_from(self, nodes: Sequence[int]) -> dict[int, int]:
        """The run whose result each of these runs took over; those that executed themselves are missing."""
        rows = lineage.heads(self.db, [n for n in nodes if n > 0])
        outs = {h.out: h.id for h in rows.values() if h.state == RunState.COMPLETE and not h.flags & runs.GREW}
        taken = {outs[d.id]: d.src for d in data.get(self.db, list(outs), values=False).values() if d.src}
        sources = data.get(self.db, list(set(taken.values())), values=False)
        return {run: maker for run, src in taken.items() if (maker := sources[src].run) is not None}

    def _resolve(self, reached: Iterable[int]) -> list[int]:
        """The runs that make those of these data, or members of these lists, that are pending."""
        loose = [-n for n in reached if n < 0 and -n not in self.makers and -n not in self.waiting]
        if not loose:
            return []
        ended = data.get(self.db, loose, values=False)
        lists = lineage.lists(self.db, loose)
        promised = lineage.forwards(self.db, loose)
        found = [m for d in loose if d in lists and d not in ended for m in self._pending_members(d)]
        missing = [d for d in loose if d not in ended and d not in lists and d not in promised]
        self._make(missing)
        return found + [self.makers[d] for d in missing if d in self.makers]

    def _pending_members(self, gather: int) -> list[int]:
        """The runs that make the members of a list that have not ended; nodes where they are no plain outputs."""
        found: list[int] = []
        waiting = self.waiting.setdefault(gather, [])
        for s in gathers.stretches(self.db, gather):
            if not s.pending:
                continue
            ids = range(s.lo, s.lo + s.n * s.step, s.step)
            ended = data.states(self.db, list(ids))
            members = [m for m in ids if m not in ended]
            waiting += members
            self._make(members)
            found += [self.makers.get(m, -m) for m in members]
        return found

    def _make(self, missing: Sequence[int]) -> None:
        """Learn which runs make these pending data: outputs are numbered in the order of the runs of a delta."""
        if self._spans is None:
            self._spans = lineage.spans(self.db)
        lows = [s.out_lo for s in self._spans]
        guess = 0
        for datum in missing:
            at = bisect_right(lows, datum) - 1
            if at < 0 or datum >= self._spans[at].out_lo + self._spans[at].out_n:
                continue
            run = self._made_by(guess, datum) or self._search(self._spans[at], datum)
            if run is not None:
                self.makers[datum] = run
                guess = run + 1

    def _search(self, span: Span, datum: int) -> int | None:
        low, high = span.run_lo, span.run_lo + span.run_n
        while high - low > 1:
            middle = (low + high) // 2
            out = lineage.first_output(self.db, middle)
            if out is None or out > datum:
                high = middle
            else:
                low = middle
        return self._made_by(low, datum)

    def _made_by(self, run: int, datum: int) -> int | None:
        """The run if the datum is one of its outputs."""
        head = lineage.heads(self.db, [run]).get(run) if run else None
        return run if head is not None and head.out <= datum < head.out + self.width(head.task) else None

    # ---------------------------------------------------------------------------------------------------- downwards

    def down(self, start: Sequence[int], depth: int | None) -> list[int]:
        """What came from these, themselves first."""
        found = dict.fromkeys(start)
        if depth is not None:
            self._hops(found, list(found), depth, self._after)
            return list(found)
        fresh = list(found)
        while fresh:
            reached = lineage.after(self.db, fresh, self.shape, order=self.order)
            new = [n for n in reached if n not in found]
            found.update(dict.fromkeys(new))
            fresh = [n for n in self._aliases([*fresh, *new]) if n not in found]
            found.update(dict.fromkeys(fresh))
        return self._without_aliases(found)

    def _after(self, nodes: Sequence[int]) -> list[int]:
        reached = lineage.hop_after(self.db, nodes, self.shape, order=self.order)
        return [*reached, *self._aliases(nodes)]

    def _aliases(self, nodes: Sequence[int]) -> list[int]:
        """Data that share the values of these runs and data."""
        if not self.shape.aliased:
            return []
        wanted = [-n for n in nodes if n < 0]
        for head in lineage.heads(self.db, [n for n in nodes if n > 0]).values():
            wanted += range(head.out, head.out + self.width(head.task))
        return [-row[0] for row in lineage.aliases(self.db, wanted)]

    def _without_aliases(self, found: Iterable[int]) -> list[int]:
        """Aliases served to find their consumers; the values they share stand in the list already."""
        ids = [-n for n in found if n < 0]
        heads = data.get(self.db, ids, values=False) if ids else {}
        return [n for n in found if n > 0 or (d := heads.get(-n)) is None or d.src is None]

    # ---------------------------------------------------------------------------------------------------- what is known

    @property
    def shape(self) -> Shape:
        if self._shape is None:
            for task, _, _, encoded in tasks.every(self.db):
                self._specs[task] = decode_spec(encoded)
            self._shape = lineage.shape(self.db, [(t, len(s.outputs)) for t, s in self._specs.items()])
        return self._shape

    def spec(self, task: int) -> TaskSpec:
        """The specification of a task that some run has."""
        if task not in self._specs:
            encoded = tasks.spec(self.db, task)
            assert encoded is not None, f"task {task} of a run is missing"
            self._specs[task] = decode_spec(encoded)
        return self._specs[task]

    def width(self, task: int) -> int:
        """How many outputs a task has."""
        return len(self.spec(task).outputs)
