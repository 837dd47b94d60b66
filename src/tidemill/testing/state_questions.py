"""Questions about many runs and data at once, answered by a state store and by looking at every row in Python."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from itertools import product
from statistics import fmean
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.stores.state import blocks, history, lineage, overview, runs
from tidemill.stores.state.database import Database
from tidemill.stores.state.history import Earlier
from tidemill.stores.state.lineage import Head, Link, Shape, Span
from tidemill.stores.state.overview import Listed
from tidemill.stores.state.runs import SUPERSEDED, Run
from tidemill.testing.state_base import StateSuite, undone
from tidemill.testing.state_world import NAMES, Lineage, World

T = TypeVar("T")
FAR = 1 << 40


def newest(found: Iterable[T], limit: int) -> list[T]:
    """The last of some in the order of their ids, the newest first."""
    return sorted(found, reverse=True)[:limit]  # type: ignore[type-var]


def view(world: World, run: Run) -> str:
    """What users see of a run's state."""
    return runs.view(run.state, run.pending, int(run.id in world.leases)).value


def check_history(db: Database, world: World) -> None:
    """Earlier runs, and what runs wait for."""
    found = sorted(world.runs.values())
    ids = [run.id for run in found]
    middle, end = ids[len(ids) // 2], ids[-1] + 1
    deltas = sorted(b for b in world.blocks.values() if b.run_n)
    for name, before, limit in product(NAMES, (0, deltas[-1].id, FAR * 2), (1, 50)):
        own = [b for b in deltas if b.parent is None and b.name == name and b.id < before]
        assert history.earlier_blocks(db, name, before, limit) == newest(own, limit)
    for block in [*world.blocks, 0]:
        assert history.delta_block(db, block) == max((b for b in deltas if b.id <= block), default=None)
        assert history.deltas(db, block) == [b for b in deltas if b.root == block]
    for (low, high), tasks in product(((0, end), (ids[0], middle), (middle, end), (end, 0)), ([], [1], [3, 2, 9])):
        some = [run for run in found if low <= run.id < high and run.task in tasks]
        for args in (b"0", b"1", b"", b"x"):
            same = [run.id for run in some if run.args == args]
            assert history.with_args(db, low, high, args, tasks) == max(same, default=None)
        assert history.number_of(db, low, high, tasks) == len(some)
        for number in (0, 1, 7):
            assert history.nth(db, low, high, tasks, number) == (some[number].id if number < len(some) else None)
        below = [run.id for run in found if run.id < high and run.task in tasks]
        assert history.latest(db, high, tasks) == max(below, default=None)
        assert history.following(db, low, high) == {run for run in world.follows if low <= run < high}
        for limit in (0, 2, 1000):
            inside = [earlier(run) for run in found if low <= run.id < high]
            assert history.between(db, low, high, limit) == inside[:limit]
    assert history.pick(db, [*ids[::2], 7 * FAR]) == {run.id: earlier(run) for run in found[::2]}
    for run in [*ids, 7 * FAR]:
        assert history.older(db, run) == world.older.get(run)
        assert history.leader(db, run) == world.follows.get(run)
        assert history.wakes(db, run) == min((at for at, r in world.timers if r == run), default=None)
    check_seconds(db, world)


def earlier(run: Run) -> Earlier:
    """What is compared of a run."""
    return Earlier(run.id, run.task, run.state, run.pending, run.attempt, run.flags, run.out, run.args)


def check_seconds(db: Database, world: World) -> None:
    """How long tasks took."""
    done = sorted((a for a in world.attempts if a.state == 3), reverse=True)
    for after, limit in product((0, min(world.runs) + 2), (1, 3, 1000)):
        took: dict[int, list[float]] = defaultdict(list)
        for a in [a for a in done if a.run > after][:limit]:
            assert a.t0 is not None and a.t1 is not None
            took[world.runs[a.run].task].append(a.t1 - a.t0)
        expected = {task: (len(times), pytest.approx(fmean(times))) for task, times in took.items()}
        assert {task: (n, mean) for task, n, mean in history.seconds(db, after, limit)} == expected


# -------------------------------------------------------------------------------------------------- overview


def listed(world: World, run: Run) -> Listed:
    """A run in a list."""
    return Listed(*run[:11], run.out, int(run.id in world.leases))


def check_lists(db: Database, world: World) -> None:
    """Runs by state, task, block and name."""
    found = sorted(world.runs.values())

    def check(kept: Iterable[Run], **asked: Any) -> None:
        expected = [listed(world, run) for run in kept]
        assert overview.listed(db, **asked, limit=1000) == expected, asked
        after = expected[0].id if expected else 0
        assert overview.listed(db, **asked, after=after, limit=2) == expected[1:3], asked

    check(found)
    for state in overview.STATES:
        check([r for r in found if (r.state == 0 if state == "live" else view(world, r) == state)], state=state)
    for tasks in ([], [1], [2, 4, 9]):
        check([run for run in found if run.task in tasks], tasks=tasks)
    for block in [*world.blocks, 3 * FAR]:
        inside = world.below(block)
        assert set(overview.below(db, block)) == inside
        check([run for run in found if run.block in inside], block=block)
        check([run for run in found if run.block in inside and run.task == 2], block=block, tasks=[2])
    for name in NAMES:
        own = [run for run in found if world.blocks[world.root_of(run)].name == name]
        check(own, name=name)
        failed = [r for r in own if r.state == 4 and r.task in (1, 3) and r.cause in (None, r.id)]
        check(failed, name=name, state="error", tasks=[1, 3], own=True)


def check_counts(db: Database, world: World) -> None:
    """How many are in which state."""
    found = sorted(world.runs.values())
    for root in [b.id for b in world.blocks.values() if b.parent is None]:
        own = [run for run in found if world.root_of(run) == root]
        for aside in (0, SUPERSEDED):
            told = {tuple(row[:4]): row[4] for row in overview.counts(db, root, aside)}
            kept = [run for run in own if run.state == 3 or not run.flags & aside]
            assert told == Counter((r.task, r.state, int(r.pending > 0), int(r.attempt > 0)) for r in kept)
        assert {(t, s): n for t, s, n in runs.counts_of_root(db, root)} == Counter((r.task, r.state) for r in own)
        failed = [run for run in own if run.state == 4 and run.cause in (None, run.id)]
        for limit in (1, 1000):
            assert runs.failed_of_root(db, root, limit) == failed[:limit]
        for cause in {run.cause for run in own if run.cause}:
            told_of = runs.cancelled_by(db, root, cause)
            assert told_of == [run.id for run in own if (run.state, run.cause) == (6, cause)]
    leased = Counter((world.root_of(world.runs[run]), world.runs[run].task) for run in world.leases)
    assert {(root, task): n for root, task, n in overview.running(db)} == leased
    for run in world.runs:
        held = overview.lease(db, run)
        assert (held is not None) is (run in world.leases)
        if held is not None:
            worker = next(w for w in world.workers if w.id == held.worker)
            assert held == (*world.leases[run], worker.name, worker.host, worker.pid, worker.parent)


def check_ranges(db: Database, world: World) -> None:
    """Runs between two ids."""
    found = sorted(world.runs.values())
    ends = [0, found[0].id, found[len(found) // 2].id, found[-1].id + 1]
    for low, high in product(ends, ends):
        own = [run for run in found if low <= run.id < high]
        assert runs.between(db, low, high, 1000) == own
        assert runs.between(db, low, high, 2) == own[:2]
        live = [(r.id, r.block, r.pending, r.flags, r.out, r.task) for r in own if r.state in (0, 9)]
        assert [runs.live_between(db, low, high, limit) for limit in (0, 1, 99)] == [[], live[:1], live]
        assert runs.last_between(db, low, high) == ((own[-1].id, own[-1].out, own[-1].task) if own else None)
        assert runs.blocks_between(db, low, high) == [(r.id, r.block) for r in own]
        assert {(t, s): n for t, s, n in runs.counts(db, low, high)} == Counter((r.task, r.state) for r in own)
        bad = [(r.state, r.id, r.block, r.cause) for r in own if r.state in (4, 6) and not r.flags & SUPERSEDED]
        told = [(state, run, block, cause) for run, block, state, cause in runs.ended_badly(db, low, high)]
        assert told == sorted(bad, key=lambda row: row[:2])


def check_blocks(db: Database, world: World) -> None:
    """Blocks, what is in them, and what came with which."""
    found = sorted(world.blocks.values())
    roots = [b for b in found if b.parent is None]
    for before, limit in product((0, found[-1].id, FAR * 2), (1, 100)):
        assert overview.roots(db, before, limit) == newest([b for b in roots if b.id < before], limit)
    assert blocks.roots(db) == newest(roots, 100)
    for b in found:
        assert blocks.get(db, b.id) == b
        assert blocks.children(db, b.id) == [c for c in found if c.parent == b.id]
        assert blocks.subtree(db, b.id) == [c for c in found if c.id in world.below(b.id)]
        came_with = max(c for c in found if c.run_n and c.id <= b.id)
        assert blocks.delta_of(db, b) == came_with
        assert blocks.span(db, b) == (came_with.run_lo, came_with.run_n)
    for run in world.runs:
        grown = newest([b for b in found if b.owner == run], 1000)
        assert blocks.all_owned_by(db, run) == [b.id for b in grown]
        assert blocks.owned_by(db, run) == (grown[0] if grown else None)
    assert lineage.spans(db) == [Span(b.id, b.run_lo, b.run_n, b.out_lo, b.out_n) for b in found if b.run_n]
    for datum in [*world.data, 0, 5 * FAR]:
        owner = next((b for b in found if b.out_lo <= datum < b.out_lo + b.out_n), None)
        assert blocks.with_datum(db, datum) == owner


# -------------------------------------------------------------------------------------------------- lineage


def distances(start: list[int], step: Callable[[int], set[int]]) -> dict[int, int]:
    """How far everything is that steps lead to."""
    found = dict.fromkeys(start, 0)
    edge, distance = set(start), 0
    while edge:
        distance += 1
        edge = {node for one in edge for node in step(one)} - found.keys()
        found |= dict.fromkeys(edge, distance)
    return found


def check_steps(db: Database, world: World, start: list[int], *, order: bool) -> None:
    """What came before some nodes, and what after them."""
    steps = Lineage(world, order=order)
    shape = lineage.shape(db, world.tasks.items())
    for told, step in (
        (lineage.before(db, start, order=order), steps.before),
        (lineage.after(db, start, shape, order=order), steps.after),
    ):
        far = distances(start, step)
        assert len(told) == len(set(told))
        assert set(told) == far.keys()
        assert [far[node] for node in told] == sorted(far.values())  # the nearest first
    assert set(lineage.hop_before(db, start, order=order)) == {n for one in start for n in steps.before(one)}
    assert set(lineage.hop_after(db, start, shape, order=order)) == {n for one in start for n in steps.after(one)}


def link(world: World, run: int, port: int, datum: int) -> Link:
    """An input, and what it leads to."""
    d = world.data.get(datum)
    if d is None:
        return Link(run, port, datum, *[None] * 7)
    source = world.data[d.src].run if d.src is not None else None
    return Link(run, port, datum, d.state, d.kind, d.size, d.src, d.digest, d.run, source)


def check_links(db: Database, world: World) -> None:
    """What lineage asks about single runs and data."""
    steps = Lineage(world, order=True)
    ids = sorted(world.runs)
    assert lineage.inputs(db, ids) == [link(world, *edge) for edge in sorted(world.edges)]
    assert lineage.growers(db, ids) == {run: owner for run in ids if (owner := steps.grower(run)) is not None}
    heads = {
        r.id: Head(r.id, r.task, r.block, r.state, r.pending, r.flags, r.out, r.attempt, r.cause)
        for r in world.runs.values()
    }
    assert lineage.heads(db, [*ids, 9 * FAR]) == heads
    assert [lineage.first_output(db, run) for run in [*ids, 9 * FAR]] == [*[world.runs[run].out for run in ids], None]
    lists = sorted(world.lists)
    members = [(n, d, steps.made(d)) for n in lists for part in world.parts(n) for d in part if d in world.data]
    for limit in (0, 3, 1000):
        assert lineage.members(db, lists, limit) == members[:limit]
    asked = [*world.data, *lists]
    assert {n: (row.id, row.members) for n, row in lineage.lists(db, asked).items()} == {
        n: (n, len(world.members(n))) for n in lists
    }
    assert lineage.forwards(db, [*asked, *world.forwards]) == {f.datum: f.target for f in world.forwards.values()}
    assert sorted(lineage.aliases(db, asked)) == sorted((d.id, d.src) for d in world.data.values() if d.src is not None)
    levels = {((n - 1) * step).bit_length() for parts in world.lists.values() for _, n, step in parts}
    told = lineage.shape(db, world.tasks.items())
    reused = any(b.reused for b in world.blocks.values())
    wide = tuple(item for item in world.tasks.items() if item[1] != 1)
    assert told._replace(levels=tuple(sorted(told.levels))) == Shape(
        wide, tuple(sorted(levels)), steps.grown, steps.grown or reused
    )


class QuestionsSuite(StateSuite):
    """Random stores."""

    def _every(self, db: Database, check: Callable[[World, st.DataObject], None]) -> None:
        @self.limits()
        @given(seed=st.integers(0, 1 << 32), size=st.integers(1, 8), start=st.sampled_from([0, 0, FAR]), data=st.data())
        def every(seed: int, size: int, start: int, data: st.DataObject) -> None:
            world = World(seed, size, start)
            with undone(db):
                world.store(db)
                check(world, data)

        every()

    @pytest.mark.parametrize(
        "check",
        [check_history, check_lists, check_counts, check_ranges, check_blocks, check_links],
        ids=lambda check: check.__name__,
    )
    def test_questions(self, shared: Database, check: Callable[[Database, World], None]) -> None:
        self._every(shared, lambda world, _: check(shared, world))

    def test_lineage(self, shared: Database) -> None:
        def check(world: World, data: st.DataObject) -> None:
            nodes = [*world.runs, *[-d for d in world.data], *[-n for n in world.lists], *[-d for d in world.forwards]]
            start = data.draw(st.lists(st.sampled_from(sorted(set(nodes))), min_size=1, max_size=4, unique=True))
            for order in (False, True):
                check_steps(shared, world, start, order=order)

        self._every(shared, check)

    def test_lineage_of_nothing(self, db: Database) -> None:
        shape = lineage.shape(db, [(1, 2)])
        assert shape == Shape(((1, 2),), (), grown=False, aliased=False)
        assert lineage.before(db, []) == lineage.after(db, [], shape) == []
        assert lineage.before(db, [5, -5]) == lineage.after(db, [5, -5], shape) == [5, -5]
