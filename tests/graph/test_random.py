"""Random workflows against plain Python: what sweeps, gathers and selections mean, written down a second time."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

import tidemill.graph as tm
from tests.graph.reading import result
from tidemill.graph import lower, recorder
from tidemill.graph.future import Group

Coordinates = dict[int, int]


@tm.task
def pair(x: Any, y: Any) -> Any:
    return ["pair", x, y]


@tm.task
def listed(x: Any, many: Sequence[Any]) -> Any:
    return ["listed", x, many]


@tm.task
def two_lists(a: Sequence[Any], b: Sequence[Any]) -> Any:
    return ["two", a, b]


@tm.task(outputs=("first", "second"))
def split(x: Any) -> Any:
    return ["first", x], ["second", x]


@tm.task
def whole(x: Any) -> Any:
    return x


@tm.workflow
def inner(x: Any, y: Any) -> Any:
    own = tm.sweep(["u", "v"])
    return {"l": listed(y, pair(x, own)), "x": x}


class Value:
    """The reference: a function of the positions on its axes."""

    def __init__(self, axes: list[int], fn: Callable[[Coordinates], Any], *, swept: bool = False) -> None:
        self.axes = axes
        self.fn = fn


class World:
    """A workflow that is built twice, as calls of tasks and as `Value`s."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.built: list[Any] = []
        self.known: list[Value] = []

    def add(self, built: Any, known: Value) -> None:
        self.built.append(built)
        self.known.append(known)

    def places(self, axes: list[int]) -> list[Coordinates]:
        ranges = [range(self.sizes[a]) for a in axes]
        return [dict(zip(axes, place, strict=True)) for place in itertools.product(*ranges)]

    def sweep(self, n: int) -> None:
        axis = len(self.sizes)
        self.sizes.append(n)
        self.add(tm.sweep([f"s{axis}.{i}" for i in range(n)]), Value([axis], lambda c: f"s{axis}.{c[axis]}"))

    def scalar(self, i: int) -> None:
        self.add(f"c{i}", Value([], lambda _: f"c{i}"))

    def pair(self, i: int, j: int) -> None:
        a, b = self.known[i], self.known[j]
        axes = list(dict.fromkeys(a.axes + b.axes))
        self.add(pair(self.built[i], y=self.built[j]), Value(axes, lambda c: ["pair", a.fn(c), b.fn(c)]))

    def listed(self, i: int, j: int) -> None:
        a, b = self.known[i], self.known[j]
        inner = [axis for axis in b.axes if axis not in a.axes]

        def fn(c: Coordinates) -> Any:
            many = [b.fn(c | place) for place in self.places(inner)] if inner else b.fn(c)
            return ["listed", a.fn(c), many]

        self.add(listed(self.built[i], self.built[j]), Value(list(a.axes), fn))

    def two_lists(self, i: int, j: int) -> None:
        found = [self.known[i], self.known[j]]

        def fn(_: Coordinates) -> Any:
            return ["two", *([v.fn(p) for p in self.places(v.axes)] if v.axes else v.fn({}) for v in found)]

        self.add(two_lists(self.built[i], self.built[j]), Value([], fn))

    def split(self, i: int, which: int) -> None:
        a = self.known[i]
        name = ("first", "second")[which]
        self.add(getattr(split(self.built[i]), name), Value(list(a.axes), lambda c: [name, a.fn(c)]))

    def unsplit(self, i: int) -> None:
        a = self.known[i]
        self.add(whole(split(self.built[i])), Value(list(a.axes), lambda c: (["first", a.fn(c)], ["second", a.fn(c)])))

    def structure(self, i: int, j: int) -> None:
        a, b = self.known[i], self.known[j]
        axes = list(dict.fromkeys(b.axes + a.axes))
        self.add(
            whole({"b": (self.built[i], 1), "a": [self.built[j]]}),
            Value(axes, lambda c: {"a": [b.fn(c)], "b": (a.fn(c), 1)}),
        )

    def inlined(self, i: int, j: int) -> None:
        a, b = self.known[i], self.known[j]

        def fn(c: Coordinates) -> Any:
            own = [["pair", a.fn(c), u] for u in ("u", "v")]
            return {"l": ["listed", b.fn(c), own], "x": a.fn(c)}

        axes = list(dict.fromkeys(a.axes + b.axes))
        self.add(inner(self.built[i], self.built[j]), Value(axes, fn))

    def select(self, i: int) -> None:
        a = self.known[i]
        values = [a.fn(c) for c in self.places(a.axes)]
        if not isinstance(self.built[i], (str, list, dict, Group)) and all(
            v and not isinstance(v, dict) for v in values
        ):
            self.add(whole(self.built[i][-1]), Value(list(a.axes), lambda c: a.fn(c)[-1]))

    def gather(self, i: int, n: int) -> None:
        a = self.known[i]
        if not a.axes or isinstance(self.built[i], str):
            return
        axis = a.axes[n % len(a.axes)]
        rest = [x for x in a.axes if x != axis]
        source = next(s for s, v in zip(self.built, self.known, strict=True) if v.axes == [axis])
        if n % 3:
            built, over = tm.gather(self.built[i], over=source), [axis]
        else:
            built, over, rest = tm.gather(self.built[i]), a.axes, []
        self.add(whole(built), Value(rest, lambda c: [a.fn(c | place) for place in self.places(over)]))

    def combine(self, i: int, j: int, together: bool) -> None:
        parts = [self.known[i], self.known[j]]
        if any(not v.axes for v in parts):
            return
        places = [self.places(v.axes) for v in parts]
        if together and len(places[0]) != len(places[1]):
            return
        axis = len(self.sizes)
        combined = tm.zip if together else tm.product
        built = combined(self.built[i], self.built[j])
        pairs = list((zip if together else itertools.product)(*places))
        self.sizes.append(len(pairs))
        for n in range(2):
            v = parts[n]
            self.add(built[n], Value([axis], lambda c, v=v, n=n: v.fn(pairs[c[axis]][n])))  # type: ignore[misc]

    def expected(self, v: Value) -> Any:
        def nested(axes: list[int], c: Coordinates) -> Any:
            if not axes:
                return v.fn(c)
            return [nested(axes[1:], c | {axes[0]: i}) for i in range(self.sizes[axes[0]])]

        return nested(v.axes, {})


