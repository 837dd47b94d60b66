"""Several runs share the machine: processors, priorities."""

from typing import Any

import pytest

from tests.server.support import Bench
from tidemill.server.slots import machine_cpus
from tidemill.testing.crash import wait_for

ALL = max(2, int(machine_cpus()))


def overlaps(log: list[str]) -> dict[str, set[str]]:
    """Which runs were under way at the same time as each."""
    running: set[str] = set()
    found: dict[str, set[str]] = {}
    for line in log:
        what, _, name = line.partition(" ")
        if what == "begin":
            found[name] = set(running)
            for other in running:
                found[other].add(name)
            running.add(name)
        elif what == "end":
            running.remove(name)
    return found


@pytest.mark.parametrize("cpus", [ALL, ALL * 8])
def test_a_run_that_needs_the_whole_machine_never_overlaps_others(bench: Bench, cpus: float) -> None:
    small: list[list[Any]] = [[f"small {i}", 0.02, 1 / 2, 0] for i in range(24)]
    large: list[list[Any]] = [[f"large {i}", 0.02, cpus, 0] for i in range(3)]
    runs = [*small[:12], large[0], *small[12:], *large[1:]]
    assert bench.start("sizes", runs, workers=ALL).result() == [r[0] for r in runs]
    found = overlaps(bench.log())
    assert len(found) == len(runs)
    for run in large:
        assert found[run[0]] == set()
    assert any(found[run[0]] for run in small), "the small ones did share the machine"


def test_higher_priorities_go_first(bench: Bench) -> None:
    gate = bench.gate("gate")
    runs = [[f"run {i} of {p}", 0.0, 1, p] for i in range(4) for p in (0, 7, -3)]
    program = bench.start("behind_gate", "gate", runs)
    gate.reached()
    wait_for(lambda: len(bench.states()) == len(runs) + 1, "the runs to be stored")
    gate.open()
    program.result()
    order = [int(line.split()[-1]) for line in bench.log() if line.startswith("begin")]
    assert order == [7] * 4 + [0] * 4 + [-3] * 4


def test_many_small_runs_do_not_starve_a_large_one(bench: Bench) -> None:
    small: list[list[Any]] = [[f"small {i}", 0.03, 1, 0] for i in range(110 * ALL)]
    bench.start("sizes", [*small, ["large", 0.0, ALL, 0]], workers=ALL).result()
    log = [line for line in bench.log() if line.startswith("begin")]
    assert log.index("begin large") < len(log) - 10 * ALL
    assert overlaps(bench.log())["large"] == set()
