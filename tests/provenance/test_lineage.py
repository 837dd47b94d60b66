"""Lineage against what the graph was built from, on both databases."""

import random
from typing import Any

import pytest

import tidemill as tm
from tests.lab import Lab
from tidemill.model.errors import NotFoundError, UsageError
from tidemill.model.ids import Id, parse
from tidemill.provenance import lineage
from tidemill.stores.state import blocks, runs


@tm.task
def start(i: int) -> int:
    return i


@tm.task
def add(*xs: int) -> int:
    return sum(xs)


@tm.task
def total(xs: list[int]) -> int:
    return sum(xs)


@tm.task(outputs=("low", "high"))
def ends(xs: list[int]) -> tuple[int, int]:
    return min(xs), max(xs)


@tm.task
def fibonacci(n: int) -> int:
    return n if n < 2 else add(fibonacci(n - 1), fibonacci(n - 2))


@tm.task
def spread_out(n: int) -> list[int]:
    return [start(i) for i in range(n)]


@tm.workflow
def web(parents: list[list[int]]) -> Any:
    made: list[Any] = []
    for i, mine in enumerate(parents):
        # the number makes each run another: equal runs would be executed once
        made.append(add(i, *[made[p] for p in mine]) if mine else start(i))
    return total(made)


@tm.workflow
def sweep(n: int) -> Any:
    return total(add(start(tm.sweep(range(n)))))


@tm.workflow
def flat(n: int) -> Any:
    return total(start(tm.sweep(range(n))))


@tm.task
def flatten(rows: list[list[int]]) -> int:
    return sum(map(sum, rows))


@tm.workflow
def squared(n: int) -> Any:
    return flatten([[start(i * n + k) for k in range(n)] for i in range(n)])


@tm.workflow
def grown(n: int) -> Any:
    return add(fibonacci(n))


@tm.workflow
def pair(n: int) -> Any:
    low, high = ends(start(tm.sweep(range(n))))
    return add(low), start(high)


@tm.workflow
def ordered() -> Any:
    with tm.after(start(1)):
        return start(2)


@tm.workflow
def nested(n: int) -> Any:
    return total(spread_out(n))


def first_run(lab: Lab, block: int) -> int:
    row = blocks.get(lab.db, block)
    assert row is not None
    return row.run_lo


def names(lab: Lab, ids: list[int]) -> list[str]:
    return [lab.engine.spec(lab.db, row.task).name for row in runs.get(lab.db, ids).values()]


def closure(step: dict[int, set[int]], at: int) -> set[int]:
    found, pending = {at}, [at]
    while pending:
        fresh = step.get(pending.pop(), set()) - found
        found |= fresh
        pending += fresh
    return found


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("executed", [0, 7, 1000])
def test_ancestors_and_descendants_are_the_transitive_closure(lab: Lab, seed: int, executed: int) -> None:
    draw = random.Random(seed)
    parents = [sorted(draw.sample(range(i), draw.randrange(min(i, 3) + 1))) for i in range(20)]
    block = lab.submit(web(parents))
    lab.work(executed)
    low = first_run(lab, block)
    before = {low + i: {low + p for p in mine} for i, mine in enumerate(parents)}
    before[low + len(parents)] = set(before)
    after: dict[int, set[int]] = {}
    for run, mine in before.items():
        for p in mine:
            after.setdefault(p, set()).add(run)
    for run in before:
        assert set(lineage.ancestors(lab.db, run)) == closure(before, run)
        assert set(lineage.descendants(lab.db, run)) == closure(after, run)


def test_the_nearest_come_first(lab: Lab) -> None:
    block = lab.run(web([[], [0], [1], [2], [3]]))
    low = first_run(lab, block)
    assert lineage.ancestors(lab.db, low + 4) == [low + 4, low + 3, low + 2, low + 1, low]


def test_reused_results_lead_to_the_runs_that_executed(lab: Lab) -> None:
    first = first_run(lab, lab.run(sweep(3)))
    second = first_run(lab, lab.run(sweep(4)))
    last = second + 8
    executed = {*range(first, first + 6), second + 3, second + 7}
    assert set(lineage.ancestors(lab.db, last)) == executed | {last}
    # and the other way round: what the old runs made went into the new workflow
    assert last in lineage.descendants(lab.db, first)
    assert second + 7 not in lineage.descendants(lab.db, first)


def test_reused_members_of_a_list_lead_into_it(lab: Lab) -> None:
    first = first_run(lab, lab.run(flat(3)))
    second = first_run(lab, lab.run(flat(4)))
    assert set(lineage.descendants(lab.db, first)) == {first, first + 3, second + 4}


def test_lists_of_lists(lab: Lab) -> None:
    block = lab.run(squared(2))
    low = first_run(lab, block)
    assert lab.result(block) == 6
    assert set(lineage.ancestors(lab.db, low + 4)) == {low, low + 1, low + 2, low + 3, low + 4}
    assert low + 4 in lineage.descendants(lab.db, low)


def test_a_reused_run_is_explained_by_the_one_it_was_reused_from(lab: Lab) -> None:
    first = first_run(lab, lab.run(sweep(3)))
    again = first_run(lab, lab.run(sweep(3)))
    found = lineage.trace(lab.db, Id("run", again + 6))
    assert {e.kind for e in found.edges if e.target == again + 6} == {"reused"}
    assert {n.key for n in found.nodes if n.key > 0} == {again + 6, *range(first, first + 7)}


