"""State machines that try the counters of a state store against counting in Python.

Each example is one transaction that is rolled back, so one store serves them all.
"""

from collections import Counter
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tidemill.model.states import BlockState
from tidemill.stores.state import blocks, classes, edges, gathers, leases, queues, runs
from tidemill.stores.state.blocks import Block
from tidemill.stores.state.database import Database
from tidemill.stores.state.gathers import Gather
from tidemill.stores.state.runs import Fresh, Run
from tidemill.testing.state_base import rows
from tidemill.testing.state_rows import Stretch, a_block, a_run, add_blocks, add_gather, add_runs

FAR = 1 << 60
numbers = st.one_of(st.integers(1, 12), st.integers(FAR, FAR + 3))
several = st.lists(numbers, max_size=6, unique=True)


class InOneTransaction(RuleBasedStateMachine):
    """A machine whose store forgets what it did."""

    db: ClassVar[Database]
    """Given by a subclass."""

    def __init__(self) -> None:
        super().__init__()
        self.db.begin()

    def teardown(self) -> None:
        self.db.rollback()


class QueuesBesideSets(InOneTransaction):
    """Ready runs, timers and untold ends, beside sets."""

    def __init__(self) -> None:
        super().__init__()
        self.ready: set[tuple[int, int]] = set()
        self.timers: set[tuple[float, int, int]] = set()
        self.doom: dict[int, tuple[int, int]] = {}

    @rule(cls=st.integers(1, 3), ids=several)
    def stand(self, cls: int, ids: list[int]) -> None:
        classes.stand(self.db, [cls] * len(ids), ids)
        self.ready |= {(cls, run) for run in ids}

    @rule(cls=st.integers(1, 3), ids=several)
    def drop(self, cls: int, ids: list[int]) -> None:
        gone = self.ready & {(cls, run) for run in ids}
        assert classes.drop(self.db, [cls] * len(ids), ids) == len(gone)
        self.ready -= gone

    @rule(cls=st.integers(1, 3), limit=st.integers(0, 4))
    def take(self, cls: int, limit: int) -> None:
        taken = sorted(run for c, run in self.ready if c == cls)[:limit]
        assert classes.take(self.db, cls, limit) == taken
        self.ready -= {(cls, run) for run in taken}

    @rule(at=st.sampled_from([0.0, 0.5, 1.0, 2.25]), kind=st.integers(1, 3), ids=several)
    def wake_at(self, at: float, kind: int, ids: list[int]) -> None:
        queues.wake_at(self.db, [at] * len(ids), [kind] * len(ids), ids)
        self.timers |= {(at, kind, run) for run in ids}

    @rule(now=st.sampled_from([-1.0, 0.0, 1.0, 9.0]), limit=st.integers(0, 4))
    def due(self, now: float, limit: int) -> None:
        found = sorted(timer for timer in self.timers if timer[0] <= now)[:limit]
        assert queues.due(self.db, now, limit) == found
        self.timers -= set(found)

    @rule(kind=st.integers(1, 3), ids=several)
    def cancel(self, kind: int, ids: list[int]) -> None:
        queues.cancel(self.db, kind, ids)
        self.timers = {timer for timer in self.timers if timer[1] != kind or timer[2] not in ids}

    @rule(ids=several, state=st.integers(5, 8))
    def doomed(self, ids: list[int], state: int) -> None:
        queues.doom(self.db, ids, [state] * len(ids), [state * 10] * len(ids))
        self.doom = dict.fromkeys(ids, (state, state * 10)) | self.doom

    @rule(ids=several)
    def undoom(self, ids: list[int]) -> None:
        assert set(queues.undoom(self.db, ids)) == self.doom.keys() & set(ids)
        self.doom = {datum: end for datum, end in self.doom.items() if datum not in ids}

    @rule(limit=st.integers(0, 4))
    def tell(self, limit: int) -> None:
        found = sorted(self.doom)[:limit]
        assert queues.doomed(self.db, limit) == [(datum, *self.doom.pop(datum)) for datum in found]

    @rule(ids=several, kind=st.integers(1, 3), cls=st.integers(1, 3))
    def ask(self, ids: list[int], kind: int, cls: int) -> None:
        assert queues.doomed_among(self.db, ids) == self.doom.keys() & set(ids)
        assert queues.waiting(self.db, kind, ids) == {i for at, k, i in self.timers if (at, k) == (0.0, kind)} & set(
            ids
        )
        assert set(classes.stand_in(self.db, cls, ids)) == {run for c, run in self.ready if c == cls} & set(ids)

    @invariant()
    def counts_are_those_of_the_rows(self) -> None:
        assert classes.counts(self.db) == Counter(cls for cls, _ in self.ready)
        assert queues.next_timer(self.db) == min((at for at, _, _ in self.timers), default=None)


