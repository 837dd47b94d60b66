"""The digest of the meaning of code: what changes it, what does not, and what is named as the cause."""

import ast
import importlib
import math
import os
import subprocess
import sys
import textwrap
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.graph.code import code_parts, combine
from tidemill.graph.syntax import Form

Files = dict[str, str]


class Project:
    """A directory of modules that are written, imported afresh and asked for the parts of `flow.f`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, files: Files | str, target: str = "f") -> dict[str, bytes]:
        return code_parts(getattr(self.load(files), target))

    def load(self, files: Files | str) -> types.ModuleType:
        for name, text in ({"flow": files} if isinstance(files, str) else files).items():
            path = self.path / (name.replace(".", "/") + ".py")
            path.parent.mkdir(exist_ok=True)
            path.write_text(textwrap.dedent(text))
        self.forget()
        return importlib.import_module("flow")

    def forget(self) -> None:
        for name, module in list(sys.modules.items()):
            if (getattr(module, "__file__", None) or "").startswith(str(self.path)):
                del sys.modules[name]
        importlib.invalidate_caches()

    def changes(self, before: Files | str, after: Files | str, target: str = "f") -> set[str]:
        """The names of the parts that differ after an edit."""
        old, new = self(before, target), self(after, target)
        return {name for name in old | new if old.get(name) != new.get(name)}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    made = Project(tmp_path)
    yield made
    made.forget()


HELPERS = '''
"""Helpers."""
import math

SCALE = 3
OTHER = 4

def scaled(x):
    """Scale."""
    return x * SCALE

def deep(x):
    return scaled(x) + math.pi

def unused(x):
    return x + OTHER
'''

FLOW = '''
import helpers
from helpers import deep

def f(x: float) -> float:
    """Energy."""
    # a comment
    return deep(x) + helpers.scaled(x)

def g(x):
    return x
'''


def test_the_parts_are_named(project: Project) -> None:
    parts = project({"helpers": HELPERS, "flow": FLOW})
    assert sorted(parts) == ["code", "constant:helpers.SCALE", "helper:helpers.deep", "helper:helpers.scaled"]
    assert all(len(value) == 32 for value in parts.values())
    assert sorted(code_parts(sys.modules["flow"].g)) == ["code"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("SCALE = 3", "SCALE = 2", {"constant:helpers.SCALE"}),
        ("SCALE = 3", "SCALE = 3.0", {"constant:helpers.SCALE"}),
        ("SCALE = 3", "SCALE = 6 // 2  # three", set()),
        ("OTHER = 4", "OTHER = 5", set()),
        ("x + OTHER", "x - OTHER", set()),
        ("x * SCALE", "SCALE * x", {"helper:helpers.scaled"}),
        ("x * SCALE", "(x  *  SCALE)", set()),
        ('"""Scale."""', '"""Another text."""', set()),
        ('"""Scale."""', "", set()),
        ("def scaled(x):", "# more\n\ndef scaled(x: float) -> float:", set()),
        ("def scaled(x):", "def scaled(x, y=1):", {"helper:helpers.scaled", "default:helpers.scaled.y"}),
        ("+ math.pi", "+ math.e", {"helper:helpers.deep"}),
        ("return x + OTHER", "return x + OTHER\n\nnew = 1", set()),
        (
            "return scaled(x)",
            "return scaled(unused(x))",
            {"helper:helpers.deep", "helper:helpers.unused", "constant:helpers.OTHER"},
        ),
    ],
)
def test_an_edit_of_a_helper_changes_what_uses_it(project: Project, old: str, new: str, expected: set[str]) -> None:
    assert old in HELPERS
    before = {"helpers": HELPERS, "flow": FLOW}
    assert project.changes(before, {"helpers": HELPERS.replace(old, new), "flow": FLOW}) == expected
    assert project.changes(before, {"helpers": HELPERS.replace(old, new), "flow": FLOW}, "g") == set()


BODY = '''
def f(a, *args, k: int = 1, **more):
    """Doc."""
    total: float = 0.0
    for i, x in enumerate(args):
        if x > 1 and not a:
            total += x ** 2
        elif i in (1, 2):
            continue
        else:
            total -= [y for y in range(i) if y % 2][0]
    with open(a) as file:
        text = f"{file.read()!r:>10} {a}"
    try:
        return {"total": total, **more}, lambda q: q + k
    except (ValueError, KeyError) as error:
        raise RuntimeError("no") from error
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("k: int = 1", "k: int = 2"),
        ("k: int = 1", "k: int = True"),
        ("0.0", "0"),
        ("0.0", "-0.0"),
        ("x > 1", "x >= 1"),
        ("x > 1 and not a", "x > 1 or not a"),
        ("not a", "a"),
        ("+= x", "-= x"),
        ("continue", "break"),
        ("(1, 2)", "[1, 2]"),
        ("range(i)", "range(a)"),
        ("% 2", "% 3"),
        ("!r", "!s"),
        (":>10", ":>11"),
        ("**more}", "'more': more}"),
        ("q + k", "k + q"),
        ("lambda q:", "lambda q=0:"),
        ("KeyError", "TypeError"),
        (" from error", ""),
        ('"no"', '"yes"'),
        ('"no"', 'b"no"'),
        ("*args", "args"),
        ("def f(a,", "def f(a, b,"),
        ("[y for y in", "[a for y in"),
        ("    for i", "    return 1\n    for i"),
    ],
)
def test_an_edit_of_the_function_changes_its_code(project: Project, old: str, new: str) -> None:
    assert old in BODY
    changed = project.changes(BODY, BODY.replace(old, new))
    assert "code" in changed
    assert changed <= {"code", "default:k"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""Doc."""', "'''Another.'''"),
        ('"""Doc."""', "pass"),
        ("total: float = 0.0", "total = 0.0"),
        ("k: int = 1", "k=1"),
        ("**more):", "**more) -> None:"),
        ("(1, 2)", "(1,  # comment\n        2,)"),
        ('"no"', "('n' 'o')"),
        ("x ** 2", "((x)**2)"),
        ("0.0", "0e0"),
        ("continue", "'a text without effect'; continue"),
        ("        text", "\n\n        text"),
    ],
)
def test_what_does_not_change_the_meaning(project: Project, old: str, new: str) -> None:
    assert old in BODY
    assert project.changes(BODY, BODY.replace(old, new)) == set()


def test_reformatting_keeps_the_digest(project: Project) -> None:
    before = {"helpers": HELPERS, "flow": FLOW + CLASSES}
    after = {name: ast.unparse(ast.parse(text)) for name, text in before.items()}
    for target in ("f", "h"):
        assert project.changes(before, after, target) == set()


# ------------------------------------------------------------------------------------- what the normal form tells apart

CORPUS = [Path(os.__file__).parent / name for name in ("heapq.py", "textwrap.py", "json/decoder.py", "dataclasses.py")]
TREES = [ast.parse(path.read_text()) for path in CORPUS]


@pytest.mark.parametrize("tree", TREES, ids=[path.name for path in CORPUS])
def test_the_form_of_real_code_survives_rewriting(tree: ast.Module) -> None:
    assert Form(ast.parse(ast.unparse(tree))).words == Form(tree).words


def _edits(tree: ast.Module) -> list[tuple[ast.AST, str, Any]]:
    """Every (node, field, other value) that means something else."""
    found: list[tuple[ast.AST, str, Any]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call | ast.Return | ast.keyword | ast.Compare | ast.BinOp):
            found += [
                (part, "value", (part.value, "edited"))
                for part in ast.iter_child_nodes(node)
                if isinstance(part, ast.Constant)
            ]
        if isinstance(node, ast.BinOp):
            found.append((node, "op", ast.MatMult()))
        if isinstance(node, ast.If | ast.While):
            found.append((node, "test", ast.Name("edited", ast.Load())))
        if isinstance(node, ast.Attribute):
            found.append((node, "attr", node.attr + "_edited"))
        if isinstance(node, ast.arg):
            found.append((node, "arg", node.arg + "_edited"))
    return found


EDITS = [_edits(tree) for tree in TREES]


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_edits_of_real_code_change_its_form(data: st.DataObject) -> None:
    number = data.draw(st.integers(0, len(TREES) - 1))
    node, field, value = data.draw(st.sampled_from(EDITS[number]))
    before = Form(TREES[number]).words
    kept = getattr(node, field)
    setattr(node, field, value)
    try:
        assert Form(TREES[number]).words != before
    finally:
        setattr(node, field, kept)


# -------------------------------------------------------------------------------------------------------------- helpers


def test_recursion_ends(project: Project) -> None:
    text = """
    def f(n): return n and even(n)
    def even(n): return n == 0 or odd(n - 1)
    def odd(n): return n != 0 and even(n - 1) and f(n) and odd
    """
    assert sorted(project(text)) == ["code", "helper:flow.even", "helper:flow.odd"]
    assert sorted(project(text, "odd")) == ["code", "helper:flow.even", "helper:flow.f"]


CLASSES = """
import dataclasses, enum, functools, typing

class Base:
    factor = 2
    def base(self): return LIMIT

@dataclasses.dataclass
class Cell(Base):
    a: float
    b: int = 1

    @property
    def volume(self): return cube(self.a)

    @functools.cached_property
    def cached(self): return self.volume

    @staticmethod
    def make(): return Cell(1.0)

class Kind(enum.Enum):
    FCC = 1

class Pair(typing.NamedTuple):
    x: int

def cube(x): return x ** 3

LIMIT = 9

def h(x):
    return Cell(x).volume + Kind.FCC.value + Pair(1).x
"""


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("a: float", "a: int", {"helper:flow.Cell"}),
        ("b: int = 1", "b: int = 2", {"helper:flow.Cell"}),
        ("factor = 2", "factor = 3", {"helper:flow.Base"}),
        ("cube(self.a)", "cube(self.b)", {"helper:flow.Cell"}),
        ("x ** 3", "x ** 2", {"helper:flow.cube"}),
        ("LIMIT = 9", "LIMIT = 8", {"constant:flow.LIMIT"}),
        ("FCC = 1", "FCC = 2", {"helper:flow.Kind"}),
        ("x: int", "x: float", {"helper:flow.Pair"}),
        ("def volume(self):", "def volume(self) -> float:", set()),
    ],
)
def test_classes(project: Project, old: str, new: str, expected: set[str]) -> None:
    assert old in CLASSES
    assert project.changes(CLASSES, CLASSES.replace(old, new), "h") == expected


def test_import_inside_the_function(project: Project) -> None:
    flow = """
    def f(x):
        import numpy as np
        import package.inner
        from helpers import deep as renamed
        from package import inner as other
        return renamed(x) + package.inner.g(x) + other.CONSTANT + np.pi
    """
    files = {
        "helpers": HELPERS,
        "package.__init__": "",
        "package.inner": "CONSTANT = 1\ndef g(x): return x",
        "flow": flow,
    }
    parts = project(files)
    assert set(parts) == {
        "code",
        "helper:helpers.deep",
        "helper:helpers.scaled",
        "constant:helpers.SCALE",
        "helper:package.inner.g",
        "constant:package.inner.CONSTANT",
        "package:numpy",
    }
    edited = {**files, "package.inner": files["package.inner"].replace("return x", "return -x")}
    assert project.changes(files, edited) == {"helper:package.inner.g"}


def test_relative_import_inside_the_function(project: Project) -> None:
    files = {
        "package.__init__": "",
        "package.a": "def a(): return 1",
        "package.b": "def b():\n    from .a import a\n    from . import a as m\n    return a() + m.a()",
        "flow": "from package.b import b as f",
    }
    assert set(project(files)) == {"code", "helper:package.a.a"}


def test_decorators_of_the_project_and_of_libraries(project: Project) -> None:
    text = """
    import functools

    def twice(fn):
        @functools.wraps(fn)
        def wrapper(*args):
            return 2 * fn(*args)
        return wrapper

    @twice
    def g(x): return helper(x)

    @functools.lru_cache(maxsize=3)
    def cached(x): return x + 1

    def helper(x): return x

    def f(x): return g(x) + cached(x)
    """
    assert project.changes(text, text.replace("2 * fn", "3 * fn")) == {
        "helper:flow.twice",
        "helper:flow.twice.<locals>.wrapper",
    }
    assert project.changes(text, text.replace("return helper(x)", "return -helper(x)")) == {"helper:flow.g"}
    assert project.changes(text, text.replace("x): return x\n", "x): return 4 * x\n")) == {"helper:flow.helper"}
    assert project.changes(text, text.replace("x + 1", "x + 2")) == {"helper:flow.cached"}
    assert "helper:flow.helper" in project(text, "g")


def test_two_wrappers_of_one_decorator(project: Project) -> None:
    text = """
    def scaled(factor):
        def wrapper(x):
            return factor * x
        return wrapper

    g, h = scaled(2), scaled(3)

    def f(x): return g(x) + h(x)
    """
    assert project.changes(text, text.replace("scaled(3)", "scaled(4)")) == {
        "closure:flow.scaled.<locals>.wrapper.factor"
    }


TASKS = """
class Task:
    def __init__(self, fn, **settings):
        self.__wrapped__ = fn

def task(fn=None, **settings):
    return Task(fn) if fn else Task

@task
def inner(x): return x + 1

@task
def f(x): return inner(x)
"""


def test_other_tasks_count_by_their_function(project: Project) -> None:
    module = project.load(TASKS)
    assert "helper:flow.inner" in code_parts(module.f.__wrapped__)
    assert project.changes(TASKS, TASKS.replace("x + 1", "x + 2")) == {"helper:flow.inner"}


def test_tasks_without_a_function_count_by_their_digest(project: Project) -> None:
    text = """
    class Command:
        digest = b"1" * 32
    Command.__module__ = "tidemill.graph.command"
    shell = Command()
    def f(x): return shell(x)
    """
    assert project.changes(text, text.replace('b"1"', 'b"2"')) == {"constant:flow.shell"}


def test_decorators_of_tidemill_do_not_count(project: Project) -> None:
    text = """
    import tidemill.graph.code as tm
    tm.task = lambda **settings: lambda fn: fn

    @tm.task(retries=2)
    def f(x): return x

    def outside():
        from tidemill import anything as task
    """
    assert project.changes(text, text.replace("retries=2", "retries=3")) == set()


def test_methods_partials_and_callables(project: Project) -> None:
    text = """
    import functools

    class Model:
        def __init__(self, a): self.a = a
        def energy(self, x): return self.a * cube(x)
        def __call__(self, x): return self.a + cube(x)

    def cube(x): return x ** 3
    def power(x, n): return cube(x) ** n

    model = Model(2)
    bound = model.energy
    square = functools.partial(power, n=2)

    def f(x): return bound(x) + square(x) + model(x)
    """
    for target in ("f", "bound", "square", "model"):
        assert project.changes(text, text.replace("x ** 3", "x ** 2"), target) == {"helper:flow.cube"}
    assert "constant:flow.model" in project.changes(text, text.replace("Model(2)", "Model(3)"))
    assert project.changes(text, text.replace("n=2)", "n=3)"), "f") == {"constant:flow.square"}
    assert project.changes(text, text.replace("n=2)", "n=3)"), "square") == {"default:(partial)"}
    assert project.changes(text, text.replace("Model(2)", "Model(3)"), "model") == {"closure:self"}
    assert "code" in project.changes(text, text.replace("** n", "* n"), "square")
    assert "helper:flow.Model" in project(text, "model")


def test_lambdas_and_nested_functions(project: Project) -> None:
    text = """
    def make(k):
        def inner(x):
            return k + helper(x)
        return inner

    def helper(x): return x

    nested = make(5)
    one, two = lambda x: helper(x) + 1, lambda x: x + 2
    """
    assert project.changes(text, text.replace("make(5)", "make(6)"), "nested") == {"closure:k"}
    assert project.changes(text, text.replace("return x\n", "return -x\n"), "nested") == {"helper:flow.helper"}
    assert project.changes(text, text.replace("+ 1", "+ 9"), "one") == {"code"}
    assert project.changes(text, text.replace("+ 1", "+ 9"), "two") == set()
    assert set(project(text, "one")) == {"code", "helper:flow.helper"}


# ------------------------------------------------------------------------------------------------------------ constants


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("C = [1, {'a': (2, 3)}]", "C = [1, {'a': [2, 3]}]", "constant:flow.C"),
        ("import numpy as np\nC = np.arange(3)", "import numpy as np\nC = np.arange(4)", "constant:flow.C"),
        ("from pathlib import Path\nC = Path('a')", "from pathlib import Path\nC = Path('b')", "constant:flow.C"),
        ("C = {1, 2}", "C = {1, 3}", "constant:flow.C"),
        ("C = (i for i in [1])", "C = (i for i in [2])", "opaque:flow.C"),
        ("C = object()", "C = object(); C = [C]", "opaque:flow.C"),
        ("class K: pass\nC = K()\nC.x = 1", "class K: pass\nC = K()\nC.x = 2", "constant:flow.C"),
        ("K = lambda: 0\nC = [K]", "K = lambda: 1\nC = [K]", "helper:flow.<lambda>"),
    ],
)
def test_constants(project: Project, before: str, after: str, expected: str) -> None:
    use = "\ndef f(): return C"
    assert project.changes(before + use, after + use) == {expected}
    assert project.changes(before + use, before + "\n\n# comment" + use) == set()


def test_functions_in_a_table_are_followed(project: Project) -> None:
    text = """
    def a(x): return b(x)
    def b(x): return x
    TABLE = {"a": a, "rest": [a, 1]}
    def f(k): return TABLE[k]
    """
    assert project.changes(text, text.replace("x): return x", "x): return -x")) == {"helper:flow.b"}
    assert project.changes(text, text.replace("[a, 1]", "[b, 1]")) == {"constant:flow.TABLE"}


def test_opaque_constants_do_not_depend_on_the_process(tmp_path: Path) -> None:
    (tmp_path / "flow.py").write_text(
        "import logging, threading\nlog, lock = logging.getLogger('x'), threading.Lock()\n"
        "def f():\n    with lock: log.info({'a', 'b'})\n"
    )
    code = "from tidemill.graph.code import code_parts, combine; import flow; print(combine(code_parts(flow.f)).hex())"
    assert len({python(tmp_path, "-c", code, seed=seed) for seed in ("1", "2")}) == 1


def test_a_constant_that_contains_itself(project: Project) -> None:
    assert set(project("C = [1]\nC.append(C)\ndef f(): return C")) == {"code", "opaque:flow.C"}


def test_default_values(project: Project) -> None:
    text = "K = 3\ndef f(x, y=K, *, z=[1]): return x"
    assert set(project(text)) == {"code", "default:y", "default:z"}
    assert project.changes(text, text.replace("K = 3", "K = 4")) == {"default:y"}


def test_local_names_do_not_count_as_global_ones(project: Project) -> None:
    text = "def energy(): return 1\ndef f(x):\n    energy = x.energy\n    return [energy for y in energy]"
    assert set(project(text)) == {"code"}


# ------------------------------------------------------------------------------------------------ packages, no source


def test_packages_count_by_version_only(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    text = """
    import numpy as np
    import yaml
    from numpy.linalg import norm
    import math, os.path, attrs
    def f(x): return norm(x) + np.linalg.det(x) + math.pi + len(os.path.sep) + yaml.dump(x)
    """
    assert set(project(text)) == {"code", "package:numpy", "package:yaml"}
    before = project(text)["package:numpy"]
    monkeypatch.setattr("tidemill.graph.origin.version", lambda _: "0")
    assert project(text)["package:numpy"] != before


def test_without_source_the_bytecode_counts() -> None:
    def define(text: str) -> Callable[..., Any]:
        scope: dict[str, Any] = {"__name__": "prompt"}
        exec(compile(textwrap.dedent(text), "<prompt>", "exec"), scope)
        f: Callable[..., Any] = scope["f"]
        return f

    text = "K = 2\ndef g(x): return x + K\ndef f(x): return g(x)"
    parts = code_parts(define(text))
    assert set(parts) == {"bytecode", "constant:prompt.K", "helper:prompt.g"}
    again = code_parts(define("# comment\n\n" + text))
    assert parts == again
    edited = code_parts(define(text.replace("x + K", "x - K")))
    assert {name for name in parts if parts[name] != edited[name]} == {"helper:prompt.g"}


def test_classes_without_source_count_with_their_bases() -> None:
    text = """
    class Base:
        def g(self): return 1
    class Derived(Base):
        limit = 5
        def h(self): return self.g()
    def f(): return Derived()
    """

    def parts(text: str) -> dict[str, bytes]:
        scope = types.ModuleType("prompt")
        exec(compile(textwrap.dedent(text), "<prompt>", "exec"), vars(scope))
        return code_parts(scope.f)

    before = parts(text)
    assert set(before) == {"bytecode", "helper:prompt.Base", "helper:prompt.Derived"}
    for old, new, name in (("return 1", "return 2", "Base"), ("limit = 5", "limit = 6", "Derived")):
        after = parts(text.replace(old, new))
        assert {part for part in before if before[part] != after[part]} == {f"helper:prompt.{name}"}


def test_c_functions(project: Project) -> None:
    assert set(code_parts(math.sin)) == {"code"}
    assert code_parts(math.sin) != code_parts(math.cos)
    assert set(project("from numpy import sin as f")) == {"code", "package:numpy"}


def test_an_edited_file_does_not_speak_for_the_code_already_imported(project: Project) -> None:
    module = project.load("def f(x): return x + 1")
    first = code_parts(module.f)
    (project.path / "flow.py").write_text("def f(x): return x + 2")
    again = project.load({})
    assert code_parts(again.f) != first
    (project.path / "flow.py").write_text("def f(x): return x + 3")
    stale = types.FunctionType(again.f.__code__, again.f.__globals__)
    assert set(code_parts(stale)) == {"bytecode"}
    (project.path / "flow.py").write_text("def f(x): return x + 2")
    assert code_parts(types.FunctionType(again.f.__code__, again.f.__globals__)) == code_parts(again.f)


SCRIPT = """
import dataclasses, sys

@dataclasses.dataclass
class Cell:
    a: float

LIMIT = [Cell(1.0)]

def helper(x):
    return Cell(x)

def f(x):
    return helper(x), LIMIT

if __name__ == "__main__":
    from tidemill.graph.code import code_parts
    for name, value in code_parts(f).items():
        print(name, value.hex())
"""

IMPORTING = """
import script
from tidemill.graph.code import code_parts
for name, value in code_parts(script.f).items():
    print(name, value.hex())
"""

ALIASED = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("__mp_main__", "script.py")
module = importlib.util.module_from_spec(spec)
sys.modules["__mp_main__"] = sys.modules["__main__"] = module
spec.loader.exec_module(module)
from tidemill.graph.code import code_parts
for name, value in code_parts(module.f).items():
    print(name, value.hex())
"""


def test_a_script_is_the_same_when_run_imported_or_loaded_by_a_worker(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    outputs = [python(tmp_path, "script.py"), python(tmp_path, "-c", IMPORTING), python(tmp_path, "-c", ALIASED)]
    assert "helper:script.helper" in outputs[0]
    assert outputs[0] == outputs[1] == outputs[2]


def test_combine_tells_parts_apart() -> None:
    parts = {"code": b"a" * 32, "helper:x": b"b" * 32}
    assert len(combine(parts)) == 32
    assert combine(dict(reversed(parts.items()))) == combine(parts)
    assert combine({**parts, "helper:x": b"c" * 32}) != combine(parts)
    assert combine({"code": b"a" * 32, "helper:y": b"b" * 32}) != combine(parts)


def python(cwd: Path, *args: str, seed: str = "0") -> str:
    path = os.pathsep.join([str(cwd), *(p for p in sys.path if p)])
    env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([sys.executable, *args], check=True, capture_output=True, text=True, env=env, cwd=cwd).stdout