def test_what_a_run_called_comes_from_it(lab: Lab) -> None:
    block = lab.run(grown(5))
    assert lab.result(block) == 5
    low = first_run(lab, block)
    found = lineage.trace(lab.db, Id("run", low + 1), limit=0)
    assert low in {n.key for n in found.nodes}
    assert sum(n.name == "fibonacci" for n in found.nodes) >= 6
    assert sum(e.kind == "grown" and e.source == low for e in found.edges) == 3
    assert {n.key for n in found.nodes if n.key > 0} <= set(lineage.descendants(lab.db, low))


def test_lists_made_by_growth_are_followed(lab: Lab) -> None:
    block = lab.run(nested(4))
    assert lab.result(block) == 6
    low = first_run(lab, block)
    assert sorted(names(lab, lineage.ancestors(lab.db, low + 1))) == [
        "assemble",
        *["spread_out"],
        *["start"] * 4,
        "total",
    ]


def test_each_output_leads_to_its_own_consumers(lab: Lab) -> None:
    block = lab.run(pair(3))
    low = first_run(lab, block)
    (row,) = runs.get(lab.db, [low + 3]).values()
    assert [n.name for n in lineage.trace(lab.db, Id("datum", row.out), up=False).nodes] == ["ends", "add", "start"]
    assert len(lineage.descendants(lab.db, low + 3)) == 3
    assert len(lineage.descendants(lab.db, low)) == 4


def test_order_is_told_apart_from_data(lab: Lab) -> None:
    block = lab.run(ordered())
    low = first_run(lab, block)
    last = low + 1
    assert lineage.ancestors(lab.db, last) == [last]
    assert set(lineage.ancestors(lab.db, last, order=True)) == {low, last}
    found = lineage.trace(lab.db, Id("run", last), order=True)
    assert [(e.source, e.kind) for e in found.edges] == [(low, "order")]
    assert set(lineage.descendants(lab.db, low, order=True)) == {low, last}
    assert lineage.descendants(lab.db, low) == [low]


def test_depth_counts_runs_and_not_the_lists_between_them(lab: Lab) -> None:
    block = lab.run(sweep(3))
    low = first_run(lab, block)
    last = Id("run", low + 6)

    def found(depth: int, *, up: bool, what: Id = last) -> set[int]:
        return {n.key for n in lineage.trace(lab.db, what, up=up, depth=depth).nodes if n.key > 0}

    assert found(0, up=True) == {low + 6}
    assert found(1, up=True) == {low + 6, low + 3, low + 4, low + 5}
    assert found(2, up=True) == set(range(low, low + 7))
    assert found(1, up=False, what=Id("run", low)) == {low, low + 3}
    assert found(2, up=False, what=Id("run", low)) == {low, low + 3, low + 6}
    with pytest.raises(UsageError, match="depth"):
        found(-1, up=True)


def test_a_block_stands_for_its_result(lab: Lab) -> None:
    block = lab.run(sweep(3))
    low = first_run(lab, block)
    found = lineage.trace(lab.db, parse(block))
    assert found.start == (low + 6,)
    assert found.total == 7
    assert [n.kind for n in found.nodes].count("list") == 1


def test_ports_are_named_on_the_way(lab: Lab) -> None:
    block = lab.run(sweep(2))
    found = lineage.trace(lab.db, parse(block))
    assert {(e.kind, e.port) for e in found.edges} == {("data", "xs"), ("member", "")}


def test_the_limit_keeps_the_nearest_and_the_count(lab: Lab) -> None:
    block = lab.run(web([[], *[[i] for i in range(19)]]))
    low = first_run(lab, block)
    found = lineage.trace(lab.db, Id("run", low + 19), limit=5)
    assert [n.key for n in found.nodes] == [low + 19 - i for i in range(5)]
    assert found.total == 20
    assert "15 runs further away" in str(found)


def test_the_tree_puts_equal_parts_on_one_line(lab: Lab) -> None:
    block = lab.run(sweep(5))
    low = first_run(lab, block)
    lines = str(lineage.trace(lab.db, parse(block))).splitlines()
    assert lines[0] == f"total {block}.{low + 10} complete"
    assert lines[1].startswith("└─ xs: list of 5 (datum:")
    assert lines[2] == f"   └─ add × 5 ({block}.{low + 5} … {block}.{low + 9}) complete"
    assert lines[3] == f"      └─ xs: start × 5 ({block}.{low} … {block}.{low + 4}) complete"
    assert len(lines) == 4


def test_the_tree_shows_a_shared_part_once(lab: Lab) -> None:
    block = lab.run(web([[], [0], [0], [1, 2]]))
    low = first_run(lab, block)
    text = str(lineage.trace(lab.db, Id("run", low + 3)))
    assert text.count(f"start {block}.{low}") == 1
    assert "add × 2" in text


def test_states_of_what_is_not_done_are_shown(lab: Lab) -> None:
    block = lab.submit(sweep(4))
    lab.work(2)
    text = str(lineage.trace(lab.db, parse(block)))
    assert "total" in text
    assert "pending" in text
    assert "start × 4" in text
    assert "2 complete, 2 ready" in text


@pytest.mark.parametrize("what", [Id("run", 999), Id("datum", 999), Id("block", 999), Id("run", 1, 77)])
def test_what_is_not_there_is_not_found(lab: Lab, what: Id) -> None:
    lab.run(sweep(2))
    with pytest.raises(NotFoundError):
        lineage.trace(lab.db, what)


def test_a_large_graph_in_a_few_queries(lab: Lab) -> None:
    block = lab.run(sweep(1500))
    row = blocks.get(lab.db, block)
    assert row is not None
    found = lineage.trace(lab.db, parse(block), limit=10)
    assert found.total == 3001
    assert len(found.nodes) == 10
    assert len(lineage.descendants(lab.db, row.run_lo)) == 3
