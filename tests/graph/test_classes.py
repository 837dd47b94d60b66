"""Classes as tasks: their ports, their meaning, what is refused, and that workers execute them."""

import subprocess
import sys
import textwrap
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tidemill.graph as tm
from tests.graph.test_code import Files, Project, project  # noqa: F401 — a fixture
from tidemill.model.errors import UsageError, WiringError

FLOW = """
from __future__ import annotations

import dataclasses
import tidemill as tm


class Base:
    scale = 1

    def scaled(self):
        return self.n * self.scale


@tm.task
class Fibonacci(Base):
    '''A number of Fibonacci's.'''

    name = fn = spec = "what stands in the class is not the task's"

    def __init__(self, n: int, *, extra: int = 0):
        super().__init__()
        self.n, self.extra = n, extra

    def run(self) -> int:
        if self.scaled() < 2:
            return self.n + self.extra
        return add(Fibonacci(self.n - 1), Fibonacci(self.n - 2))


@tm.task
def add(a: int, b: int) -> int:
    return a + b


@tm.task
@dataclasses.dataclass
class Product:
    a: int
    b: int = 3

    def run(self) -> int:
        return self.a * self.b


@tm.task(outputs=("low", "high"))
class Bounds(Product):
    def run(self) -> tuple[int, int]:
        return super().run() - 1, self.a + self.b


@tm.workflow
def main(n: int = 8):
    return Product(Fibonacci(n, extra=0)), Bounds(2, b=5).high, Product(tm.sweep([1, 2]))


if __name__ == "__main__":
    print(main().run(progress=False))
"""

PROMPT = """
import tidemill as tm
@tm.task
class Down:
    def __init__(self, n: int): self.n = n
    def run(self) -> int: return 0 if self.n == 0 else Down(self.n - 1)
print(Down(3).run(progress=False))
"""


@pytest.mark.parametrize(("text", "said"), [(FLOW, "(63, 7, [3, 6])"), (PROMPT, "0")])
def test_workers_make_an_instance_and_run_it(tmp_path: Path, text: str, said: str) -> None:
    script = tmp_path / "flow.py"
    script.write_text(text, encoding="utf-8")
    words = [str(script)] if text is FLOW else ["-c", text]
    done = subprocess.run([sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == (said, "")


def test_the_parameters_of_the_class_are_the_inputs_and_run_says_what_comes_out() -> None:
    class Plain:
        """What it does."""

        def __init__(self, number: int, names: list[str], *, flag: bool = True) -> None:
            self.number = number

        def run(self) -> list[int]:
            return [self.number]

    Step: Any = tm.task(retries=2, name="renamed")(Plain)  # noqa: N806
    assert [(p.name, p.type, p.many, p.optional) for p in Step.spec.inputs] == [
        ("number", "int", False, False), ("names", "list[str]", True, False), ("flag", "bool", False, True),
    ]  # fmt: skip
    assert [(p.name, p.type) for p in Step.spec.outputs] == [("result", "list[int]")]
    assert (Step.name, Step.spec.doc, Step.spec.retries, Step.__name__) == ("renamed", "What it does.", 2, "Plain")
    assert repr(Step) == "<task renamed(number: int, names: list[str], flag: bool)>"
    with pytest.raises(WiringError, match="is missing 'names'"):
        Step(1)


CLASS = """
import tidemill as tm
FACTOR = 2
def used(x): return x * FACTOR
class Base:
    kept = 1
    def inherited(self): return used(self.x)
@tm.task(retries=0)
class f(Base):
    def __init__(self, x: int, y=4): self.x = x
    def run(self): return self.inherited()
"""
EDITS: list[tuple[str, str, set[str]]] = [
    ("return self.inherited()", "return -self.inherited()", {"code"}),
    ("self.x = x", "self.x = x + 1", {"code"}),
    ("y=4", "y=5", {"code", "default:flow.f.__init__.y"}),
    ("return used(self.x)", "return used(self.x + 1)", {"helper:flow.Base"}),
    ("kept = 1", "kept = 2", {"helper:flow.Base"}),
    ("x * FACTOR", "x + FACTOR", {"helper:flow.used"}),
    ("FACTOR = 2", "FACTOR = 3", {"constant:flow.FACTOR"}),
    ("retries=0", "retries=9", set()),
    ("def run(self): ", "def run(self):\n        '''A docstring.'''\n        # a comment\n        ", set()),
]


@pytest.mark.parametrize(("old", "new", "parts"), EDITS, ids=[new.strip()[:20] for _, new, _ in EDITS])
def test_the_whole_class_and_its_bases_are_its_meaning(
    project: Project,  # noqa: F811
    old: str,
    new: str,
    parts: set[str],
) -> None:
    def digests(files: Files | str) -> dict[str, bytes]:
        return dict(project.load(files).f.spec.parts)

    before, after = digests(CLASS), digests(CLASS.replace(old, new))
    changed = {n for n in before | after if before.get(n) != after.get(n)}
    assert {name for name in changed if not name.startswith("default:")} == {
        name for name in parts if not name.startswith("default:")
    }


def test_a_task_that_calls_a_class_means_something_else_when_the_class_does(project: Project) -> None:  # noqa: F811
    more = textwrap.dedent(CLASS) + "@tm.task\ndef g(x): return f(x)\n"
    before = dict(project.load(more).g.spec.parts)
    after = dict(project.load(more.replace("self.x = x", "self.x = -x")).g.spec.parts)
    assert {n for n in before | after if before.get(n) != after.get(n)} == {"helper:flow.f"}


class Plain:
    def method(self) -> int:
        return 1

    @classmethod
    def made(cls) -> int:
        return 1


def _without_run() -> Any:
    return Plain


def _wants_more() -> Any:
    class Wants:
        def run(self, what: int) -> int:
            return what

    return Wants


def _generates() -> Any:
    class Generates:
        def run(self) -> Any:
            yield 1

    return Generates


def _static() -> Any:
    class Static:
        @staticmethod
        def run() -> int:
            return 1

    return Static


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_without_run, r"Plain has none"),
        (_wants_more, r"is called without arguments, but wants what"),
        (_generates, r"must return its result"),
        (_static, r"must be a plain method, not a staticmethod"),
        (lambda: Plain().method, r"not on the method method"),
        (lambda: Plain.made, r"not on the method made"),
        (lambda: staticmethod(_static), r"not on the method _static"),
        (lambda: classmethod(lambda cls: cls), r"not on the method <lambda>"),
    ],
)
def test_what_cannot_be_a_task_is_refused_where_it_is_defined(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        tm.task(make())


def test_only_a_task_made_of_a_class_can_be_a_base_class() -> None:
    @tm.task
    def function(x: int) -> int:
        return x

    with pytest.raises(TypeError, match="made of a function"):
        types.new_class("Below", types.resolve_bases((function,)))
