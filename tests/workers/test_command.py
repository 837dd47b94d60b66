"""Command tasks through a real executor, and how their text is filled."""

import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.model.file import File
from tidemill.model.states import AttemptState, Reason
from tidemill.testing.workers import FakeEngine, command_spec
from tidemill.workers.command import fill, words
from tidemill.workers.failure import Fault


def content(engine: FakeEngine, outcome: Any, port: int = 0) -> bytes:
    return engine.objects.get(engine.value(outcome, port).digest)


def run(engine: FakeEngine, template: str, inputs: tuple[str, ...] = (), *args: object, **fields: Any) -> Any:
    return engine.run(engine.task(command_spec(template, inputs, **fields)), *args)


# -------------------------------------------------------------------------------------------------------------- filling


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"))))
def test_texts_arrive_as_one_word_each(texts: list[str]) -> None:
    assert shlex.split(fill("cmd {x} end", {"x": texts})) == ["cmd", *texts, "end"]


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("echo {n} {x}", "echo 3 0.5"),
        ("echo {{{n}}}", "echo {3}"),
        ("echo {t}", "echo 'a b'"),
        ("awk '{print $1}' {{f}} ${HOME}", "awk '{print $1}' {f} ${HOME}"),
        ("f() { echo {n}; }", "f() { echo 3; }"),
        ("echo {unknown} {} { n }", "echo {unknown} {} { n }"),
        ("echo {none}.", "echo ."),
        ("echo {flag}", "echo True"),
    ],
)
def test_fields_are_replaced_and_other_braces_are_the_shells(template: str, filled: str) -> None:
    assert fill(template, {"n": 3, "x": 0.5, "t": "a b", "none": None, "flag": True}) == filled


@pytest.mark.parametrize("value", [{"a": 1}, b"bytes", {1}, object()])
def test_a_value_without_a_form_on_a_command_line_is_refused(value: object) -> None:
    with pytest.raises(Fault, match="which cannot stand on a command line") as caught:
        words(value, "x")
    assert caught.value.reason is Reason.BAD_INPUT


# -------------------------------------------------------------------------------------------------------------- running


def test_what_a_command_prints_is_its_log(engine: FakeEngine) -> None:
    outcome = run(engine, "echo out; echo err >&2")
    assert (outcome.state, outcome.log) == (AttemptState.COMPLETE, b"out\nerr\n")
    assert engine.value(outcome) is None


def test_outputs_are_files(engine: FakeEngine) -> None:
    outcome = run(engine, "echo {x} > {a}; mkdir d; touch d/e", ("x",), 5, outputs={"a": "deep/a.txt", "d": "d"})
    first = engine.value(outcome, 0)
    assert (first.name, first.kind, content(engine, outcome)) == ("a.txt", "file", b"5\n")
    assert engine.value(outcome, 1).kind == "dir"
    assert outcome.outs[0].objects == [first.digest]
    assert run(engine, "ls").log == b"", "the next attempt starts empty"


def test_outputs_are_named_after_inputs(engine: FakeEngine) -> None:
    outcome = run(engine, "echo {n} > {o}", ("s", "n"), "Cu", 3, outputs={"o": "{s}-{n}.{{x}}"})
    assert engine.value(outcome).name == "Cu-3.{x}"
    failure = run(engine, "echo {s} > {o}", ("s",), "../up", outputs={"o": "{s}.txt"}).failure
    assert failure.reason == Reason.BAD_INPUT
    assert "cannot be part of the output's path '{s}.txt'" in failure.message


def test_standard_output_as_a_file_and_as_text(engine: FakeEngine) -> None:
    as_file = run(engine, "echo hello; echo err >&2", stdout="said")
    assert (content(engine, as_file), engine.value(as_file).name, as_file.log) == (b"hello\n", "said", b"err\n")
    as_text = run(engine, "printf 'grüße\n\n'", stdout="said", stdout_text=True)
    assert engine.value(as_text) == "grüße\n\n"
    binary = run(engine, "printf '\\377'", stdout="said", stdout_text=True)
    assert "not UTF-8" in binary.failure.message


