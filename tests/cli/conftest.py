"""The command as users start it, in a directory with a script."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

SCRIPT = """
import enum
import os
from pathlib import Path
from typing import Optional

import tidemill as tm


class Mode(enum.Enum):
    FAST = "fast"
    SLOW = "slow"


@tm.task
def number(i: int) -> int:
    return i


@tm.task
def picky(x: int) -> int:
    print("looking at", x)
    if not os.path.exists(os.environ.get("GATE", "/")):
        raise ValueError(f"{x} is not to my taste")
    return x


@tm.task
def total(xs: list[int]) -> int:
    return sum(xs)


@tm.task
def describe(n: int, name: str, scale: float, sizes: list[int], mode: Mode, file: Path, note: Optional[str]) -> dict:
    found = {"n": n, "name": name, "scale": scale, "sizes": sizes, "note": note}
    return {**found, "mode": mode.value, "file": file.read_text()}


@tm.workflow
def sums(n: int = 3):
    return total(picky(number(tm.sweep(range(n)))))


@tm.workflow
def settings(n: int, name: str, scale: float, sizes: list[int], mode: Mode, file: Path, note: Optional[str] = None):
    return describe(n, name, scale, sizes, mode, file, note)


@tm.workflow
def anything(x, *more, **rest):
    return describe(x, str(rest), 1, list(more), Mode.FAST, Path("input.txt"), None)


if __name__ == "__main__":
    raise SystemExit("the main part was executed")
"""


class Done(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Done]


def start(*argv: object, cwd: Path, **environment: str) -> "subprocess.Popen[str]":
    """`tidemill` with these arguments, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "tidemill", *map(str, argv)],
        cwd=cwd,
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def tidemill(*argv: object, cwd: Path, stdin: str = "", **environment: str) -> Done:
    """Exit code and what was printed."""
    with start(*argv, cwd=cwd, **environment) as process:
        out, err = process.communicate(stdin, timeout=60)
    return Done(process.returncode, out, err)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "flow.py").write_text(SCRIPT, encoding="utf-8")
    (tmp_path / "input.txt").write_text("hello", encoding="utf-8")
    return tmp_path


@pytest.fixture
def cli(folder: Path) -> Run:
    """Starts the command in the script's directory."""

    def run(*argv: object, stdin: str = "", **environment: str) -> Done:
        return tidemill(*argv, cwd=folder, stdin=stdin, **environment)

    return run
