"""Finding the workflow in a file, and reading its arguments from texts."""

import enum
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import tidemill as tm
from tidemill.cli import script
from tidemill.graph import check
from tidemill.model.errors import NotFoundError, UsageError


@pytest.fixture(autouse=True)
def same_process() -> Iterator[None]:
    """Loading a script makes it this process' `__main__`, for good."""
    main, path, argv = sys.modules["__main__"], sys.path[:], sys.argv
    yield
    sys.modules["__main__"], sys.path[:], sys.argv = main, path, argv


class Mode(enum.Enum):
    FAST = "fast"


@dataclass
class Point:
    x: int
    y: float


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("3", int, 3),
        ("3", float, 3.0),
        ("3.5", float, 3.5),
        ("1e-3", float, 0.001),
        ("3", str, "3"),
        ("true", bool, True),
        ("False", bool, False),
        ("1", bool, True),
        ("[1, 2]", list[int], [1, 2]),
        ("1,2,3", list[int], [1, 2, 3]),
        ("a, b", list[str], ["a", "b"]),
        ("5", list[int], [5]),
        ('{"a": 1}', dict[str, int], {"a": 1}),
        ("fast", Mode, Mode.FAST),
        ("a/b.txt", Path, Path("a/b.txt")),
        ("None", int | None, None),
        ("4", int | None, 4),
        ("x", str | None, "x"),
        ("None", str | None, None),
        ("None", str, "None"),
        ('{"x": 1, "y": 2}', Point, Point(1, 2.0)),
        ("3", check.UNKNOWN, 3),
        ("Cu", check.UNKNOWN, "Cu"),
        ("3.5", Any, 3.5),
    ],
)
def test_texts_become_what_the_annotation_says(text: str, kind: object, value: object) -> None:
    found = script.parse_value(text, kind)
    assert found == value
    assert type(found) is type(value)


def test_a_file_is_a_file() -> None:
    assert script.parse_value("x.csv", tm.File) == tm.File("x.csv")


@pytest.mark.parametrize(
    ("text", "kind"), [("x", int), ("1.5", int), ("slow", Mode), ("[1", list[int]), ("a", list[int])]
)
def test_what_does_not_fit_is_refused(text: str, kind: object) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        script.parse_value(text, kind)


@tm.workflow
def flow(n: int, name: str = "x") -> Any:
    return n


@tm.workflow
def loose(**rest: int) -> Any:
    return rest


def test_all_wrong_settings_are_told_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        script.parse_settings(flow.signature, ["m=1", "n=x", "name"])
    lines = str(caught.value).splitlines()
    assert lines[0] == "--set m=1: flow has no parameter 'm'; it has n, name"
    assert lines[1].startswith("--set n=x: 'x' does not fit int")
    assert lines[2] == "--set name: write it as name=value"


def test_values_may_have_equal_signs() -> None:
    assert script.parse_settings(flow.signature, ["name=a=b"]) == {"name": "a=b"}


def test_any_name_goes_where_the_workflow_takes_any() -> None:
    assert script.parse_settings(loose.signature, ["k=3"]) == {"k": 3}


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "wf.py"
    path.write_text("import tidemill as tm\n@tm.task\ndef one(i: int) -> int:\n    return i\n" + text, encoding="utf-8")
    return path


ONE = "@tm.workflow\ndef first(n: int = 1):\n    return one(n)\n"
TWO = ONE + "@tm.workflow\ndef second():\n    return one(2)\n"


def test_the_only_workflow_is_taken(tmp_path: Path) -> None:
    assert script.load_call(write(tmp_path, ONE), None, ["n=4"]).kwargs_ == {"n": 4}


def test_one_of_several_is_chosen_by_name(tmp_path: Path) -> None:
    path = write(tmp_path, TWO)
    assert repr(script.load_call(path, "second", [])).startswith("<call second()")
    with pytest.raises(UsageError, match="has 2 workflows") as caught:
        script.load_call(path, None, [])
    assert "it has first, second" in caught.value.hint


def test_imported_workflows_do_not_count_beside_own_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shared_flows.py").write_text("import tidemill as tm\n@tm.workflow\ndef common():\n    return 1\n")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    path = write(tmp_path, "from shared_flows import common\n" + ONE)
    assert repr(script.load_call(path, None, [])).startswith("<call first(")
    assert repr(script.load_call(path, "common", [])).startswith("<call common(")
    sys.modules.pop("shared_flows")


@pytest.mark.parametrize(
    "main",
    [
        'if __name__ == "__main__":\n    raise RuntimeError\n',
        'if "__main__" == __name__:\n    raise RuntimeError\n',
        "first().run()\nraise RuntimeError\n",
        "import sys\nsys.exit(3)\n",
    ],
)
def test_the_main_part_is_not_executed(tmp_path: Path, main: str) -> None:
    call = script.load_call(write(tmp_path, ONE + main), None, [])
    assert repr(call).startswith("<call first()")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def f(:\n", "is not a Python file"),
        ("\0", "is not a Python file"),
        ("raise KeyError('gone')\n", "cannot be loaded: KeyError: 'gone'"),
        ("import no_such_thing_here\n", "cannot be loaded: ModuleNotFoundError"),
        ("x = 1\n", "has no workflow"),
    ],
)
def test_files_that_will_not_do(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.py"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=message):
        script.load_call(path, None, [])


def test_an_error_in_the_file_is_shown_with_its_place(tmp_path: Path) -> None:
    path = write(tmp_path, "def helper():\n    return 1 / 0\nhelper()\n")
    with pytest.raises(UsageError) as caught:
        script.load_call(path, None, [])
    assert f'File "{path}", line 6, in helper' in str(caught.value)
    assert "tidemill/cli" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"there is no file .*none\.py"):
        script.load_call(tmp_path / "none.py", None, [])


def test_a_workflow_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no workflow 'third'") as caught:
        script.load_call(write(tmp_path, ONE), "third", [])
    assert caught.value.hint == "it has first"
