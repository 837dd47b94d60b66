"""Blocks and what waits for their ends: how they are handed in, and what is refused."""

import inspect
import itertools
import sys
from collections.abc import Callable
from typing import Any

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill.graph as tm
from tests.graph.reading import chunks, gathers_of, members, runs_of
from tidemill.graph import context, recorder
from tidemill.graph.growth import Growing, grow
from tidemill.graph.literals import PlanKeeper
from tidemill.model.delta import BlockFlag, BlockSpec
from tidemill.model.errors import WiringError


@tm.task
def step(x: Any = None) -> Any:
    return x


@tm.task
def both(x: Any, y: Any) -> Any:
    return x, y


@tm.task(outputs=("x", "y"))
def split(n: Any) -> Any:
    return n, n


def named(name: str) -> Any:
    """A task of this name."""

    def function(x: Any) -> Any:
        return x

    return tm.task(name=name)(function)


def plan_of(fn: Callable[..., Any]) -> tm.Plan:
    return tm.workflow(fn)().plan_graph()


def blocks_of(plan: tm.Plan) -> list[BlockSpec]:
    return [block for chunk in plan.chunks() for block in chunk.blocks]


# -------------------------------------------------------------------------------------------------------- handed in


def test_an_end_is_an_output_behind_those_of_runs_and_lists() -> None:
    def flow() -> Any:
        with tm.block("one") as one:
            x, _ = split(1)
        with tm.block("two", contained=True) as two:
            step(tm.gather(step(tm.sweep([1, 2]))))
        return step(x).after(one), both(two.done, [one.done]), two.done

    plan = plan_of(flow)
    assert blocks_of(plan) == [BlockSpec(1, 0, "one", 8, 0), BlockSpec(2, 0, "two", 9, BlockFlag.CONTAINED)]
    assert (plan.header.outputs, plan.header.blocks, plan.header.result_refs) == (10, 2, [-6, -7, -10])
    found = runs_of(plan)
    assert [run.block for run in found] == [1, 2, 2, 2, 0, 0]
    assert (found[-2].inputs, found[-2].waits, found[-1].inputs) == ([0], [8], [9, 8])
    [gather] = gathers_of(plan)
    assert (gather.output, gather.block) == (7, 2)


def test_blocks_for_which_nobody_waits_and_in_which_nothing_is_cost_nothing() -> None:
    def flow() -> Any:
        with tm.block("empty"), tm.block("inner"):
            pass
        with tm.block("one"):
            step(1)

    plan = plan_of(flow)
    assert blocks_of(plan) == [BlockSpec(1, 0, "one")]
    assert plan.header.outputs == 1


def test_empty_and_nested_blocks_are_opened_because_somebody_waits() -> None:
    def flow() -> Any:
        with tm.block("outer") as outer:
            with tm.block("empty") as empty, tm.block("in it") as deep:
                pass
            step(1).after(deep, empty)
            with tm.block("inner") as inner:
                step(2)
                step(3).after(empty)
        with tm.block("last") as last:
            pass
        with tm.after(outer, [inner]):
            step(4)
        return [last.done]

    plan = plan_of(flow)
    specs = {b.name: b for b in blocks_of(plan)}
    assert {n: b.parent for n, b in specs.items()} == {
        "outer": 0, "empty": 1, "in it": 2, "inner": 1, "last": 0,
    }  # fmt: skip
    outs = {n: b.out for n, b in specs.items()}
    assert sorted(outs.values()) == [4, 5, 6, 7, 8]
    assert [(run.block, run.waits) for run in runs_of(plan)] == [
        (specs["outer"].number, [outs["in it"], outs["empty"]]),
        (specs["inner"].number, []),
        (specs["inner"].number, [outs["empty"]]),
        (0, [outs["outer"], outs["inner"]]),
    ]
    assert plan.header.result_refs == [-1 - outs["last"]]


