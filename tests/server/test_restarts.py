"""What a second start finds: what has failed is tried again, what is done is not, and what cannot run never does."""

import pytest

from tests.server.support import Bench
from tidemill.client.store import Store
from tidemill.model.states import BlockState, RunState


@pytest.mark.parametrize("how", ["exception", "kill"])
def test_the_child_of_a_failing_parent_never_runs(bench: Bench, how: str) -> None:
    logs = []
    for _ in range(2):
        bench.start("diamond", how).error()
        bench.quiet()
        block = bench.block()
        assert (block.state, block.failed, block.skipped) == (BlockState.ERROR, 1, 1)
        assert bench.states() | {"right": None} == {
            "top": RunState.COMPLETE, "left": RunState.COMPLETE, "right": None, "bottom": RunState.SKIPPED,
        }  # fmt: skip
        logs.append(bench.log())
    assert "diamond bottom" not in logs[1]
    assert set(logs[1][len(logs[0]) :]) == {"diamond right"}, "what was good ran again"
    program = bench.start("diamond", "well")
    assert program.result() == ["bottom", "left", "right", "top"]
    assert bench.log()[len(logs[1]) :] == ["diamond right", "diamond bottom"]


def test_after_a_failed_follow_on_only_that_runs_again(bench: Bench) -> None:
    program = bench.start("chained", 5)
    said = program.error()
    assert "the gate is closed" in said
    before = bench.log()
    (bench.directory / "open").touch()
    program = bench.start("chained", 5)
    assert program.result() == 5
    assert "failed" not in program.said.decode()
    assert bench.log()[len(before) :] == ["follow 5"]
    bench.quiet()


def test_results_of_a_finished_workflow_can_be_had_at_any_time(bench: Bench) -> None:
    (bench.directory / "open").touch()
    assert bench.start("filed", 3).result() is None
    bench.quiet()
    log = bench.log()
    target = bench.directory / "exported.txt"
    for _ in range(2):
        with Store(bench.url) as store:
            store.send(bench.block().id, f"file://{target}")
        assert target.read_text() == "xxx"
        target.unlink()
        assert bench.start("filed", 3).result() is None, "the same command finds it"
        bench.quiet()
    assert bench.log() == log, "something ran again"