def test_staged_inputs_are_named_relative_and_cannot_be_written(engine: FakeEngine, tmp_path: Path) -> None:
    given_file = tmp_path / "two words.txt"
    given_file.write_text("one two\n")
    outcome = run(engine, "wc -w {f}", ("f",), given_file, stdout="count", stdout_text=True)
    assert engine.value(outcome) == "2 inputs/two words.txt\n"
    before = outcome
    run(engine, "chmod -R u+w . ; echo more >> {f}", ("f",), File(given_file))
    assert engine.value(run(engine, "cat {f}", ("f",), given_file, stdout="text", stdout_text=True)) == "one two\n"
    assert before.failure is None


def test_an_input_handed_through_is_not_stored_again(engine: FakeEngine, tmp_path: Path) -> None:
    given_file = tmp_path / "data"
    given_file.write_text("x")
    outcome = run(engine, "cp -P {f} {out}", ("f",), given_file, outputs={"out": "copy"})
    assert content(engine, outcome) == b"x"
    assert engine.value(outcome).name == "copy"


def test_a_script_with_its_executable_bit_runs(engine: FakeEngine, tmp_path: Path) -> None:
    script = tmp_path / "tool"
    script.write_text("#!/bin/sh\necho ran $1\n")
    script.chmod(0o755)
    assert run(engine, "{tool} now", ("tool",), script).log == b"ran now\n"


def test_signals_that_python_ignores_work_in_commands(engine: FakeEngine) -> None:
    outcome = run(engine, "trap 'echo caught' INT; kill -INT $$; yes | head -n 1", stdout="x", stdout_text=True)
    assert engine.value(outcome) == "caught\ny\n"
    assert outcome.log == b"", "yes ended silently by SIGPIPE"


# -------------------------------------------------------------------------------------------------------------- failing


def test_an_exit_code_fails_the_attempt_unless_it_is_declared(engine: FakeEngine) -> None:
    outcome = run(engine, "echo left > notes; exit 3")
    failure = outcome.failure
    assert (Reason(failure.reason), failure.kind) == (Reason.EXIT_CODE, "exit code 3")
    assert failure.message == "the command failed: echo left > notes; exit 3"
    assert Path(failure.scratch, "notes").read_text() == "left\n"
    assert run(engine, "exit 3", ok=(0, 3)).failure is None
    assert run(engine, "true", ok=(3,)).failure.kind == "exit code 0"


def test_a_program_that_is_missing_is_explained(engine: FakeEngine) -> None:
    assert "is it installed and on PATH?" in run(engine, "no-such-program").failure.message


def test_a_signal_is_named(engine: FakeEngine) -> None:
    direct = run(engine, "kill -SEGV $$").failure
    assert (Reason(direct.reason), direct.kind) == (Reason.SIGNAL, "signal 11 (SIGSEGV)")
    inner = run(engine, "sh -c 'kill -KILL $$'; exit $?").failure
    assert (Reason(inner.reason), inner.kind) == (Reason.EXIT_CODE, "exit code 137, signal 9 (SIGKILL)")


def test_every_output_that_was_not_written_is_named(engine: FakeEngine) -> None:
    failure = run(engine, "touch b", outputs={"a": "a.txt", "b": "b", "c": "c.txt"}).failure
    assert Reason(failure.reason) is Reason.BAD_OUTPUT
    assert "did not write 'a.txt' (output 'a'), 'c.txt' (output 'c')" in failure.message
    assert Path(failure.scratch, "b").exists()


def test_usage_of_a_command_is_its_own(engine: FakeEngine) -> None:
    code = "import sys; x = bytearray(150_000_000); sum(range(2_000_000))"
    large = run(engine, f"python3 -c '{code}'")
    small = run(engine, "true")
    assert large.failure is None, large.log
    assert large.rss > 150_000_000 > small.rss
    assert large.cpu > small.cpu
