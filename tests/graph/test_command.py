from pathlib import Path
from typing import Any

import pytest

import tidemill.graph as tm
from tests.graph.reading import runs_of
from tidemill.model.errors import UsageError, WiringError
from tidemill.model.spec import Command, Port, decode_spec, encode_spec
from tidemill.model.values import Input, Ref

count = tm.command(
    "wc -w < {src} > {counts}; echo {k} {{done}}",
    name="count",
    inputs={"src": tm.File, "k": int},
    outputs={"counts": "counts.txt"},
    stdout="log",
    ok=(0, 1),
    retries=2,
    cpus=0.5,
)
listing = tm.command("ls {files}", inputs={"files": list[tm.File]})


def test_a_command_is_a_task_of_its_kind() -> None:
    spec = count.spec
    assert decode_spec(encode_spec(spec)) == spec
    assert (spec.kind, spec.name, spec.retries, spec.resources.cpus) == ("command", "count", 2, 0.5)
    assert spec.inputs == (Port("src", "tidemill.File", file="file"), Port("k", "int"))
    assert spec.outputs == (Port("counts", "tidemill.File", file="file"), Port("log", "str"))
    assert spec.command == Command(
        "wc -w < {src} > {counts}; echo {k} {{done}}", {"counts": "counts.txt"}, "log", True, (0, 1)
    )
    assert listing.spec.name == "ls"
    assert listing.spec.inputs[0].many
    assert listing.spec.outputs == (Port("stdout", "str"),)
    assert repr(count) == "<task count(src: tidemill.File, k: int)>"


def test_outputs_go_by_name(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")

    @tm.workflow
    def flow() -> Any:
        found = count(str(tmp_path / "a"), k=3)
        many = count(tm.sweep([str(tmp_path / "a")]), tm.sweep([1, 2]))
        return listing([found.counts, tmp_path / "a"]).stdout, listing(many["counts"])

    plan = flow().plan_graph()
    first, second, third, some, gathered = runs_of(plan)
    assert isinstance(first.args[0], Ref)
    assert [run.args[1] for run in (first, second, third)] == [3, 1, 2]
    assert second.args[0] == first.args[0]
    assert some.args == [[Input(0), first.args[0]]]
    assert some.inputs == [0]
    assert gathered.inputs == [plan.header.outputs - 1]
    assert list(plan.files.values()) == [tmp_path / "a"]


def test_the_digest_is_that_of_what_the_command_means() -> None:
    def digest(template: str = "x {a} {b}", **changes: Any) -> bytes:
        options: dict[str, Any] = {"inputs": {"a": int, "b": int}, "outputs": {"c": "c"}, **changes}
        return tm.command(template, **options).spec.digest

    assert digest() == digest(retries=3, name="y", priority=1)
    others = [
        digest("x  {a} {b}"),
        digest(inputs={"b": int, "a": int}),
        digest(outputs={"c": "d"}),
        digest(stdout="log"),
        digest(stdout={"log": tm.File}),
        digest(ok=(0, 2)),
        digest(version=2),
    ]
    assert len({digest(), *others}) == len(others) + 1
    assert set(tm.command("x", version=1).spec.parts) == {"command", "ports", "version"}


def test_everything_wrong_is_said_at_once() -> None:
    with pytest.raises(WiringError) as caught:
        tm.command(
            "run {a} {b:03d} {missing!r} {0}",
            inputs={"a": int, "b": int, "x y": str},
            outputs={"a": "out", "up": "../up", "root": "/tmp/x"},
            stdout={"log": int},
        )
    texts = [text for _, text in caught.value.problems]
    assert texts == [
        "command: there are several ports called 'a'",
        "command: the port name 'x y' must be an identifier without a leading underscore",
        "command: stdout must be the name of an output, or a mapping of one name to str or tidemill.File",
        "command: the path '../up' of output 'up' must be relative and stay inside the working directory",
        "command: the path '/tmp/x' of output 'root' must be relative and stay inside the working directory",
        "command: {b:03d}: there are no formats; write {b}",
        "command: {missing!r}: there are no formats; write {missing}",
        "command: {missing} is no input or output; there are a, b, x y, a, up, root; write {{ and }} for braces",
        "command: {0} is no input or output; there are a, b, x y, a, up, root; write {{ and }} for braces",
    ]
    assert all("test_command.py:" in place for place, _ in caught.value.problems)


@pytest.mark.parametrize("template", ["echo {", "echo }", " ", ""])
def test_templates_that_cannot_be_read(template: str) -> None:
    with pytest.raises(WiringError):
        tm.command(template)


def test_wrong_options() -> None:
    with pytest.raises(UsageError, match="unknown option"):
        tm.command("x", retrys=1)


def test_calls_are_checked() -> None:
    with pytest.raises(WiringError, match="no parameter 'j'"):
        count("x", j=3)

    @tm.workflow
    def wrong() -> Any:
        count("/nowhere/at all", "three")

    with pytest.raises(WiringError) as caught:
        wrong().plan_graph()
    assert [text for _, text in caught.value.problems] == ["count(): 'k' is annotated int, but gets str 'three'"]


def test_outputs_may_be_named_after_inputs() -> None:
    task = tm.command("touch {o}", inputs={"s": str, "n": int}, outputs={"o": "{s}-{n}.{{x}}"})
    assert task.spec.command is not None
    assert task.spec.command.outputs == {"o": "{s}-{n}.{{x}}"}
    with pytest.raises(WiringError) as caught:
        tm.command(
            "touch {a} {b} {c}",
            inputs={"f": tm.File, "l": list[str]},
            outputs={"a": "{q}.txt", "b": "{f}", "c": "x{", "d": "{l}"},
        )
    assert [text for _, text in caught.value.problems] == [
        "command: {q} in the path '{q}.txt' is no input; there are f, l",
        "command: {f} in the path '{f}' must be a text or a number",
        "command: the path 'x{' cannot be read (Single '{' encountered in format string); write {{ and }} for braces",
        "command: {l} in the path '{l}' must be a text or a number",
    ]
