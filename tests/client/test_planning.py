"""What would run and why, by the very submission that would run it; the store is left as it was."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

import tidemill as tm
from tests.lab import Lab, Project
from tests.provenance.conftest import METALS
from tidemill.client.planning import Planned, PlanReport
from tidemill.client.store import Store
from tidemill.model.errors import NewerStoreError, ResumeError, WiringError
from tidemill.stores.state import blocks, meta, runs

Labs = Callable[[], Lab]


@tm.task
def square(x: int) -> int:
    return x * x


@tm.task
def total(xs: list[int]) -> int:
    return sum(xs)


@tm.task
def both(x: int) -> int:
    return total([square(x), square(x + 1)])


@tm.workflow
def squares(n: int) -> Any:
    return total(square(tm.sweep(range(n))))


@tm.workflow
def same(n: int) -> Any:
    return total([square(3) for _ in range(n)])


@tm.workflow
def grown(x: int) -> Any:
    return square(both(x))


@tm.task
def many(n: int) -> list[int]:
    return [square(i) for i in range(n)]


@tm.workflow
def wide(n: int) -> Any:
    return total(many(n))


@tm.workflow
def unsteady() -> Any:
    return total([square(i) for i in range(int(os.environ["LENGTH"]))])


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return Project(folder, "metals", METALS, factor=1, times=2, fit="sum(e) + k", comment="")


def by_name(report: PlanReport) -> dict[str, Planned]:
    return {t.name: t for t in report.tasks}


def numbers(one: Planned) -> tuple[int, int, int, int]:
    return (one.total, one.reused, one.run, one.waiting)


def test_in_an_empty_store_everything_is_new(store: Store) -> None:
    found = by_name(store.plan(squares(5)))
    assert numbers(found["square"]) == (5, 0, 5, 0)
    assert numbers(found["total"]) == (1, 0, 0, 1)
    assert found["square"].reasons == [("new", 5)]
    assert found["square"].seconds is None


def test_planning_creates_no_store(tmp_path: Path) -> None:
    Store(tmp_path / "none").plan(squares(2))
    assert not (tmp_path / "none").exists()


def test_what_is_known_is_reused(store: Store, lab_at: Labs) -> None:
    lab_at().run(squares(5))
    report = store.plan(squares(5))
    assert [numbers(t) for t in report.tasks] == [(5, 5, 0, 0), (1, 1, 0, 0)]
    assert report.total("reused") == 6
    assert report.seconds == 0
    assert "0 would run now, 0 after these, 6 reused" in str(report)


def test_a_longer_sweep_runs_what_is_new(store: Store, lab_at: Labs) -> None:
    lab_at().run(squares(5))
    found = by_name(store.plan(squares(8)))
    assert numbers(found["square"]) == (8, 5, 3, 0)
    assert found["square"].reasons == [("new", 3)]
    assert numbers(found["total"]) == (1, 0, 0, 1)
    assert found["total"].reasons == [("input xs (square would run first)", 1)]
    # the lab's attempts take half a second
    assert found["square"].seconds == pytest.approx(0.5)


def test_the_plan_is_what_then_happens(store: Store, lab_at: Labs) -> None:
    lab = lab_at()
    lab.run(squares(5))
    report = store.plan(squares(9))
    block = lab.run(squares(9))
    row = blocks.get(lab.db, block)
    assert row is not None
    assert row.reused == report.total("reused")
    assert row.total == report.total("total")


def test_nothing_of_it_is_left(store: Store, lab_at: Labs) -> None:
    lab = lab_at()
    lab.run(squares(3))
    before = meta.read(lab.db), [b.id for b in blocks.roots(lab.db)], len(runs.between(lab.db, 0, 1 << 60, 1000))
    store.plan(squares(7))
    store.plan(same(2))
    after = meta.read(lab.db), [b.id for b in blocks.roots(lab.db)], len(runs.between(lab.db, 0, 1 << 60, 1000))
    assert before == after


def test_others_can_work_meanwhile(store: Store, lab_at: Labs) -> None:
    lab = lab_at()
    block = lab.submit(squares(4))
    claimed = lab.claim()
    store.plan(squares(6))
    lab.finish(claimed)
    lab.work()
    assert lab.result(block) == 14


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"times": 3}, "helper metals.helper changed"),
        ({"factor": 2}, "constant metals.FACTOR changed"),
    ],
)
def test_changed_code_is_named(
    store: Store, lab_at: Labs, project: Project, values: dict[str, int], reason: str
) -> None:
    lab_at().run(project.load().scan())
    found = by_name(store.plan(project.load(**values).scan()))
    assert found["energy"].reasons == [(reason, 3)]
    assert found["fit"].reasons == [("input e (energy would run first)", 1)]


def test_changed_arguments_are_named(store: Store, lab_at: Labs, project: Project) -> None:
    metals = project.load()
    lab_at().run(metals.scan(3, 0))
    found = by_name(store.plan(metals.scan(3, 1)))
    assert numbers(found["energy"]) == (3, 3, 0, 0)
    assert found["fit"].reasons == [("argument k", 1)]
    found = by_name(store.plan(metals.scan(3, 0, "Ag")))
    assert found["energy"].reasons == [("argument symbol", 3)]


def test_what_failed_and_what_is_not_cached(store: Store, lab_at: Labs, project: Project) -> None:
    metals = project.load()
    lab_at().run(metals.chain(1))
    found = by_name(store.plan(metals.chain(1)))
    assert found["broken"].reasons == [("failed before", 1)]
    assert found["clock"].reasons == [("not reused (cache=False)", 1)]
    assert dict(found["report"].reasons) == {
        "input x (broken would run first)": 1,
        "input x (clock would run first)": 1,
    }


def test_a_task_is_recognised_in_another_workflow(store: Store, lab_at: Labs, project: Project) -> None:
    lab_at().run(project.load().scan())
    found = by_name(store.plan(project.load(times=3).chain(0)))
    assert found["energy"].reasons == [("helper metals.helper changed", 3)]


def test_equal_runs_are_executed_once(store: Store) -> None:
    (one, last) = store.plan(same(5000)).tasks
    assert one.total == one.run + one.shared == 5000
    assert one.shared >= 2000
    assert last.waiting == 1


def test_an_interrupted_workflow_would_be_continued(store: Store, lab_at: Labs) -> None:
    lab = lab_at()
    block = lab.submit(squares(6))
    lab.work(4)
    report = store.plan(squares(6))
    assert report.block == block
    assert f"block {block}, which was interrupted" in str(report)
    (one, last) = report.tasks
    assert (one.total, one.done, one.reused, one.run) == (6, 4, 0, 2)
    assert last.waiting == 1


def test_what_runs_called_is_expanded_again(store: Store, lab_at: Labs) -> None:
    lab_at().run(grown(3))
    found = by_name(store.plan(grown(3)))
    assert {n: t.reused for n, t in found.items()} == {"both": 1, "square": 3, "total": 1}
    assert sum(t.run + t.waiting for t in found.values()) == 0


def test_large_growth_is_expanded_too(store: Store, lab_at: Labs) -> None:
    lab_at().run(wide(1200))
    found = by_name(store.plan(wide(1200)))
    assert numbers(found["square"]) == (1200, 1200, 0, 0)
    assert numbers(found["total"]) == (1, 1, 0, 0)


def test_another_graph_than_the_interrupted_one_is_refused(
    store: Store, lab_at: Labs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LENGTH", "2")
    lab_at().submit(unsteady())
    monkeypatch.setenv("LENGTH", "3")
    with pytest.raises(ResumeError):
        store.plan(unsteady())


def test_a_workflow_that_does_not_fit_together(store: Store) -> None:
    @tm.workflow
    def wrong() -> Any:
        return square(1, 2)

    with pytest.raises(WiringError, match="positional"):
        store.plan(wrong())


def test_a_store_of_a_newer_version_is_refused(store: Store, lab_at: Labs) -> None:
    db = lab_at().db
    with db.transaction():
        version = meta.read(db)["schema"]
        meta.put(db, "schema", 99)
    with pytest.raises(NewerStoreError, match="99"):
        store.plan(squares(2))
    with db.transaction():
        meta.put(db, "schema", version)


def test_a_hundred_thousand_runs_are_counted(tmp_path: Path) -> None:
    report = Store(tmp_path).plan(squares(20_000))
    assert report.total("run") == 20_000
    assert "20,000" in str(report)


def test_it_can_be_printed_and_encoded(store: Store, lab_at: Labs) -> None:
    lab_at().run(squares(2))
    report = store.plan(squares(4))
    lines = str(report).splitlines()
    assert lines[0].split() == ["task", "runs", "reused", "run", "wait", "each", "why"]
    assert lines[1].split()[:4] == ["square", "4", "2", "2"]
    again = msgspec.json.decode(msgspec.json.encode(report), type=PlanReport)
    assert again == report
    assert "<table" in report._repr_html_()
