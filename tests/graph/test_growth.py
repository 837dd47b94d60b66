"""Tasks that call tasks."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tidemill.graph as tm
from tests.graph.reading import members, result
from tidemill.graph import context
from tidemill.graph.growth import Growing, draw_of, grow
from tidemill.graph.literals import PlanKeeper, longer
from tidemill.model import delta
from tidemill.model.delta import Growth
from tidemill.model.digest import digest
from tidemill.model.errors import RunFailedError, UsageError, WiringError
from tidemill.model.spec import decode_spec
from tidemill.model.values import Input, Ref, decode, encode
from tidemill.testing.interpreter import Interpreter


@tm.task
def add(a: Any, b: Any) -> Any:
    return a + b


@tm.task
def fibonacci(n: int) -> int:
    return n if n < 2 else add(fibonacci(n - 1), fibonacci(n - 2))


@tm.task
def record(x: Any) -> dict[str, Any]:
    return {"x": x}


@tm.task(outputs=("x", "y"))
def split(n: int) -> tuple[Any, Any]:
    return n, -n


@tm.task
def total(values: list[int]) -> int:
    return sum(values)


@pytest.fixture
def growing() -> Iterator[Growing]:
    found = Growing(PlanKeeper())
    found.install()
    yield found
    context.install(None)


def grown(growing: Growing, value: Any, task: Any = add) -> Growth:
    found = grow(value, growing, task.spec)
    assert found is not None
    assert delta.decode_growth(delta.encode(found)) == found
    return found


def runs(growth: Growth) -> list[tuple[str, Any]]:
    names = [decode_spec(t).name for t in growth.header.tasks]
    return [
        (names[c.task if isinstance(c.task, int) else c.task[i]], decode(args))
        for c in growth.chunks
        for i, args in enumerate(c.args)
    ]


def test_what_a_repeated_run_grows_are_draws_of_their_own(growing: Growing) -> None:
    def drawn(*behind: Any) -> list[list[tuple[str, Any]]]:
        found = []
        calls: list[Callable[[], Any]] = [lambda: add(add(1, 2), tm.sweep(range(20))), lambda: tm.repeat(2)(add)(1, 2)]
        for call in calls:
            growing.draw = draw_of(behind)
            chunks = grown(growing, call()).chunks
            keys.update(c.keys[i : i + 32] for c in chunks for i in range(0, len(c.keys), 32))
            growing.draw = draw_of(behind)
            found.append(runs(grown(growing, call())))
        return found

    keys: set[bytes] = set()
    plain, repeated = drawn()
    assert repeated == [("add", [1, 2]), ("add", [1, 2, 1])]
    assert len(keys) == 22, "the first draw of a call is the call"
    for behind, told in (([3], [3]), ([[3]], [3]), ([0, [3]], [0, 3]), ([1, [3]], [1, 3])):
        before = len(keys)
        found, again = drawn(*behind)
        assert found == [(name, [*args, told]) for name, args in plain]
        assert again == [("add", [1, 2, 0, told]), ("add", [1, 2, 1, told])]
        assert len(keys) == before + (23 if behind != [[3]] else 0)


def test_long_argument_lists_get_longer() -> None:
    for n in (0, 14, 15, 16, 300):
        assert decode(longer(encode(list(range(n))), encode(7))) == [*range(n), 7]


def test_a_run_that_calls_nothing_grows_nothing(growing: Growing) -> None:
    assert grow(7, growing, add.spec) is None
    assert grow(None, growing, add.spec) is None
    assert growing.builder is None


def test_a_returned_call_is_forwarded(growing: Growing) -> None:
    found = grown(growing, add(add(1, 2), 3))
    assert runs(found) == [("add", [1, 2]), ("add", [Input(0), 3])]
    assert found.outputs == [-2]
    assert growing.builder is None, "the next run starts with nothing"


def test_a_structure_is_put_together_by_a_run(growing: Growing) -> None:
    found = grown(growing, {"a": add(1, 2), "b": [record(1)["x"], 5]})
    assert runs(found)[-1] == ("assemble", [{"a": Input(0), "b": [Input(1, ("x",)), 5]}])
    assert found.outputs == [-3]
    spec = decode_spec(found.header.tasks[-1])
    assert (spec.kind, spec.name, spec.digest) == ("builtin", "assemble", digest(b"tidemill:assemble:1"))


def test_a_part_of_a_result_is_put_together_too(growing: Growing) -> None:
    assert runs(grown(growing, record(1)["x"]))[-1] == ("assemble", [Input(0, ("x",))])


def test_calls_that_are_not_returned_grow_all_the_same(growing: Growing) -> None:
    add(1, 2)
    assert runs(grown(growing, None)) == [("add", [1, 2]), ("assemble", [None])]
    add(1, 2)
    assert runs(grown(growing, [1]))[1] == ("assemble", [[1]])


def test_each_output_is_forwarded_on_its_own(growing: Growing) -> None:
    assert grown(growing, split(3), split).outputs == [-1, -2]
    assert grown(growing, (add(1, 2), add(3, 4)), split).outputs == [-1, -2]
    assert grown(growing, {"y": add(1, 2), "x": add(3, 4)}, split).outputs == [-2, -1]
    found = grown(growing, (5, add(3, 4)), split)
    assert runs(found) == [("add", [3, 4]), ("assemble", [5])]
    assert found.outputs == [-2, -1]
    assert runs(grown(growing, record(1), split))[1:] == [
        ("assemble", [Input(0, (0,))]),
        ("assemble", [Input(0, (1,))]),
    ]
    add(1, 2)
    with pytest.raises(WiringError, match="should return its outputs x, y"):
        grow(5, growing, split.spec)


def test_sweeps_inside_tasks(growing: Growing) -> None:
    found = grown(growing, add(tm.sweep(range(3000)), 1))
    assert [len(c.args) for c in found.chunks] == [500] * 6
    [gather] = [g for c in found.chunks for g in c.gathers]
    assert found.outputs == [-1 - gather.output]
    assert members(gather) == list(range(3000))


def test_workflows_inside_tasks_are_blocks(growing: Growing) -> None:
    @tm.workflow
    def inner(n: int) -> Any:
        return add(n, 1)

    found = grown(growing, [inner(1), add(2, 2)])
    assert [b.name for c in found.chunks for b in c.blocks] == ["inner"]
    assert found.chunks[0].block == [1, 0, 0]


def test_files_and_large_values_go_where_the_worker_keeps_them(tmp_path: Path) -> None:
    kept: list[Any] = []

    class Keeper:
        def file(self, leaf: object) -> Ref:
            kept.append(leaf)
            return Ref(b"f" * 32, 3, "file", "x")

        def value(self, data: bytes) -> Ref:
            kept.append(len(data))
            return Ref(digest(data), len(data), "value")

    growing = Growing(Keeper())
    growing.install()
    try:
        found = grown(growing, add([tmp_path], b"x" * 100_000))
    finally:
        context.install(None)
    assert kept == [tmp_path, 100_005]
    assert found.chunks[0].objects[0] == b"f" * 32
    assert len(found.chunks[0].objects) == 2


def test_a_result_of_an_earlier_run_is_no_longer_anything(growing: Growing) -> None:
    earlier = add(1, 2)
    grown(growing, add(earlier, 3))
    later = add(add(1, 2), 3)
    with pytest.raises(WiringError, match="another workflow"):
        grow([later, add(earlier, 3)], growing, add.spec)


def test_problems_inside_tasks_fail_the_run(growing: Growing) -> None:
    with pytest.raises(WiringError, match="test_growth"):
        grow(add(1), growing, add.spec)
    assert growing.builder is None
    with pytest.raises(WiringError, match="not known"):
        bool(add(1, 2))
    growing.reset()


def test_nothing_can_be_run_inside_a_task(growing: Growing) -> None:
    @tm.workflow
    def inner() -> Any:
        return add(1, 2)

    with pytest.raises(WiringError, match="return or pass on"):
        inner().run()
    growing.reset()


def test_recursion_any_depth() -> None:
    interpreter = Interpreter()
    assert interpreter.run(tm.build(fibonacci(9))) == 34
    assert interpreter.executed.count("fibonacci") == 109


def test_grown_results_flow_on() -> None:
    @tm.task
    def many(n: int) -> list[int]:
        return [add(i, 0) for i in range(n)]

    @tm.task
    def deep(n: int) -> Any:
        return {"rest": deep(n - 1), "n": n} if n else total(many(70))

    @tm.workflow
    def flow() -> Any:
        x, y = split(4)
        return total(many(3)), total(many(100)), deep(2), total(many(tm.sweep([1, 2]))), add(x, y)

    assert result(flow()) == (3, 4950, {"n": 2, "rest": {"n": 1, "rest": 2415}}, [0, 1], 0)


def test_policies_of_what_waits_for_a_failure() -> None:
    @tm.task
    def fail(x: int) -> int:
        raise ValueError(x)

    @tm.task(on_error="run")
    def default(x: Any) -> Any:
        return "none" if x is None else x

    assert result(default(fail(1))) == "none"
    assert result(default.options(on_skipped="run")(add(fail(1), 1))) == "none"
    with pytest.raises(RunFailedError, match="skipped"):
        result(default(add(fail(1), 1)))
    with pytest.raises(RunFailedError) as caught:
        result(add(fail(3), 1))
    assert isinstance(caught.value.__cause__, ValueError)
    with pytest.raises(UsageError):
        default.options(on_error="never")
