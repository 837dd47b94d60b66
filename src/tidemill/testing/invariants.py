"""What must hold of the rows of a state store between any two transactions, and what more once nothing is left to
do.
"""

from collections import Counter
from collections.abc import Iterator

from tidemill.engine import flags, spread
from tidemill.model.delta import RunFlag
from tidemill.model.spec import TaskSpec, decode_spec
from tidemill.model.states import BlockState, DatumState, RunState
from tidemill.stores.state import blocks, queues, supersedes
from tidemill.stores.state.database import Database, Row, Statement

_LIVE, _HELD = int(RunState.LIVE), int(RunState.HELD)
_ENDED_BADLY = (RunState.ERROR, RunState.SKIPPED, RunState.CANCELLED)
_UNDECIDED = (_LIVE, _HELD, *_ENDED_BADLY)
_COUNTERS = ("open", "done", "reused", "failed", "skipped", "cancelled", "total")
_END_OF = {
    BlockState.COMPLETE: DatumState.COMPLETE,
    BlockState.ERROR: DatumState.ERROR,
    BlockState.CANCELLED: DatumState.CANCELLED,
}
_GONE = {DatumState.EXPIRED, DatumState.DELETED, DatumState.LOST}


def check_invariants(db: Database, *, quiet: bool = False) -> None:
    """Read the whole store and complain about everything that is wrong with it.

    Args:
        quiet: nothing is left to do, so nothing may be waiting to be told, expanded or revived.

    Raises:
        AssertionError: with one line for each problem.
    """
    with db.transaction(write=False):
        problems = list(_Store(db).problems(quiet))
    assert not problems, "\n".join(problems[:40])


