"""Questions about a store: counts, lists and details against what was run, on both databases."""

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

from tests.lab import Lab
from tidemill.client.details import BlockInfo, DatumInfo, RunInfo
from tidemill.client.queries import RunList, Status
from tidemill.client.store import Store
from tidemill.engine import control, rerun
from tidemill.model.errors import ConfigError, NotFoundError, UsageError
from tidemill.stores.state import blocks, overview, runs

Labs = Callable[[], Lab]


@pytest.fixture
def module(toy: Path) -> ModuleType:
    return importlib.import_module("toy")


def first_run(lab: Lab, block: int) -> int:
    row = blocks.get(lab.db, block)
    assert row is not None
    return row.run_lo


# -------------------------------------------------------------------------------------------------------------- status


def test_status_counts_by_task(store: Store, lab_at: Labs, module: ModuleType) -> None:
    lab = lab_at()
    block = lab.submit(module.sums(4))
    lab.work(5)
    (found,) = store.status(block).blocks
    tasks = {t.name: t for t in found.tasks}
    assert sum(t.total for t in found.tasks) == found.total == 9
    assert sum(t.complete for t in found.tasks) == found.done == found.ended == 5
    assert (tasks["number"].complete, tasks["total"].waiting) == (4, 1)
    assert tasks["picky"].complete + tasks["picky"].ready == 4


def test_status_lists_the_newest_first(store: Store, lab_at: Labs, module: ModuleType) -> None:
    lab = lab_at()
    made = [lab.run(module.sums(n)) for n in (1, 2, 3)]
    found = store.status(limit=2)
    assert [b.id for b in found.blocks] == made[:0:-1]
    assert found.more
    assert not store.status().more
    assert [b.state for b in found.blocks] == ["complete", "complete"]
    assert found.blocks[0].reused == 4


def test_an_open_workflow_that_nobody_works_on_is_interrupted(store: Store, lab_at: Labs, module: ModuleType) -> None:
    lab = lab_at()
    block = lab.submit(module.sums(2))
    lab.activate(block, active=False)
    assert store.status(block).blocks[0].state == "interrupted"


def test_leased_runs_are_running(store: Store, lab_at: Labs, module: ModuleType) -> None:
    lab = lab_at()
    block = lab.submit(module.sums(3))
    (claimed,) = lab.claim(1)
    (found,) = store.status(block).blocks
    assert found.running == 1
    number = next(t for t in found.tasks if t.name == "number")
    assert (number.running, number.ready) == (1, 2)
    assert [r.state for r in store.runs(state="running").runs] == ["running"]
    info = store.show(f"{block}.{claimed.run}")
    assert isinstance(info, RunInfo)
    assert info.attempts[-1].state == "running"


def test_what_was_superseded_counts_once(store: Store, lab_at: Labs, module: ModuleType) -> None:
    lab = lab_at()
    block = lab.run(module.sums(2, True))
    low = first_run(lab, block)
    made = lab.turn(lambda turn: rerun.rerun(turn, [low]))
    lab.work()
    (found,) = store.status(block).blocks
    row = blocks.get(lab.db, block)
    assert row is not None
    assert (found.total, found.failed) == (row.done + row.failed + row.skipped + row.cancelled, row.failed)
    info = store.show(f"run:{low}")
    assert isinstance(info, RunInfo)
    assert info.newer.endswith(f".{made[low]}")


def test_status_wants_a_workflow(store: Store, lab_at: Labs, module: ModuleType) -> None:
    lab_at().run(module.sums(1))
    with pytest.raises(NotFoundError, match="no block 77"):
        store.status(77)


def test_status_of_an_empty_store_says_so(store: Store, lab_at: Labs) -> None:
    lab_at()
    assert str(store.status()) == f"nothing has been run in {store.url}"


# --------------------------------------------------------------------------------------------------------------- lists


def test_runs_are_listed_by_state_task_block_and_name(store: Store, lab_at: Labs, module: ModuleType) -> None:
    lab = lab_at()
    first = lab.run(module.sums(2))
    second = lab.run(module.sums(3, True))
    assert len(store.runs().runs) == 5 + 7
    assert {r.task for r in store.runs(task="picky").runs} == {"picky"}
    assert len(store.runs(block=first).runs) == 5
    assert {r.id.split(".")[0] for r in store.runs(block=second).runs} == {str(second)}
    assert [r.task for r in store.runs(block=second, state="error").runs] == ["picky"] * 3
    assert [r.task for r in store.runs(block=second, state="skipped").runs] == ["total"]
    assert len(store.runs(name="sums").runs) == 12
    assert store.runs(name="other").runs == []


