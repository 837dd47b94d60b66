"""The executor's loop: order, batches, what it does between runs, and what it does when it has to end."""

import os
import sys
import time
from pathlib import Path
from typing import Any

from tidemill.model.states import AttemptState
from tidemill.testing.workers import FakeEngine, command_spec, python_spec


class Gate:
    """A shell script that says when it has begun, and ends when it is let go. Pipes make both sides wait."""

    def __init__(self, directory: Path, before: str = "true") -> None:
        self._begun, self._go = directory / "begun", directory / "go"
        os.mkfifo(self._begun)
        os.mkfifo(self._go)
        self.spec = command_spec(f"{before}; echo > {self._begun}; cat {self._go}")

    def wait(self) -> None:
        """Return when the script has begun."""
        self._begun.read_text()

    def open(self, text: str = "") -> None:
        """Let it print `text` and end."""
        self._go.write_text(text)


def test_runs_are_done_in_order_and_answered_in_batches(engine: FakeEngine, sample: Any) -> None:
    task = sample(engine, "double")
    engine.run(task, 0)
    claims = [engine.claim(task, number) for number in range(2000)]
    seen: list[int] = list(engine.outcomes)
    before = len(engine.batches)
    engine.send(claims)
    engine.finish(claims[-1].run)
    order = [run for run in engine.outcomes if run not in seen]
    assert order == [claim.run for claim in claims]
    assert [engine.value(engine.outcomes[claim.run]) for claim in claims[:3]] == [0, 2, 4]
    assert 4 <= len(engine.batches) - before <= 1000
    assert max(engine.batches) <= 500


def test_what_is_finished_is_sent_before_something_long_starts(fresh: FakeEngine, sample: Any, tmp_path: Path) -> None:
    quick = sample(fresh, "double")
    gate = Gate(tmp_path)
    slow = fresh.task(gate.spec)
    first, second = fresh.claim(quick, 1), fresh.claim(slow)
    fresh.send([first, second])
    fresh.finish(first.run)
    assert second.run not in fresh.outcomes
    gate.wait()
    gate.open()
    fresh.finish(second.run)


def test_outcomes_held_back_by_a_run_of_unexpected_length_are_sent_by_the_watcher(
    fresh: FakeEngine, sample: Any, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text("import os\n\ndef maybe(path):\n    return path and open(path).read()\n")
    pipe = tmp_path / "pipe"
    task = fresh.task(python_spec("maybe", ["path"], file=str(script)))
    fresh.run(task, "")
    quick = [fresh.claim(task, "") for _ in range(3)]
    slow = fresh.claim(task, str(pipe))
    os.mkfifo(pipe)
    fresh.send([*quick, slow])
    fresh.finish(quick[-1].run)
    assert slow.run not in fresh.outcomes
    pipe.write_text("done")
    assert fresh.value(fresh.finish(slow.run)) == "done"


def test_forgotten_runs_are_dropped_unless_they_have_started(fresh: FakeEngine, sample: Any, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    slow, quick = fresh.task(gate.spec), sample(fresh, "double")
    first = fresh.claim(slow)
    others = [fresh.claim(quick, number) for number in range(3)]
    fresh.send([first, *others])
    gate.wait()
    fresh.forget([first.run, others[0].run, others[1].run, 12345])
    again = fresh.claim(quick, 50, run=others[1].run)
    again.fence = 2
    fresh.send([again])
    gate.open()
    outcome = fresh.finish(others[1].run)
    assert (outcome.fence, fresh.value(outcome)) == (2, 100)
    assert fresh.outcomes[first.run].state == AttemptState.COMPLETE
    assert set(fresh.outcomes) == {first.run, others[1].run, others[2].run}


def test_stop_ends_after_the_run_that_has_started(fresh: FakeEngine, sample: Any, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    first, second = fresh.claim(fresh.task(gate.spec)), fresh.claim(sample(fresh, "double"), 1)
    fresh.send([first, second])
    gate.wait()
    fresh.stop()
    gate.open()
    fresh.wait(lambda: bool(fresh.gone))
    assert set(fresh.outcomes) == {first.run}
    assert fresh.pool.workers[0].exit_reason()[1] == "exit code 0"


def test_stop_when_idle_runs_what_is_registered_for_the_end(fresh: FakeEngine, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import atexit, pathlib, threading\n\n"
        "def f(path):\n"
        "    atexit.register(pathlib.Path(path).touch)\n"
        "    threading.Thread(target=threading.Event().wait).start()\n"
    )
    fresh.run(fresh.task(python_spec("f", ["path"], file=str(script))), str(tmp_path / "ended"))
    fresh.stop()
    fresh.wait(lambda: bool(fresh.gone))
    assert (tmp_path / "ended").exists()
    assert fresh.pool.workers[0].exit_reason()[1] == "exit code 0"


def test_the_index_names_the_run_that_has_started(fresh: FakeEngine, sample: Any, tmp_path: Path) -> None:
    worker = fresh.pool.workers[0]
    assert worker.started() is None
    gate = Gate(tmp_path)
    claim = fresh.claim(fresh.task(gate.spec))
    claim.fence = 7
    before, since = time.time(), time.monotonic()
    fresh.send([fresh.claim(sample(fresh, "double"), 1), claim])
    gate.wait()
    found = worker.started()
    assert found is not None
    assert found[:2] == (claim.run, 7)
    assert before <= found.t0 <= time.time()
    assert since <= found.since <= time.monotonic()
    gate.open()
    fresh.finish(claim.run)
    fresh.run(sample(fresh, "double"), 1)
    assert worker.started() is None


def test_the_log_can_be_read_while_it_is_written(fresh: FakeEngine, tmp_path: Path) -> None:
    gate = Gate(tmp_path, before="echo first; echo second")
    claim = fresh.claim(fresh.task(gate.spec))
    fresh.send([claim])
    gate.wait()
    assert fresh.pool.workers[0].log_tail(100) == b"first\nsecond\n"
    assert fresh.pool.workers[0].log_tail(7) == b"second\n"
    gate.open("third\n")
    assert fresh.finish(claim.run).log == b"first\nsecond\nthird\n"
    assert fresh.pool.workers[0].log_tail(100) == b""


def test_a_child_process_of_user_code_does_not_hold_the_engines_socket(fresh: FakeEngine, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, signal, sys\n\n"
        "def f(pipe):\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        while True:\n"
        "            signal.pause()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    claim = fresh.claim(fresh.task(python_spec("f", ["pipe"], file=str(script))), "")
    fresh.send([claim])
    fresh.wait(lambda: bool(fresh.gone))
    assert fresh.pool.workers[0].exit_reason()[1] == "signal 9 (SIGKILL)"


def test_throughput_of_runs_that_do_nothing(fresh: FakeEngine, sample: Any, capsys: Any) -> None:
    task = sample(fresh, "nothing", ())
    fresh.run(task)
    claims = [fresh.claim(task) for _ in range(2000)]
    start = time.perf_counter()
    for first in range(0, len(claims), 500):
        fresh.send(claims[first : first + 500])
    fresh.finish(claims[-1].run)
    each = (time.perf_counter() - start) / len(claims)
    inside = sum(fresh.outcomes[c.run].t1 - fresh.outcomes[c.run].t0 for c in claims) / len(claims)
    with capsys.disabled():
        sys.stdout.write(
            f"\n  one executor: {1 / each:,.0f} runs/s, {each * 1e6:.1f} us each, {inside * 1e6:.1f} inside\n"
        )
    assert len(fresh.outcomes) == 2001
