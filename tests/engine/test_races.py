"""Several engines on one PostgreSQL store, in threads: claims, completions, growth and commands at the same time."""

import random
import threading
import traceback
from collections.abc import Callable

import pytest

from tests.engine.commands import Commander, Drawn, World, check_results, draw_graph
from tidemill.testing.engine import EngineDriver, StandingClock
from tidemill.testing.graphs import Task
from tidemill.testing.invariants import check_invariants


class Crowd:
    """Drivers of one store, each in a thread of its own.

    Args:
        first: what the first one does beside its work.
    """

    def __init__(self, url: str, world: World, engines: int) -> None:
        clock = StandingClock()
        self.drivers = [EngineDriver(url, world.tasks, clock=clock, batch=8, shared=True) for _ in range(engines)]
        self.stop = threading.Event()
        self.problems: list[str] = []

    def race(self, first: Callable[[EngineDriver], None]) -> None:
        """Let all work until the first one is done."""

        def lead() -> None:
            try:
                first(self.drivers[0])
            finally:
                self.stop.set()

        threads = [threading.Thread(target=self._watch, args=(lead,))]
        threads += [threading.Thread(target=self._watch, args=(lambda d=d: self._work(d),)) for d in self.drivers[1:]]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert not self.problems, "\n".join(self.problems)

    def _work(self, d: EngineDriver) -> None:
        while not self.stop.is_set():
            if not d.step():
                self.stop.wait(0.001)

    def _watch(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException:  # noqa: BLE001  whatever it is, the test must hear of it
            self.problems.append(traceback.format_exc())
            self.stop.set()

    def settle(self) -> None:
        """Work one after the other until there is nothing left to do."""
        while True:
            if any(d.step() for d in self.drivers):
                continue
            timers = [d.engine.next_timer for d in self.drivers]
            if min(timers) == float("inf"):
                break
            self.drivers[0].clock.now = max(self.drivers[0].clock.now, *timers)
        check_invariants(self.drivers[0].engine.db, quiet=True)

    def close(self) -> None:
        for d in self.drivers:
            d.close()


def submit_all(d: EngineDriver, world: World, n: int) -> list[tuple[int, Drawn]]:
    submitted = []
    for i in range(n):
        drawn = draw_graph(world, d.graph())
        submitted.append((d.submit(drawn.graph, key=str(i), size=7), drawn))
    return submitted


@pytest.mark.parametrize(("seed", "engines"), [(1, 2), (2, 2), (3, 4)])
def test_claims_and_completions_race(postgres_database: str, seed: int, engines: int) -> None:
    world = World(random.Random(seed))
    world.broken = False
    crowd = Crowd(postgres_database, world, engines)
    submitted: list[tuple[int, Drawn]] = []

    def lead(d: EngineDriver) -> None:
        submitted.extend(submit_all(d, world, 12))
        while not any(x.log for x in crowd.drivers[1:]) and not crowd.stop.wait(0.001):
            pass  # the others have begun before it takes part
        while any(d.block(b).state < 2 for b, _ in submitted):
            d.step()

    crowd.race(lead)
    crowd.settle()
    d = crowd.drivers[0]
    for block, drawn in submitted:
        check_results(d, block, drawn)
    executed = sum(len(x.log) for x in crowd.drivers)
    ((attempts, runs),) = d.rows("select count(*), count(distinct run) from attempt")
    assert attempts == runs == executed  # nobody executed what another one held
    assert sum(1 for x in crowd.drivers if x.log) > 1
    crowd.close()


@pytest.mark.parametrize("seed", range(4))
def test_commands_race_with_work(postgres_database: str, seed: int) -> None:
    world = World(random.Random(100 + seed))
    crowd = Crowd(postgres_database, world, 3)
    submitted: list[tuple[int, Drawn]] = []
    commander = Commander(crowd.drivers[0], world)

    def lead(d: EngineDriver) -> None:
        submitted.extend(submit_all(d, world, 3))
        for _ in range(40):
            if world.draw.random() < 0.4:
                d.step()
            else:
                commander.do()

    crowd.race(lead)
    check_invariants(crowd.drivers[0].engine.db)
    world.broken = False
    for _ in range(40):
        crowd.settle()
        if not commander.mend():
            break
    else:
        raise AssertionError("it is never whole")
    for block, drawn in submitted:
        check_results(crowd.drivers[0], block, drawn)
    crowd.close()


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10, 60))
def test_commands_race_with_work_for_long(postgres_database: str, seed: int) -> None:
    test_commands_race_with_work(postgres_database, seed)


def test_an_engine_that_is_gone_is_taken_over_by_another(postgres_database: str) -> None:
    world = World(random.Random(5))
    world.broken = False
    crowd = Crowd(postgres_database, world, 2)
    one, other = crowd.drivers
    submitted = submit_all(one, world, 3)
    one.step()
    other.step()
    dead = one.engine.id
    one.close()
    other.reap(dead)
    other.settle()
    for block, drawn in submitted:
        check_results(other, block, drawn)
    check_invariants(other.engine.db, quiet=True)
    other.close()


def test_a_store_is_made_once_however_many_open_it(postgres_database: str) -> None:
    problems: list[str] = []

    def enter() -> None:
        try:
            EngineDriver(postgres_database, []).close()
        except BaseException:  # noqa: BLE001  whatever it is, the test must hear of it
            problems.append(traceback.format_exc())

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("well", [True, False])
def test_an_equal_run_of_another_engine_is_waited_for(postgres_database: str, well: bool) -> None:
    clock = StandingClock()
    broken = ["once"] * (not well)

    def number(x: int) -> int:
        if broken:
            broken.clear()
            raise ValueError("not this time")
        return x

    tasks = [Task("number", number), Task("double", lambda x: 2 * x)]
    one, two = (EngineDriver(postgres_database, tasks, clock=clock, shared=True) for _ in range(2))
    blocks: list[int] = []
    for d in (one, two):
        g = d.graph()
        first = g.run("number", 7)
        g.result = [g.run("double", first)]
        blocks.append(d.submit(g, key=str(len(blocks))))
        if d is one:
            (claimed,) = one.take()
    for _ in range(3):
        two.step()
    assert not two.log, "there is nothing to do but to wait"
    outcome = one.execute(claimed)
    assert outcome is not None
    one.hand_in(outcome)
    while two.step() or one.step():
        pass
    assert two.results(blocks[1]) == [14]
    assert one.count("number") + two.count("number") == 1 + (not well)
    assert one.block(blocks[1]).reused == (2 if well else 0)
    for d in (one, two):
        check_invariants(d.engine.db, quiet=True)
        d.close()