def test_lists_are_paged_by_id(store: Store, lab_at: Labs, module: ModuleType) -> None:
    lab_at().run(module.sums(4))
    seen: list[str] = []
    after = 0
    while True:
        page = store.runs(after=after, limit=4)
        seen += [r.id for r in page.runs]
        after = page.after
        if not after:
            break
    assert len(seen) == len(set(seen)) == 9


def test_every_state_can_be_listed(store: Store, lab_at: Labs, module: ModuleType) -> None:
    lab = lab_at()
    lab.submit(module.sums(3))
    lab.work(4)
    count = {s: len(store.runs(state=s).runs) for s in overview.STATES}
    assert sum(count.values()) == 7
    assert count["waiting"] >= 1
    assert count["complete"] == 4


def test_a_row_says_what_went_wrong(store: Store, lab_at: Labs, module: ModuleType) -> None:
    lab = lab_at()
    block = lab.run(module.sums(1, True))
    low = first_run(lab, block)
    bad = store.runs(state="error").runs[0]
    assert bad.error == "ValueError: 0 is not to my taste"
    assert bad.arguments == "x=⟨result⟩, fail=True"
    assert bad.attempts == 1
    assert bad.seconds == pytest.approx(0.5)
    skipped = store.runs(state="skipped").runs[0]
    assert skipped.error == f"because of run {block}.{low + 1}"


@pytest.mark.parametrize(
    ("filters", "message"),
    [({"state": "tired"}, "no run state 'tired'"), ({"task": "nobody"}, "no task 'nobody'")],
)
def test_wrong_filters_are_refused(
    store: Store, lab_at: Labs, module: ModuleType, filters: dict[str, Any], message: str
) -> None:
    lab_at().run(module.sums(1))
    with pytest.raises(UsageError, match=message):
        store.runs(**filters)


# ------------------------------------------------------------------------------------------------------------- details


def test_a_run_with_its_inputs_and_outputs(store: Store, lab_at: Labs, module: ModuleType) -> None:
    lab = lab_at()
    block = lab.run(module.sums(3))
    low = first_run(lab, block)
    info = store.show(f"{block}.{low + 4}")
    assert isinstance(info, RunInfo)
    assert (info.task, info.state, info.workflow) == ("picky", "complete", "sums")
    assert [(a.port, a.value, a.sources) for a in info.arguments] == [
        ("x", "1", [f"{block}.{low + 1}"]), ("fail", "False", []),
    ]  # fmt: skip
    assert [(o.port, o.value, o.state) for o in info.outputs] == [("result", "1", "complete")]
    assert [(a.number, a.state, a.worker) for a in info.attempts] == [(1, "complete", "local-0")]
    last = store.show(f"run:{low + 6}")
    assert isinstance(last, RunInfo)
    assert last.arguments[0].value == "[0, 1, 2]"
    assert last.arguments[0].sources[0].startswith("datum:")


def test_a_reused_run_says_from_where(store: Store, lab_at: Labs, module: ModuleType) -> None:
    lab = lab_at()
    first = first_run(lab, (one := lab.run(module.sums(2))))
    second = first_run(lab, lab.run(module.sums(2)))
    info = store.show(f"run:{second}")
    assert isinstance(info, RunInfo)
    assert info.reused_from == f"{one}.{first}"
    assert info.attempts == []


def test_a_failed_run_has_its_failure(store: Store, lab_at: Labs, module: ModuleType) -> None:
    lab = lab_at()
    block = lab.run(module.sums(1, True))
    low = first_run(lab, block)
    info = store.show(f"run:{low + 1}")
    assert isinstance(info, RunInfo)
    assert info.failure.startswith("Traceback")
    assert info.attempts[0].reason == "exception"
    skipped = store.show(f"run:{low + 2}")
    assert isinstance(skipped, RunInfo)
    assert skipped.cause == f"{block}.{low + 1}"
    assert skipped.arguments[0].value == "⟨no value⟩"


