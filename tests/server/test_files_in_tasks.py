"""Files and deferred functions of tasks in real workflows, with real engines that are killed."""

import os
import signal
from pathlib import Path

import pytest

from tests.server.support import Bench
from tidemill.testing.crash import wait_for

SCRIPT = Path(__file__).parent / "programs" / "filing.py"


@pytest.fixture(autouse=True)
def _script(bench: Bench) -> None:
    bench.script = SCRIPT


@pytest.mark.parametrize("size", [10, 200_000])
def test_ids_of_files_are_passed_on(bench: Bench, size: int) -> None:
    found = bench.start("pass_on", 5, size, workers=2).result()
    assert found == [[f"{i}.txt", f"{i}:", size + 2, size + 2] for i in range(5)]
    assert bench.start("pass_on", 5, size).result() == found, "and reused"


def test_what_a_task_wrote_is_read_by_what_it_grows(bench: Bench) -> None:
    found = bench.start("grown", 3, 10).result()
    assert [name for name, *_ in found] == ["3.txt", "0.txt", "1.txt", "2.txt"]


def test_a_shared_name_is_moved_by_one_at_a_time(bench: Bench) -> None:
    assert bench.start("racing", 20, workers=3).result() == 20


def test_files_are_deleted_when_an_attempt_is_accepted_and_never_before(bench: Bench) -> None:
    bench.start("removing", 3, 10, True).error()
    bench.quiet()
    assert bench.start("still_there", 3, 10).result() == [True] * 3
    assert bench.start("removing", 3, 20, False).result() == [[False] * 3, [False] * 3]


def test_what_was_deferred_is_done_however_a_task_ends(bench: Bench) -> None:
    hows = ["return", "raise", "os._exit", "kill", "timeout"]
    bench.start("ends", hows, workers=2).error()
    wait_for(lambda: {f"deferred {how}" for how in hows} <= set(bench.log()), "what was deferred")
    bench.quiet()
    assert {f"deferred {how}" for how in hows} <= set(bench.log())
    assert not list(Path(bench.url).glob("work/*/deferred"))


def test_what_was_deferred_is_done_after_the_engine_was_killed(bench: Bench) -> None:
    program = bench.start("gated", "g", str(bench.directory))
    bench.gate("g").reached()
    for role in ("client", "host"):
        for pid in bench.processes(role):
            os.kill(pid, signal.SIGKILL)
    program.ended()
    bench.quiet()
    assert bench.log() == []
    temporary = Path((bench.directory / "temporary").read_text())
    assert temporary.exists(), "nobody was left to remove it"
    again = bench.start("gated", "g", str(bench.directory))
    bench.gate("g").reached()
    wait_for(lambda: bench.log() == ["deferred g"], "what the dead engine's worker had deferred")
    assert not temporary.exists()
    bench.gate("g").open()
    assert again.result() == "g"
    bench.quiet()
    assert bench.log() == ["deferred g"] * 2
    assert not list(Path(bench.url).glob("work/*/deferred"))
