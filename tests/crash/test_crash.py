"""Killing everything at random points: the same command continues, and nothing acknowledged is lost or done twice.

`pytest -m long tests/crash` kills several hundred times and says what it found.
"""

import random
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from tidemill.stores.state.database import Statement
from tidemill.stores.state.open import open_database
from tidemill.testing.crash import (
    KILLS,
    Reference,
    Report,
    Trial,
    What,
    completions,
    every_run,
    label_of,
    run_uninterrupted,
)
from tidemill.testing.crash_flows import SHAPES

TRIALS = 16
"""Of each shape, in the long campaign; with 1 to 6 kills each."""


def trial(directory: Path, shape: str, seed: int, kills: list[What], reference: Reference) -> Report:
    draw = random.Random(seed)
    found = Trial(directory / str(seed), shape, seed)
    for what in kills:
        left = reference.executions - len(found.executions())
        found.hurt(what, draw.randint(0, max(1, left // 2)))
    return found.finish(reference)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_command_continues(shape: str, tmp_path: Path) -> None:
    """Each shape with four of the seven kinds of kill, a different choice for each."""
    seed = list(SHAPES).index(shape)
    reference = run_uninterrupted(tmp_path / "reference", shape)
    trial(tmp_path, shape, seed, [KILLS[(seed + i) % len(KILLS)] for i in (0, 2, 3, 5)], reference)


def test_successors_come_in_order_though_workers_die(tmp_path: Path) -> None:
    """Children and follow-ons, at every second execution the death of a worker: each job once, in the only order."""
    reference = run_uninterrupted(tmp_path / "reference", "successors")
    found = Trial(tmp_path / "trial", "successors", 7)
    found.start()
    while found.running():
        found.hurt("worker", 2)
    report = found.finish(reference)
    assert report.kills["worker"] > 1
    with closing(open_database(str(found.store), read_only=True)) as db:
        labels = {run.id: label_of(run) for run in every_run(db)}
        assert "".join(label for run in completions(db) if len(label := labels[run]) == 1) == "ABCDEFG"
        replaced = db.rows(Statement("select count(*) from worker where parent is not null"))[0][0] - 2
        assert replaced > 1, "workers that die are replaced"


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("shape", SHAPES)
def test_campaign(shape: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reference = run_uninterrupted(tmp_path / "reference", shape)
    kills: Counter[What] = Counter()
    repeated = []
    for seed in range(TRIALS):
        draw = random.Random(f"{shape} {seed}")
        chosen = draw.choices(KILLS, k=draw.randint(1, 6))
        report = trial(tmp_path, shape, seed, chosen, reference)
        kills += report.kills
        repeated.append(report.repeated / report.kills.total())
    with capsys.disabled():
        sys.stdout.write(
            f"\n{shape}: {TRIALS} trials, {kills.total()} kills ({', '.join(f'{n} {w}' for w, n in kills.items())}); "
            f"executions repeated per kill: {sum(repeated) / TRIALS:.2f} on average, {max(repeated):.2f} at most\n"
        )
