"""Services: up before their users, attached to them by attempt, over when the last of them has ended."""

from typing import Any

import pytest

from tests.engine.conftest import Drive
from tests.engine.tasks import ADD, ANYWAY, NUMBER, Growing, Switch, shaky
from tidemill.engine import control, hold, reclaim, rerun, revive
from tidemill.engine.turn import Turn
from tidemill.model.delta import RunFlag
from tidemill.model.digest import digest
from tidemill.model.protocol import Out, Outcome
from tidemill.model.states import AttemptState, BlockState, DatumState, RunView
from tidemill.stores.state import blocks, files
from tidemill.testing.engine import EngineDriver
from tidemill.testing.graphs import Graph, Slot, Task
from tidemill.testing.invariants import check_invariants

SERVE = Task("serve", lambda x: x)
V = RunView


class Served:
    """A service with some users, submitted.

    Args:
        drive: what drives it.
        users: tasks of its users, each called with the address and its own number.
        serve: the service's task.
    """

    def __init__(
        self, drive: Drive, *users: str, serve: Task = SERVE, tasks: tuple[Task, ...] = (), batch: int = 100,
        options: int = 0,
    ) -> None:  # fmt: skip
        self.d: EngineDriver = drive(serve, ADD, NUMBER, ANYWAY, *tasks, batch=batch)
        self.g: Graph = self.d.graph()
        self.service: Slot = self.g.service("serve", 7)
        self.inner = self.g.block("serve", serves=self.service)
        self.users = [self.g.run(u, self.service, i, block=self.inner, flags=RunFlag.NO_CACHE)
                      for i, u in enumerate(users)]  # fmt: skip
        self.g.result = [self.service, *self.users]
        self.block = self.d.submit(self.g, options=options)

    def run(self, slot: Slot) -> int:
        return self.d.newest_run(self.d.run_id(self.block, slot))

    def view(self, slot: Slot) -> RunView:
        return self.d.view(self.run(slot))

    def views(self) -> list[RunView]:
        """How the service and its users are."""
        return [self.view(s) for s in (self.service, *self.users)]

    def folders(self) -> list[bytes]:
        """What is known to be perhaps a directory."""
        return files.folders(self.d.engine.db)

    def address(self) -> DatumState:
        return self.d.state(self.d.datum(self.block, self.g, self.service))

    def bring_up(self) -> None:
        """Until the service has published."""
        while not self.d.up:
            assert self.d.step(), "the service does not come up"

    def whole(self) -> None:
        """Everything ends well."""
        self.d.settle()
        assert self.d.block(self.block).state == BlockState.COMPLETE
        assert set(self.views()) == {V.COMPLETE}
        assert self.d.results(self.block) == [7, *(7 + i for i in range(len(self.users)))]
        assert not self.d.up
        check_invariants(self.d.engine.db, quiet=True)


def upkeep(d: EngineDriver) -> None:
    """The engine does what it owes itself; nothing is claimed."""

    def work(turn: Turn) -> None:
        d.engine.upkeep(turn)
        d.engine.settle(turn)

    for _ in range(100):
        if not d.engine.busy:
            return
        d.control(work)


def test_users_wait_until_it_is_up_and_it_ends_after_them(drive: Drive) -> None:
    s = Served(drive, "add", "add")
    (claimed,) = s.d.take()
    assert s.views() == [V.RUNNING, V.WAITING, V.WAITING]
    s.d.execute(claimed)
    assert s.address() is DatumState.PUBLISHED
    assert s.views() == [V.RUNNING, V.READY, V.READY]
    s.d.step()
    s.d.step()
    assert s.views()[1:] == [V.COMPLETE, V.COMPLETE]
    s.whole()
    assert s.d.log[0] == ("serve", [7])
    assert s.d.count("serve") == 1


def test_with_nobody_to_use_it_it_does_not_start(drive: Drive) -> None:
    s = Served(drive)
    upkeep(s.d)
    s.d.settle()
    assert s.d.block(s.block).state == BlockState.COMPLETE
    assert s.views() == [V.SKIPPED]
    assert not s.d.count("serve")


