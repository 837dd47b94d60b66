"""Everything that is wrong with a workflow is said at once, with the line it is on."""

import inspect
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tidemill.graph as tm
from tests.graph.reading import result
from tidemill.model.errors import UsageError, WiringError


@tm.task
def energy(symbol: str, a: float) -> float:
    return len(symbol) * a


@tm.task
def name_of(number: int) -> str:
    return str(number)


@tm.task
def total(values: list[float]) -> float:
    return sum(values)


@tm.task(outputs=("x", "y"))
def split(n: Any) -> Any:
    return n, n


@tm.task
def read(path: Path) -> str:
    return path.read_text()


@tm.task
def copied(path: Path) -> Path:
    return path


@tm.task
def same(value: Any) -> Any:
    return value


def problems_of(fn: Callable[..., Any], *args: Any) -> list[tuple[int, str]]:
    """(line relative to the function, text) of each problem."""
    with pytest.raises(WiringError) as caught:
        tm.build(tm.workflow(fn)(*args))
    first = inspect.getsourcelines(fn)[1]
    found = []
    for place, text in caught.value.problems:
        file, _, line = place.rpartition(":")
        assert file.endswith("test_errors.py"), place
        found.append((int(line) - first, text))
    return found


def test_all_problems_at_once_each_with_its_line() -> None:
    def wrong() -> Any:
        bad = energy("Cu", b=1.0)
        energy("Cu")
        energy(1, "x")
        n = name_of(bad)
        energy("Cu", name_of(3))
        same(split(1).z)
        split(
            1,
            2,
        )
        return same(n)

    assert problems_of(wrong) == [
        (1, "energy() has no parameter 'b'; it has 'symbol', 'a'"),
        (1, "energy() is missing 'a'"),
        (2, "energy() is missing 'a'"),
        (3, "energy(): 'symbol' is annotated str, but gets int 1"),
        (3, "energy(): 'a' is annotated float, but gets str 'x'"),
        (5, "energy(): 'a' is annotated float, but gets the result of name_of, which is annotated str"),
        (6, "the result of split has no 'z'; it has x, y"),
        (7, "split() takes 1 positional argument, not 2"),
    ]


def test_a_misspelt_parameter_is_guessed() -> None:
    assert problems_of(lambda: energy("Cu", 1.0, symbl="x"))[0][1].endswith("did you mean 'symbol'?")
    assert problems_of(lambda: energy("Cu", 1.0, a=2.0)) == [(0, "energy() got 'a' twice")]


@pytest.mark.parametrize(
    "use",
    [
        bool,
        lambda f: f + 1,
        lambda f: 1 - f,
        lambda f: -f,
        lambda f: f < 2,
        lambda f: f == 2,
        lambda f: f != "x",
        float,
        round,
        lambda f: list(range(f)),
        len,
        lambda f: 1 in f,
        lambda f: f"value-{f}.txt",
        "{:.3f}".format,
        list,
        lambda f: [*f],
        lambda f: f.method(),
        lambda f: np.array([1.0]) * f,
        lambda f: f[1, 2],
        lambda f: f["a", "b"],
        lambda f: f.run(),
        lambda f: f.submit(),
        lambda f: f.plan(),
        lambda f: same({f, 1}),
    ],
)
@pytest.mark.parametrize("swept", [False, True], ids=["one", "many"])
def test_using_a_value_that_is_not_there_yet(use: Callable[[Any], Any], swept: bool) -> None:
    def wrong() -> Any:
        energy("Cu", "one more problem")
        use(energy("Cu", tm.sweep([1.0]) if swept else 1.0))

    found = [text for _, text in problems_of(wrong)]
    assert len(found) == 2
    assert "result of energy" in found[1] or "a set with results" in found[1]


def test_a_with_statement_out_of_place_is_named_by_its_own_line() -> None:
    for block in (tm.after, tm.options):
        with pytest.raises(WiringError) as caught, block():
            pass
        assert __file__.endswith(caught.value.problems[0][0].rpartition(":")[0])


@pytest.mark.parametrize("endless", [True, False])
def test_values_that_contain_themselves_are_refused_wherever_they_stand(endless: bool) -> None:
    deep: list[Any] = []
    deep.append(deep)
    if not endless:
        for _ in range(100_000):
            deep = [deep]

    def returned() -> Any:
        same(1)
        return deep

    text = "contains itself or is nested too deeply"
    assert text in problems_of(returned)[0][1]
    assert text in problems_of(lambda: same(deep))[0][1]
    for call in (same(deep), tm.workflow(lambda value: [same(value)])(deep)):
        with pytest.raises(WiringError, match="an argument of .* " + text):
            tm.build(call)


