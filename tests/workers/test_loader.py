"""Finding the code of tasks: modules, scripts, and what has changed since it was submitted."""

import os
import runpy
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from msgspec import structs

import tidemill
from tidemill.model.protocol import Input as Resolved
from tidemill.model.protocol import encode
from tidemill.model.spec import Python
from tidemill.model.states import Reason
from tidemill.model.values import Input, pickled
from tidemill.testing.workers import FakeEngine, python_spec

TASK = '''
from tidemill.model.spec import TaskSpec

class Task:
    """What the loader needs of a task: the function and its specification."""

    def __init__(self, fn, mark):
        self.fn = fn
        self.spec = TaskSpec(name=fn.__name__, digest=mark.encode() * 32)
'''


def write(path: Path, text: str, *, task: bool = False) -> str:
    path.write_text((TASK if task else "") + dedent(text))
    return str(path)


def fails(outcome: Any, reason: Reason) -> Any:
    assert outcome.failure is not None, outcome
    assert Reason(outcome.failure.reason) is reason, outcome.failure
    return outcome.failure


def test_a_script_without_a_guard_is_run_up_to_the_line_that_starts_the_workflow(
    fresh: FakeEngine, tmp_path: Path
) -> None:
    script = write(
        tmp_path / "script.py",
        """
        import sys
        from dataclasses import dataclass
        from tidemill.graph.runner import runner

        @dataclass
        class Point:
            x: int

        def shifted(x):
            return [Point(x + 1), sys.argv, shifted.__module__]

        print("loaded")
        runner("run")
        print("not reached")
        """,
    )
    task = fresh.task(python_spec("shifted", ["x"], file=script))
    outcome = fresh.run(task, 1)
    assert outcome.log == b"loaded\n"
    data = fresh.encoded(outcome.outs[0])
    assert b"__main__:Point" in data, "the class has the name it has in the user's process"
    assert fresh.run(task, 1).log == b"", "a script is run once"


def test_what_can_only_be_pickled_names_the_scripts_classes(fresh: FakeEngine, tmp_path: Path) -> None:
    script = write(
        tmp_path / "script.py",
        """
        class Odd(list):
            pass

        def make(x):
            return Odd([x])
        """,
    )
    data = fresh.encoded(fresh.run(fresh.task(python_spec("make", ["x"], file=script)), 5).outs[0])
    assert pickled(data)
    assert b"__main__:Odd" in data, "an object that comes back is of the class that the script knows"


def test_what_a_script_does_as_main_is_not_done(fresh: FakeEngine, tmp_path: Path) -> None:
    script = write(
        tmp_path / "script.py",
        """
        def name():
            return __name__

        if __name__ == "__main__":
            raise SystemExit("must not run here")
        """,
    )
    assert fresh.value(fresh.run(fresh.task(python_spec("name", file=script)))) == "__main__"


def test_a_script_that_parses_its_command_line_is_loaded_all_the_same(fresh: FakeEngine, tmp_path: Path) -> None:
    script = write(
        tmp_path / "script.py",
        """
        import argparse

        def one():
            return 1

        parser = argparse.ArgumentParser()
        parser.add_argument("needed")
        parser.parse_args()
        """,
    )
    assert fresh.value(fresh.run(fresh.task(python_spec("one", file=script)))) == 1


def test_scripts_of_one_engine_keep_their_own_main(fresh: FakeEngine, tmp_path: Path) -> None:
    tasks = []
    for name in ("a", "b"):
        script = write(
            tmp_path / f"{name}.py",
            f"""
            class Kind:
                text = {name!r}

            def text():
                import __main__
                return __main__.Kind.text
            """,
        )
        tasks.append(fresh.task(python_spec("text", file=script)))
    assert [fresh.value(fresh.run(task)) for task in (*tasks, *tasks)] == ["a", "b", "a", "b"]


def test_modules_beside_a_script_are_found(fresh: FakeEngine, tmp_path: Path) -> None:
    write(tmp_path / "beside_the_script.py", "value = 7")
    script = write(tmp_path / "script.py", "from beside_the_script import value\n\ndef get():\n    return value\n")
    assert fresh.value(fresh.run(fresh.task(python_spec("get", file=script)))) == 7