@pytest.mark.parametrize("charge", [True, False])
def test_when_it_dies_its_users_wait_for_the_next_attempt(drive: Drive, charge: bool) -> None:
    """Whatever they were doing: done, running, ready."""
    s = Served(drive, "add", "add", "add", batch=1, serve=Task("serve", lambda x: x, options={"retries": 1}))
    s.bring_up()
    first = s.d.take(1)
    s.d.hand_in(*[o for c in first if (o := s.d.execute(c))])
    (running,) = s.d.take(1)
    held = s.run(s.users[2])
    assert s.views() == [V.RUNNING, V.COMPLETE, V.RUNNING, V.READY]
    (service,) = s.d.up
    s.d.falls(service, charge=charge)
    assert s.address() is DatumState.PENDING
    assert s.views() == [V.READY, V.COMPLETE, V.WAITING, V.WAITING]
    assert (running.run, s.d.worker) in s.d.stopped
    late = s.d.execute(running)
    assert late is not None
    assert s.d.hand_in(late) == [3]
    assert held == s.run(s.users[2])
    check_invariants(s.d.engine.db)
    s.whole()
    assert s.d.count("serve") == 2


def test_dying_before_it_is_up_costs_its_users_nothing(drive: Drive) -> None:
    s = Served(drive, "add", serve=Task("serve", switch := Switch(), options={"retries": 1}))
    s.d.step()
    assert s.view(s.users[0]) is V.WAITING
    switch.broken = False
    s.whole()
    assert s.d.count("add") == 1


def test_failing_for_good_it_is_the_root_cause_of_its_users(drive: Drive) -> None:
    s = Served(drive, "add", "add", "anyway", batch=1)
    s.bring_up()
    first = s.d.take(1)
    s.d.hand_in(*[o for c in first if (o := s.d.execute(c))])
    (running,) = s.d.take(1)
    (service,) = s.d.up
    s.d.falls(service, charge=True)
    s.d.settle()
    assert s.views() == [V.ERROR, V.COMPLETE, V.SKIPPED, V.COMPLETE]
    assert s.d.run(running.run).cause == service
    assert s.d.block(s.block).state == BlockState.ERROR
    s.d.control(revive.retry, [running.run])
    s.whole()


def test_a_held_user_waits_again_too(drive: Drive) -> None:
    s = Served(drive, "add", "add", batch=1, serve=Task("serve", lambda x: x, options={"retries": 1}))
    s.bring_up()
    s.d.control(hold.hold, [s.run(s.users[1])])
    (service,) = s.d.up
    s.d.falls(service, charge=True)
    check_invariants(s.d.engine.db)
    s.d.settle()
    assert s.views() == [V.RUNNING, V.COMPLETE, V.HELD]
    s.d.control(hold.unhold, [s.run(s.users[1])])
    s.whole()


def test_held_itself_it_holds_up_its_users(drive: Drive) -> None:
    s = Served(drive, "add")
    s.d.control(hold.hold, [s.run(s.service)])
    s.d.settle()
    assert s.views() == [V.HELD, V.WAITING]
    s.d.control(hold.unhold, [s.run(s.service)])
    s.whole()


def test_lost_after_its_users_had_ended_it_is_complete(drive: Drive) -> None:
    s = Served(drive, "add")
    s.bring_up()
    up = dict(s.d.up)
    s.d.step()
    s.d.step()
    upkeep(s.d)
    assert s.d.inbox
    s.d.up, s.d.inbox = up, []
    (service,) = up
    s.d.falls(service, charge=False)
    assert s.view(s.service) is V.COMPLETE
    s.whole()
    assert s.d.count("serve") == 1


@pytest.mark.parametrize("when", ["coming up", "up", "used", "over"])
def test_the_engine_is_killed_and_another_takes_over(drive: Drive, when: str) -> None:
    s = Served(drive, "add", "add", batch=1)
    if when == "coming up":
        s.d.take()
    else:
        s.bring_up()
    if when == "used":
        s.d.step()
        s.d.step()
    if when == "over":
        for _ in range(3):
            s.d.step()
        upkeep(s.d)
    s.d.crash()
    check_invariants(s.d.engine.db)
    s.whole()
    assert s.d.count("serve") == {"coming up": 1, "up": 2, "used": 2, "over": 1}[when]
    assert s.d.count("add") <= 3


def test_what_an_old_attempt_publishes_is_refused(drive: Drive) -> None:
    s = Served(drive, "add")
    (claimed,) = s.d.take()
    old = s.d.execute(claimed)
    assert old is None
    (up,) = s.d.up.values()
    s.d.falls(claimed.run, charge=False)
    assert not s.d.publish(up)
    assert s.address() is DatumState.PENDING
    (again,) = s.d.take()
    assert not s.d.publish(up)
    s.d.execute(again)
    assert not s.d.publish(s.d.up[again.run]), "it was up before"
    s.whole()