@pytest.mark.parametrize("eager", [0, 1000])
def test_mapped_calls_in_blocks_and_after_them(eager: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "EAGER", eager)

    def flow() -> Any:
        with tm.block("many") as many:
            step(tm.sweep(range(3)))
        return both(tm.sweep(range(2)), many.done).after(many), step(tm.sweep(range(2))).after(many)

    plan = plan_of(flow)
    found = runs_of(plan)
    [spec] = blocks_of(plan)
    assert [run.block for run in found] == [1] * 3 + [0] * 4
    assert [(run.inputs, run.waits) for run in found[3:]] == [([spec.out], [spec.out])] * 2 + [([], [spec.out])] * 2


def test_ends_that_are_named_in_other_parts_than_their_blocks() -> None:
    def flow() -> Any:
        with tm.block("long") as long:
            for i in range(1300):
                step(i)
        step("after").after(long)
        for i in range(600):
            step(i)
        last = step("last").after(long)
        with tm.block("behind") as behind:
            pass
        return last, behind.done

    plan = plan_of(flow)
    [(n, spec), (m, behind)] = [(i, b) for i, chunk in enumerate(chunks(plan)) for b in chunk.blocks]
    named = [i for i, chunk in enumerate(chunks(plan)) for ref in chunk.edge_ref if ref == -1 - spec.out]
    assert (n, len(set(named))) == (0, 2)
    assert m == len(chunks(plan)) - 1
    assert plan.header.result_refs[1] == -1 - behind.out


def test_ends_in_long_lists() -> None:
    def flow() -> Any:
        ends = []
        for i in range(70):
            with tm.block(f"block {i}") as one:
                step(i)
            ends.append(one.done)
        return step([step(-1), *ends, step(-2)])

    plan = plan_of(flow)
    [gather] = gathers_of(plan)
    found = members(gather)
    assert found == [70, *(b.out for b in blocks_of(plan)), 71]
    assert gather.output == 73
    assert plan.header.outputs == 73 + 1 + 70


def test_what_a_task_grows_may_have_ends_too() -> None:
    growing = Growing(PlanKeeper())
    growing.install()
    try:
        with tm.block("below", contained=True) as below:
            step(1)
        found = grow([step(2).after(below), below.done], growing, step.spec)
    finally:
        context.install(None)
    assert found is not None
    assert [b for chunk in found.chunks for b in chunk.blocks] == [BlockSpec(1, 0, "below", 3, BlockFlag.CONTAINED)]
    assert found.header.outputs == 4
    assert found.chunks[0].edge_ref == [-4, -2, -4]


def test_an_end_alone_is_forwarded() -> None:
    growing = Growing(PlanKeeper())
    growing.install()
    try:
        with tm.block("below") as below:
            step(1)
        found = grow(below.done, growing, step.spec)
    finally:
        context.install(None)
    assert found is not None
    assert found.outputs == [-2]


# --------------------------------------------------------------------------------------------------------- refused


def problems_of(fn: Callable[..., Any]) -> list[tuple[int, str]]:
    """(line relative to the function, text) of each problem."""
    with pytest.raises(WiringError) as caught:
        plan_of(fn)
    first = inspect.getsourcelines(fn)[1]
    places = [place.rpartition(":") for place, _ in caught.value.problems]
    assert all(file.endswith("test_below.py") for file, _, _ in places)
    texts = [text for _, text in caught.value.problems]
    return [(int(line) - first, text) for (_, _, line), text in zip(places, texts, strict=True)]


def test_who_stands_in_a_block_cannot_wait_for_its_end() -> None:
    def wrong() -> Any:
        with tm.block("outer") as outer:
            step(1).after(outer)
            step(outer.done)
            step({"a": [outer.done]})
            with tm.block("inner"), tm.after(outer):
                step(2)
            many = step(tm.sweep(range(3)))
            many.after(outer)
            step([outer.done, *(step(i) for i in range(70))])

    stands = "waits for the end of the block outer, in which it stands"
    assert problems_of(wrong) == [
        (2, f"the result of step {stands}"),
        (3, f"step() {stands}"),
        (4, f"step() {stands}"),
        (6, f"the result of step {stands}"),
        (8, f"a result of step {stands}"),
        (9, f"step() {stands}"),
    ]


