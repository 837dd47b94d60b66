"""What runs ask for, with real processes: shared, enforced, raised after a failure, and recorded."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.server.support import Bench
from tidemill.client.details import show_run
from tidemill.model.ids import parse
from tidemill.model.states import AttemptState, Reason, RunState
from tidemill.provenance.why import why
from tidemill.stores.state import classes
from tidemill.stores.state.classes import Class

MIB = 1 << 20


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    found = Bench(tmp_path, "asking.py")
    yield found
    found.close()


def cls_of(bench: Bench, name: object) -> Class:
    run = bench.run(name)
    found = bench.look(lambda db: classes.get(db, run.cls))
    assert isinstance(found, Class)
    return found


def most_at_once(bench: Bench) -> int:
    """How many tasks that noted when they began and ended were under way together."""
    spans = [json.loads(line)[1:] for line in bench.log()]
    return max(sum(bool(begin <= at < end) for begin, end in spans) for at, _ in spans)


ESCALATED = {
    "hungry": (Reason.OUT_OF_MEMORY, "250 MiB it declared", "memory", 500 * MIB, "memory 524 MB (raised from 262 MB)"),
    "wide": (Reason.DISK_FULL, "of disk it declared", "disk", 40 * MIB, "disk 41.9 MB (raised from 21 MB)"),
    "slow": (Reason.TIMEOUT, "its timeout of 0.7 s", "walltime", 1.4, "timeout 1.4 s (raised from 700 ms)"),
}


@pytest.mark.parametrize("what", ESCALATED)
def test_what_exceeded_its_request_gets_more_of_that_and_succeeds(bench: Bench, what: str) -> None:
    reason, message, column, after, told = ESCALATED[what]
    bench.start("escalated", what).result()
    (failure,) = bench.failures(what)
    assert failure.reason == reason
    assert message in failure.message
    first, second = bench.attempts(what)
    assert (first.state, second.state) == (AttemptState.ERROR, AttemptState.COMPLETE)
    found = cls_of(bench, what)
    assert getattr(found, column) == after
    others = {"memory": found.memory, "disk": found.disk, "walltime": found.walltime}
    del others[column]
    assert set(others.values()) <= {250 * MIB, 1024 * MIB, 30 * MIB, 20 * MIB, 30.0}
    run = bench.run(what)
    name = parse(f"{run.block}.{run.id}")
    shown = bench.look(lambda db: show_run(db, name))
    assert [option for option in shown.options if "raised" in option] == [told]
    assert f"asks for {told}" in bench.look(lambda db: why(db, name)).text
    if column == "memory":
        assert first.rss is not None
        assert first.rss > 250 * MIB
    if column == "disk":
        assert first.disk is not None
        assert second.disk is not None
        assert 20 * MIB < first.disk < 40 * MIB
        assert 30 * MIB <= second.disk < 31 * MIB


def test_what_was_on_the_disk_is_recorded(bench: Bench) -> None:
    bench.start("footprints", 3).result()
    (wrote,) = bench.attempts(3)
    assert wrote.disk is not None
    assert 3 * MIB <= wrote.disk < 3.2 * MIB
    (moved,) = bench.attempts(3 * MIB)
    assert moved.disk is not None, "a command's output, which the object store took as it was, counts"
    assert 3 * MIB <= moved.disk < 3.2 * MIB


@pytest.mark.parametrize("options", [{"cpus": 2}, {"cpus": 1.5}, {"accelerators": "cuda:1", "cpus": 0.1}])
def test_no_more_run_at_once_than_fit(bench: Bench, options: dict[str, Any]) -> None:
    """Four workers, which count as processors, and two accelerators: of these runs two fit beside each other."""
    bench.environment["TIDEMILL_ACCELERATORS"] = "cuda:2"
    names = ["a", "b", "c", "d"]
    gates = bench.gates(names)
    program = bench.start("gates", names, options, workers=4)
    for gate in gates[:2]:
        gate.reached()
    assert all(gate.untouched() for gate in gates[2:])
    for gate in gates:
        gate.open()
    seen = program.result()
    if "accelerators" in options:
        assert {device for device, _ in seen} == {"0", "1"}
        assert {told for _, told in seen} == {"cuda:1"}


def test_a_request_from_the_fraction_of_a_processor_holds_the_number_at_the_limit(bench: Bench) -> None:
    bench.start("beside", 10, {"cpus": 2}, workers=4).result()
    assert most_at_once(bench) <= 2


def test_devices_are_those_that_the_program_was_given(bench: Bench) -> None:
    bench.environment |= {"TIDEMILL_ACCELERATORS": "cuda:2", "CUDA_VISIBLE_DEVICES": "5,GPU-77"}
    seen = bench.start("beside", 1, {"accelerators": 2}).result()
    assert seen[0][:2] == ["5,GPU-77", "cuda:2"]


def test_no_process_is_told_of_other_devices_than_before(bench: Bench) -> None:
    bench.environment["TIDEMILL_ACCELERATORS"] = "cuda:2"
    ones, both, plain = bench.start("mixed", workers=2).result()
    seen: dict[int, set[str]] = {}
    for device, _, pid in [*ones, both]:
        seen.setdefault(pid, set()).add(device)
    assert all(len(devices) == 1 for devices in seen.values())
    assert both[0] == "0,1"
    assert plain[0] is None, "what asks for none is told of none"
    assert plain[1] == "cuda:2"
    assert all(a.state == AttemptState.COMPLETE for i in range(4) for a in bench.attempts(i))


def test_accelerators_that_do_not_exist_are_an_error_at_once(bench: Bench) -> None:
    bench.environment["TIDEMILL_ACCELERATORS"] = "cuda:1"
    text = bench.start("impossible").error()
    assert "accelerators nvidia-a100:2, and this machine has cuda:1" in text
    for i in range(3):
        (failure,) = bench.failures(i)
        assert failure.reason == Reason.NO_RESOURCES
        assert bench.states()[str(i)] == RunState.ERROR
    assert bench.states()["7"] == RunState.COMPLETE


def test_what_this_machine_has_must_be_readable(bench: Bench) -> None:
    bench.environment["TIDEMILL_ACCELERATORS"] = "two big ones"
    assert "TIDEMILL_ACCELERATORS='two big ones' cannot be read" in bench.start("beside", 1, {}).error()


def test_local_runs_take_no_processors(bench: Bench) -> None:
    large, small = bench.gates(["large", "small"])
    program = bench.start("beside_local", "large", "small", workers=2)
    large.reached()
    small.reached()
    large.open()
    small.open()
    program.result()
    assert (cls_of(bench, "small").local, cls_of(bench, "large").local) == (1, 0)


def test_what_an_earlier_step_computed_holds_the_number_at_the_limit(bench: Bench) -> None:
    """Four workers count as processors; each run is given half of them by the result of another step."""
    seen = bench.start("promised", 8, 2.0, workers=4).result()
    assert len(seen) == 8
    assert most_at_once(bench) <= 2
    for i in range(8):
        assert cls_of(bench, i).cpus == 2.0


def test_any_task_may_ask_for_what_another_step_computed(bench: Bench) -> None:
    half, rest, several, size, grown = bench.start("promises", workers=2).result()
    assert (half, rest, size.strip(), grown) == ([1, 2], "y", "12", 300)
    assert len(set(several)) == 3, "each draw is one of its own"
    asked = {(c.memory // MIB, c.walltime, c.cpus) for c in bench.look(classes.every) if not c.local}
    assert {(700, 3600.0, 0.5), (700, 0.0, 1.0), (300, 0.0, 1.0), (0, 0.0, 0.25)} < asked


@pytest.mark.parametrize("cpus", [-1, 0])
def test_what_is_no_request_is_an_error_that_says_so(bench: Bench, cpus: Any) -> None:
    text = bench.start("bad_promise", cpus).error()
    assert f"cpus={float(cpus)!r} must be a number above 0" in text or f"cpus={cpus!r} must be a number above 0" in text
    assert bench.states()["77"] == RunState.ERROR


def test_a_request_may_be_learnt_from_earlier_attempts(bench: Bench) -> None:
    bench.start("learnt", 3).result()
    first = cls_of(bench, 3)
    assert (first.memory, first.disk) == (0, 0)
    bench.start("learnt", 4).result()
    second = cls_of(bench, 4)
    (tried,) = bench.attempts(3)
    assert tried.rss is not None
    assert tried.rss < second.memory < 2 * tried.rss
    assert second.disk == 4 * MIB
    assert [a.state for a in bench.attempts(4)] == [AttemptState.COMPLETE]