def test_a_directory_that_is_published_is_known_as_one(drive: Drive) -> None:
    """What is in it is named by nothing else, and must not be deleted."""
    s = Served(drive, "add")
    (claimed,) = s.d.take()
    tree, value = digest(b"a directory"), digest(b"a value that names it")
    up = [Out(None, value, 100_000, [tree])]
    assert s.d.publish(Outcome(claimed.run, claimed.fence, AttemptState.COMPLETE, up, 0.0, 0.0))
    assert s.folders() == [tree]


def test_cancelled_its_users_are_told(drive: Drive) -> None:
    s = Served(drive, "add", "anyway")
    s.bring_up()
    s.d.take()
    (service,) = s.d.up
    s.d.control(control.cancel_runs, [service], 0, running=True)
    assert not s.d.up
    s.d.settle()
    assert s.views()[0] is V.CANCELLED
    assert s.views()[2] is V.COMPLETE
    assert s.d.block(s.block).state == BlockState.CANCELLED
    s.d.control(revive.retry, [service])
    s.whole()


@pytest.mark.parametrize("which", ["users", "all"])
def test_cancelling_a_block_ends_it(drive: Drive, which: str) -> None:
    s = Served(drive, "add", "add", batch=1)
    s.bring_up()
    s.d.take(1)
    (service,) = s.d.up
    inner = s.d.rows("select block from serves")[0][0]
    s.d.control(control.cancel_block, inner if which == "users" else s.block)
    s.d.settle()
    assert set(s.views()[1:]) == {V.CANCELLED}
    assert s.views()[0] is (V.COMPLETE if which == "users" else V.CANCELLED)
    assert not s.d.up
    s.d.control(revive.retry, [service, *(s.run(u) for u in s.users)])
    s.whole()


def test_a_failed_user_is_retried_while_it_is_up(drive: Drive) -> None:
    s = Served(drive, "shaky", "add", batch=1, tasks=(shaky(switch := Switch()),))
    s.d.control(hold.hold, [s.run(s.users[1])])
    s.d.settle()
    assert s.views() == [V.RUNNING, V.ERROR, V.HELD]
    switch.broken = False
    s.d.control(revive.retry, [s.run(s.users[0])])
    s.d.control(hold.unhold, [s.run(s.users[1])])
    s.whole()
    assert s.d.count("serve") == 1


def test_a_failed_user_is_retried_with_the_service_that_has_ended(drive: Drive) -> None:
    s = Served(drive, "shaky", "add", tasks=(shaky(switch := Switch()),))
    s.d.settle()
    assert s.views() == [V.COMPLETE, V.ERROR, V.COMPLETE]
    switch.broken = False
    s.d.control(revive.retry, [s.run(s.users[0])])
    s.whole()
    assert (s.d.count("serve"), s.d.count("add")) == (2, 2)


def test_a_user_that_lives_again_because_of_others_has_the_service_again(drive: Drive) -> None:
    """What it waited for besides had failed, and is no user itself."""
    d = drive(SERVE, ADD, shaky(switch := Switch()))
    g = d.graph()
    service = g.service("serve", 7)
    apart = g.run("shaky", 1)
    inner = g.block("serve", serves=service)
    first = g.run("add", service, 1, block=inner, flags=RunFlag.NO_CACHE)
    second = g.run("add", service, apart, block=inner, flags=RunFlag.NO_CACHE)
    g.result = [first, second]
    block = d.submit(g)
    d.settle()
    assert d.block(block).state == BlockState.ERROR
    assert d.view(d.run_id(block, service)) is V.COMPLETE
    switch.broken = False
    d.control(revive.retry, [d.run_id(block, apart)])
    up: list[bool] = []

    def add(*args: int) -> int:
        up.append(bool(d.up))
        return sum(args)

    d.tasks["add"] = Task("add", add)
    d.settle()
    assert d.results(block) == [8, 8]
    assert up
    assert all(up), "a user ran while the service was not up"
    assert d.count("serve") == 2


def test_retried_before_it_has_come_down_it_comes_up_anew(drive: Drive) -> None:
    """It was told that it is over, and takes its time: nobody can use it any more."""
    s = Served(drive, "shaky", tasks=(shaky(switch := Switch()),))
    s.bring_up()
    up = dict(s.d.up)
    s.d.step()
    s.d.step()
    upkeep(s.d)
    (down,) = s.d.inbox
    s.d.inbox = []
    assert s.views() == [V.RUNNING, V.ERROR]
    switch.broken = False
    s.d.control(revive.retry, [s.run(s.users[0])])
    check_invariants(s.d.engine.db)
    assert s.d.hand_in(down) == [3]
    assert up
    s.whole()
    assert s.d.count("serve") == 2


