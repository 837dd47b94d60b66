"""A lab on each database, and a project whose code changes."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab, Project

METALS = """
import tidemill as tm

FACTOR = $factor


def helper(x):
    $comment
    return x * $times


@tm.task
def energy(symbol: str, a: float) -> float:
    return helper(a) + FACTOR


@tm.task
def fit(e: list[float], k: int) -> float:
    return $fit


@tm.task
def broken(x: float) -> float:
    raise ValueError("no good")


@tm.task(cache=False)
def clock(x: float) -> float:
    return x


@tm.task
def report(x: float) -> float:
    return x


@tm.workflow
def scan(n: int = 3, k: int = 0, symbol: str = "Cu"):
    return fit(energy(symbol, tm.sweep(range(n))), k)


@tm.workflow
def chain(k: int):
    f = fit(energy("Cu", tm.sweep(range(3))), k)
    return report(broken(f)), report(clock(f))
"""


@pytest.fixture(params=["sqlite", "postgres"])
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    url = str(tmp_path) if request.param == "sqlite" else request.getfixturevalue("postgres_database")
    found = Lab(url)
    yield found
    found.close()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield Project(folder, "metals", METALS, factor=1, times=2, fit="sum(e) + k", comment="")
    sys.modules.pop("metals", None)
