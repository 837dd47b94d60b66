"""Who may be given what: resources, reservations, work ahead. Slots without processes, on a clock of their own."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.model.protocol import Outcome
from tidemill.model.states import AttemptState, Reason
from tidemill.server.devices import detect
from tidemill.server.slots import AHEAD_SECONDS, LARGEST, MEASURED, RESERVE_AFTER, Ending, Slot, Slots
from tidemill.stores.state.classes import Class

CPUS, MEMORY = 4.0, 1000
small = Class(1, 1, 0, 1.0, 1.0, 0)
large = Class(2, 1, 0, 1.0, 4.0, 0)
larger = Class(3, 1, 0, 1.0, 64.0, 0)
heavy = Class(4, 1, 0, 1.0, 1.0, 600)
urgent = Class(5, 1, 9, 1.0, 1.0, 0)
quarter = Class(6, 1, 0, 1.0, 0.25, 0)
wide = Class(7, 1, 0, 1.0, 1.0, 0, disk=600)
glue = Class(8, 1, 0, 1.0, 1.0, 0, local=1)
one_gpu = Class(9, 1, 0, 1.0, 0.1, 0, accelerators="cuda:1")
two_gpus = Class(10, 1, 0, 1.0, 0.1, 0, accelerators="cuda:2")
exotic = Class(11, 1, 0, 1.0, 0.1, 0, accelerators="fpga:1")
server = Class(12, 1, 0, 1.0, 1.0, 0, service=1)
gpu_server = Class(13, 1, 0, 1.0, 0.5, 0, accelerators="cuda:2", service=1)
wide_server = Class(14, 1, 0, 1.0, 0.5, 0, disk=600, service=1)
large_on_gpu = Class(15, 1, 0, 1.0, 4.0, 0, accelerators="cuda:2")
CLASSES = {
    c.id: c for c in (small, large, larger, heavy, urgent, quarter, wide, glue, one_gpu, two_gpus, exotic, server,
                      gpu_server, wide_server, large_on_gpu)
}  # fmt: skip
GPUS = detect({"TIDEMILL_ACCELERATORS": "cuda:2"})


class Machine:
    """Slots with a clock that the test moves."""

    def __init__(self, count: int = 4, cpus: float = CPUS) -> None:
        self.now = 0.0
        self.free = 1000
        self.slots = Slots(cpus, MEMORY, clock=lambda: self.now, free=lambda: self.free, accelerators=GPUS)
        for number in range(count):
            slot = Slot(cast("Any", None), cast("Any", SimpleNamespace()), number + 1)
            slot.ready = True
            self.slots.all.append(slot)
        self.flight: dict[int, Any] = {}
        self._runs = 0

    def __getitem__(self, number: int) -> Slot:
        return self.slots.all[number]

    def room(self, number: int, cls: Class, waiting: int = 1000) -> int:
        return self.slots.room(self[number], cls, waiting)

    def give(self, number: int, cls: Class, runs: int = 1) -> list[int]:
        """Give runs to a worker, as the host does after a claim."""
        ids = list(range(self._runs + 1, self._runs + runs + 1))
        self._runs += runs
        self.flight.update({run: SimpleNamespace(cls=cls.id) for run in ids})
        claimed = [SimpleNamespace(run=run, fence=1, task=1, environment=None) for run in ids]
        self[number].given(cast("Any", claimed), cast("Any", SimpleNamespace(flight=self.flight, classes=CLASSES)))
        self.slots.granted(cls.id)
        if cls.accelerators:
            self.refused, self.back = self.slots.equip(self[number], cast("Any", claimed), CLASSES)
        self.environments = [c.environment for c in claimed]
        return ids

    def finish(self, number: int, runs: list[int], seconds: float) -> None:
        """A worker has finished runs, each in this time."""
        outcomes = [Outcome(run, 1, AttemptState.COMPLETE, [], 0.0, seconds) for run in runs]
        self.slots.learn(self[number], outcomes)
        self[number].over(runs)

    def teach(self, cls: Class, seconds: float) -> None:
        self.finish(0, self.give(0, cls), seconds)


def test_of_a_class_that_nobody_knows_a_worker_gets_one() -> None:
    machine = Machine()
    assert machine.room(0, small) == 1
    machine.give(0, small)
    assert machine.room(0, small) == 0
    assert machine.room(1, small) == 1


def test_work_ahead_is_measured_in_time() -> None:
    machine = Machine()
    machine.teach(small, AHEAD_SECONDS / 10)
    assert 8 <= machine.room(0, small) <= 10
    machine.give(0, small, 6)
    assert 2 <= machine.room(0, small) <= 4
    machine.teach(small, AHEAD_SECONDS / 1e6)
    for _ in range(40):
        machine.teach(small, 1e-6)
    assert machine.room(1, small, 1_000_000) == LARGEST
    assert machine.room(1, small, 8) == 2, "few that are left are shared"


def test_what_takes_long_is_never_given_ahead() -> None:
    machine = Machine()
    machine.teach(small, 10.0)
    assert machine.room(0, small) == 1
    machine.give(0, small)
    assert machine.room(0, small) == 0


def test_a_worker_that_is_not_up_or_ending_gets_nothing() -> None:
    machine = Machine()
    machine[0].ready = False
    machine[1].ending = Ending(Reason.STOPPED, "")
    assert (machine.room(0, small), machine.room(1, small), machine.room(2, small)) == (0, 0, 1)


def test_a_large_request_waits_until_it_fits() -> None:
    machine = Machine()
    held = machine.give(0, small)
    assert machine.room(1, large) == 0
    machine.finish(0, held, 1.0)
    assert machine.room(1, large) == 1
    machine.give(1, large)
    assert all(machine.room(n, small) == 0 for n in (0, 2, 3)), "nothing runs beside it"


def test_memory_is_shared_like_processors() -> None:
    machine = Machine()
    held = machine.give(0, heavy)
    assert machine.room(1, heavy) == 0
    assert machine.room(1, small) == 1
    machine.finish(0, held, 1.0)
    assert machine.room(1, heavy) == 1


def test_a_request_larger_than_the_machine_runs_alone() -> None:
    machine = Machine()
    held = machine.give(0, small)
    assert machine.room(1, larger) == 0
    machine.finish(0, held, 1.0)
    assert machine.room(1, larger) == 1
    machine.give(1, larger)
    assert all(machine.room(n, small) == 0 for n in (0, 2, 3))


def starve(machine: Machine, waiting: Class, seconds: float) -> float | None:
    """Small runs keep coming on all workers; when the waiting class gets in, if it does in that time."""
    running = {n: machine.give(n, small) for n in range(4)}
    machine.teach(small, 1e-3)
    step = 0
    while machine.now < seconds:
        machine.now += 0.01
        step += 1
        number = step % 4
        machine.finish(number, running.pop(number, []), 0.01)
        if machine.room(number, waiting):
            return machine.now
        if machine.room(number, small):
            running[number] = machine.give(number, small)
    return None


@pytest.mark.parametrize("waiting", [large, larger])
def test_small_requests_do_not_starve_a_large_one(waiting: Class) -> None:
    machine = Machine()
    got_in = starve(machine, waiting, 4 * RESERVE_AFTER)
    assert got_in is not None
    assert RESERVE_AFTER < got_in < RESERVE_AFTER + 0.1
    machine.give(0, waiting)
    assert machine.slots.all[0].cpus == waiting.cpus
    machine.slots.all[0].over(list(machine[0].held))
    assert machine.room(1, small), "the reservation is over"


def test_a_worker_that_is_topped_up_all_the_time_does_not_starve_a_large_request() -> None:
    """One worker alone, which never stands empty because it is given work ahead."""
    machine = Machine(1)
    machine.teach(small, AHEAD_SECONDS / 50)
    held = machine.give(0, small, 40)
    while machine.now < 2 * RESERVE_AFTER:
        machine.now += 0.01
        machine.finish(0, held[:5], AHEAD_SECONDS / 50)
        del held[:5]
        if machine.room(0, large):
            break
        if n := machine.room(0, small):
            held += machine.give(0, small, n)
    assert RESERVE_AFTER < machine.now < RESERVE_AFTER + 0.2


def test_what_is_more_urgent_passes_a_reservation() -> None:
    machine = Machine()
    machine.give(0, small)
    assert machine.room(1, large) == 0
    machine.now = RESERVE_AFTER + 1
    assert machine.room(1, large) == 0
    assert machine.room(1, small) == 0
    assert machine.room(1, urgent) == 1


def test_a_reservation_ends_when_nothing_of_its_class_stands_ready_any_more() -> None:
    machine = Machine()
    machine.give(0, small)
    machine.room(1, large)
    machine.now = RESERVE_AFTER + 1
    machine.room(1, large)
    assert machine.room(1, small) == 0
    machine.slots.forget_waits(lambda _: True)
    assert machine.room(1, small) == 0
    machine.slots.forget_waits(lambda cls: cls != large.id)
    assert machine.room(1, small) == 1


def test_runs_that_are_not_sent_after_all_leave_no_trace() -> None:
    machine = Machine()
    runs = machine.give(0, heavy)
    machine[0].over(runs)
    assert (machine[0].held, machine[0].cpus, machine[0].memory) == ({}, 0.0, 0)


def test_fractions_share_a_processor() -> None:
    machine = Machine(8, cpus=1.0)
    given = [machine.give(n, quarter) for n in range(8) if machine.room(n, quarter)]
    assert len(given) == 4
    machine.finish(0, given[0], 1.0)
    assert [n for n in range(8) if machine.room(n, quarter)] == [0, 4, 5, 6, 7]


def test_disk_is_shared_and_what_is_written_already_is_not_set_aside_twice() -> None:
    machine = Machine()
    held = machine.give(0, wide)
    assert machine.room(1, wide) == 0
    assert machine.room(1, small) == 1
    machine.now += MEASURED
    machine.free = 700
    machine[0].disk_used = 300
    assert machine.room(1, wide) == 0
    machine.now += MEASURED
    machine.free = 900
    assert machine.room(1, wide) == 1
    machine.finish(0, held, 1.0)
    assert (machine[0].disk, machine[0].disk_used) == (0, 0)


def test_local_runs_stand_beside_what_takes_the_whole_machine() -> None:
    machine = Machine()
    machine.give(0, larger)
    assert machine.room(1, small) == 0
    assert machine.room(1, glue) == 1
    machine.give(1, glue)
    assert machine[1].cpus == 0


def test_accelerators_are_assigned_by_number() -> None:
    machine = Machine()
    first = machine.give(0, one_gpu)
    assert [e and e["CUDA_VISIBLE_DEVICES"] for e in machine.environments] == ["0"]
    machine.give(1, one_gpu)
    assert [e and e["CUDA_VISIBLE_DEVICES"] for e in machine.environments] == ["1"]
    assert machine.room(2, one_gpu) == 0
    assert machine.room(2, two_gpus) == 0
    assert machine.room(2, small) == 1
    machine.finish(0, first, 1.0)
    assert machine.room(0, one_gpu) > 0
    assert machine.room(2, one_gpu) > 0
    assert machine.room(2, two_gpus) == 0


def test_a_process_that_was_told_of_some_devices_is_not_told_of_others() -> None:
    machine = Machine()
    runs = [machine.give(n, one_gpu) for n in range(2)]
    machine.finish(0, runs[0], 1.0)
    machine.finish(1, runs[1], 1.0)
    machine.give(1, one_gpu)
    assert [e and e["CUDA_VISIBLE_DEVICES"] for e in machine.environments] == ["1"], "those it had before"
    machine.finish(1, list(machine[1].held), 1.0)
    assert machine.room(0, two_gpus) == 0
    assert machine.slots.stale == [machine[0]]
    assert machine.room(2, two_gpus) == 1


def test_of_two_requests_in_one_claim_the_other_goes_back() -> None:
    machine = Machine()
    machine.give(0, one_gpu)
    (run,) = machine.give(0, two_gpus)
    assert [c.run for c in machine.back] == [run]
    assert run not in machine[0].held
    assert machine.refused == []


def test_what_does_not_exist_is_taken_to_be_refused_unless_another_machine_may_have_it() -> None:
    machine = Machine()
    assert machine.room(0, exotic) > 0
    (run,) = machine.give(0, exotic)
    assert [c.run for c in machine.refused] == [run]
    assert machine[0].held == {}
    assert "fpga:1, and this machine has cuda:2" in machine.slots.lacking(exotic.accelerators)
    machine.slots.sole = False
    assert machine.room(0, exotic) == 0


def test_a_worker_that_has_a_service_gets_nothing_else() -> None:
    machine = Machine()
    assert machine.room(0, server) == 1
    machine.give(0, server)
    assert not machine[0].open
    assert machine.room(0, small) == 0
    assert machine.slots.regular() == 3
    machine.give(1, small)
    assert machine.room(1, server) == 0


def test_further_services_leave_a_processor_for_users() -> None:
    machine = Machine(8)
    for number in range(3):
        assert machine.room(number, server) == 1
        machine.give(number, server)
    assert machine.room(3, server) == 0
    assert machine.room(3, small) == 1


def test_when_nothing_else_can_go_on_one_service_gets_the_last_processor() -> None:
    machine = Machine(8, cpus=2)
    machine.give(0, server)
    machine.slots.crowded = True
    assert machine.room(1, server) == 1
    machine.give(1, server)
    assert machine.room(2, server) == 0
    machine.finish(0, [1], 1.0)
    assert machine.room(2, server) == 0, "the room that it leaves is for users"


def test_what_waits_for_services_to_end_does_not_keep_their_users_away() -> None:
    """A service ends with its users: a reservation against them would last for ever."""
    machine = Machine()
    machine.give(0, server)
    for waiting in (large, server):
        machine.give(1, small)
        machine.give(2, small)
        machine.give(3, small)
        assert machine.room(1, waiting) == 0
        machine.now += RESERVE_AFTER + 1
        assert machine.room(1, waiting) == 0
        for number in (1, 2, 3):
            machine.finish(number, list(machine[number].held), 1.0)
        assert machine.room(1, small) >= 1


def test_a_reservation_that_a_service_makes_impossible_is_put_off() -> None:
    machine = Machine()
    for number in range(2):
        machine.give(number, small)
    assert machine.room(2, large) == 0
    machine.now += RESERVE_AFTER + 1
    assert machine.room(2, large) == 0
    assert machine.room(2, small) == 0, "it is reserved"
    machine.finish(0, list(machine[0].held), 1.0)
    machine[0].given(cast("Any", [SimpleNamespace(run=99, fence=1, task=1)]), cast("Any", SimpleNamespace(
        flight={99: SimpleNamespace(cls=server.id)}, classes=CLASSES)))  # fmt: skip
    assert machine.room(2, small) >= 1


@pytest.mark.parametrize(("serving", "waiting"), [(gpu_server, one_gpu), (wide_server, wide)])
def test_what_a_service_holds_is_not_reserved_against_its_users(serving: Class, waiting: Class) -> None:
    """Devices and disk as well as processors and memory."""
    machine = Machine()
    machine.give(0, serving)
    held = machine.give(1, small)
    assert machine.room(2, waiting) == 0
    machine.now += RESERVE_AFTER + 1
    assert machine.room(2, waiting) == 0
    machine.finish(1, held, 1.0)
    assert machine.room(2, waiting) == 0
    assert machine.room(2, small) >= 1


def test_disk_that_others_than_services_have_written_on_comes_back() -> None:
    """It counts as free for what waits beside a service, so that it gets its reservation."""
    machine = Machine()
    machine.give(0, server)
    machine.give(1, wide)
    machine.free, machine[1].disk_used = 500, 500
    assert machine.room(2, wide) == 0
    machine.now += RESERVE_AFTER + 1
    assert machine.room(2, wide) == 0
    assert machine.room(3, Class(99, 1, 0, 1.0, 1.0, 0, disk=1)) == 0, "it is reserved"


@pytest.mark.parametrize(
    ("holding", "waiting", "pass_it", "stand_back"),
    [
        (two_gpus, one_gpu, [small, heavy, wide], [two_gpus]),
        (heavy, heavy, [small, wide, one_gpu], [Class(99, 1, 0, 1.0, 1.0, 1)]),
        (wide, wide, [small, heavy, one_gpu], [Class(99, 1, 0, 1.0, 1.0, 0, disk=1)]),
        (small, large, [glue], [small, quarter, heavy, one_gpu]),
        (small, larger, [], [glue, small, quarter, heavy, one_gpu]),
    ],
    ids=["accelerators", "memory", "disk", "cpus", "more than there is"],
)
def test_a_reservation_is_of_what_is_lacking(
    holding: Class, waiting: Class, pass_it: list[Class], stand_back: list[Class]
) -> None:
    machine = Machine()
    machine.give(0, holding)
    assert machine.room(1, waiting) == 0
    machine.now += RESERVE_AFTER + 1
    assert machine.room(1, waiting) == 0
    assert [machine.room(2, cls) for cls in pass_it] == [1] * len(pass_it)
    assert [machine.room(2, cls) for cls in stand_back] == [0] * len(stand_back)


def test_what_a_reservation_comes_to_lack_is_reserved_as_well() -> None:
    """It got its devices, and small runs have the processors meanwhile: those keep none of it away for long."""
    machine = Machine()
    devices = machine.give(0, two_gpus)
    assert machine.room(1, large_on_gpu) == 0
    machine.now += RESERVE_AFTER + 1
    assert machine.room(1, large_on_gpu) == 0
    cpus = machine.give(1, small)
    machine.finish(0, devices, 1.0)
    assert machine.room(2, large_on_gpu) == 0
    assert (machine.room(2, small), machine.room(2, one_gpu)) == (0, 0)
    machine.finish(1, cpus, 1.0)
    assert machine.room(2, large_on_gpu) == 1


def test_one_that_waits_for_devices_does_not_take_the_turn_of_one_that_waits_for_processors() -> None:
    machine = Machine()
    machine.give(0, two_gpus)
    held = machine.give(1, small)
    for waiting in (one_gpu, large):
        assert machine.room(2, waiting) == 0
    machine.now += RESERVE_AFTER + 1
    for waiting in (one_gpu, large):
        assert machine.room(2, waiting) == 0
    assert machine.room(2, small) == 0, "processors are reserved, too"
    machine.finish(1, held, 1.0)
    assert machine.room(2, small) == 0
    machine.finish(0, list(machine[0].held), 1.0)
    assert machine.room(3, one_gpu) == 1


@given(st.lists(st.sampled_from([small, large, larger, heavy, quarter, wide, one_gpu, two_gpus, large_on_gpu, urgent])))
def test_whatever_waits_for_whatever_somebody_gets_in(wanted: list[Class]) -> None:
    """Reservations in any order: when nothing runs, the classes that wait never all stand back for each other."""
    machine = Machine()
    machine.give(0, small)
    machine.give(1, two_gpus)
    machine.give(2, heavy)
    for _ in range(2):
        for cls in wanted:
            machine.room(3, cls)
        machine.now += RESERVE_AFTER + 1
    for number in range(3):
        machine.finish(number, list(machine[number].held), 1.0)
    left = {cls.id: cls for cls in wanted}
    while left:
        got = next((cls for cls in left.values() if machine.room(3, cls)), None)
        assert got is not None
        machine.finish(3, machine.give(3, got), 1.0)
        machine[3].seen = []  # a fresh process
        del left[got.id]
        machine.slots.forget_waits(left.__contains__)


def test_a_worker_whose_service_was_never_sent_is_open_again() -> None:
    machine = Machine()
    machine[0].over(machine.give(0, server))
    assert machine[0].open
    assert machine.slots.regular() == 4
    held = machine.give(0, server)
    machine[0].hosted = True
    machine[0].over(held)
    assert not machine[0].open, "it ends with the service that it had"
