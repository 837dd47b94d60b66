"""The examples as a user runs them: in a directory of their own, twice."""

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tidemill.client.operations import serving
from tidemill.client.store import Store
from tidemill.model.errors import NotFoundError
from tidemill.testing.crash import wait_for

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(name: str, directory: Path) -> subprocess.CompletedProcess[str]:
    shutil.copy(EXAMPLES / name, directory)
    return subprocess.run([sys.executable, name], cwd=directory, capture_output=True, text=True, check=False)


@pytest.mark.timeout(300)
def test_the_equation_of_state_is_computed_once(tmp_path: Path) -> None:
    first = run("equation_of_state.py", tmp_path)
    assert first.returncode == 0, first.stderr
    table = (tmp_path / "demo-results" / "table.txt").read_text(encoding="utf-8")
    assert table in first.stdout
    # ASE with its own fit gives 3.590 Å for copper, too
    assert [line.split()[1] for line in table.splitlines() if line.startswith("Cu")] == ["3.590"]
    assert (tmp_path / "demo-results" / "eos.png").read_bytes().startswith(b"\x89PNG")
    assert "157 of 157 runs ended" in first.stderr
    second = run("equation_of_state.py", tmp_path)
    assert second.returncode == 0, second.stderr
    assert second.stdout == first.stdout
    assert "157 reused" in second.stderr


@pytest.mark.timeout(300)
def test_the_file_pipeline_is_computed_once(tmp_path: Path) -> None:
    first = run("file_pipeline.py", tmp_path)
    assert first.returncode == 0, first.stderr
    report = (tmp_path / "pipeline-results" / "report.md").read_text(encoding="utf-8")
    assert "argparse.py" in report
    second = run("file_pipeline.py", tmp_path)
    assert second.returncode == 0, second.stderr
    assert (tmp_path / "pipeline-results" / "report.md").read_text(encoding="utf-8") == report
    assert " reused" in second.stderr


@pytest.mark.timeout(300)
def test_the_merge_sort_goes_on_after_a_kill_and_computes_nothing_twice(tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "merge_sort.py", tmp_path)
    dice = random.Random(3)
    # The last line has no end, and some are equal.
    lines = [f"{dice.randrange(20_000)} {'é' * dice.randrange(3)}" for _ in range(40_000)]
    (tmp_path / "unsorted.txt").write_text("\n".join(lines), encoding="utf-8")
    command = [sys.executable, "merge_sort.py", "unsorted.txt"]
    with Store(tmp_path / ".tidemill") as store:
        program = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        wait_for(lambda: bool(_finished(store)), "the first run to end")
        killed = [program.pid, *(engine.pid for engine in serving(store))]
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        program.wait()
        wait_for(lambda: not serving(store), "the engine to be gone")
        before = _finished(store)
        again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert again.returncode == 0, again.stderr
        runs = {run.id: run for run in store.runs(limit=1000).runs}
        assert {runs[one].attempts for one in before} == {1}
        assert {run.state for run in runs.values()} == {"complete"}
        assert sorted(run.task for run in runs.values()) == ["first_piece", *["merge"] * 3, "result", *["sort"] * 7]
        left = [file for file in store.files.list(1) if file.state == "complete"]
        assert [file.name for file in left] == ["merged.txt"], "the other pieces are gone"
    found = (tmp_path / "merge-results" / "sorted.txt").read_text(encoding="utf-8")
    assert found == "".join(f"{line}\n" for line in sorted(lines))


def _finished(store: Store) -> list[str]:
    """Runs that have ended; none before there is a store."""
    try:
        return [run.id for run in store.runs(state="complete", limit=1000).runs]
    except NotFoundError:
        return []