def test_circles_through_ends_are_told_by_name_and_place() -> None:
    def direct() -> Any:
        with tm.block("one") as one:
            a = split(1).x
        a.after(one)

    def two() -> Any:
        with tm.block("one") as one:
            a = step(1)
        with tm.block("two") as two:
            split(2).x.after(one)
        a.after(two)

    def nested() -> Any:
        with tm.block("outer") as outer:
            with tm.block("first"):
                step(1)
            with tm.block("second"), tm.block("third"):
                a = split(1).x
        a.after(step(outer.done))

    def mapped() -> Any:
        many = step(tm.sweep(range(5)))
        with tm.block("one") as one:
            split(many)
        many.after(one)

    found = {fn.__name__: problems_of(fn) for fn in (direct, two, nested, mapped)}
    wait = "this call waits, by way of others, for itself: "
    assert found == {
        "direct": [(3, wait + "split → the end of one → split")],
        "two": [(5, wait + "step → the end of two → split → the end of one → step")],
        "nested": [
            (6, wait + "split → step → the end of outer → the end of second → the end of third → split"),
        ],
        "mapped": [(4, wait + "step → the end of one → split → step")],
    }


def test_circles_in_what_a_task_grows() -> None:
    growing = Growing(PlanKeeper())
    growing.install()
    try:
        with tm.block("below") as below:
            a = step(1)
        a.after(below)
        with pytest.raises(WiringError, match="step → the end of below → step"):
            grow(a, growing, step.spec)
    finally:
        context.install(None)


def test_long_circles_are_told_in_part() -> None:
    def wrong() -> Any:
        first = a = step(0)
        for _ in range(30):
            a = step(a)
        with tm.block("one") as one:
            step(a)
        first.after(one)

    [(line, text)] = problems_of(wrong)
    assert line == 6
    assert text.endswith(": step → the end of one → step → step → … 25 more … → step → step → step → step → step")


def test_blocks_elsewhere_and_things_that_are_no_blocks() -> None:
    kept: list[Any] = []

    def earlier() -> Any:
        with tm.block("z") as z:
            step(1)
        kept.append(z)

    plan_of(earlier)

    def wrong() -> Any:
        step(1).after(kept[0])
        step(kept[0].done)
        with tm.block("mine") as mine:
            step(2)
        mine.done.after(step(3))
        step(mine)
        if mine.done:
            step(4)

    found = problems_of(wrong)
    assert [line for line, _ in found] == [1, 2, 5, 6, 7]
    assert [text for _, text in found] == [
        "the result of the block z belongs to another workflow, so it cannot be waited for here",
        "step(): 'x' gets the result of the block z from another workflow; call the task in this one instead",
        "the result of the block mine is the end of a block, not a run, so it cannot wait for anything",
        (
            "step(): 'x': a tidemill.graph.blocks.Block cannot be stored "
            "(the block mine is no value; wait for it with after, or pass its .done)"
        ),
        (
            "the result of the block mine is not known while the workflow is being built, so it cannot be used in a "
            "condition; do that inside a task"
        ),
    ]
    for name in ("", 3, None):
        with pytest.raises(WiringError, match="the name of a block is a text"):
            plan_of(lambda name=name: tm.block(name).__enter__())
    with pytest.raises(WiringError, match=r"tm.block\(\) works inside a workflow or task"), tm.block():
        pass


def test_a_block_ends_with_an_exception_too() -> None:
    def flow() -> Any:
        try:
            with tm.block("one"):
                step(1)
                int("no number")
        except ValueError:
            return step(2)

    assert [run.block for run in runs_of(plan_of(flow))] == [1, 0]


# ------------------------------------------------------------------------------------------- judged by another library


