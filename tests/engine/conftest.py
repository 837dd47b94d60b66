"""The engine's tests run on both databases, driven without processes."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tidemill.testing.engine import EngineDriver
from tidemill.testing.graphs import Task
from tidemill.testing.invariants import check_invariants

DATABASES = ["sqlite", "postgres"]


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store on each database."""
    if request.param == "sqlite":
        return str(tmp_path)
    return str(request.getfixturevalue("postgres_database"))


Drive = Callable[..., EngineDriver]


@pytest.fixture
def drive(url: str) -> Iterator[Drive]:
    """Drivers over one store; at the end its rows must make sense."""
    drivers: list[EngineDriver] = []

    def make(*tasks: Task, **options: object) -> EngineDriver:
        drivers.append(EngineDriver(url, tasks, **options))  # type: ignore[arg-type]
        return drivers[-1]

    yield make
    for driver in drivers:
        check_invariants(driver.engine.db)
        driver.close()
