"""The report of a failure: everything a user needs, in one place."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.client.worked import worked
from tidemill.client.store import Store
from tidemill.model.errors import RunFailedError


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return worked(tmp_path_factory.mktemp("failed"), "sums(3, True)")


def test_the_error_has_the_reports(failed: Store) -> None:
    with pytest.raises(RunFailedError) as caught:
        failed.result(1)
    text = str(caught.value)
    assert text.startswith("sums: 3 of 7 runs failed, 1 skipped")
    assert text.count("✗ picky") == 3
    assert caught.value.run == "1.4"


def test_a_report_has_all_that_is_needed(failed: Store, check: Callable[[str, str], None]) -> None:
    text = str(failed.failures(1)[1])
    for line in (
        "✗ picky (run 1.5)",
        "  ValueError: 1 is not to my taste",
        "  Traceback (most recent call last):",
        '    raise ValueError(f"{x} is not to my taste")',
        "  inputs:",
        "    x     1  ← 1.2",
        "    fail  True",
        "  last lines it printed:",
        "    looking at 1",
        "    and thinking",
    ):
        check(line, text)
    assert text.splitlines()[-1] == f"  run it alone, here: tidemill debug 1.5 --store {failed.url}"
    assert "tidemill/workers" not in text


@pytest.fixture
def check() -> Callable[[str, str], None]:
    def inside(line: str, text: str) -> None:
        assert any(found.endswith(line) for found in text.splitlines()), text

    return inside


def test_attempts_are_listed_if_there_were_several(tmp_path: Path) -> None:
    store = worked(tmp_path, "picky.options(retries=2, backoff=0.0)(1, True)")
    report = store.failures(1)[0]
    assert [a.state for a in report.attempts] == ["error"] * 3
    lines = str(report).splitlines()
    assert "  3 attempts:" in lines
    assert sum("ValueError: 1 is not to my taste" in line for line in lines) >= 4