@pytest.mark.parametrize(
    "options",
    [
        {"memory": [1]},
        {"timeout": float("nan")},
        {"backoff": float("nan")},
        {"cpus": float("inf")},
        {"priority": 1 << 70},
        {"retries": True},
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any]) -> None:
    energy.options(retries=1)
    with pytest.raises(UsageError, match=next(iter(options))):
        energy.options(**options)


def test_futures_can_be_compared_with_each_other() -> None:
    def fine() -> Any:
        f, g = same(1), same(2)
        assert f != g
        assert f in [g, f]
        assert {f: 1}[f] == 1
        return f

    assert result(tm.workflow(fine)()) == 1


def test_what_cannot_be_encoded_is_named() -> None:
    lock = threading.Lock()

    def wrong() -> Any:
        same(lock)
        same(same([1, lock]))
        energy("Cu", tm.sweep([1.0, lock]))
        same({"x": lock, "y": same(1)})

    found = problems_of(wrong)
    assert [line for line, _ in found] == [1, 2, 3, 4]
    assert all(text.startswith(("same(): 'value': ", "energy(): 'a': ")) and "lock" in text for _, text in found)


def test_a_future_hidden_in_an_object_is_found() -> None:
    class Box:
        def __init__(self, content: Any) -> None:
            self.content = content

    [(_, text)] = problems_of(lambda: same(Box(same(1))))
    assert "the result of same is not known yet; pass it as an argument of its own" in text