class Jobs:
    """Jobs with children and follow-ons: each a block with one step.

    Args:
        edges: (from, to, whether the second follows on the first and on everything below that).
        order: in which they are called.
    """

    def __init__(self, count: int, edges: list[tuple[int, int, bool]], order: list[int]) -> None:
        self.edges = edges
        self.order = order
        self.successors: dict[int, set[int]] = {i: set() for i in range(count)}
        self.children: dict[int, set[int]] = {i: set() for i in range(count)}
        for u, v, follows in edges:
            self.successors[u].add(v)
            if not follows:
                self.children[u].add(v)

    def below(self, job: int) -> set[int]:
        """The children of a job, and what succeeds them in any way."""
        found: set[int] = set()
        wanted = set(self.children[job])
        while wanted:
            found |= wanted
            wanted = set().union(*(self.successors[i] for i in wanted)) - found
        return found

    def augmented(self) -> "nx.DiGraph[int]":
        """With an edge to each follow-on from everything that it comes after."""
        graph: nx.DiGraph[int] = nx.DiGraph()
        graph.add_nodes_from(self.successors)
        for u, v, follows in self.edges:
            graph.add_edge(u, v)
            if follows:
                graph.add_edges_from((r, v) for r in self.below(u))
        return graph

    def build(self) -> tm.Plan:
        def flow() -> None:
            made: dict[int, tuple[Any, Any]] = {}
            for job in self.order:
                with tm.block(f"b{job}") as block:
                    made[job] = (named(f"s{job}")(job), block)
            for u, v, follows in self.edges:
                if follows:
                    made[v][0].after(made[u][1], *(made[r][1] for r in sorted(self.below(u))))
                else:
                    made[v][0].after(made[u][0])

        return plan_of(flow)

    def waits(self) -> set[tuple[str, str]]:
        """(who, for what) of everything that waits directly."""
        found = {(f"the end of b{job}", f"s{job}") for job in self.successors}
        for u, v, follows in self.edges:
            if follows:
                found |= {(f"s{v}", f"the end of b{r}") for r in self.below(u) | {u}}
            else:
                found.add((f"s{v}", f"s{u}"))
        return found


@st.composite
def jobs(draw: st.DrawFn) -> Jobs:
    count = draw(st.integers(1, 9))
    pairs = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1), st.booleans())
    edges = [(min(u, v), max(u, v), follows) for u, v, follows in draw(st.lists(pairs, max_size=16)) if u != v]
    back = draw(st.none() | pairs)
    if back is not None:
        edges.append((max(back[:2]), min(back[:2]), back[2]))
    return Jobs(count, list(dict.fromkeys(edges)), draw(st.permutations(range(count))))


@given(jobs())
def test_circles_are_where_networkx_finds_them(found: Jobs) -> None:
    if nx.is_directed_acyclic_graph(found.augmented()):
        assert found.build().header.runs == len(found.order)
        return
    with pytest.raises(WiringError) as caught:
        found.build()
    [(_, text)] = caught.value.problems
    names = text.partition("itself: ")[2].split(" → ")
    assert names[0] == names[-1]
    pairs = [pair for pair in itertools.pairwise(names) if not any("…" in name for name in pair)]
    assert len(pairs) > 1 or len(names) == 2
    assert set(pairs) <= found.waits()


# ------------------------------------------------------------------------------------------------------------ long ones


def chain(n: int, *, closed: bool) -> Callable[[], None]:
    def flow() -> None:
        first = last = step(0)
        for _ in range(n):
            last = step(last)
        with tm.block("long") as long:
            for _ in range(n):
                step(last)
        first.after(step(long.done) if closed else step(1))

    return flow


def test_long_chains_are_no_problem() -> None:
    plan_of(chain(100_000, closed=False))
    with pytest.raises(WiringError, match="step → step → the end of long → step → … 99996 more … → step"):
        plan_of(chain(100_000, closed=True))


def test_the_search_is_linear() -> None:
    def work(n: int) -> int:
        count = 0

        def called(frame: Any, event: str, _: object) -> None:
            nonlocal count
            count += frame.f_code.co_filename.endswith("cycles.py")

        flow = chain(n, closed=False)
        sys.setprofile(called)
        try:
            plan_of(flow)
        finally:
            sys.setprofile(None)
        return count

    small, large = work(1000), work(2000)
    assert 1000 < small < large < 2.2 * small


def test_a_task_with_an_empty_block_grows_nothing() -> None:
    growing = Growing(PlanKeeper())
    growing.install()
    try:
        with tm.block("below"):
            pass
        assert grow([1], growing, step.spec) is None
        with tm.block("below") as below:
            pass
        assert grow([below.done], growing, step.spec) is not None
    finally:
        context.install(None)
