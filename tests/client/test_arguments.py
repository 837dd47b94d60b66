"""The engine's options inside a program's own argparse, in a real script."""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tidemill.model.errors import UsageError
from tidemill.stores.state import settings
from tidemill.stores.state.open import open_database

SCRIPT = """
import argparse
import tidemill as tm

@tm.task
def double(n: int, bad: bool) -> int:
    if bad and n == 1:
        raise ValueError(n)
    return 2 * n

@tm.workflow
def doubles(n: int, bad: bool):
    return double(tm.sweep(range(n)), bad)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="mine")
    parser.add_argument("n", type=int)
    parser.add_argument("--bad", action="store_true")
    parser.add_argument("--workers", help="the user's own")
    tm.arguments.add(parser, group="the engine", prefix="engine-")
    given = parser.parse_args()
    print(tm.arguments.start(doubles(given.n, given.bad), given, prefix="engine-"), given.workers)
"""


def script(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    (folder / "mine.py").write_text(SCRIPT, encoding="utf-8")
    command = [sys.executable, "mine.py", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)


def test_a_program_takes_the_engines_options_beside_its_own(tmp_path: Path) -> None:
    words = ["3", "--workers", "mine", "--engine-store", "place", "--engine-workers", "2", "--engine-quiet"]
    done = script(tmp_path, *words)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[0, 2, 4] mine\n", "")
    assert not (tmp_path / ".tidemill").exists()
    db = open_database(str(tmp_path / "place"), read_only=True)
    kept = settings.get(db, f"{settings.STARTED}1")
    db.close()
    assert '"workers":2' in kept
    assert all(f'"{word}"' in kept for word in words)


def test_the_first_failure_can_be_the_last(tmp_path: Path) -> None:
    done = script(tmp_path, "3000", "--bad", "--engine-stop-on-failure", "--engine-workers", "1", "--engine-quiet")
    assert done.returncode == 1
    assert "RunFailedError" in done.stderr
    with tm.open(tmp_path / ".tidemill") as store:
        assert store.status(1).blocks[0].cancelled > 0


def test_help_and_mistakes_are_argparses(tmp_path: Path) -> None:
    told = script(tmp_path, "--help").stdout
    assert "the engine:" in told
    assert "--engine-stop-on-failure" in told
    done = script(tmp_path, "3", "--engine-workers", "none")
    assert (done.returncode, "'none' is not a positive integer" in done.stderr) == (2, True)


def test_options_that_were_not_given_are_not_passed_on() -> None:
    assert tm.arguments.of(tm.arguments.parser().parse_args([])) == {}
    assert tm.arguments.of(tm.arguments.defaults(workers=3, store="here", quiet=True)) == {
        "workers": 3, "store": "here", "progress": False,
    }  # fmt: skip
    with pytest.raises(UsageError, match="there is no option 'wrokers'"):
        tm.arguments.defaults(wrokers=3)


TAKEN = st.sampled_from(["store", "objects", "workers", "stop-on-failure", "quiet"])


@given(name=TAKEN, how=st.sampled_from(["option", "positional", "destination", "other destination"]))
def test_names_that_are_taken_are_refused_and_nothing_is_added(name: str, how: str) -> None:
    parser = argparse.ArgumentParser()
    attribute = name.replace("-", "_")
    words: dict[str, tuple[str, dict[str, str]]] = {
        "option": (f"--{name}", {}),
        "positional": (attribute, {}),
        "destination": ("--own", {"dest": attribute}),
        "other destination": (f"--{name}", {"dest": "own"}),
    }
    word, more = words[how]
    parser.add_argument(word, **more)  # type: ignore[arg-type]
    before = parser.format_help()
    with pytest.raises(UsageError, match=f"--{name}") as refused:
        tm.arguments.add(parser)
    assert 'prefix="engine-"' in refused.value.hint
    assert parser.format_help() == before
    tm.arguments.add(parser, prefix="engine-")
    words_given = ["mine"] if how == "positional" else [word, "mine"]
    found = parser.parse_args(
        [*words_given, f"--engine-{name}", *([] if name in ("stop-on-failure", "quiet") else "3")]
    )
    assert getattr(found, more.get("dest", attribute)) == "mine"
    assert len(tm.arguments.of(found, prefix="engine-")) == 1


@pytest.mark.parametrize("workers", [0, -3, True, "2", 1.5])
def test_a_number_of_workers_that_is_none_is_refused(workers: object) -> None:
    with pytest.raises(UsageError, match="workers must be a positive integer"):
        tm.arguments.defaults(workers=workers)
    assert tm.arguments.of(tm.arguments.defaults(workers=None)) == {}


def test_what_is_submitted_takes_the_options_too(tmp_path: Path) -> None:
    given = tm.arguments.defaults(store=str(tmp_path / "place"), workers=1, quiet=True, stop_on_failure=True)
    call: Any = tm.task(abs)(-8)
    handle = call.submit(**tm.arguments.of(given, submit=True))
    assert handle.result() == call.run(**tm.arguments.of(given)) == 8
    db = open_database(str(tmp_path / "place"), read_only=True)
    kept = settings.get(db, f"{settings.STARTED}{handle.block}")
    db.close()
    assert '"workers":1' in kept
    assert '"stop":true' in kept
