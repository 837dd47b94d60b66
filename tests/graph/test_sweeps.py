"""What the documentation promises about sweeps, one by one; `test_random` tries combinations."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import tidemill.graph as tm
from tests.graph.reading import chunks, gathers_of, members, result, runs_of
from tidemill.model.values import Input
from tidemill.testing.interpreter import Interpreter


@tm.task
def energy(symbol: str, a: float) -> float:
    return len(symbol) * a


@tm.task
def fit(a: list[float], e: list[float]) -> dict[str, float]:
    return {"a": sum(a), "e": sum(e)}


@tm.task
def load(path: str) -> list[float]:
    return [float(len(path)), 1.0]


@tm.task
def mean(values: list[float]) -> float:
    return sum(values) / len(values)


@tm.task
def titled(title: str, values: Sequence[Any]) -> Any:
    return [title, list(values)]


@tm.task
def same(value: Any) -> Any:
    return value


@tm.task(outputs=("x", "y"))
def split(n: int) -> tuple[int, int]:
    return n, -n


@tm.workflow
def equation_of_state(symbol: str = "Cu") -> dict[str, float]:
    a = tm.sweep([3.4, 3.5, 3.6])
    return fit(a, energy(symbol, a))


def test_the_first_example() -> None:
    plan = equation_of_state("Al").plan_graph()
    assert plan.counts == {"energy": 3, "fit": 1}
    assert runs_of(plan)[-1].args == [[3.4, 3.5, 3.6], Input(0)]
    [gather] = gathers_of(plan)
    assert [(m.ref, m.count, m.step) for m in gather.members] == [(-1, 3, 1)]
    assert Interpreter().run(plan) == {"a": 10.5, "e": 21.0}


def test_a_workflow_with_a_sweep_is_the_list_of_its_calls() -> None:
    swept = result(equation_of_state(tm.sweep(["Al", "Cuu", "X"])))
    assert swept == [result(equation_of_state(s)) for s in ("Al", "Cuu", "X")]


def test_axes_cross_in_order_of_appearance_and_results_nest() -> None:
    @tm.workflow
    def crossed() -> Any:
        a, symbol = tm.sweep([1.0, 2.0, 3.0]), tm.sweep(["x", "yy"])
        return energy(symbol, a), energy(a=a, symbol=symbol), titled("all", energy(symbol, a))

    first, second, everything = result(crossed())
    assert first == second == [[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]]
    assert everything == ["all", [1.0, 2.0, 3.0, 2.0, 4.0, 6.0]]


def test_what_a_scalar_brings_in_is_not_gathered() -> None:
    @tm.workflow
    def per_symbol() -> Any:
        a, symbol = tm.sweep([1.0, 2.0, 3.0]), tm.sweep(["x", "yy"])
        return titled(symbol, energy(symbol, a))

    plan = per_symbol().plan_graph()
    assert [[(m.ref, m.count, m.step) for m in g.members] for g in gathers_of(plan)[:2]] == [[(-1, 3, 1)], [(-4, 3, 1)]]
    assert Interpreter().run(plan) == [["x", [1.0, 2.0, 3.0]], ["yy", [2.0, 4.0, 6.0]]]


def test_an_outer_axis_is_gathered_with_a_step() -> None:
    @tm.workflow
    def per_value() -> Any:
        a, symbol = tm.sweep([1.0, 2.0, 3.0]), tm.sweep(["x", "yy"])
        e = energy(symbol, a)
        return tm.gather(e, over=symbol), mean(tm.gather(e, over=symbol))

    plan = per_value().plan_graph()
    assert [(m.ref, m.count, m.step) for m in gathers_of(plan)[0].members] == [(-1, 2, 3)]
    assert Interpreter().run(plan) == ([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]], [1.5, 3.0, 4.5])


def test_lists_for_a_port_of_lists_are_passed_one_by_one() -> None:
    """The annotations say that each element is a list already."""

    @tm.workflow
    def means() -> Any:
        return mean(load(tm.sweep(["a", "bbb"]))), mean(tm.sweep([[1.0, 2.0], [3.0]]))

    assert result(means()) == ([1.0, 2.0], [1.5, 3.0])


def test_zip_and_product_make_one_axis() -> None:
    @tm.workflow
    def combined() -> Any:
        x, y = tm.zip(["a", "bb"], [3.0, 4.0])
        p, q = tm.product(["a", "bb"], range(3))
        return energy(x, y), energy(p, q), same(tm.zip([1, 2], [3, 4]))

    assert result(combined()) == ([3.0, 8.0], [0.0, 1.0, 2.0, 0.0, 2.0, 4.0], [(1, 3), (2, 4)])


def test_zip_of_results() -> None:
    @tm.workflow
    def zipped() -> Any:
        e = energy("x", tm.sweep([1.0, 2.0]))
        left, right = tm.zip(e, tm.sweep(["a", "b"]))
        x, y = split(tm.sweep([5, 6]))
        pairs, names = tm.zip(split(tm.sweep([5, 6])), ["q", "r"])
        return titled(right, [left]), same((x, y)), same([pairs, names])

    assert result(zipped()) == (
        [["a", [1.0]], ["b", [2.0]]],
        [(5, -5), (6, -6)],
        [[(5, -5), "q"], [(6, -6), "r"]],
    )


@pytest.mark.parametrize(
    "values",
    [
        [1, 2],
        (1, 2),
        range(1, 3),
        np.array([1, 2]),
        np.arange(1, 3, dtype=np.int8),
        [np.int64(1), np.int32(2)],
        iter([1, 2]),
    ],
    ids=lambda v: type(v).__name__,
)
def test_what_can_be_swept_over(values: Any) -> None:
    plan = tm.workflow(lambda: same(tm.sweep(values)))().plan_graph()
    assert [run.args for run in runs_of(plan)] == [[1], [2]]
    assert all(type(run.args[0]) is int for run in runs_of(plan))


def test_rows_of_an_array_are_arrays() -> None:
    rows = [run.args[0] for run in runs_of(tm.workflow(lambda: same(tm.sweep(np.eye(2))))().plan_graph())]
    assert [type(row) for row in rows] == [np.ndarray, np.ndarray]
    assert rows[1].tolist() == [0.0, 1.0]


def test_a_sweep_of_structures_and_their_parts() -> None:
    @tm.workflow
    def parts() -> Any:
        p = tm.sweep([{"s": "x", "a": 1.0}, {"s": "yy", "a": 2.0}])
        return energy(p["s"], p["a"]), same({"deep": [p["a"], 1]})

    assert result(parts()) == ([1.0, 4.0], [{"deep": [1.0, 1]}, {"deep": [2.0, 1]}])


def test_no_values_no_runs() -> None:
    @tm.workflow
    def nothing() -> Any:
        none: Any = tm.sweep([])
        some = tm.sweep([1.0, 2.0])
        e = energy("x", none)
        return e, fit(none, e), energy(same(some), none), same(tm.gather(energy("y", none)))

    plan = nothing().plan_graph()
    assert plan.counts == {"fit": 1, "same": 3}
    assert Interpreter().run(plan) == ([], {"a": 0, "e": 0}, [[], []], [])


def test_repeats_are_different_runs() -> None:
    @tm.workflow
    def draws() -> Any:
        return same.repeat(3)(7)

    plan = draws().plan_graph()
    assert [run.args for run in runs_of(plan)] == [[7], [7, 1], [7, 2]]
    assert len({run.key for run in runs_of(plan)}) == 3
    once = tm.workflow(lambda: same(7))().plan_graph()
    assert runs_of(once)[0].key == runs_of(plan)[0].key
    assert Interpreter().run(plan) == [7, 7, 7]


def test_repeats_cross_with_sweeps_and_move_together() -> None:
    @tm.workflow
    def draws() -> Any:
        twice = tm.repeat(2, name="draw")
        x = tm.sweep([1, 2])
        noise, signal = twice(same)(x), twice(split)(x)
        together = same((noise, signal.x))
        again = twice(same)(noise)
        return noise, together, tm.gather(together, over="draw"), tm.gather(noise, over=[twice, x]), again

    plan = draws().plan_graph()
    assert [run.args for run in runs_of(plan)[:4]] == [[1], [1, 1], [2], [2, 1]]
    assert [run.args for run in runs_of(plan)[-4:]] == [[Input(0)], [Input(0), 1]] * 2
    noise, together, per_x, flat, again = Interpreter().run(plan)
    assert noise == again == [[1, 1], [2, 2]]
    assert together == per_x == [[(1, 1), (1, 1)], [(2, 2), (2, 2)]]
    assert flat == [1, 1, 2, 2]


def test_large_sweeps_are_chunks_of_a_recipe() -> None:
    n = 4400

    @tm.workflow
    def large() -> Any:
        a = tm.sweep(range(n))
        return mean(energy("x", energy("x", a)))

    plan = large().plan_graph()
    assert [len(c.args) for c in chunks(plan)] == ([500] * 8 + [400]) * 2 + [1]
    assert [c.first for c in chunks(plan)] == [*range(0, n, 500), *range(n, 2 * n, 500), 2 * n]
    assert [c.first_output for c in chunks(plan)] == [c.first for c in chunks(plan)]
    assert [run.inputs for run in runs_of(plan)[n : n + 3]] == [[0], [1], [2]]
    [gather] = gathers_of(plan)
    assert [(m.ref, m.count, m.step) for m in gather.members] == [(-1 - n, n, 1)]
    assert gather.output == 2 * n + 1
    assert Interpreter().run(plan) == (n - 1) / 2


def test_many_lists_come_in_chunks_of_their_own_before_they_are_needed() -> None:
    n = 4500

    @tm.workflow
    def lists() -> Any:
        return mean(tm.gather(same((tm.sweep(range(n)), b := tm.sweep([1, 2])))[0], over=b))

    plan = tm.workflow(lambda: mean(tm.gather(energy(tm.sweep(["x"] * n), b := tm.sweep([1.0, 2.0])), over=b)))()
    known: set[int] = set()
    complete = 0
    for chunk in plan.plan_graph().chunks():
        complete = max(complete, chunk.first_output + len(chunk.args))
        assert len(chunk.gathers) <= 500
        known |= {g.output for g in chunk.gathers}
        assert all(max(members(g)) < complete for g in chunk.gathers if len(members(g)) <= 1024)
        assert all(-1 - ref in known or -1 - ref < chunk.first_output for ref in chunk.edge_ref)
    assert len(known) == n + 1
    assert result(plan) == [1.5] * n
    assert result(lists()) == list(range(n))


def test_parts_of_many_results_are_put_together_first() -> None:
    @tm.workflow
    def totals() -> Any:
        found = fit(tm.gather(tm.sweep([1.0])), [energy("x", tm.sweep(range(100)))])
        return mean(found["e"]), found["e"]

    plan = totals().plan_graph()
    assert plan.counts["assemble"] == 200
    mean_e, every = Interpreter().run(plan)
    assert every == [float(i) for i in range(100)]
    assert mean_e == 49.5


def test_parts_of_few_results_are_inputs() -> None:
    plan = tm.workflow(lambda: mean(fit([1.0], [energy("x", tm.sweep([1.0, 2.0]))])["e"]))().plan_graph()
    assert runs_of(plan)[-1].args == [[Input(0, ("e",)), Input(1, ("e",))]]
    assert Interpreter().run(plan) == 1.5


def test_nested_workflows_are_blocks() -> None:
    @tm.workflow
    def outer() -> Any:
        first = equation_of_state("x")
        second = middle()
        unused()
        return first, second, energy("x", 1.0)

    @tm.workflow
    def middle() -> Any:
        return equation_of_state("yy")["e"]

    @tm.workflow
    def unused() -> Any:
        return 1

    plan = outer().plan_graph()
    blocks = [block for chunk in plan.chunks() for block in chunk.blocks]
    assert [(b.number, b.parent, b.name) for b in blocks] == [
        (1, 0, "equation_of_state"),
        (2, 0, "middle"),
        (3, 2, "equation_of_state"),
    ]
    assert plan.header.blocks == 3
    assert [run.block for run in runs_of(plan)] == [1] * 4 + [3] * 4 + [0]
    assert [g.block for g in gathers_of(plan)] == [1, 3]


def test_a_mapped_workflow_gives_what_its_calls_would() -> None:
    @tm.workflow
    def body(x: int, scale: float = 1.0) -> Any:
        inner = tm.sweep([1.0, 2.0])
        e = energy("s", inner)
        return {"x": x, "e": e, "both": same((x, e)), "list": titled("t", [same(x)]), "const": same("c"), "none": None}

    @tm.workflow
    def caller() -> Any:
        r = body(tm.sweep([1, 2, 3]))
        return r, r["both"], same(r["x"]), titled("sum", r["list"]), [body(x) for x in (1, 2, 3)]

    mapped, both, x, listed, one_by_one = result(caller())
    assert mapped == one_by_one == result(body(tm.sweep([1, 2, 3])))
    assert both == [r["both"] for r in one_by_one]
    assert x == [1, 2, 3]
    assert listed == ["sum", [r["list"] for r in one_by_one]]


def test_a_mapped_workflow_that_returns_one_thing() -> None:
    @tm.workflow
    def several(x: str) -> Any:
        return energy(x, tm.sweep([1.0, 2.0, 3.0]))

    @tm.workflow
    def fixed(x: str) -> Any:
        return energy("s", 2.0)

    @tm.workflow
    def caller() -> Any:
        x = tm.sweep(["x", "yy"])
        return several(x), fixed(x), titled("all", several(x)), titled("each", fixed(x))

    assert result(caller()) == (
        [[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]],
        [2.0, 2.0],
        ["all", [1.0, 2.0, 3.0, 2.0, 4.0, 6.0]],
        ["each", [2.0, 2.0]],
    )


def test_a_workflow_as_an_argument_of_a_call_made_outside_is_a_block() -> None:
    plan = tm.build(same(equation_of_state("x")))
    assert [run.block for run in runs_of(plan)] == [1, 1, 1, 1, 0]
    assert [run.block for run in runs_of(equation_of_state(same("x")).plan_graph())] == [0] * 5


def test_sweeps_in_calls_made_outside() -> None:
    a = tm.sweep([1.0, 2.0])
    assert result(energy("x", a)) == [1.0, 2.0]
    assert result(fit(a, energy("yy", a))) == {"a": 3.0, "e": 6.0}
    assert result(mean(tm.gather(energy("x", a)))) == 1.5
    assert tm.gather(a) == [1.0, 2.0]


def test_lists_of_elements_are_mapped() -> None:
    @tm.workflow
    def both() -> Any:
        a = tm.sweep([1.0, 2.0])
        return mean([energy("x", a), energy("yy", a)]), [energy("x", a), 5]

    assert result(both()) == ([1.5, 3.0], [[1.0, 2.0], 5])


def test_how_sweeps_are_shown() -> None:
    assert repr(tm.sweep([1, 2, 3, 4], name="x")) == "<x[4]: 1, 2, 3, …>"
    seen: list[Any] = []
    tm.build(tm.workflow(lambda: seen.append(energy(tm.sweep(["a"]), tm.sweep([1.0, 2.0], name="a"))))())
    assert repr(seen[0]) == "<2 futures energy over sweep[1] × a[2]>"
