"""Order without data."""

from typing import Any

import pytest

import tidemill.graph as tm
from tests.graph.reading import chunks, gathers_of, members, result, runs_of
from tidemill.graph import recorder
from tidemill.model.errors import WiringError


@tm.task
def step(name: Any) -> Any:
    return name


@tm.task(outputs=("x", "y"))
def split(n: Any) -> Any:
    return n, n


def waits(fn: Any) -> list[list[int]]:
    return [run.waits for run in runs_of(tm.workflow(fn)().plan_graph())]


def test_edges_without_data_have_negative_ports() -> None:
    def ordered() -> Any:
        a, b = step("a"), step("b")
        return step(a).after(a, b).after(b)

    plan = tm.workflow(ordered)().plan_graph()
    [chunk] = chunks(plan)
    assert (chunk.edge_run, chunk.edge_port, chunk.edge_ref) == ([2, 2, 2], [0, -1, -2], [-1, -1, -2])
    assert chunk.pending == [0, 0, 3]
    assert result(tm.workflow(ordered)()) == "a"


def test_what_is_called_later_can_be_waited_for() -> None:
    def ordered() -> Any:
        return step("first").after(step("second"), [step("third")])

    assert waits(ordered) == [[1, 2], [], []]
    assert result(tm.workflow(ordered)()) == "first"


def test_circles_are_found_wherever_they_run() -> None:
    def direct() -> Any:
        a = step("a")
        a.after(step(a))

    def by_list() -> Any:
        a = step("a")
        many = step(tm.sweep(range(3)))
        many.after(a)
        a.after(split(tm.gather(many)).y)

    def lazy() -> Any:
        many = step(tm.sweep(range(1500)))
        many.after(step(tm.gather(many)))

    def two() -> Any:
        a, b = step("a"), step("b")
        a.after(c := step("c"))
        c.after(b)
        b.after(step(a))

    for wrong in (direct, by_list, lazy, two):
        with pytest.raises(WiringError, match="waits, by way of others, for itself"):
            tm.workflow(wrong)().plan_graph()

    def fine() -> Any:
        a, b = step("a"), step("b")
        many = step(tm.sweep(range(1500)))
        a.after(step(b))
        b.after(step(step(tm.gather(many))))
        many.after(split("z").x, step("y"))
        return a

    assert result(tm.workflow(fine)()) == "a"


@pytest.mark.parametrize("eager", [0, 1000])
def test_elements_move_together_and_wait_for_all_of_the_rest(eager: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "EAGER", eager)

    def ordered() -> Any:
        a, b = tm.sweep([1, 2]), tm.sweep(["x", "y", "z"])
        first, second = step(a), step((a, b))
        step(a).after(first)
        step(a).after(second)
        step("one").after(second["part"], split(a).y)

    plan = tm.workflow(ordered)().plan_graph()
    found = [run.waits for run in runs_of(plan)]
    per_a, per_b, everything, all_split = gathers_of(plan)
    assert found[8:10] == [[0], [1]]
    assert found[10:12] == [[per_a.output], [per_b.output]]
    assert [members(per_a), members(per_b)] == [[2, 3, 4], [5, 6, 7]]
    assert members(everything) == [2, 3, 4, 5, 6, 7]
    assert found[12] == [everything.output, all_split.output]
    assert result(tm.workflow(ordered)()) is None


def test_lists_come_after_their_members_even_if_what_waits_comes_before() -> None:
    plan = tm.build(step.call("first").after(step(tm.sweep(range(900)))))
    complete = 0
    for chunk in plan.chunks():
        complete += len(chunk.args)
        assert all(max(members(g)) < complete for g in chunk.gathers)
    assert len(gathers_of(plan)) == 1


def test_long_lists_come_first_so_that_members_are_counted_as_they_end() -> None:
    plan = tm.build(step.call("first").after(step(tm.sweep(range(4500)))))
    assert [len(chunk.gathers) for chunk in plan.chunks()] == [1, *[0] * 9]
    assert len(gathers_of(plan)) == 1


def test_a_block_that_waits() -> None:
    def ordered() -> Any:
        first, many = step("first"), step(tm.sweep([1, 2]))
        with tm.after(first):
            step("a")
            with tm.after(many):
                step("b")
                step(tm.sweep([1, 2]))
        step("c")

    plan = tm.workflow(ordered)().plan_graph()
    [gather] = gathers_of(plan)
    assert [run.waits for run in runs_of(plan)] == [[], [], [], [0], *[[0, gather.output]] * 3, []]


def test_nested_workflows_and_groups_can_wait() -> None:
    @tm.workflow
    def inner() -> Any:
        return {"a": step("a"), "b": step("b")}

    def ordered() -> Any:
        first = split("first")
        with tm.after(first):
            second = inner()
        return split("third").after(second["a"], inner())

    assert waits(ordered) == [[], [0], [0], [2, 6, 7], [], []]


def test_what_cannot_be_ordered() -> None:
    def wrong() -> Any:
        step(1).after(3)
        step(1).after(tm.sweep([1]))
        gathered: Any = tm.gather(step(tm.sweep([1])))
        gathered.after(step(1))

    with pytest.raises(WiringError) as caught:
        tm.workflow(wrong)().plan_graph()
    assert [text for _, text in caught.value.problems] == [
        "only calls can be waited for, not 3",
        "a sweep of values runs nothing, so nothing can wait for it",
        "the result of step is a gathered list, not a run, so it cannot wait for anything",
    ]
    with pytest.raises(WiringError, match="works inside a workflow"), tm.after(step(1)):
        pass


def test_calls_made_outside_can_be_ordered() -> None:
    assert [run.waits for run in runs_of(step("a").after(step("b")).plan_graph())] == [[1], []]
    assert result(step("a").after(step("b"))) == "a"
