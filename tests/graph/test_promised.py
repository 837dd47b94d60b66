"""Options that are results of other steps, as the graph has them."""

from typing import Any

import pytest

import tidemill as tm
from tidemill.model.errors import UsageError, WiringError
from tidemill.model.spec import AUTO, Resources, TaskSpec, decode_spec


@tm.task
def wanted(n: int) -> int:
    return n


@tm.task(retries=3, timeout=5)
def work(x: float, *more: float, cpus: int = 1, **rest: float) -> float:
    return x


def specs(flow: Any) -> dict[str, TaskSpec]:
    plan = flow.plan_graph()
    return {spec.name: spec for spec in map(decode_spec, plan.header.tasks)}


@tm.workflow
def one(**options: Any) -> Any:
    n = wanted(3)
    return work.options(**options, cpus=n)(1.0, 2.0, cpus=7, other=3.0)


def test_a_small_local_step_waits_for_the_value() -> None:
    found = specs(one(memory=100))
    assert list(found) == ["wanted", "work.resources"]
    step = found["work.resources"]
    assert step.resources == Resources(local=True)
    assert (step.retries, step.timeout) == (0, 0.0)
    assert [p.name for p in step.inputs] == ["x", "more", "cpus", "rest", "option cpus"]
    plan = one(memory=100).plan_graph()
    assert plan.header.runs == 2
    assert [c.resources.local for c in plan.header.classes] == [False, True]


def test_its_meaning_is_that_of_the_task_and_its_options() -> None:
    @tm.workflow
    def other() -> Any:
        n = wanted(3)
        return work.options(memory=n)(1.0)

    first, second = specs(one(memory=100))["work.resources"], specs(other())["work.resources"]
    assert first.parts["code"] == work.spec.parts["code"]
    assert first.digest != second.digest
    assert specs(one(memory=100))["work.resources"].digest == first.digest


def test_calls_with_other_options_are_other_steps() -> None:
    """A store keeps one specification for each digest: with a common one, the last call would speak for all."""
    found = {specs(one(**options))["work.resources"].digest for options in ({}, {"memory": 100}, {"memory": 200})}
    assert len(found) == 3


def test_equal_calls_share_one_definition() -> None:
    @tm.workflow
    def many() -> Any:
        n = wanted(3)
        asking = work.options(cpus=n)
        return [work.options(cpus=n)(1.0), work.options(cpus=wanted(4))(2.0), asking.options(cpus=2)(3.0)]

    found = specs(many())
    assert sorted(found) == ["wanted", "work", "work.resources"]


def test_what_cannot_come_later_is_refused() -> None:
    @tm.workflow
    def wrong(name: str) -> Any:
        return work.options(**{name: wanted(3)})(1.0)

    with pytest.raises(UsageError, match="'retries' must be known"):
        wrong("retries").plan_graph()
    with pytest.raises(UsageError, match="'unheard' must be known"):
        wrong("unheard").plan_graph()


def test_arguments_are_checked_as_ever() -> None:
    @tm.workflow
    def wrong() -> Any:
        return work.options(cpus=wanted(3))()

    with pytest.raises(WiringError, match="work\\(\\) is missing 'x'"):
        wrong().plan_graph()


def test_calls_made_outside_a_workflow_are_taken_in() -> None:
    call: Any = work.options(cpus=wanted(2))(1.0)
    assert call.plan_graph().header.runs == 2


def test_auto_stands_in_the_class_with_the_name_of_the_task() -> None:
    learning = wanted.options(memory="auto", disk=5)

    @tm.workflow
    def flow() -> Any:
        return [learning(1), work(2.0)]

    auto, plain = flow().plan_graph().header.classes
    assert auto.resources == Resources(memory=AUTO, disk=5, like="wanted")
    assert (plain.resources.like, plain.resources.walltime) == ("", 5.0)
