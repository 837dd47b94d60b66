"""Failures that a workflow deals with itself do not take its result away."""

from pathlib import Path

import pytest

import tidemill as tm


@tm.task
def broken(x: int) -> int:
    raise ValueError(f"no {x}")


@tm.task(on_error="run")
def cope(x: int | None) -> str:
    return f"got {x}"


@tm.workflow
def handled() -> str:
    return cope(broken(1))


@tm.workflow
def half_handled() -> str:
    broken(2)
    return cope(broken(1))


def test_a_workflow_that_copes_with_its_failure_has_a_result(tmp_path: Path) -> None:
    assert handled().run(store=tmp_path, workers=1, progress=False) == "got None"


def test_a_failure_that_nobody_copes_with_is_raised(tmp_path: Path) -> None:
    with pytest.raises(tm.RunFailedError, match="2 of 3 runs failed"):
        half_handled().run(store=tmp_path, workers=1, progress=False)