def test_running_a_user_again_runs_the_service_again(drive: Drive) -> None:
    s = Served(drive, "add", "add")
    s.whole()
    s.d.control(rerun.rerun, [s.run(s.users[0])])
    s.whole()
    assert s.d.count("serve") == 2
    s.d.control(rerun.rerun, [s.run(s.service)])
    s.whole()
    assert s.d.count("serve") == 3
    s.d.control(rerun.rerun_block, s.block)
    s.whole()
    assert s.d.count("serve") == 4


def test_it_may_end_by_itself_before_its_users(drive: Drive) -> None:
    s = Served(drive, "add", "add", batch=1)
    s.bring_up()
    (up,) = s.d.up.values()
    s.d.hand_in(s.d.up.pop(up.run))
    assert s.views() == [V.COMPLETE, V.READY, V.READY]
    s.whole()


def test_a_workflow_that_stops_at_its_first_failure_takes_it_down(drive: Drive) -> None:
    s = Served(drive, "shaky", "add", batch=1, tasks=(shaky(Switch()),), options=blocks.STOP_ON_FAILURE)
    s.d.settle()
    assert s.views() == [V.COMPLETE, V.ERROR, V.CANCELLED]
    assert s.d.block(s.block).state == BlockState.ERROR


def test_it_dies_while_its_workflow_is_being_stopped(drive: Drive) -> None:
    s = Served(drive, "add", "shaky", "add", batch=1, tasks=(shaky(Switch()),), options=blocks.STOP_ON_FAILURE,
               serve=Task("serve", lambda x: x, options={"retries": 3}))  # fmt: skip
    s.bring_up()
    s.d.take(1)
    failing = s.d.take(1)
    s.d.hand_in(*[o for c in failing if (o := s.d.execute(c))])
    (service,) = s.d.up
    s.d.falls(service, charge=False)
    s.d.settle()
    assert s.views()[2] is V.ERROR
    assert set(s.views()) <= {V.ERROR, V.CANCELLED, V.SKIPPED}
    assert s.d.block(s.block).state == BlockState.ERROR


def test_services_in_trees(drive: Drive) -> None:
    """The inner one comes up when the outer one is, and ends before it."""
    d = drive(SERVE, ADD)
    g = d.graph()
    outer = g.service("serve", 1)
    around = g.block("outer", serves=outer)
    inner = g.service("serve", outer, block=around)
    within = g.block("inner", around, serves=inner)
    user = g.run("add", outer, inner, block=within, flags=RunFlag.NO_CACHE)
    g.result = [user]
    block = d.submit(g)
    ended: list[int] = []
    for _ in range(20):
        if not d.step():
            break
        ended += [o.run for o in d.inbox if o.run in (d.run_id(block, outer), d.run_id(block, inner))]
        if d.view(d.run_id(block, outer)) is not V.RUNNING:
            assert d.view(d.run_id(block, inner)) in (V.WAITING, V.COMPLETE)
    assert d.results(block) == [2]
    assert ended == [d.run_id(block, inner), d.run_id(block, outer)]


def test_when_the_outer_one_dies_so_does_the_inner_one(drive: Drive) -> None:
    """It is a user, too: its lease is taken back, and its users wait again."""
    d = drive(Task("serve", lambda x: x, options={"retries": 1}), ADD)
    g = d.graph()
    outer = g.service("serve", 1)
    around = g.block("outer", serves=outer)
    inner = g.service("serve", outer, block=around)
    within = g.block("inner", around, serves=inner)
    user = g.run("add", inner, block=within, flags=RunFlag.NO_CACHE)
    g.result = [user]
    block = d.submit(g)
    while len(d.up) < 2:
        assert d.step()
    (running,) = d.take()
    d.falls(d.run_id(block, outer), charge=True)
    check_invariants(d.engine.db)
    assert not d.up
    assert d.view(running.run) is V.WAITING
    assert d.view(d.run_id(block, inner)) is V.WAITING
    d.settle()
    assert d.results(block) == [1]
    assert d.count("serve") == 4


