"""Where `run()` goes."""

from typing import Any

import pytest

import tidemill.graph as tm
from tidemill.graph import context, runner
from tidemill.model.errors import UsageError


@tm.task
def add(a: int, b: int) -> int:
    return a + b


@tm.workflow
def flow(n: int = 1) -> int:
    return add(n, 1)


class Recording:
    def __init__(self) -> None:
        self.seen: list[tuple[str, Any, dict[str, Any]]] = []

    def run(self, call: Any, **options: Any) -> Any:
        self.seen.append(("run", call, options))
        return "result"

    def submit(self, call: Any, **options: Any) -> Any:
        self.seen.append(("submit", call, options))
        return "handle"

    def plan(self, call: Any, **options: Any) -> Any:
        self.seen.append(("plan", call, options))
        return "plan"


@pytest.fixture(autouse=True)
def recording(monkeypatch: pytest.MonkeyPatch) -> Recording:
    found = Recording()
    monkeypatch.setattr(runner, "_runner", None)
    runner.register(found)
    return found


def test_calls_go_to_the_registered_runner(recording: Recording) -> None:
    call, task = flow(2), add.call(1, add(2, 3))
    assert call.run(store="x", workers=3) == "result"  # type: ignore[comparison-overlap]
    assert call.submit(workers=1) == "handle"
    assert task.plan() == "plan"
    assert add.call(1, 2).run() == "result"  # type: ignore[comparison-overlap]
    assert [(name, options) for name, _, options in recording.seen[:3]] == [
        ("run", {"store": "x", "workers": 3}),
        ("submit", {"workers": 1}),
        ("plan", {}),
    ]
    assert recording.seen[0][1] is call


def test_without_a_runner_it_says_so() -> None:
    runner.register(None)
    with pytest.raises(UsageError, match="nothing is registered"):
        flow().run()


def test_a_worker_that_imports_a_script_stops_at_run(recording: Recording) -> None:
    reached = []
    with context.import_only():
        call = flow()
        for method in (call.run, call.submit, call.plan):
            try:
                method()
            except Exception:  # noqa: BLE001
                reached.append("must pass through the script's own handlers")
            except context.ImportOnly:
                continue
    assert not reached
    assert not recording.seen
    assert call.run() == "result"  # type: ignore[comparison-overlap]


def test_threads_build_apart() -> None:
    import threading

    found: list[int] = []

    def build(n: int) -> None:
        @tm.workflow
        def many() -> Any:
            for i in range(200 * n):
                add(i, n)

        found.append(many().plan_graph().header.runs)

    threads = [threading.Thread(target=build, args=(n,)) for n in range(1, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [200, 400, 600, 800, 1000]
