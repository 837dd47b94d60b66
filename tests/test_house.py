"""The ceilings of the house: one way arrows, and nothing that grew into two things."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "tidemill"
MODULES = sorted(SOURCE.rglob("*.py"))
MODULE_LINES, ROOT_LINES, FUNCTION_LINES, CLASS_METHODS = 500, 100, 60, 25

HEAVY = {
    "cloudpickle", "cryptography", "cyclopts", "numpy", "obstore", "pandas", "psutil", "psycopg", "pyarrow", "rich"
}  # fmt: skip

Function = ast.FunctionDef | ast.AsyncFunctionDef


def too_large(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, Function):
            lines = (node.end_lineno or 0) - node.lineno + 1
            if lines > FUNCTION_LINES:
                yield f"line {node.lineno}: the function {node.name} has {lines} lines, more than {FUNCTION_LINES}"
        elif isinstance(node, ast.ClassDef):
            methods = sum(isinstance(member, Function) for member in node.body)
            if methods > CLASS_METHODS:
                yield f"line {node.lineno}: the class {node.name} has {methods} methods, more than {CLASS_METHODS}"


def own_imports_in_functions(tree: ast.Module) -> Iterator[str]:
    for function in ast.walk(tree):
        if not isinstance(function, Function):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.ImportFrom):
                names = ["tidemill" if node.level else node.module or ""]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                continue
            if any(name.partition(".")[0] == "tidemill" for name in names):
                yield f"line {node.lineno}: {ast.unparse(node)} inside the function {function.name}"


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(SOURCE)))
def test_a_module_is_one_thing(module: Path) -> None:
    text = module.read_text(encoding="utf-8")
    tree = ast.parse(text)
    lines = text.count("\n")
    limit = ROOT_LINES if module == SOURCE / "__init__.py" else MODULE_LINES
    problems = [f"{lines} lines, more than {limit}"] if lines > limit else []
    problems += [*too_large(tree), *own_imports_in_functions(tree)]
    assert not problems, "\n".join([str(module), *problems])


def test_the_checks_see_what_they_look_for() -> None:
    body = "    pass\n" * FUNCTION_LINES
    assert list(too_large(ast.parse(f"def f():\n{body}")))
    assert not list(too_large(ast.parse(f"def f():\n{body}".removesuffix("    pass\n"))))
    methods = "".join(f"    def m{n}(self): pass\n" for n in range(CLASS_METHODS + 1))
    assert list(too_large(ast.parse(f"class C:\n{methods}")))
    for line in ("import tidemill.engine", "from tidemill import model", "from . import model"):
        assert list(own_imports_in_functions(ast.parse(f"class C:\n    async def f(self):\n        {line}\n")))
    assert not list(own_imports_in_functions(ast.parse("import tidemill\ndef f():\n    import numpy\n")))


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, tidemill; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "tidemill" in loaded
    assert not HEAVY & set(loaded)