def test_what_users_grow_uses_it_too(drive: Drive) -> None:
    growing = Growing(SERVE, ADD)

    def grow(address: int) -> Graph:
        g = growing.graph()
        g.forwards = [g.run("add", address, 1)]
        return g

    d = drive(*growing.all(Task("grow", grow)))
    g = d.graph()
    service = g.service("serve", 7)
    inner = g.block("serve", serves=service)
    user = g.run("grow", service, block=inner, flags=RunFlag.NO_CACHE)
    g.result = [user]
    block = d.submit(g)
    while not d.count("add"):
        assert d.step()
        assert d.up or not d.count("serve")
    d.settle()
    assert d.results(block) == [8]
    assert d.count("serve") == 1


def test_a_growing_step_has_services_of_its_own(drive: Drive) -> None:
    growing = Growing(SERVE, ADD)

    def grow(x: int) -> Graph:
        g = growing.graph()
        service = g.service("serve", x)
        inner = g.block("serve", serves=service)
        g.forwards = [g.run("add", service, 1, block=inner, flags=RunFlag.NO_CACHE)]
        return g

    d = drive(*growing.all(Task("grow", grow)))
    g = d.graph()
    g.result = [g.run("grow", 7)]
    block = d.submit(g)
    d.settle()
    assert d.results(block) == [8]
    (inner,) = [r[0] for r in d.rows("select id from block where owner is not null")]
    d.control(rerun.rerun_block, inner)
    d.settle()
    assert d.results(block) == [8]
    assert d.count("serve") == 2
    assert not d.up
    assert d.block(block).state == BlockState.COMPLETE


def test_another_engine_closes_the_block(postgres_database: str) -> None:
    """Two engines on one database: whoever runs the service finds out when it looks around."""
    a = EngineDriver(postgres_database, [SERVE, ADD], shared=True)
    b = EngineDriver(postgres_database, [SERVE, ADD], shared=True, clock=a.clock)
    try:
        g = a.graph()
        service = g.service("serve", 7)
        inner = g.block("serve", serves=service)
        g.result = [g.run("add", service, 1, block=inner, flags=RunFlag.NO_CACHE)]
        block = a.submit(g)
        while not a.up:
            assert a.step()
        a.inbox, kept = [], a.inbox
        assert not kept
        for _ in range(20):
            b.step()
        assert b.count("add") == 1 or a.count("add") == 1
        up: dict[int, Any] = a.up
        for run in list(up):
            a.control(lambda turn: turn.over.extend(
                (run, up[run].fence, a.worker) for run in up))  # fmt: skip
            assert run not in a.up
        a.settle()
        b.settle()
        a.settle()
        assert a.results(block) == [8]
        assert a.block(block).state == BlockState.COMPLETE
        check_invariants(a.engine.db)
    finally:
        a.close()
        b.close()


def test_engines_that_leave_release_it(drive: Drive) -> None:
    s = Served(drive, "add")
    s.bring_up()
    s.d.control(reclaim.leave)
    assert s.address() is DatumState.PENDING
    assert s.views() == [V.READY, V.WAITING]
    s.d.up = {}
    s.whole()


def test_what_users_grow_is_not_reused(drive: Drive) -> None:
    """The address may be among their arguments, as a plain value."""
    growing = Growing(SERVE, ADD)

    def grow(address: int) -> Graph:
        g = growing.graph()
        inner = g.block("inner", contained=True)
        g.forwards = [g.run("add", g.run("add", address, 1, block=inner))]
        return g

    d = drive(*growing.all(Task("grow", grow)))
    for n in (1, 2):
        g = d.graph()
        service = g.service("serve", 7)
        inner = g.block("serve", serves=service)
        around = g.block("around", inner, contained=True)
        g.result = [g.run("grow", service, block=around, flags=RunFlag.NO_CACHE)]
        block = d.submit(g, key=str(n))
        d.settle()
        assert d.results(block) == [8]
        assert d.count("add") == 2 * n


def test_a_worker_gets_a_service_alone(drive: Drive) -> None:
    """Whatever else stands ready: it would never come to it."""
    d = drive(SERVE, NUMBER, ADD)
    g = d.graph()
    for i in range(10):
        service = g.service("serve", i)
        g.run("add", service, block=g.block("serve", serves=service), flags=RunFlag.NO_CACHE)
        g.run("number", i)
    d.submit(g)
    while taken := d.take():
        tasks = [d.engine.spec(d.engine.db, c.task).name for c in taken]
        assert "serve" not in tasks or set(tasks) == {"serve"}