def test_files_must_be_there(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.write_text("x")

    def wrong() -> Any:
        read(tmp_path / "missing")
        read(str(there))
        read(tm.sweep([there, tmp_path / "gone"]))
        same([tm.File("nowhere")])

    found = problems_of(wrong)
    assert [line for line, _ in found] == [1, 3, 4]
    assert "missing" in found[0][1]
    assert "gone" in found[1][1]
    assert "nowhere" in found[2][1]


def test_sweeps_of_unequal_length_are_named() -> None:
    [(line, text)] = problems_of(lambda: tm.zip(tm.sweep([1, 2], name="a"), [1, 2, 3]))
    assert (line, text) == (0, "zip() needs as many values in each: argument 1 (a) has 2, argument 2 has 3")


def test_a_result_cannot_be_swept_over() -> None:
    assert "call tasks inside a task" in problems_of(lambda: tm.sweep(same([1, 2])))[0][1]


@pytest.mark.parametrize(
    "values", ["abc", {1, 2}, {"a": 1}, 3, np.float64(3.0), np.array(3.0), b"x"], ids=lambda v: type(v).__name__
)
def test_what_cannot_be_swept_over(values: Any) -> None:
    assert "takes a list, range or array" in problems_of(lambda: tm.sweep(values))[0][1]


def test_wrong_sweeps() -> None:
    def wrong() -> Any:
        energy("Cu", tm.sweep(["a", "b"]))
        energy("Cu", total(name_of(tm.sweep([1]))))
        a = tm.sweep([1.0])
        tm.gather(energy("Cu", 1.0))
        tm.gather(energy("Cu", a), over="b")

    assert problems_of(wrong) == [
        (1, "energy(): 'a' is annotated float, but gets str values"),
        (2, "total(): 'values' is annotated list[float], but gets the result of name_of, which is annotated list[str]"),
        (4, "there is nothing to gather: this is not the result of a call with a sweep"),
        (5, "gather(over='b'): the result was not computed over such a sweep; it has [sweep[1]]"),
    ]


def test_the_sweep_of_a_mapped_workflow_is_one_value_inside() -> None:
    @tm.workflow
    def inner(x: float) -> Any:
        return tm.gather(energy("Cu", x), over=x)

    assert "is a single value" in problems_of(lambda: inner(tm.sweep([1.0])))[0][1]


def test_futures_of_another_workflow() -> None:
    stolen: list[Any] = []
    tm.build(tm.workflow(lambda: stolen.extend([same(1), same(tm.sweep([1, 2]))]))())

    def wrong() -> Any:
        same(stolen[0])
        same([stolen[1]])
        same(1).after(stolen[0])
        return stolen

    found = problems_of(wrong)
    assert [line for line, _ in found[:3]] == [1, 2, 3]
    assert all("another workflow" in text for _, text in found)


def test_an_exception_in_the_body_comes_after_what_was_found() -> None:
    def wrong() -> Any:
        energy(1, 1.0)
        raise KeyError("mine")

    with pytest.raises(WiringError) as caught:
        tm.build(tm.workflow(wrong)())
    assert isinstance(caught.value.__cause__, KeyError)

    def only() -> Any:
        raise KeyError("mine")

    with pytest.raises(KeyError):
        tm.build(tm.workflow(only)())


def test_calls_made_outside_say_where_they_were_made() -> None:
    with pytest.raises(WiringError, match="energy\\(\\) is missing 'a'"):
        energy("Cu")
    here = inspect.currentframe()
    assert here is not None
    line = here.f_lineno + 1
    call = same(energy(1, 2.0))
    with pytest.raises(WiringError) as caught:
        call.plan_graph()
    assert caught.value.problems[0][0].endswith(f"test_errors.py:{line}")


def test_arguments_of_workflows_are_checked_too() -> None:
    @tm.workflow
    def inner(n: int) -> Any:
        return same(n)

    with pytest.raises(WiringError, match="missing 'n'"):
        inner()

    def wrong() -> Any:
        inner("x")
        inner(m=1)
        return inner(name_of(1))

    assert [line for line, _ in problems_of(wrong)] == [1, 2, 2, 3]
    with pytest.raises(WiringError, match="but gets str 'x'"):
        inner("x").plan_graph()
    with pytest.raises(WiringError, match="cannot be stored"):
        tm.workflow(lambda _: same(1))(threading.Lock()).plan_graph()


def test_a_wrong_call_in_a_loop_is_said_once() -> None:
    def wrong() -> Any:
        for _ in range(10_000):
            energy("Cu")

    assert len(problems_of(wrong)) == 1


def test_what_contains_itself() -> None:
    value: list[Any] = [1]
    value.append(value)
    assert "contains itself" in problems_of(lambda: same(value))[0][1]


def test_what_is_certainly_of_another_kind() -> None:
    def wrong() -> Any:
        energy(None, 1)
        read(3)
        read(tm.sweep([1, 2]))
        energy("Cu", copied(__file__))
        read(None)
        energy("Cu", 1)[0]  # type: ignore[index]
        energy("Cu", tm.sweep([1.0]))[1:]  # type: ignore[index]

    assert [text for _, text in problems_of(wrong)] == [
        "energy(): 'symbol' is annotated str, but gets None",
        "read(): 'path' is annotated pathlib.Path, but gets int 3",
        "read(): 'path' is annotated pathlib.Path, but gets int values",
        "energy(): 'a' is annotated float, but gets the result of copied, which is annotated pathlib.Path",
        "read(): 'path' is annotated pathlib.Path, but gets None",
        "the result of energy is annotated float, so it cannot be indexed with 0",
        "a result of energy is annotated float, so it cannot be indexed with (1, None, None)",
    ]


def test_no_false_alarms() -> None:
    @tm.task
    def loose(a: "Undefined", b: list["Undefined"], c: np.ndarray, d: float | str, e: float = None) -> bool:  # type: ignore[name-defined,assignment]  # noqa: F821, RUF013
        return True

    @tm.task
    def options(flag: bool, items: tuple[int, ...], number: complex) -> None: ...

    here = __file__

    def fine() -> Any:
        loose(1, [2], [1.0], "x")
        loose("x", (3,), 4.0, 5, None)
        options(1, [1, 2], 3)
        options(loose(1, [], 0, ""), {1}, 2.5)
        total((1, 2))
        energy("Cu", True)
        read(here)
        read(Path(here))
        read(copied(here))
        energy(copied(here).name, 1)

    tm.build(tm.workflow(fine)())


@pytest.mark.parametrize(
    "options",
    [
        {"retries": -1},
        {"retries": 1.5},
        {"retries": True},
        {"cpus": 0},
        {"memory": "2 lots"},
        {"memory": -1},
        {"cache": 1},
        {"priority": "high"},
        {"timeout": -1.0},
        {"on_error": "ignore"},
        {"colour": "red"},
        {"outputs": ("a", "a")},
        {"outputs": ("_a",)},
        {"outputs": ("a b",)},
    ],
    ids=repr,
)
def test_wrong_options(options: dict[str, Any]) -> None:
    make: Any = tm.task
    with pytest.raises(UsageError):
        make(**options)(same.fn)


def test_what_cannot_be_a_task() -> None:
    async def coroutine() -> None: ...

    def generator() -> Any:
        yield 1

    wrong: list[Any] = [coroutine, generator, int, 3, energy]
    for thing in wrong:
        with pytest.raises(UsageError):
            tm.task(thing)
