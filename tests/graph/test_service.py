"""Services in graphs: what is handed in for them, and what is refused."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import tidemill.graph as tm
from tests.graph.reading import at, chunks, gathers_of, runs_of, specs
from tidemill.graph import context
from tidemill.graph.growth import Growing, grow
from tidemill.graph.literals import PlanKeeper
from tidemill.model.delta import BlockSpec, RunFlag
from tidemill.model.errors import UsageError, WiringError

_USER = RunFlag.NO_CACHE
_SERVICE = RunFlag.NO_CACHE | RunFlag.SERVICE


@tm.service(cpus=0.1, interval=5)
def database(size: int = 0, *above: Any) -> Iterator[dict[str, int]]:
    yield {"port": size}


_UNTYPED: Any = database
_MAKE: Any = tm.service


@tm.task
def use(x: Any = None) -> Any:
    return x


def plan_of(fn: Callable[..., Any]) -> tm.Plan:
    return tm.workflow(fn)().plan_graph()


def blocks_of(plan: tm.Plan) -> list[BlockSpec]:
    return [block for chunk in plan.chunks() for block in chunk.blocks]


def flags_of(plan: tm.Plan) -> list[int]:
    return [at(chunk.flags, row) for chunk in plan.chunks() for row in range(len(chunk.args))]


def refused(fn: Callable[..., Any]) -> str:
    """The one problem of a workflow."""
    with pytest.raises(WiringError) as caught:
        plan_of(fn)
    ((_, text),) = caught.value.problems
    return text


def test_users_lie_in_a_block_that_the_service_serves() -> None:
    def flow() -> Any:
        before = use(1)
        with database(5) as address:
            found = use(address), use(2)
        return before, found, use(found[0])

    plan = plan_of(flow)
    (block,) = blocks_of(plan)
    assert (block.number, block.parent, block.name, block.served) == (1, 0, "database", 1)
    runs = runs_of(plan)
    assert [r.block for r in runs] == [0, 0, 1, 1, 0]
    assert [r.inputs for r in runs] == [[], [], [1], [], [2]]
    assert [r.waits for r in runs] == [[], [], [1], [1], []], "whatever is in the block comes after it is up"
    assert flags_of(plan) == [0, _SERVICE, _USER, 0, 0]
    (spec,) = [s for s in specs(plan) if s.name == "database"]
    assert (spec.service, spec.cache, spec.resources.cpus) == (5.0, False, 0.1)
    assert [c.resources.service for c in plan.header.classes] == [False, True]


def test_nested_ones_are_trees() -> None:
    def flow() -> Any:
        with database(1) as outer:
            with database(2, outer) as inner:
                deep = use(inner)
            return deep, use(outer)

    plan = plan_of(flow)
    assert [(b.number, b.parent, b.served) for b in blocks_of(plan)] == [(1, 0, 0), (2, 1, 1)]
    assert [(r.block, r.inputs, sorted(r.waits)) for r in runs_of(plan)] == [
        (0, [], []), (1, [0], [0]), (2, [1], [0, 1]), (1, [0], [0]),
    ]  # fmt: skip
    assert flags_of(plan) == [_SERVICE, _SERVICE, _USER, _USER]


def test_several_in_one_statement_and_in_one_list() -> None:
    def flow() -> Any:
        with database(1) as a, database(2) as b:
            return use([a, b]), use({"x": a["port"]})

    plan = plan_of(flow)
    assert not gathers_of(plan), "a list of addresses is there before they end"
    assert [r.inputs for r in runs_of(plan)][2:] == [[0, 1], [0]]
    assert flags_of(plan)[2:] == [_USER, _USER]


def test_with_nothing_in_its_block() -> None:
    def flow() -> Any:
        with database(1):
            pass

    (block,) = blocks_of(plan_of(flow))
    assert block.served == 0


def test_it_is_handed_in_together_with_its_block() -> None:
    """Whoever reads the chunks one by one never sees a service without a block."""

    def flow() -> Any:
        done = []
        for i in range(1200):
            with database(i) as address:
                done.append(use(address))
        return done

    found: set[int] = set()
    for chunk in chunks(plan_of(flow)):
        found.update(b.served for b in chunk.blocks)
        services = {
            chunk.first + row for row in range(len(chunk.args)) if at(chunk.flags, row) & RunFlag.SERVICE
        }  # fmt: skip
        assert services <= found


def test_users_called_with_a_sweep_and_in_a_mapped_workflow() -> None:
    @tm.workflow
    def one(i: int) -> Any:
        with database(1) as address:
            return use([address, i])

    def flow() -> Any:
        with database(3) as address:
            return one(tm.sweep([1, 2])), use([address, tm.sweep([3, 4])])

    plan = plan_of(flow)
    names = [r.task for r in runs_of(plan)]
    assert names == ["database", "database", "use", "use", "use", "use"]
    assert flags_of(plan)[2:] == [_USER] * 4


def test_in_a_running_task() -> None:
    growing = Growing(PlanKeeper())
    growing.install()
    try:
        with database(3) as address:
            value = use(address)
        growth = grow(value, growing, use.spec)
    finally:
        context.install(None)
    assert growth is not None
    ((block,),) = [c.blocks for c in growth.chunks]
    assert block.served == 0
    assert [at(c.flags, i) for c in growth.chunks for i in range(2)] == [_SERVICE, _USER]


@pytest.mark.parametrize("inner", [False, True])
def test_one_for_each_value_of_a_sweep_is_refused(inner: bool) -> None:
    @tm.workflow
    def one(i: Any) -> Any:
        with database(i) as address:
            return use(address)

    def flow() -> Any:
        if inner:
            return one(tm.sweep([1, 2]))
        with database(tm.sweep([1, 2])) as address:
            return use(address)

    assert refused(flow) == "database() is a service: it cannot be called with a sweep; use one for each, in a loop"


def test_its_address_is_for_its_block() -> None:
    def flow() -> Any:
        with database(1) as address:
            pass
        return use([address])

    assert refused(flow) == "use() uses the service database after its `with` block, when it is over"


def test_it_is_no_value() -> None:
    assert "database() is no value: it is up in `with database(…) as address:`" in refused(lambda: use(database(1)))


def test_it_is_used_once() -> None:
    def flow() -> Any:
        one = database(1)
        with one as address:
            use(address)
        with one as address:
            return use(address)

    assert "has been used already" in refused(flow)


def test_outside_of_workflows_it_is_refused() -> None:
    with pytest.raises(WiringError, match="the service database is for a workflow or a task"), database(1):
        pass


def test_wrong_arguments_are_a_problem() -> None:
    with pytest.raises(WiringError, match="size"), _UNTYPED(sise=1):
        pass


def test_types_are_checked() -> None:
    @tm.task
    def wants(x: list[int]) -> int:
        return 0

    def flow() -> Any:
        with database(1) as address:
            return wants(address)

    assert "annotated dict[str, int]" in refused(flow)


def test_classes() -> None:
    @tm.service
    class Counting:
        def __init__(self, n: int) -> None:
            self.n = n

        def start(self) -> int:
            return self.n

    def flow() -> Any:
        with Counting(2) as n:  # type: ignore[attr-defined]
            return use(n)

    assert [r.task for r in runs_of(plan_of(flow))] == ["Counting", "use"]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: _MAKE(lambda: 1), "generator function or a class"),
        (lambda: _MAKE(type("Plain", (), {})), "method start"),
        (lambda: tm.service(interval=0), "above 0"),
        (lambda: tm.service(checkpoint=True), "checkpoint"),
        (lambda: _UNTYPED.repeat(3), "cannot be repeated"),
    ],
)
def test_what_cannot_be_a_service(make: Callable[[], Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        make()