def test_a_path_can_be_added_later(fresh: FakeEngine, tmp_path: Path) -> None:
    write(tmp_path / "found_later.py", "def get():\n    return 8\n")
    task = fresh.task(python_spec("get", module="found_later"))
    fails(fresh.run(task), Reason.BAD_INPUT)
    setup = fresh.pool.workers[0].setup
    assert setup is not None
    setup.path = [str(tmp_path)]
    fresh.pool.workers[0].channel.send(encode(setup))
    assert fresh.value(fresh.run(task)) == 8


def test_a_task_defined_below_the_call_is_missed_with_advice(fresh: FakeEngine, tmp_path: Path) -> None:
    script = write(
        tmp_path / "script.py",
        """
        from tidemill.graph.runner import runner
        runner("run")
        def late(): ...
        """,
    )
    failure = fails(fresh.run(fresh.task(python_spec("late", file=script))), Reason.BAD_INPUT)
    assert "before the line that runs the workflow" in failure.message


def test_an_import_that_fails_is_told_with_the_users_traceback(fresh: FakeEngine, tmp_path: Path) -> None:
    script = write(tmp_path / "script.py", "import numpyy\n")
    task = fresh.task(python_spec("one", file=script))
    failure = fails(fresh.run(task), Reason.BAD_INPUT)
    assert failure.kind == "ModuleNotFoundError"
    assert failure.message == f"one of {script} cannot be imported: ModuleNotFoundError: No module named 'numpyy'"
    assert f'File "{script}", line 1' in failure.traceback
    assert "tidemill" not in failure.traceback
    again = fails(fresh.run(task), Reason.BAD_INPUT)
    assert again.message == failure.message


@pytest.mark.parametrize(("module", "qualname"), [("no_such_module", "f"), ("math", "no_such_function")])
def test_a_function_that_is_not_there_is_a_bad_input(engine: FakeEngine, module: str, qualname: str) -> None:
    failure = fails(engine.run(engine.task(python_spec(qualname, module=module))), Reason.BAD_INPUT)
    assert qualname in failure.message
    assert module in failure.message


def test_a_broken_pickle_is_a_bad_input(engine: FakeEngine) -> None:
    failure = fails(engine.run(engine.task(python_spec("f", pickled=b"no pickle"))), Reason.BAD_INPUT)
    assert failure.kind == "UnpicklingError"


def test_a_decorated_function_is_called_without_its_decorator(fresh: FakeEngine, tmp_path: Path) -> None:
    script = write(
        tmp_path / "script.py",
        """
        def one():
            return 1

        renamed = Task(one, "a")
        decorated = Task(lambda: 2, "b")
        """,
        task=True,
    )
    assert fresh.value(fresh.run(fresh.task(python_spec("decorated", code=b"b" * 32, file=script)))) == 2
    assert fresh.value(fresh.run(fresh.task(python_spec("one", code=b"a" * 32, file=script)))) == 1


def test_other_code_than_was_submitted_is_not_run(fresh: FakeEngine, tmp_path: Path) -> None:
    script = write(tmp_path / "script.py", 'one = Task(lambda: 1, "a")', task=True)
    failure = fails(fresh.run(fresh.task(python_spec("one", code=b"b" * 32, file=script))), Reason.CODE_CHANGED)
    assert "is not the code that was submitted" in failure.message


def test_a_value_that_is_another_in_the_worker_is_named(tmp_path: Path) -> None:
    """Tidemill itself stands on the user's path here, as it does in an editable installation."""
    script = tmp_path / "script.py"
    write(
        script,
        """
        import os
        import tidemill as tm
        HERE = os.getcwd()

        @tm.task
        def here():
            return HERE
        """,
    )
    source = str(Path(tidemill.__file__).parents[1])
    with FakeEngine(tmp_path / "own", path=[source]) as engine:
        submitted = runpy.run_path(str(script))["here"].spec
        where = Python("here", file=str(script))
        failure = fails(engine.run(engine.task(structs.replace(submitted, python=where))), Reason.CODE_CHANGED)
        assert "constant script.HERE" in failure.message
        assert "pass it to the task as an argument" in failure.message


