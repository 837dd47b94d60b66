"""One executor for the tests that leave it as it was, and one of its own for each test that does not."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tidemill.model.spec import Port
from tidemill.testing.workers import FakeEngine, python_spec

HERE = str(Path(__file__).parent)

Sample = Callable[..., int]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeEngine]:
    with FakeEngine(tmp_path_factory.mktemp("shared"), path=[HERE], inline=10_000) as found:
        yield found


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[FakeEngine]:
    with FakeEngine(tmp_path / "own", path=[HERE]) as found:
        yield found


def sample(engine: FakeEngine, name: str, inputs: tuple[Port | str, ...] = ("x",), **options: Any) -> int:
    """A task of the function `name` of samples.py."""
    return engine.task(python_spec(name, inputs, module="samples", **options))


@pytest.fixture(name="sample")
def sample_fixture() -> Sample:
    return sample