number = st.integers(0, 30)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("sweep"), st.sampled_from([0, 1, 2, 2, 3, 4])),
        st.tuples(st.sampled_from(["pair", "listed", "two_lists", "structure", "gather", "inlined"]), number, number),
        st.tuples(st.just("split"), number, st.integers(0, 1)),
        st.tuples(st.sampled_from(["unsplit", "select"]), number),
        st.tuples(st.just("combine"), number, number, st.booleans()),
    ),
    max_size=9,
)

FEW = 300
"""Elements of a random sweep; more would only take longer."""


def follow(world: World, program: list[Any]) -> None:
    """Do the steps; numbers choose among the values that there are by then."""
    for name, *numbers in program:
        count = len(world.built)
        if name == "sweep":
            world.sweep(*numbers)
        elif name in {"pair", "listed", "two_lists", "structure", "inlined"}:
            i, j = (n % count for n in numbers)
            size = len(world.places(list(dict.fromkeys(world.known[i].axes + world.known[j].axes))))
            if size <= FEW:
                getattr(world, name)(i, j)
        elif name == "combine":
            i, j, together = numbers[0] % count, numbers[1] % count, numbers[2]
            if len(world.places(world.known[i].axes)) * len(world.places(world.known[j].axes)) <= FEW:
                world.combine(i, j, together)
        else:
            getattr(world, name)(numbers[0] % count, *numbers[1:])


@settings(max_examples=200, deadline=None)
@given(steps, st.sampled_from([0, 1000]), st.sampled_from([1, 64]), number)
def test_a_workflow_means_what_plain_python_says(program: list[Any], eager: int, few: int, last: int) -> None:
    world = World()

    @tm.workflow
    def random_workflow() -> Any:
        world.__init__()  # type: ignore[misc]
        world.scalar(0)
        world.sweep(3)
        world.sweep(2)
        follow(world, program)
        return [world.built[last % len(world.built)], *world.built[-3:]]

    before = recorder.EAGER, lower.FEW
    recorder.EAGER, lower.FEW = eager, few
    try:
        found = result(random_workflow())
    finally:
        recorder.EAGER, lower.FEW = before
    known = [world.known[last % len(world.known)], *world.known[-3:]]
    assert found == [world.expected(v) for v in known]
