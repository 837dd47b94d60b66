"""Stores filled by an engine in this process, and stores worked on by real processes."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab import Lab
from tests.objects.conftest import _credentials, moto  # noqa: F401 - fixtures
from tidemill.client.store import Store

TOY = """
import sys
import tidemill as tm
from pathlib import Path


@tm.task
def number(i: int) -> int:
    print("number", i)
    return i


@tm.task
def picky(x: int, fail: bool) -> int:
    print("looking at", x)
    print("and thinking", file=sys.stderr)
    if fail:
        raise ValueError(f"{x} is not to my taste")
    return x


@tm.task
def total(xs: list[int]) -> int:
    return sum(xs)


@tm.task
def note(x: int) -> Path:
    Path("note.txt").write_text(str(x))
    return Path("note.txt")


@tm.task
def folder(x: int) -> Path:
    Path("out").mkdir()
    Path("out/a.txt").write_text("a" * x)
    return Path("out")


@tm.task
def read(file: Path, big: bytes) -> int:
    return len(file.read_text()) + len(big)


dice = tm.command("head -c 16 /dev/urandom > {out}; echo {n} >> {out}", inputs={"n": int}, outputs={"out": "dice"})


@tm.workflow
def sums(n: int = 3, fail: bool = False):
    return total(picky(number(tm.sweep(range(n))), fail))


@tm.workflow
def files(n: int):
    made = note(n)
    return read(made, b"x" * 100_000), made, folder(n)
"""


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project with the module `toy`."""
    (tmp_path / "toy.py").write_text(TOY, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    sys.modules.pop("toy", None)
    yield tmp_path
    sys.modules.pop("toy", None)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty store on each database."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return str(tmp_path / "store") if request.param == "sqlite" else request.getfixturevalue("postgres_database")


@pytest.fixture
def lab_at(url: str) -> Iterator[Callable[[], Lab]]:
    """Labs on the store, one after the other or beside each other."""
    made: list[Lab] = []

    def make() -> Lab:
        if "://" not in url:
            Path(url).mkdir(exist_ok=True)
        made.append(Lab(url))
        return made[-1]

    yield make
    for lab in made:
        lab.close()


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with Store(url) as found:
        yield found
