"""The examples as a user runs them: in a directory of their own, twice."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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
