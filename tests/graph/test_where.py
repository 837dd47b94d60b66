"""Where a worker finds a task's function, however its author runs Python."""

import json
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

import tidemill.graph as tm
from tests.graph.reading import result
from tidemill.model.errors import WiringError
from tidemill.testing.interpreter import load

SCRIPT = """
import json
import tidemill.graph as tm
from tidemill.model.spec import Python

@tm.task
def plain(x: int) -> int:
    return x + 1

class Place:
    @staticmethod
    @tm.task
    def inside(x): return x

def make():
    @tm.task
    def local(x): return x
    return local

shadowed = tm.task(lambda x: x)
kept = plain

def replaced(x): return x
replaced = tm.task(replaced)
first = replaced
@tm.task
def replaced(x): return -x

def show(task):
    where = task.spec.python
    return [where.module, where.file, where.qualname, bool(where.pickled)]

if __name__ == "__main__":
    print(json.dumps([show(t) for t in (plain, Place.inside, make(), shadowed, first, replaced)]))
"""

LOCAL = ["", "", "make.<locals>.local", True]


def run(*args: str, cwd: Path, stdin: str | None = None) -> list[Any]:
    done = subprocess.run([sys.executable, *args], cwd=cwd, input=stdin, capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout))


def test_functions_of_a_script_are_found_in_its_file(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    file = str(script)
    assert run("script.py", cwd=tmp_path) == [
        ["", file, "plain", False],
        ["", file, "Place.inside", False],
        LOCAL,
        ["", "", "<lambda>", True],
        ["", "", "replaced", True],
        ["", file, "replaced", False],
    ]


def test_functions_of_a_module_that_is_run_are_found_in_the_module(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "module.py").write_text(SCRIPT)
    (package / "__main__.py").write_text(SCRIPT)
    found = run("-m", "package.module", cwd=tmp_path)
    assert found[:3] == [["package.module", "", "plain", False], ["package.module", "", "Place.inside", False], LOCAL]
    assert run("-m", "package", cwd=tmp_path)[0] == ["package.__main__", "", "plain", False]


def test_functions_of_an_imported_module_are_found_there(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(SCRIPT)
    code = "import module, json; print(json.dumps([module.show(module.plain), module.show(module.make())]))"
    assert run("-c", code, cwd=tmp_path) == [["module", "", "plain", False], LOCAL]


def test_functions_typed_at_a_prompt_travel_themselves(tmp_path: Path) -> None:
    found = run("-", cwd=tmp_path, stdin=SCRIPT)
    assert [pickled for *_, pickled in found] == [True] * 6


def test_what_travels_can_be_loaded() -> None:
    offset = 5

    @tm.task
    def shifted(x: int) -> int:
        return x + offset

    assert load(shifted.spec)(1) == 6
    assert load(module_level.spec) is module_level.fn


@tm.task
def module_level(x: int) -> int:
    return x


def test_recursive_local_tasks_travel() -> None:
    @tm.task
    def down(n: int) -> Any:
        return down(n - 1) if n else "done"

    found: Any = load(down.spec)
    assert found.__closure__[0].cell_contents.name == "down"
    assert result(down(3)) == "done"


def test_tasks_can_be_pickled() -> None:
    assert pickle.loads(pickle.dumps(module_level)) is module_level
    again = cloudpickle.loads(cloudpickle.dumps(module_level.options(priority=3)))
    assert (again.spec.priority, again.fn(4)) == (3, 4)
    command = tm.command("ls {x}", inputs={"x": str}, priority=2)
    assert pickle.loads(pickle.dumps(command)).spec == command.spec


def test_what_cannot_travel_is_a_problem_of_the_workflow() -> None:
    lock = threading.Lock()

    @tm.task
    def holds(n: int) -> bool:
        return lock.acquire(timeout=n)

    with pytest.raises(WiringError, match=r"holds: the function .* cannot be sent to a worker"):
        tm.build(holds(3))


FACTOR = 2


@tm.task
def scaled(x: int) -> int:
    return FACTOR * x


def test_code_is_looked_at_again_for_every_workflow(monkeypatch: pytest.MonkeyPatch) -> None:
    before = tm.build(scaled(1)).header.tasks
    assert tm.build(scaled(1)).header.tasks == before
    monkeypatch.setattr(sys.modules[__name__], "FACTOR", 3)
    assert tm.build(scaled(1)).header.tasks != before


def test_the_digest_has_its_parts() -> None:
    first, second = tm.task(version=1)(module_level.fn), tm.task(version=2)(module_level.fn)
    changed = {name for name in first.spec.parts if first.spec.parts[name] != second.spec.parts[name]}
    assert changed == {"version"}
    assert first.spec.digest != second.spec.digest
    assert {"code", "ports"} <= set(first.spec.parts)
    assert module_level.spec.place.startswith(__file__)
