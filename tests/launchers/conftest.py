"""Pools of real executors."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tidemill.testing.workers import FakeEngine

SAMPLES = str(Path(__file__).parent.parent / "workers")


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[FakeEngine]:
    with FakeEngine(tmp_path / "own", path=[SAMPLES]) as found:
        yield found