@pytest.mark.parametrize("kind", ["file", "module"])
def test_files_that_a_module_reads_are_looked_for_where_the_user_was(tmp_path: Path, kind: str) -> None:
    project, there = tmp_path / "project", tmp_path / "there"
    for folder in (project, there):
        folder.mkdir()
    (there / "settings.txt").write_text("from there")
    main = write(
        project / "settled.py", "import os\nTEXT = open('settings.txt').read()\ndef one(): return [TEXT, os.getcwd()]"
    )
    where: dict[str, Any] = {"file": main} if kind == "file" else {"module": "settled"}
    with FakeEngine(tmp_path / "own", path=[str(project)]) as engine:
        fails(engine.run(engine.task(python_spec("one", cwd=str(tmp_path / "gone"), **where))), Reason.BAD_INPUT)
    with FakeEngine(tmp_path / "own", path=[str(project)]) as engine:
        text, cwd = engine.value(engine.run(engine.task(python_spec("one", cwd=str(there), **where))))
        assert text == "from there"
        assert cwd.startswith(str(engine.scratch)), "tasks themselves run in their own directory"


def test_a_script_that_wants_its_command_line_says_what_to_do(fresh: FakeEngine, tmp_path: Path) -> None:
    script = write(tmp_path / "script.py", "import sys\nN = int(sys.argv[1])\ndef one(): return N")
    failure = fails(fresh.run(fresh.task(python_spec("one", file=script))), Reason.BAD_INPUT)
    assert "read sys.argv below" in failure.message


@pytest.mark.parametrize("kind", ["file", "module"])
def test_code_edited_between_two_submissions_is_loaded_again(tmp_path: Path, kind: str) -> None:
    project = tmp_path / "project"
    project.mkdir()
    helper = project / "edited_helper.py"
    main = project / "edited_main.py"
    where = {"file": str(main)} if kind == "file" else {"module": "edited_main"}
    with FakeEngine(tmp_path / "own", path=[str(project)]) as engine:
        for mark in ("a", "b"):
            write(helper, f"VALUE = {mark!r}")
            write(main, f"import edited_helper\none = Task(lambda: edited_helper.VALUE, {mark!r})", task=True)
            task = engine.task(python_spec("one", code=mark.encode() * 32, **where))
            assert engine.value(engine.run(task)) == mark
        old = engine.task(python_spec("one", code=b"a" * 32, **where))
        fails(engine.run(old), Reason.CODE_CHANGED)


def test_tasks_of_unchanged_modules_follow_when_the_project_is_loaded_again(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    write(
        project / "kinds.py",
        """
        from dataclasses import dataclass

        @dataclass
        class Kind:
            x: int

        make = Task(lambda: Kind(1), "m")
        check = Task(lambda kind: isinstance(kind, Kind), "c")
        """,
        task=True,
    )
    with FakeEngine(tmp_path / "own", path=[str(project)]) as engine:
        make = engine.task(python_spec("make", code=b"m" * 32, module="kinds"))
        check = engine.task(python_spec("check", ["kind"], code=b"c" * 32, module="kinds"))

        def checked() -> bool:
            made = engine.run(make).outs[0]
            return engine.value(engine.run(check, Input(0), inputs=[Resolved(made.value, made.digest)])) is True

        assert checked()
        write(project / "other.py", 'one = Task(lambda: 1, "a")', task=True)
        assert engine.value(engine.run(engine.task(python_spec("one", code=b"a" * 32, module="other")))) == 1
        write(project / "other.py", 'one = Task(lambda: 2, "b")', task=True)
        assert engine.value(engine.run(engine.task(python_spec("one", code=b"b" * 32, module="other")))) == 2
        assert checked()


def test_installed_packages_are_not_loaded_again(fresh: FakeEngine, tmp_path: Path) -> None:
    script = write(
        tmp_path / "script.py",
        """
        import msgspec
        def where():
            return id(msgspec)
        one = Task(where, "a")
        """,
        task=True,
    )
    right = fresh.task(python_spec("one", code=b"a" * 32, file=script))
    before = fresh.value(fresh.run(right))
    fails(fresh.run(fresh.task(python_spec("one", code=b"z" * 32, file=script))), Reason.CODE_CHANGED)
    assert fresh.value(fresh.run(right)) == before


def test_the_executor_stands_in_its_own_directory_and_not_on_the_path(fresh: FakeEngine) -> None:
    path = fresh.value(fresh.run(fresh.task(python_spec("list", ["x"], module="builtins")), [os.getcwd()]))
    assert path == [os.getcwd()]
    script = fresh.directory / "path.py"
    write(script, "import sys\n\ndef path():\n    return sys.path\n")
    found = fresh.value(fresh.run(fresh.task(python_spec("path", file=str(script)))))
    assert "" not in found
    assert found[0] == str(fresh.directory)
    assert sys.prefix in "".join(found)
