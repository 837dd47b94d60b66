"""Killing everything at random points: the same command continues, and nothing acknowledged is lost or done twice."""

import random
from pathlib import Path

import pytest

from tidemill.testing.crash import KILLS, Report, Trial, run_uninterrupted
from tidemill.testing.crash_flows import SHAPES

LONG = 60
"""Trials of each shape in the long campaign."""


def trial(directory: Path, shape: str, seed: int, kills: int) -> Report:
    reference = run_uninterrupted(directory / "reference", shape)
    draw = random.Random(seed)
    found = Trial(directory / str(seed), shape, seed)
    left = reference.executions
    for what in draw.sample(KILLS, kills):
        found.hurt(what, draw.randint(0, max(1, left // 2)))
        left = reference.executions - len(found.executions())
    return found.finish(reference)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_command_continues(shape: str, tmp_path: Path) -> None:
    trial(tmp_path, shape, seed=list(SHAPES).index(shape), kills=4)