class _Store:
    """All rows of a store, in memory."""

    def __init__(self, db: Database) -> None:
        def rows(text: str) -> list[Row]:
            return db.rows(Statement(text))

        self.specs: dict[int, TaskSpec] = {i: decode_spec(bytes(s)) for i, s in rows("select id, spec from task")}
        columns = "id, task, block, class, state, pending, attempt, flags, cause, out"
        self.runs = {r[0]: r for r in rows(f"select {columns} from run")}
        self.data = {r[0]: r for r in rows("select id, run, state, kind, src, cause, digest from datum")}
        self.edges = rows("select run, port, datum from edge")
        self.forwards = {r[0]: r for r in rows("select datum, target, run, open from forward")}
        self.leases = {r[0]: r for r in rows("select run, fence, worker from lease")}
        self.ready = set(rows("select class, run from ready"))
        self.actions = set(rows("select class, run from action"))
        self.follows: dict[int, int] = dict(rows("select run, leader from follow"))
        self.timers = rows("select at, kind, id from timer")
        self.doom = {r[0] for r in rows("select datum from doom")}
        names = f"id, parent, state, flags, run_lo, block_lo, block_n, out, {', '.join(_COUNTERS)}"
        self.blocks = {r[0]: r for r in rows(f"select {names} from block")}
        self.unsealed = {r[0]: bool(r[1]) for r in rows("select block, key is not null from delta where sealed = 0")}
        self.gathers = {
            r[0]: r
            for r in rows("select id, state, members, pending, complete, failed, tolerate, need, one from gather")
        }
        self.members = rows("select gather, seq, lo, n, step, pending from member")
        self.attempts = rows("select run, max(n) from attempt group by run")
        self.superseded = {(k, o): n for k, o, n in rows("select kind, old, new from supersede")}
        self.deltas: list[Row] = []
        if db.dialect == "postgres":
            self.deltas = rows(f"select block, {', '.join(_COUNTERS)} from block_delta")

    def problems(self, quiet: bool) -> Iterator[str]:
        yield from self._standing()
        yield from self._pending()
        yield from self._outputs()
        yield from self._ends()
        yield from self._block_counts()
        yield from self._block_ends()
        yield from self._collections()
        yield from self._promises()
        if quiet:
            yield from self._left_over()

    # ------------------------------------------------------------------------------------------------- runs

    def _standing(self) -> Iterator[str]:
        timed = {i for _, kind, i in self.timers if kind in (queues.BACKOFF, queues.RESTORE)}
        standing = {run for _, run in self.ready}
        for run, fence, _ in self.leases.values():
            row = self.runs.get(run)
            if row is None or row[4] != _LIVE or row[5] > 0:
                yield f"lease {fence} of run {run}, which is {row}"
            elif row[6] >= fence:
                yield f"lease of run {run} under fence {fence}, not above attempt {row[6]}"
        for cls, run in self.ready:
            row = self.runs[run]
            if row[4] != _LIVE or row[5] > 0 or run in self.leases or run in self.follows or run in timed:
                yield f"run {run} stands ready in class {cls}, but is {row}, leased: {run in self.leases}"
            if row[3] != cls and (cls, run) not in self.actions:
                yield f"run {run} stands ready in class {cls}, not its own {row[3]}"
        for row in self.runs.values():
            run = row[0]
            if row[4] == _LIVE and row[5] <= 0:
                where = [run in standing, run in self.leases, run in self.follows, run in timed]
                if sum(where) != 1:
                    yield f"run {run} has nothing pending; stands ready, leased, follows, timed: {where}"
                if run in standing and (row[3], run) not in self.ready:
                    yield f"run {run} does not stand in its own class"
        for run, leader in self.follows.items():
            row, lead = self.runs[run], self.runs[leader]
            if row[4] != _LIVE or row[5] > 0:
                yield f"run {run} follows {leader}, but is {row}"
            grew = lead[4] == RunState.COMPLETE and lead[7] & flags.GREW
            outs = range(lead[9], lead[9] + len(self.specs[lead[1]].outputs))
            if not (lead[4] == _LIVE or (grew and any(o not in self.data for o in outs))):
                yield f"run {run} follows {leader}, which has ended: {lead}"
        for run, n in self.attempts:
            if self.runs[run][6] < n:
                yield f"run {run} has attempt {n}, beyond its counter {self.runs[run][6]}"

    def _pending(self) -> Iterator[str]:
        waits: Counter[int] = Counter()
        arrived: Counter[int] = Counter()
        for run, _, datum in self.edges:
            row = self.runs[run]
            found = self.data.get(datum)
            state = None if found is None or datum in self.doom else DatumState(found[2])
            if state in (None, DatumState.WRITING):
                waits[run] += 1
            elif state in spread.FAILED_STATES:
                undecided = row[4] in _UNDECIDED and not row[7] & flags.SUPERSEDED
                if undecided and (supersedes.DATUM, datum) in self.superseded:
                    yield f"run {run} names datum {datum}, which has no value and a newer generation"
                end = spread.end_by_policy(self.specs[row[1]], int(state))
                if end is not None and not row[7] & RunFlag.PARTIAL:
                    waits[run] += 1
                    if row[4] == _LIVE:
                        yield f"run {run} lives, though its input {datum} ended as {state.name}"
            else:
                arrived[run] += 1
        for row in self.runs.values():
            run = row[0]
            if row[4] not in (_LIVE, _HELD) or row[7] & RunFlag.PARTIAL:
                continue
            if row[5] != waits[run]:
                yield f"run {run} waits for {row[5]} inputs, but {waits[run]} have not ended: {row}"

    def _outputs(self) -> Iterator[str]:
        for row in self.runs.values():
            run, state = row[0], RunState(row[4])
            for out in range(row[9], row[9] + len(self.specs[row[1]].outputs)):
                found = self.data.get(out)
                ended = None if found is None else DatumState(found[2])
                if state in (RunState.LIVE, RunState.HELD):
                    if ended is not None and not (ended is DatumState.PUBLISHED and run in self.leases):
                        yield f"run {run} has not ended, but its output {out} is {ended.name}"
                elif state in _ENDED_BADLY:
                    if ended is None or int(ended) not in spread.FAILED_STATES:
                        yield f"run {run} ended as {state.name}, but its output {out} is {ended}"
                elif state is RunState.COMPLETE:
                    promised = out in self.forwards
                    if not promised and ended is not DatumState.COMPLETE and ended not in _GONE:
                        yield f"run {run} is complete, but its output {out} is {ended}"
        for datum in self.data.values():
            if datum[2] == DatumState.COMPLETE and datum[4] is not None:
                source = self.data.get(datum[4])
                if source is None or source[4] is not None or source[6] != datum[6]:
                    yield f"datum {datum[0]} is an alias of {datum[4]}, which is {source}"

    def _ends(self) -> Iterator[str]:
        # what an invalid or superseded run ended as stays; a growth may be cancelled before all of it is made
        kept = {row[8] for row in self.runs.values() if row[4] == RunState.INVALID or row[7] & flags.SUPERSEDED}
        kept |= {run for run, row in self.runs.items() if row[7] & (flags.GREW | flags.SUPERSEDED)}
        # while a block is being stopped nothing in it is revived
        kept |= {row[8] for row in self.runs.values() if self.blocks[row[2]][3] & blocks.CANCELLING}
        for row in self.runs.values():
            if row[4] in _ENDED_BADLY:
                cause = self.runs.get(row[8])
                if cause is None:
                    yield f"run {row[0]} ended as {RunState(row[4]).name} without a root cause: {row[8]}"
                elif cause[4] == RunState.COMPLETE and not row[7] & flags.SUPERSEDED and row[8] not in kept:
                    yield f"run {row[0]} ended because of run {row[8]}, which is complete"
            if row[4] in (_LIVE, _HELD) and row[8] is not None:
                yield f"run {row[0]} lives and has a cause {row[8]}"
        for datum in self.data.values():
            if int(datum[2]) in spread.FAILED_STATES and datum[1] is not None and datum[5] not in self.runs:
                yield f"datum {datum[0]} ended without a value and without a root cause: {datum}"

    # ------------------------------------------------------------------------------------------------- blocks

    def _block_counts(self) -> Iterator[str]:
        expected = {b: Counter[str]() for b in self.blocks}
        vague = self._count_runs(expected)
        for row in sorted(self.blocks.values(), key=self._depth, reverse=True):
            self._count_block(row, expected, vague)
        stored = {b: dict(zip(_COUNTERS, row[8:], strict=True)) for b, row in self.blocks.items()}
        for b, *change in self.deltas:
            for name, n in zip(_COUNTERS, change, strict=True):
                stored[b][name] += n
        for b, row in self.blocks.items():
            for name in _COUNTERS:
                if name == "reused" or (b in vague and name != "open"):
                    continue
                if stored[b][name] != expected[b][name]:
                    yield f"block {b} counts {name}: {stored[b][name]}, but {expected[b][name]} are; {row}"
            yield from self._closing(b, BlockState(row[2]), stored[b], abandoned=bool(row[3] & blocks.ABANDONED))

    def _closing(self, b: int, state: BlockState, counts: dict[str, int], *, abandoned: bool) -> Iterator[str]:
        if state in (BlockState.OPEN, BlockState.CLOSING):
            if counts["open"] <= 0 and not any(d[0] == b for d in self.deltas):
                yield f"block {b} is {state.name}, but nothing in it is open: {counts}"
            return
        end = (
            BlockState.ERROR
            if counts["failed"]
            else BlockState.CANCELLED
            if counts["cancelled"] or abandoned
            else BlockState.COMPLETE
        )
        if counts["open"] or end is not state:
            yield f"block {b} ended as {state.name} with {counts}"

    def _count_runs(self, expected: dict[int, Counter[str]]) -> set[int]:
        """Count the runs of each block; blocks of which rows cannot say everything any more."""
        vague: set[int] = set()
        for row in self.runs.values():
            count = expected[row[2]]
            count["total"] += 1
            state, old = RunState(row[4]), row[7] & flags.SUPERSEDED
            if state in (RunState.LIVE, RunState.HELD):
                count["open"] += 1
            elif state is RunState.COMPLETE:
                count["done"] += 1
            elif state in (RunState.INVALID, RunState.DELETED):
                vague.add(row[2])
            elif not old:
                count[{4: "failed", 5: "skipped", 6: "cancelled"}[int(state)]] += 1
        for _, kind, run in self.timers:
            if kind == queues.REVIVE:
                expected[self.runs[run][2]]["open"] += 1
        return vague

    def _depth(self, row: Row) -> int:
        return 0 if row[1] is None else 1 + self._depth(self.blocks[row[1]])

    def _count_block(self, row: Row, expected: dict[int, Counter[str]], vague: set[int]) -> None:
        """Add what a block counts to its parent; called for the innermost blocks first."""
        b, parent, state = row[:3]
        if b in self.unsealed:
            expected[b]["open"] += 1
        for delta in self.unsealed:
            if self.blocks[delta][5] <= b < self.blocks[delta][5] + self.blocks[delta][6]:
                expected[b]["open"] += 1
        if parent is None:
            return
        if b in vague:
            vague.add(parent)
        if state in (BlockState.OPEN, BlockState.CLOSING):
            expected[parent]["open"] += 1
            return
        found = expected[b]
        if row[3] & blocks.CONTAINED:
            found = found - Counter(failed=found["failed"], skipped=found["skipped"])
            found["total"] -= expected[b]["failed"] + expected[b]["skipped"]
        for name in _COUNTERS[1:]:
            expected[parent][name] += found[name]

    def _block_ends(self) -> Iterator[str]:
        for b, row in self.blocks.items():
            if row[7] is None:
                continue
            found = self.data.get(row[7])
            ended = None if found is None else DatumState(found[2])
            wanted = _END_OF.get(BlockState(row[2]))
            if ended is not wanted:
                yield f"block {b} is {BlockState(row[2]).name}, but its end {row[7]} is {ended}"

    # ------------------------------------------------------------------------------------------------- data

    def _collections(self) -> Iterator[str]:
        open_stretches: Counter[int] = Counter()
        good: Counter[int] = Counter()
        bad: Counter[int] = Counter()
        for gather, seq, lo, n, step, pending in self.members:
            rows = [self.data[i] for i in range(lo, lo + n * step, step) if i in self.data and i not in self.doom]
            ended = [d for d in rows if d[2] not in (DatumState.WRITING, DatumState.PUBLISHED)]
            if pending != n - len(ended) and self.gathers[gather][1] == 0:
                yield f"stretch {seq} of collection {gather} waits for {pending} of {n}, but {len(ended)} have ended"
            open_stretches[gather] += pending > 0
            complete = sum(1 for d in ended if d[2] == DatumState.COMPLETE or d[2] in _GONE)
            good[gather] += complete
            bad[gather] += len(ended) - complete
        for gather, state, members, pending, complete, failed, tolerate, need, one in self.gathers.values():
            found = self.data.get(gather)
            if state == 0:
                if (pending, complete, failed) != (open_stretches[gather], good[gather], bad[gather]):
                    counts = (pending, complete, failed)
                    yield f"collection {gather} counts {counts}, rows {good[gather]}, {bad[gather]}"
                needed = need or (1 if one else members - tolerate)
                if found is not None or pending == 0 or members - failed < needed:
                    yield f"collection {gather} is open, but should not be: {found}, {pending}, {failed} of {members}"
            elif found is None or (found[2] in spread.FAILED_STATES) != (state != 2):
                yield f"collection {gather} has state {state}, but its datum is {found}"

    def _promises(self) -> Iterator[str]:
        for datum, target, run, is_open in self.forwards.values():
            if bool(is_open) != (datum not in self.data):
                yield f"promise of {datum} as {target}: open {is_open}, but it is {self.data.get(datum)}"
            if is_open and target in self.data and target not in self.doom:
                yield f"datum {datum} is promised as {target}, which has ended"
            if self.runs[run][4] not in (RunState.COMPLETE, RunState.INVALID, RunState.DELETED):
                yield f"datum {datum} is promised by run {run}, which is not complete"

    def _left_over(self) -> Iterator[str]:
        if self.doom:
            yield f"data whose ends nobody was told: {sorted(self.doom)[:10]}"
        later = [t for t in self.timers if t[1] != queues.BACKOFF]
        if later:
            yield f"timers left: {later[:10]}"
        growths = [b for b, streamed in self.unsealed.items() if not streamed]
        if growths:
            yield f"growths not expanded: {growths[:10]}"
        if self.deltas:
            yield f"block counters not folded: {self.deltas[:10]}"
        closing = [b for b, row in self.blocks.items() if row[2] == BlockState.CLOSING]
        if closing:
            yield f"blocks still being stopped: {closing[:10]}"
