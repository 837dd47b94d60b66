"""Random commands at random moments, and crashes: the rows make sense after each, and in the end every result is
right.
"""

import random

import pytest

from tests.engine.commands import Commander, World, check_results, draw_graph
from tests.engine.conftest import Drive
from tidemill.testing.engine import EngineDriver
from tidemill.testing.invariants import check_invariants


def history(d: EngineDriver, world: World, commander: Commander, steps: int) -> None:
    for _ in range(steps):
        chance = world.draw.random()
        if chance < 0.5:
            d.step()
        elif chance < 0.55:
            d.crash()
            d.engine.random.seed(world.draw.random())
        elif chance < 0.6:
            d.clock.now += 10.0
        elif chance < 0.7 and d.up:
            commander.interrupt()
        else:
            commander.do()
        check_invariants(d.engine.db)


def mended(d: EngineDriver, world: World, commander: Commander) -> None:
    world.broken = False
    for _ in range(40):
        d.settle()
        if not commander.mend():
            break
    else:
        raise AssertionError("it is never whole")
    check_invariants(d.engine.db, quiet=True)


def tell(drive: Drive, seed: int) -> None:
    draw = random.Random(seed)
    world = World(draw)
    d = drive(*world.tasks, batch=draw.choice([1, 3, 20]))
    d.engine.random.seed(seed)
    commander = Commander(d, world)
    submitted = []
    for i in range(draw.randint(1, 3)):
        drawn = draw_graph(world, d.graph())
        block = d.submit(drawn.graph, key=str(i), size=draw.choice([4, 500]), options=draw.choice([0, 0, 1]))
        submitted.append((block, drawn))
    history(d, world, commander, draw.randint(5, 40))
    mended(d, world, commander)
    for block, drawn in submitted:
        check_results(d, block, drawn)


@pytest.mark.parametrize("seed", range(12))
def test_random_commands(drive: Drive, seed: int) -> None:
    tell(drive, seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 400))
def test_many_random_commands(drive: Drive, seed: int) -> None:
    tell(drive, seed)
