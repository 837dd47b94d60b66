"""Tasks that return calls: what they grow comes back as a delta, and can be run in turn."""

import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tidemill.model.delta import Growth, decode_growth
from tidemill.model.spec import TaskSpec, decode_spec
from tidemill.model.states import Reason
from tidemill.model.values import decode, refs
from tidemill.testing.workers import FakeEngine

SCRIPT = """
    import random
    from pathlib import Path

    from tidemill.graph import task, sweep

    @task
    def square(x):
        return x * x

    @task
    def total(values: list):
        return sum(values)

    @task
    def fan(n):
        return total(square(sweep(range(n))))

    @task(outputs=("low", "high"))
    def two(x):
        return square(x), x

    @task
    def with_files(text):
        Path("data.txt").write_text(text)
        return square([Path("data.txt"), bytes(100_000)])

    @task
    def plain(x):
        return [x]

    @task
    def careless(x):
        square(x)
        raise ValueError("after a call")

    @task
    def wrong(x):
        return square(x, x)

    square(3)
    """


@pytest.fixture
def script(tmp_path: Path) -> Path:
    found = tmp_path / "script.py"
    found.write_text(dedent(SCRIPT))
    return found


def task(engine: FakeEngine, script: Path, name: str) -> int:
    """The task as the user's own process submits it: with the digest of its code."""
    return engine.task(specs(script)[name])


SUBMITTER = """
import sys, types
from tidemill.graph import Task
from tidemill.model.spec import encode_spec

main = sys.modules["__main__"] = types.ModuleType("__main__")
main.__file__ = sys.argv[1]
exec(compile(open(sys.argv[1]).read(), sys.argv[1], "exec"), main.__dict__)
for value in list(vars(main).values()):
    if isinstance(value, Task):
        print(value.name, encode_spec(value.spec).hex())
"""


def specs(script: Path) -> dict[str, TaskSpec]:
    """The specifications of the tasks of a script, made the way a user's process makes them."""
    command = [sys.executable, "-c", SUBMITTER, str(script)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return {name: decode_spec(bytes.fromhex(data)) for name, data in (line.split() for line in lines)}


def growth(outcome: Any) -> Growth:
    assert outcome.failure is None, outcome.failure
    assert outcome.outs == []
    return decode_growth(outcome.growth)


def test_returned_calls_are_the_growth(fresh: FakeEngine, script: Path) -> None:
    found = growth(fresh.run(task(fresh, script, "fan"), 3))
    names = [decode_spec(data).name for data in found.header.tasks]
    assert sorted(names) == ["square", "total"]
    assert found.header.runs == 4
    assert [decode(args) for chunk in found.chunks for args in chunk.args][:3] == [[0], [1], [2]]
    assert len(found.outputs) == 1


def test_grown_tasks_are_those_that_the_user_would_submit(fresh: FakeEngine, script: Path) -> None:
    submitted = specs(script)
    found = growth(fresh.run(fresh.task(submitted["fan"]), 3))
    for data in found.header.tasks:
        grown = decode_spec(data)
        assert grown == submitted[grown.name]
        assert grown.python is not None
        assert grown.python.file == str(script)
    again = fresh.task(decode_spec(found.header.tasks[0]))
    assert fresh.value(fresh.run(again, 3)) == 9


def test_each_output_is_forwarded_on_its_own(fresh: FakeEngine, script: Path) -> None:
    found = growth(fresh.run(task(fresh, script, "two"), 5))
    assert len(found.outputs) == 2


def test_files_and_large_values_of_grown_calls_are_stored(fresh: FakeEngine, script: Path) -> None:
    found = growth(fresh.run(task(fresh, script, "with_files"), "text"))
    [chunk] = found.chunks
    named = [ref.digest for args in chunk.args for ref in refs(args)]
    contents = [fresh.objects.get(digest) for digest in chunk.objects]
    assert b"text" in contents
    assert set(named) <= set(chunk.objects)


def test_runs_leave_nothing_for_each_other(fresh: FakeEngine, script: Path) -> None:
    careless, plain = task(fresh, script, "careless"), task(fresh, script, "plain")
    failure = fresh.run(careless, 1).failure
    assert failure is not None
    assert failure.message == "after a call"
    outcome = fresh.run(plain, 1)
    assert (outcome.growth, fresh.value(outcome)) == (b"", [1])
    assert growth(fresh.run(task(fresh, script, "fan"), 2)).header.runs == 3


def test_calls_that_do_not_fit_fail_the_run_with_their_place(fresh: FakeEngine, script: Path) -> None:
    failure = fresh.run(task(fresh, script, "wrong"), 1).failure
    assert failure is not None
    assert Reason(failure.reason) is Reason.EXCEPTION
    assert failure.kind == "WiringError"
    assert "script.py" in failure.message


def test_reformatting_a_script_does_not_change_its_code_and_editing_does(fresh: FakeEngine, script: Path) -> None:
    submitted = specs(script)["plain"]
    fresh.run(fresh.task(submitted), 1)
    script.write_text(script.read_text().replace("return [x]", "return [\n        x  # the same\n    ]"))
    assert fresh.value(fresh.run(fresh.task(submitted), 1)) == [1]
    script.write_text(script.read_text().replace("x  # the same", "x, x"))
    edited = specs(script)["plain"]
    assert edited.digest != submitted.digest
    assert fresh.value(fresh.run(fresh.task(edited), 1)) == [1, 1]
    failure = fresh.run(fresh.task(submitted), 1).failure
    assert failure is not None
    assert Reason(failure.reason) is Reason.CODE_CHANGED