def test_a_cancelled_run(store: Store, lab_at: Labs, module: ModuleType) -> None:
    lab = lab_at()
    block = lab.submit(module.sums(1))
    lab.turn(lambda turn: control.cancel_block(turn, block))
    assert store.status(block).blocks[0].state == "cancelled"
    assert {r.state for r in store.runs(block=block).runs} == {"cancelled"}


def test_a_datum(store: Store, lab_at: Labs, module: ModuleType) -> None:
    lab = lab_at()
    block = lab.run(module.sums(2))
    low = first_run(lab, block)
    out = runs.get(lab.db, [low + 1])[low + 1].out
    info = store.show(f"datum:{out}")
    assert isinstance(info, DatumInfo)
    assert (info.value, info.made_by, info.kind, info.state) == ("1", f"{block}.{low + 1}", "value", "complete")
    assert info.used_by == [f"{block}.{low + 3}"]
    listed = store.show(store.show(f"run:{low + 4}").arguments[0].sources[0])  # type: ignore[union-attr]
    assert isinstance(listed, DatumInfo)
    assert (listed.kind, listed.value, listed.size) == ("list", "[0, 1]", 2)
    member = store.show(f"datum:{runs.get(lab.db, [low + 2])[low + 2].out}")
    assert isinstance(member, DatumInfo)
    assert member.used_by == [listed.id]


def test_a_pending_datum_knows_its_maker(store: Store, lab_at: Labs, module: ModuleType) -> None:
    lab = lab_at()
    block = lab.submit(module.sums(2))
    low = first_run(lab, block)
    info = store.show(f"datum:{runs.get(lab.db, [low + 3])[low + 3].out}")
    assert isinstance(info, DatumInfo)
    assert (info.state, info.made_by, info.value) == ("pending", f"{block}.{low + 3}", "")


def test_a_block(store: Store, lab_at: Labs, module: ModuleType) -> None:
    lab = lab_at()
    block = lab.run(module.sums(3))
    info = store.show(block)
    assert isinstance(info, BlockInfo)
    assert info.status.name == "sums"
    assert info.result == ["3"]
    assert (info.workflow, info.parent, info.grown_by) == (block, 0, "")


@pytest.mark.parametrize("what", ["run:999", "block:999", "datum:999", "7.1"])
def test_what_is_not_there_is_not_found(store: Store, lab_at: Labs, module: ModuleType, what: str) -> None:
    lab_at().run(module.sums(1))
    with pytest.raises(NotFoundError):
        store.show(what)


def test_a_store_shows_its_workflows_in_a_notebook(store: Store, lab_at: Labs, module: ModuleType) -> None:
    assert repr(store) == f"<store {store.url}>"
    lab_at().run(module.sums(1))
    assert "sums" in store._repr_html_()


@pytest.mark.parametrize("address", ["s3://bucket", "mysql://host/db", "http://host"])
def test_what_is_no_address_of_a_store(address: str) -> None:
    with pytest.raises(ConfigError, match="not a store address"):
        Store(address)


def test_a_store_that_is_not_there(tmp_path: Path) -> None:
    assert "there is no store" in Store(tmp_path / "none")._repr_html_()
    with pytest.raises(NotFoundError, match="there is no store"):
        Store(tmp_path / "none").status()


# ------------------------------------------------------------------------------------------------------ how they look


def test_answers_can_be_encoded_and_shown(store: Store, lab_at: Labs, module: ModuleType) -> None:
    lab = lab_at()
    block = lab.run(module.sums(2, True))
    low = first_run(lab, block)
    status = store.status(block)
    assert msgspec.json.decode(msgspec.json.encode(status), type=Status) == status
    page = store.runs()
    assert msgspec.json.decode(msgspec.json.encode(page), type=RunList) == page
    answers = [status, page, status.blocks[0], *(store.show(w) for w in (block, f"run:{low + 2}", "datum:1"))]
    for answer in answers:
        assert msgspec.json.encode(answer)
        assert str(answer) == repr(answer)
    for answer in answers:
        assert "<table" in answer._repr_html_()
    assert "ValueError: 0 is not to my taste" in str(store.show(f"run:{low + 2}"))
