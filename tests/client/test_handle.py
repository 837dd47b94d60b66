"""Work that goes on by itself: submitted, waited for, cancelled, on both databases with real processes."""

import importlib
import pickle
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import tidemill as tm
from tidemill.client.details import RunInfo
from tidemill.client.handle import Handle
from tidemill.client.store import Store
from tidemill.model.errors import NotFoundError, RunCancelledError, RunFailedError, UsageError, WiringError

LOCKED = """
import time
from pathlib import Path
import tidemill as tm


@tm.task
def wait_for(name: str) -> str:
    while not Path(name).exists():
        time.sleep(0.01)
    return name


@tm.workflow
def patient(name: str):
    return wait_for(name)
"""


@pytest.fixture
def toys(toy: Path) -> ModuleType:
    (toy / "locked.py").write_text(LOCKED, encoding="utf-8")
    return importlib.import_module("toy")


@pytest.fixture
def patient(toys: ModuleType) -> Any:
    return importlib.import_module("locked").patient


def test_a_submitted_workflow_is_waited_for(url: str, toys: ModuleType) -> None:
    handle = toys.sums(4).submit(store=url, workers=2)
    assert isinstance(handle, Handle)
    assert handle.result(60) == 6
    assert handle.done
    assert handle.status.state == "complete"
    assert handle.exception() is None
    assert f"block {handle.block}" in repr(handle)
    assert "<table" in handle._repr_html_()


def test_results_are_found_by_what_they_are_called(url: str, toys: ModuleType) -> None:
    block = toys.sums(4).submit(store=url, workers=2).block
    failed = toys.sums(1, True).submit(store=url, workers=1)
    with tm.open(url) as store:
        assert store.handle(block).result(60) == 6
        assert store.result(block) == 6
        for run in store.runs(block=block).runs:
            shown = store.show(run.id)
            assert isinstance(shown, RunInfo)
            assert store.result(run.id) == store.result(shown.outputs[0].id)
        assert store.result(run.id) == 6
        failed.wait(60)
        with pytest.raises(RunFailedError, match="not to my taste"):
            store.result(failed.block)
        bad = next(run.id for run in store.runs(block=failed.block).runs if run.state == "error")
        with pytest.raises(RunFailedError, match=f"run {bad} has no result: it is error"):
            store.result(bad)
        for absent in (99, "99.1", "datum:999"):
            with pytest.raises((NotFoundError, RunFailedError)):
                store.result(absent)
        with pytest.raises(NotFoundError):
            store.handle(99)


def test_a_workflow_under_way_has_no_result(url: str, patient: Any, tmp_path: Path) -> None:
    handle = patient(str(tmp_path / "go")).submit(store=url, workers=1)
    with tm.open(url) as store, pytest.raises(RunFailedError, match="has not ended"):
        store.result(handle.block)
    (tmp_path / "go").touch()
    assert handle.result(60) == str(tmp_path / "go")


def test_it_goes_on_without_its_program(url: str, patient: Any, tmp_path: Path) -> None:
    handle = patient(str(tmp_path / "go")).submit(store=url, workers=1)
    assert not handle.wait(0.0)
    with pytest.raises(TimeoutError, match="has not ended"):
        handle.result(0.0)
    # another program, knowing only where and which
    again: Handle = pickle.loads(pickle.dumps(handle))
    (tmp_path / "go").touch()
    assert again.result(60) == str(tmp_path / "go")
    assert handle.result() == str(tmp_path / "go")


def test_a_failure_is_raised_where_the_result_is_wanted(url: str, toys: ModuleType) -> None:
    handle = toys.sums(1, True).submit(store=url, workers=1)
    assert isinstance(handle.exception(60), RunFailedError)
    with pytest.raises(RunFailedError, match="0 is not to my taste"):
        handle.result()


def test_a_cancelled_one_has_no_result(url: str, patient: Any, tmp_path: Path) -> None:
    handle = patient(str(tmp_path / "never")).submit(store=url, workers=1)
    handle.cancel()
    assert handle.done
    assert handle.status.state == "cancelled"
    with pytest.raises(RunCancelledError, match="was cancelled"):
        handle.result()


def test_nothing_is_stored_of_what_does_not_fit(tmp_path: Path, toys: ModuleType) -> None:
    @tm.workflow
    def wrong() -> Any:
        return toys.total(1, 2)

    with pytest.raises(WiringError):
        wrong().submit(store=tmp_path / "store")
    assert not (tmp_path / "store" / "state.db").exists()


@pytest.mark.parametrize("workers", [0, -1, True])
def test_a_wrong_number_of_workers(tmp_path: Path, toys: ModuleType, workers: int) -> None:
    with pytest.raises(UsageError, match="workers must be a positive integer"):
        toys.sums(1).submit(store=tmp_path / "store", workers=workers)
    with pytest.raises(UsageError, match="workers must be a positive integer"):
        Store(tmp_path / "store").run(toys.sums(1), workers=workers)
