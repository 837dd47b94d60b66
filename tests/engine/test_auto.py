"""Requests taken from earlier attempts, and the figures they are taken from, on both databases."""

import pytest

from tests.engine.conftest import Drive
from tidemill.client.usage import proposals, task_uses
from tidemill.engine import auto
from tidemill.model.amounts import spare_bytes, spare_seconds
from tidemill.model.delta import ClassSpec
from tidemill.model.protocol import Outcome
from tidemill.model.spec import AUTO, Resources
from tidemill.model.states import AttemptState
from tidemill.stores.state import usage
from tidemill.testing.engine import EngineDriver, StandingClock
from tidemill.testing.graphs import Task

MIB = 1 << 20
ASKING = Resources(cpus=0.5, memory=AUTO, disk=AUTO, like="work")


def used(d: EngineDriver, task: str, *figures: tuple[float, float, int, int]) -> int:
    """Complete runs of a task with (wall, cpu, memory, disk); their block."""
    g = d.graph()
    for i in range(len(figures)):
        g.run(task, i, len(d.log), object_id(d))
    block = d.submit(g)
    for claimed, (wall, cpu, rss, disk) in zip(d.take(), figures, strict=True):
        o = d.execute(claimed)
        assert isinstance(o, Outcome)
        o.t1, o.cpu, o.rss, o.disk = o.t0 + wall, cpu, rss, disk
        d.hand_in(o)
    return block


def object_id(d: EngineDriver) -> int:
    """Something that is different each time, so that nothing is reused."""
    return int(d.rows("select count(*) from run")[0][0])


def asked(d: EngineDriver, resources: Resources = ASKING) -> Resources:
    """The resources of the class of a new run."""
    g = d.graph()
    slot = g.run("work", "new", object_id(d), resources=resources)
    run = d.run_id(d.submit(g), slot)
    (claimed,) = d.take()
    d.hand_in(Outcome(claimed.run, claimed.fence, int(AttemptState.ERROR), [], 0.0, 0.0, rss=1 << 50))
    return d.engine.classes[d.run(run).cls].spec.resources


def test_nothing_is_asked_for_where_nothing_is_known(drive: Drive) -> None:
    d = drive(Task("work"))
    assert asked(d) == Resources(cpus=0.5)


def test_a_request_is_what_complete_attempts_used_and_some_more(drive: Drive) -> None:
    d = drive(Task("work"), Task("other"))
    used(d, "work", (1.0, 1.0, 100 * MIB, 0), (1.0, 1.0, 300 * MIB, 7 * MIB))
    used(d, "other", (1.0, 1.0, 9000 * MIB, 9000 * MIB))
    first = asked(d)
    assert first == Resources(cpus=0.5, memory=384 * MIB, disk=9 * MIB)
    assert asked(d, Resources(memory=5, disk=AUTO, like="work")) == Resources(memory=5, disk=9 * MIB)
    used(d, "work", (1.0, 1.0, 1000 * MIB, 0))
    assert asked(d).memory == 1280 * MIB


class SlowClock(StandingClock):
    """A hundredth of a second goes by whenever somebody looks."""

    def monotonic(self) -> float:
        self.now += 0.01
        return self.now


def test_an_answer_that_took_long_holds_for_a_while(drive: Drive) -> None:
    d = drive(Task("work"), clock=SlowClock())
    used(d, "work", (1.0, 1.0, 300 * MIB, 0))
    wanted = ClassSpec(0, 1.0, ASKING)

    def answer() -> int:
        with d.engine.turn() as turn:
            return auto.settled(d.engine, turn.db, wanted).resources.memory

    assert answer() == 384 * MIB
    used(d, "work", (1.0, 1.0, 1000 * MIB, 0))
    until = d.engine.peaks["work"][0]
    d.clock.now = until - 1.0
    assert answer() == 384 * MIB
    d.clock.now = until
    assert answer() == 1280 * MIB


def test_figures_by_task(drive: Drive) -> None:
    d = drive(Task("work", options={"resources": Resources(memory=AUTO), "timeout": 9.0}), Task("other"))
    block = used(d, "work", (4.0, 1.0, 10, 0), (1.0, 2.0, 30, 50), (3.0, 3.0, 20, 0), (2.0, 4.0, 60, 0))
    used(d, "other", (1.0, 0.5, 8, 0))
    used(d, "work", (100.0, 5.0, 1000, 0))
    other, work = task_uses(d.engine.db)
    assert (other.name, other.number, work.name, work.number) == ("other", 1, "work", 5)
    assert other.disk is None
    (here,) = task_uses(d.engine.db, block)
    assert here.wall is not None
    assert here.memory is not None
    assert here.disk is not None
    wall, memory, disk = here.wall, here.memory, here.disk
    assert (wall.least, wall.median, wall.mean, wall.most, wall.total) == (1.0, 2.5, 2.5, 4.0, 10.0)
    assert (memory.least, memory.median, memory.mean, memory.most, memory.total) == (10, 25, 30, 60, 120)
    assert (disk.least, disk.most) == (50, 50)
    found = {(p.task, p.option): (p.declared, p.used, p.proposed) for p in proposals(d.engine.db, block)}
    assert found == {
        ("work", "memory"): (AUTO, 60, MIB),
        ("work", "disk"): (0, 50, MIB),
        ("work", "timeout"): (9.0, 4.0, 4.8),
    }
    assert {p.proposed for p in proposals(d.engine.db) if p.option == "timeout"} == {120.0, 1.2}


def test_failed_attempts_do_not_count(drive: Drive) -> None:
    d = drive(Task("work"))
    asked(d)
    assert task_uses(d.engine.db) == []
    assert usage.peaks(d.engine.db, "work", 100, 100) == (0, 0)


@pytest.mark.parametrize(
    ("used", "proposed"), [(0, 0), (1, MIB), (MIB, 2 * MIB), (300 * MIB, 384 * MIB), (10 << 30, 12 << 30)]
)
def test_bytes_are_rounded_up(used: int, proposed: int) -> None:
    assert spare_bytes(used) == proposed


@pytest.mark.parametrize(("used", "proposed"), [(0.001, 1.0), (4.0, 4.8), (10.0, 12.0), (3000.0, 3600.0), (3001, 3700)])
def test_seconds_are_rounded_up(used: float, proposed: float) -> None:
    assert spare_seconds(used) == proposed
