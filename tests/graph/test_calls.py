"""Individual calls: what is in a run's template, what it waits for, and its key."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest

import tidemill.graph as tm
from tests.graph.reading import chunks, gathers_of, members, result, runs_of, specs
from tidemill.graph.future import Future
from tidemill.model.digest import digest
from tidemill.model.values import Input, encode
from tidemill.testing.interpreter import Interpreter


@tm.task
def add(a: Any, b: Any = 10) -> Any:
    return a + b


@tm.task
def keep(*args: Any, sep: str = "-", **rest: Any) -> Any:
    return [list(args), sep, rest]


@tm.task(outputs=("quotient", "remainder"))
def divide(a: int, b: int) -> tuple[int, int]:
    return divmod(a, b)


@tm.task(outputs=("low", "high"))
def limits(values: list[float]) -> dict[str, float]:
    return {"low": min(values), "high": max(values)}


@tm.task
def table() -> dict[str, Any]:
    return {"rows": [1, 2, 3, 4], "total": 10}


@tm.task
def pair() -> tuple[str, int]:
    return "a", 1


def plan_of(fn: Callable[[], Any]) -> tm.Plan:
    return tm.build(tm.workflow(fn)())


def test_arguments_stand_in_port_order_with_defaults() -> None:
    plan = plan_of(lambda: [add(1), add(b=2, a=1), add(1, b=add(3, 4))])
    assert [run.args for run in runs_of(plan)] == [[1, 10], [1, 2], [3, 4], [1, Input(0)]]
    assert [run.inputs for run in runs_of(plan)] == [[], [], [], [2]]
    assert Interpreter().run(plan) == [11, 3, 8]


def test_star_ports_hold_a_list_and_a_dict() -> None:
    plan = plan_of(lambda: keep(1, add(1), sep="+", y=add(2), x=add(3)))
    found = runs_of(plan)[-1]
    assert found.args == [[1, Input(0)], "+", {"x": Input(1), "y": Input(2)}]
    assert found.inputs == [0, 2, 1], "inputs are numbered by the names of the arguments, not by their order"
    assert result(tm.workflow(lambda: keep(1, add(1), y=add(2)))()) == [[1, 11], "-", {"y": 12}]


def test_the_key_is_the_digest_of_task_and_template() -> None:
    plan = plan_of(lambda: add(add(1, 2), add(1, 2)))
    task = specs(plan)[0].digest
    assert [run.key for run in runs_of(plan)] == [
        digest(task + encode([1, 2])),
        digest(task + encode([1, 2])),
        digest(task + encode([Input(0), Input(1)])),
    ]


@pytest.mark.parametrize("how", ["positional", "keyword", "sweep", "mixed sweep", "after", "numpy"])
def test_however_a_call_is_written_its_template_is_the_same(how: str) -> None:
    ways: dict[str, Callable[[], Any]] = {
        "positional": lambda: add(1.5, 2),
        "keyword": lambda: add(b=2, a=1.5),
        "sweep": lambda: add(tm.sweep([1.5]), 2),
        "mixed sweep": lambda: add(tm.sweep(np.array([1.5, 2.5])), tm.sweep([2])),
        "after": lambda: add(1.5, 2).after(add(0, 0)),
        "numpy": lambda: add(np.float64(1.5), np.int64(2)),
    }
    found = [run for run in runs_of(plan_of(ways[how])) if run.args[0] == 1.5]
    assert [run.args for run in found] == [[1.5, 2]]
    assert found[0].key == runs_of(plan_of(ways["positional"]))[0].key


def test_several_outputs_are_ports() -> None:
    def workflow() -> Any:
        both = divide(17, 5)
        quotient, remainder = both
        return [add(both.quotient, both["remainder"]), add(quotient, remainder), add(both[0], both[-1]), both]

    plan = plan_of(workflow)
    assert [run.inputs for run in runs_of(plan)[1:]] == [[0, 1]] * 3
    assert plan.header.outputs == 5
    assert Interpreter().run(plan) == [5, 5, 5, (3, 2)]


def test_a_mapping_of_outputs_stays_one() -> None:
    plan = plan_of(lambda: [limits([3, 1, 2]), add(limits([3, 1, 2]).high, 1)])
    assert Interpreter().run(plan) == [{"low": 1, "high": 3}, 4]


def test_one_named_output_goes_by_its_name_and_is_the_whole_value() -> None:
    @tm.task(outputs=("only",))
    def one() -> list[int]:
        return [1, 2]

    assert result(tm.workflow(lambda: [one().only, one()["only"], one()[1]])()) == [[1, 2], [1, 2], 2]


def test_parts_of_a_result_are_selected_by_the_run_that_wants_them() -> None:
    plan = plan_of(lambda: add(table()["rows"][1:3], table()["rows"][::-1]))
    assert runs_of(plan)[-1].args == [Input(0, ("rows", (1, 3, None))), Input(1, ("rows", (None, None, -1)))]
    assert Interpreter().run(plan) == [2, 3, 4, 3, 2, 1]


def test_an_attribute_that_is_no_output_is_a_part() -> None:
    @tm.task
    def number() -> complex:
        return 1 + 2j

    plan = plan_of(lambda: add(number().real, number().imag))
    assert runs_of(plan)[-1].args == [Input(0, ("real",)), Input(1, ("imag",))]
    assert Interpreter().run(plan) == 3.0


def test_a_tuple_of_known_length_can_be_unpacked() -> None:
    def workflow() -> Any:
        text, number = pair()
        return add(number, 1), text

    assert result(tm.workflow(workflow)()) == (2, "a")


class Named(NamedTuple):
    x: Any
    y: Any


@dataclass(frozen=True)
class Setting:
    x: Any
    y: Any = 0

    def __post_init__(self) -> None:
        assert not isinstance(self.x, Input)


@tm.task
def same(value: Any) -> Any:
    return value


def test_futures_stand_anywhere_in_a_structure() -> None:
    def workflow() -> Any:
        f, g = add(1, 2), add(3, 4)
        return same({"t": (f, [g, 1]), "n": Named(f, 2), "d": Setting(g), "plain": {1: "a"}})

    found = result(tm.workflow(workflow)())
    assert found == {"t": (3, [7, 1]), "n": Named(3, 2), "d": Setting(7), "plain": {1: "a"}}
    assert type(found["n"]) is Named


def test_few_futures_in_a_list_are_inputs_and_many_are_gathered() -> None:
    few = plan_of(lambda: same([add(i, 0) for i in range(64)]))
    assert runs_of(few)[-1].inputs == list(range(64))
    assert not gathers_of(few)
    many = plan_of(lambda: same([add(i, 0) for i in range(65)]))
    [gather] = gathers_of(many)
    assert members(gather) == list(range(65))
    assert len(gather.members) == 1
    assert runs_of(many)[-1].args == [Input(0)]
    assert runs_of(many)[-1].inputs == [gather.output] == [66]
    assert Interpreter().run(many) == list(range(65))


def test_parts_of_many_results_stay_inputs() -> None:
    plan = plan_of(lambda: same([table()["total"] for _ in range(70)]))
    assert len(runs_of(plan)[-1].inputs) == 70
    assert Interpreter().run(plan) == [10] * 70


def test_a_call_costs_no_lookup_when_nothing_is_new() -> None:
    """The same values that fit before go the short way: the columns are the same either way."""
    plan = plan_of(lambda: [add(i, add(i, 1.5)) for i in range(5)])
    found = runs_of(plan)
    assert [run.args for run in found[::2]] == [[i, 1.5] for i in range(5)]
    assert [run.args for run in found[1::2]] == [[i, Input(0)] for i in range(5)]
    assert [run.inputs for run in found[1::2]] == [[2 * i] for i in range(5)]


def test_calls_made_outside_belong_to_whoever_uses_them_and_are_made_once() -> None:
    shared = add(1, 2)
    parts = divide(shared, 2)
    x, y = parts
    call = add(x, add(y, shared))
    plan = call.plan_graph()
    assert [run.task for run in runs_of(plan)] == ["add", "divide", "add", "add"]
    assert Interpreter().run(plan) == 1 + 1 + 3
    assert result(tm.workflow(lambda s: add(s, shared))(shared)) == 6
    assert result(table()["rows"][0]) == 1


def test_a_long_chain_of_calls_made_outside() -> None:
    call = add(0, 1)
    for _ in range(3000):
        call = add(call, 1)
    assert result(call) == 3001


def test_options_make_another_task_with_the_same_digest() -> None:
    important = add.options(priority=5, cpus=2, memory="1 KiB")
    plan = plan_of(lambda: [add(1, 2), important(1, 2), add.options(priority=5, cpus=2, memory=1024)(1, 3)])
    found = specs(plan)
    assert len(found) == 2
    assert found[0].digest == found[1].digest
    assert chunks(plan)[0].cls == [0, 1, 1]
    assert [c.priority for c in plan.header.classes] == [0, 5]
    assert plan.header.classes[1].resources.memory == 1024


def test_options_of_a_block() -> None:
    def workflow() -> Any:
        first = add(1, 2)
        with tm.options(priority=3):
            second = add(1, 2)
            with tm.options(cpus=4):
                third = add(1, 2)
        return first, second, third, add(1, 2)

    plan = plan_of(workflow)
    assert chunks(plan)[0].cls == [0, 1, 2, 0]
    assert [(c.priority, c.resources.cpus) for c in plan.header.classes] == [(0, 1.0), (3, 1.0), (3, 4.0)]


def test_a_task_that_is_not_cached_says_so() -> None:
    assert chunks(plan_of(lambda: add.options(cache=False)(1)))[0].flags == 1


def test_futures_are_small() -> None:
    seen: list[Any] = []
    tm.build(tm.workflow(lambda: seen.append(add(1, 2)))())
    assert type(seen[0]) is Future
    assert not hasattr(seen[0], "__dict__")
    assert repr(seen[0]["x"]) == "<future add['x']>"