class BlocksBesideCounters(InOneTransaction):
    """Counters of blocks, beside sums. Where changes are appended, they count once they are folded."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks: dict[int, Block] = {n: a_block(n, parent=n // 2 or None, open=2) for n in (1, 2, 3)}
        add_blocks(self.db, list(self.blocks.values()))

    @rule(changes=st.dictionaries(st.integers(1, 3), st.lists(st.integers(-2, 2), min_size=7, max_size=7)))
    def count(self, changes: dict[int, list[int]]) -> None:
        for block, change in changes.items():
            row = self.blocks[block]
            self.blocks[block] = Block._make((*row[:11], *map(sum, zip(row[11:18], change, strict=True)), *row[18:]))
        self.told(blocks.count(self.db, changes), set(changes))

    @rule()
    def fold(self) -> None:
        self.told(blocks.fold(self.db) or [], set())
        assert blocks.fold(self.db) == []
        assert blocks.get_many(self.db, [1, 2, 3]) == self.blocks

    def told(self, found: list[blocks.Counted], changed: set[int]) -> None:
        """What is told of a block is how it is."""
        for row in found:
            b = self.blocks[row.id]
            assert row == blocks.Counted(
                b.id, b.parent, b.open, b.failed, b.skipped, b.cancelled, b.state, b.out, b.flags, b.owner, b.done,
                b.reused, b.total,
            )  # fmt: skip
        assert self.db.dialect == "postgres" or {row.id for row in found} >= changed

    @rule(block=st.integers(1, 3), end=st.sampled_from([BlockState.COMPLETE, BlockState.ERROR, BlockState.CANCELLED]))
    def close(self, block: int, end: BlockState) -> None:
        self.fold()
        row = self.blocks[block]
        legal = row.open == 0 and row.state in (0, 1)
        assert blocks.close(self.db, block, end, 1.5) is legal
        if legal:
            self.blocks[block] = row._replace(state=int(end), t_close=1.5)

    @rule(block=st.integers(1, 3))
    def empty(self, block: int) -> None:
        """As its last run ends."""
        self.count({block: [-self.blocks[block].open, 0, 0, 0, 0, 0, 0]})

    @rule(block=st.integers(1, 3))
    def stop(self, block: int) -> None:
        row = self.blocks[block]
        assert blocks.stop(self.db, block, 7) is (row.state == 0)
        if row.state == 0:
            self.blocks[block] = row._replace(state=1, cause=7)

    @rule(block=st.integers(1, 3))
    def reopen(self, block: int) -> None:
        row = self.blocks[block]
        assert blocks.reopen(self.db, block) is (row.state >= 2)
        if row.state >= 2:
            self.blocks[block] = row._replace(state=0, t_close=None, cause=None)


def stretch(lo: int, n: int, step: int) -> Stretch:
    """A stretch of members."""
    return lo, n, step


stretches = st.lists(
    st.builds(stretch, st.integers(1, 80), st.integers(1, 9), st.sampled_from([1, 1, 2, 3, 17])), max_size=4
)


class GathersBesideMembers(InOneTransaction):
    """Collections count their members down, beside sets of members."""

    def __init__(self) -> None:
        super().__init__()
        self.members: dict[tuple[int, int], list[int]] = {}
        self.ended: set[int] = set()
        self.rows: dict[int, Gather] = {}
        self.state: dict[int, int] = {}

    @precondition(lambda self: len(self.rows) < 4)
    @rule(parts=stretches)
    def gather(self, parts: list[Stretch]) -> None:
        number = FAR + len(self.rows)
        fresh = [part for part in parts if self.ended.isdisjoint(range(part[0], part[0] + part[1] * part[2], part[2]))]
        self.rows[number] = add_gather(self.db, number, fresh)
        self.state[number] = gathers.OPEN
        for seq, (lo, n, step) in enumerate(fresh):
            self.members[number, seq] = list(range(lo, lo + n * step, step))

    def pending(self, key: tuple[int, int]) -> int:
        """How many members of a stretch have not ended."""
        return sum(datum not in self.ended for datum in self.members[key])

    @rule(data=st.sets(st.integers(1, 160), max_size=12), good=st.booleans())
    def end_members(self, data: set[int], good: bool) -> None:
        fresh = sorted(data - self.ended)
        hits = gathers.hits(self.db, fresh, gathers.levels(self.db))
        assert sorted(hits) == sorted((*key, d) for key, own in self.members.items() for d in fresh if d in own)
        before = {key: self.pending(key) for key in self.members}
        self.ended |= set(fresh)
        for number in sorted({g for g, _, _ in hits}):
            seqs = Counter(seq for g, seq, _ in hits if g == number)
            for seq, n in seqs.items():
                left = self.pending((number, seq))
                assert before[number, seq] - n == left
                assert gathers.count(self.db, number, seq, n)[0] == left
            self.tell(number, sum(self.pending((number, seq)) == 0 for seq in seqs), sum(seqs.values()), good=good)

    def tell(self, number: int, closed: int, n: int, *, good: bool) -> None:
        """Count what ended into the collection."""
        row = self.rows[number]
        told = gathers.tell(self.db, number, closed, n * good, n * (not good))
        if self.state[number] != gathers.OPEN:
            assert told is None
            return
        row = row._replace(
            pending=row.pending - closed, complete=row.complete + n * good, failed=row.failed + n * (not good)
        )
        self.rows[number] = row
        assert told == row

    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from([1, *self.rows]))
        state = data.draw(st.sampled_from([gathers.COMPLETE, gathers.DEAD]))
        legal = self.state.get(number) == gathers.OPEN
        assert gathers.end(self.db, number, state) is legal
        if legal:
            self.state[number] = state

    @invariant()
    def counters_are_those_of_the_members(self) -> None:
        assert {n: gathers.get(self.db, n) for n in self.rows} == {
            n: (row, self.state[n]) for n, row in self.rows.items()
        }
        found = {(g, seq): left for g, seq, left in rows(self.db, "select gather, seq, pending from member")}
        assert found == {key: self.pending(key) for key in self.members}
        spans = {key: (own[-1] - own[0]).bit_length() for key, own in self.members.items()}
        assert gathers.levels(self.db) == {level for key, level in spans.items() if self.pending(key)}
        assert all(
            row.pending == sum(self.pending(k) > 0 for k in self.members if k[0] == n)
            for n, row in self.rows.items()
            if self.state[n] == gathers.OPEN
        )

    @rule(data=st.lists(st.integers(1, 160), max_size=8, unique=True))
    def find_again(self, data: list[int]) -> None:
        found = gathers.containing(self.db, data)
        assert sorted(found) == sorted((*key, d) for key, own in self.members.items() for d in data if d in own)


class RunsBesideRows(InOneTransaction):
    """Inputs come, runs are leased, end and live again, beside rows in Python."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: dict[int, Run] = {}
        self.inputs: list[tuple[int, int, int]] = []
        self.leases: dict[int, int] = {}

    @rule(inputs=st.lists(st.integers(1, 6), max_size=5), state=st.sampled_from([0, 0, 0, 9]))
    def add(self, inputs: list[int], state: int) -> None:
        number = len(self.runs) + 1
        self.runs[number] = a_run(number, pending=len(inputs), state=state)
        add_runs(self.db, [self.runs[number]])
        own = [(number, port, datum) for port, datum in enumerate(inputs)]
        edges.add(self.db, *[[e[k] for e in own] for k in range(3)])
        self.inputs += own

    @rule(data=st.lists(st.integers(1, 6), max_size=3, unique=True))
    def release(self, data: list[int]) -> None:
        came = Counter(run for run, _, datum in self.inputs if datum in data)
        for run, n in came.items():
            self.runs[run] = self.runs[run]._replace(pending=self.runs[run].pending - n)
        assert sorted(runs.release(self.db, data)) == self.fresh(sorted(came))

    def fresh(self, ids: list[int]) -> list[Fresh]:
        """How runs are reported."""
        found = [self.runs[run] for run in ids]
        return [Fresh(r.id, r.pending, r.state, r.key, r.cls, r.flags, r.task, r.args) for r in found]

    @rule(ids=several)
    def claim(self, ids: list[int]) -> None:
        may = [run for run in ids if run in self.runs and self.runs[run].state == 0 and self.runs[run].pending <= 0]
        found = runs.for_claim(self.db, ids)
        assert [r.id for r in found] == may
        free = [r for r in found if r.id not in self.leases]
        leases.add(self.db, [r.id for r in free], [r.attempt + 1 for r in free], [1] * len(free), [0.0] * len(free))
        self.leases |= {r.id: r.attempt + 1 for r in free}

    @rule(ids=several, late=st.integers(0, 1), act=st.sampled_from(["complete", "end", "bump"]))
    def give_back(self, ids: list[int], late: int, act: str) -> None:
        fences = [self.leases.get(run, 1) - late for run in ids]
        mine = [run for run in ids if not late and run in self.leases]
        assert leases.give_back(self.db, ids, fences) == len(mine)
        own = [self.leases.pop(run) for run in mine]
        n = len(mine)
        if act == "complete":
            # a run that waits again was never finished
            done = [run for run in mine if self.runs[run].state == 0 and self.runs[run].pending <= 0]
            assert runs.complete(self.db, mine, own, [b"k" * 32] * n, [0] * n) == len(done)
            self.change(done, mine, own, state=3, flags=0)
        elif act == "end":
            live = [run for run in mine if self.runs[run].state == 0]
            assert runs.end(self.db, mine, [4] * n, own, mine) == len(live)
            for run in live:
                self.runs[run] = self.runs[run]._replace(cause=run)
            self.change(live, mine, own, state=4)
        else:
            live = [run for run in mine if self.runs[run].state == 0]
            assert runs.bump(self.db, mine, own, [1] * n, [0] * n) == len(live)
            for run in live:
                self.runs[run] = self.runs[run]._replace(tries=self.runs[run].tries + 1)
            self.change(live, mine, own)

    def change(self, ids: list[int], mine: list[int], fences: list[int], **changed: Any) -> None:
        """Rows as they are now, with the fence under which it happened."""
        own = dict(zip(mine, fences, strict=True))
        for run in ids:
            self.runs[run] = self.runs[run]._replace(attempt=own[run], **changed)

    @rule(ids=several)
    def hold(self, ids: list[int]) -> None:
        idle = [run for run in ids if run in self.runs and self.runs[run].state == 0 and run not in self.leases]
        assert sorted(runs.hold(self.db, ids)) == sorted(idle)
        self.runs |= {run: self.runs[run]._replace(state=9) for run in idle}

    @rule(ids=several)
    def unhold(self, ids: list[int]) -> None:
        held = sorted(run for run in ids if run in self.runs and self.runs[run].state == 9)
        self.runs |= {run: self.runs[run]._replace(state=0) for run in held}
        assert sorted(runs.unhold(self.db, ids)) == self.fresh(held)

    @rule(ids=several, pending=st.integers(0, 2))
    def rearm(self, ids: list[int], pending: int) -> None:
        ended = [run for run in ids if run in self.runs and self.runs[run].state in (4, 5, 6)]
        n = len(ids)
        assert runs.rearm(self.db, ids, [pending] * n, [n] * n) == len(ended)
        fresh: dict[str, Any] = {"state": 0, "pending": pending, "cause": None, "flags": n, "tries": 0, "losses": 0}
        self.runs |= {run: self.runs[run]._replace(**fresh) for run in ended}

    @invariant()
    def rows_are_what_happened(self) -> None:
        assert runs.get(self.db, list(self.runs)) == self.runs
        assert {run: fence for run, fence, _, _ in leases.every(self.db)} == self.leases
        states = Counter((r.task, r.state) for r in self.runs.values())
        assert {(t, s): n for t, s, n in runs.counts(self.db, 0, 100)} == states
        views = runs.views(self.db, list(self.runs))
        assert views == {n: runs.view(r.state, r.pending, int(n in self.leases)) for n, r in self.runs.items()}
