"""A step's directory made again, with its inputs and a script that executes it."""

import json
import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run

FLOW = """
import tidemill as tm
from pathlib import Path

@tm.task
def text(n: int) -> Path:
    Path("a file.txt").write_text("line\\n" * n)
    return Path("a file.txt")

sort = tm.command("cat {file} | head -n {n} > {out}; echo {name} >&2; exit {code}", name="sort",
    inputs={"file": Path, "n": int, "name": str, "code": int}, outputs={"out": "results/out.txt"})
shout = tm.command("echo {word}", name="shout", inputs={"word": str}, stdout={"said": tm.File})

@tm.task
def length(file: Path, big: bytes) -> int:
    return len(file.read_text()) + len(big)

@tm.task
def both(one: Path, two: Path) -> str:
    Path("left behind").write_text("by both")
    return f"{one.read_text().strip()}, then {two.read_text().strip()}"

@tm.workflow
def main(code: int = 3):
    made = text(5)
    return sort(made, 2, "it's", code), length(made, b"x" * 100_000), shout("a b"), both(made, text(6))
"""


@pytest.fixture
def laid(cli: Run, folder: Path) -> Run:
    (folder / "flow.py").write_text(FLOW, encoding="utf-8")
    assert cli("run", "flow.py", "-q").code == 1
    return cli


def runs(cli: Run) -> dict[str, str]:
    return {r["task"]: r["id"] for r in json.loads(cli("list", "--json").out)["runs"]}


def lay(cli: Run, task: str, *words: str) -> dict[str, Any]:
    done = cli("debug", runs(cli)[task], "--json", *words)
    assert done.code == 0, done.err
    found: dict[str, Any] = json.loads(done.out)
    return found


def test_a_failed_command_is_executed_again_by_hand(laid: Run, folder: Path) -> None:
    found = lay(laid, "sort", "--directory", "again")
    assert found["command"] == "cat 'inputs/a file.txt' | head -n 2 > results/out.txt; echo 'it'\"'\"'s' >&2; exit 3"
    assert found["inputs"] == {"file": "'inputs/a file.txt'", "n": "2", "name": '"it\'s"', "code": "3"}
    where = folder / "again"
    assert (where / "inputs" / "a file.txt").read_text() == "line\n" * 5
    done = subprocess.run([found["script"]], cwd="/", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (3, "it's\n")
    assert (where / "results" / "out.txt").read_text() == "line\n" * 2
    text = laid("debug", runs(laid)["sort"], "--directory", "third").out
    assert found["command"] in text
    refused = laid("debug", runs(laid)["sort"], "--directory", "again")
    assert (refused.code, "is not an empty directory" in refused.err) == (2, True)


def test_files_are_private_copies(laid: Run, folder: Path) -> None:
    lay(laid, "sort", "--directory", "again")
    copy = folder / "again" / "inputs" / "a file.txt"
    assert copy.stat().st_nlink == 1
    assert copy.stat().st_mode & stat.S_IWUSR
    copy.write_text("changed")
    lay(laid, "sort", "--directory", "third")
    assert (folder / "third" / "inputs" / "a file.txt").read_text() == "line\n" * 5


def test_standard_output_goes_to_its_file(laid: Run) -> None:
    found = lay(laid, "shout", "--directory", "new")
    subprocess.run([found["script"]], check=True)
    assert (Path(found["directory"]) / "said").read_text() == "a b\n"


def test_a_function_is_executed_by_debug(laid: Run, folder: Path) -> None:
    found = lay(laid, "length", "--directory", "new")
    assert found["command"] == ""
    assert found["inputs"]["file"] == "'inputs/a file.txt'"
    assert len(found["inputs"]["big"]) <= 1000
    done = subprocess.run([found["script"]], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout == "100025\n"


def test_a_function_runs_in_its_directory_with_what_is_there(laid: Run, folder: Path, tmp_path_factory: Any) -> None:
    temporary = tmp_path_factory.mktemp("temporary")
    found = lay(laid, "both", "--directory", "new")
    inputs = folder / "new" / "inputs"
    (inputs / "a file.txt").write_text("mine")
    (inputs / "2" / "a file.txt").write_text("second")
    for _ in range(2):
        done = subprocess.run(
            [found["script"]],
            cwd="/",
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"TMPDIR": str(temporary)},
        )
        assert done.stdout == "mine, then second\n"
    assert (folder / "new" / "left behind").read_text() == "by both"
    assert f"its files are in {folder / 'new'}\n" in done.stderr
    assert list(temporary.iterdir()) == []
    (inputs / "a file.txt").unlink()
    gone = subprocess.run([found["script"]], cwd="/", capture_output=True, text=True, check=False)
    assert (gone.returncode, "FileNotFoundError" in gone.stderr) == (1, True)
    run = runs(laid)["both"]
    assert laid("debug", run, "--in", "nowhere").code == 2
    assert laid("debug", run, "--in", "new", "--directory", "other").code == 2


def test_a_shell_is_opened_where_the_inputs_are(laid: Run, folder: Path) -> None:
    shell = folder / "shell"
    shell.write_text('#!/bin/sh\npwd; ls; echo "$TIDEMILL_RUN"; echo "$TIDEMILL_STORE"; exit 7\n')
    shell.chmod(0o755)
    done = laid("debug", runs(laid)["sort"], "--shell", "--directory", "again", SHELL=str(shell))
    where = os.path.realpath(folder / "again")
    assert done.code == 7
    assert done.out.split() == [where, "inputs", "results", "run.sh", runs(laid)["sort"], str(folder / ".tidemill")]
    assert "exit 3" in done.err
    assert laid("debug", runs(laid)["sort"], "--shell", "--json").code == 2
    assert laid("debug", runs(laid)["sort"], "--shell", "--pdb").code == 2
