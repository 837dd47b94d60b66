"""Python tasks through a real executor."""

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

import tidemill.graph as tm
from tidemill.model.protocol import Input as Resolved
from tidemill.model.spec import Port, TaskSpec
from tidemill.model.states import AttemptState, Reason
from tidemill.model.values import Input, Ref, encode
from tidemill.testing.workers import FakeEngine, python_spec


def failure(outcome: Any, reason: Reason) -> Any:
    assert outcome.failure is not None, outcome
    assert (outcome.state, outcome.outs) == (AttemptState.ERROR, [])
    assert Reason(outcome.failure.reason) is reason, outcome.failure
    assert "\n" not in outcome.failure.message
    return outcome.failure


@pytest.mark.parametrize(
    "value", [None, True, 0, -5, 2**70, 3.5, "Kupfer ü", b"\x00\xff", [1, [2]], {"b": 1, "a": (2, 3)}, {1, 2}, 1 + 2j]
)
def test_values_go_in_and_come_out(engine: FakeEngine, sample: Any, value: object) -> None:
    outcome = engine.run(sample(engine, "identity"), value)
    assert engine.value(outcome) == value
    assert outcome.state == AttemptState.COMPLETE
    assert outcome.log == b""


def test_inputs_fill_the_template(engine: FakeEngine, sample: Any) -> None:
    task = sample(engine, "identity")
    inputs = [engine.input({"a": [10, 20, 30]}), engine.input(7), Resolved(None, b"")]
    outcome = engine.run(
        task, [Input(1), Input(0, ("a", 1)), Input(0, ("a", (1, None, None))), Input(2)], inputs=inputs
    )
    assert engine.value(outcome) == [7, 20, [20, 30], None]


def test_an_input_from_the_object_store_is_a_new_object_for_each_run(engine: FakeEngine, sample: Any) -> None:
    task = sample(engine, "length", ("members",))
    given = engine.input(list(range(5000)))
    assert given.value is None
    for _ in range(2):
        assert engine.value(engine.run(task, Input(0), inputs=[given])) == 5000


@pytest.mark.parametrize("count", [0, 1, 1023, 1024, 1025, 3000])
def test_a_collection_is_read_in_slices(engine: FakeEngine, sample: Any, count: int) -> None:
    before = len(engine.reads)
    given = engine.gather(list(range(count)))
    task = sample(engine, "identity")
    outcome = engine.run(task, Input(0), inputs=[given])
    assert engine.value(outcome) == list(range(count))
    asked = engine.reads[before:]
    assert [(read.first, read.count) for read in asked] == [(n * 1024, 1024) for n in range(count // 1024 + 1)]
    engine.run(task, Input(0), inputs=[given])
    assert len(engine.reads) == before + len(asked), "members are remembered for the next run"


def test_missing_members_are_none_and_members_may_be_collections_or_large(engine: FakeEngine, sample: Any) -> None:
    given = engine.gather([1, bytes(20_000)])
    engine.gathers[given.gather] += [Resolved(None, b""), engine.gather([2, 3])]
    outcome = engine.run(sample(engine, "identity"), Input(0), inputs=[given])
    assert engine.value(outcome) == [1, bytes(20_000), None, [2, 3]]


def test_a_collection_that_the_engine_does_not_have_fails_the_run(engine: FakeEngine, sample: Any) -> None:
    outcome = engine.run(sample(engine, "identity"), Input(0), inputs=[Resolved(None, b"", 3, 999)])
    assert failure(outcome, Reason.BAD_INPUT).message == "there is no collection 999"


def test_work_that_arrives_while_members_are_read_is_done_afterwards(engine: FakeEngine, sample: Any) -> None:
    task = sample(engine, "length", ("members",))
    first = engine.claim(task, Input(0), inputs=[engine.gather([0] * 5000)])
    second = engine.claim(task, [1, 2])
    engine.send([first])
    engine.send([second])
    assert engine.value(engine.finish(second.run)) == 2
    assert engine.value(engine.outcomes[first.run]) == 5000


def test_arguments_reach_every_kind_of_parameter(engine: FakeEngine, sample: Any) -> None:
    ports = ("a", "b", Port("rest", variadic="*"), "scale", Port("named", variadic="**"))
    task = sample(engine, "add", ports)
    assert engine.value(engine.run(task, 1, 2, [3, 4], 10, {"c": 5})) == 150


def test_the_replica_at_the_end_is_not_an_argument(engine: FakeEngine, sample: Any) -> None:
    assert engine.value(engine.run(sample(engine, "double"), 21, 3)) == 42
    assert engine.value(engine.run(sample(engine, "nothing", ()), 3)) is None


@pytest.mark.parametrize("name", ["doubler", "Doubler.__call__"])
def test_anything_callable_is_called(engine: FakeEngine, sample: Any, name: str) -> None:
    inputs = ("self", "x") if "." in name else ("x",)
    args = (None, 21) if "." in name else (21,)
    assert engine.value(engine.run(sample(engine, name, inputs), *args)) == 42


def test_objects_of_the_users_classes_go_in_and_come_out(
    engine: FakeEngine, sample: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(os.path.dirname(__file__))
    point = importlib.import_module("samples").Point
    assert engine.value(engine.run(sample(engine, "mirrored", ("point",)), point(1.0, 2.0))) == point(-1.0, -2.0)


def test_the_builtin_assembles_its_argument(engine: FakeEngine) -> None:
    task = engine.task(TaskSpec(name="assemble", digest=bytes(32), kind="builtin", inputs=(Port("value"),)))
    outcome = engine.run(task, {"x": Input(0), "y": [Input(1)]}, inputs=[engine.input(1), engine.input(2)])
    assert engine.value(outcome) == {"x": 1, "y": [2]}


# -------------------------------------------------------------------------------------------------------------- outputs


def test_several_outputs_from_a_tuple(engine: FakeEngine, sample: Any) -> None:
    outcome = engine.run(sample(engine, "pair", (), outputs=("number", "text")))
    assert [engine.value(outcome, port) for port in (0, 1)] == [1, "one"]


def test_several_outputs_from_a_mapping_in_port_order(engine: FakeEngine, sample: Any) -> None:
    outcome = engine.run(sample(engine, "mapping", outputs=("b", "a")), ["a", "b"])
    assert [engine.value(outcome, port) for port in (0, 1)] == [1, 0]


def test_several_outputs_from_attributes(engine: FakeEngine, sample: Any) -> None:
    task = engine.task(python_spec("SimpleNamespace", [Port("k", variadic="**")], ("b", "a"), module="types"))
    outcome = engine.run(task, {"a": 1, "b": 2})
    assert [engine.value(outcome, port) for port in (0, 1)] == [2, 1]


def test_outputs_that_do_not_fit_are_named(engine: FakeEngine, sample: Any) -> None:
    wrong_count = failure(engine.run(sample(engine, "pair", (), outputs=("a", "b", "c"))), Reason.BAD_OUTPUT)
    assert wrong_count.message == "pair must return 3 values (a, b, c), not 2"
    wrong_keys = failure(engine.run(sample(engine, "mapping", outputs=("a", "b")), ["a", "z"]), Reason.BAD_OUTPUT)
    assert wrong_keys.message == "mapping must return a mapping of a, b, but it has no b and also z"
    no_tuple = failure(engine.run(sample(engine, "double", outputs=("a", "b")), 1), Reason.BAD_OUTPUT)
    assert "double must return 2 values (a, b), but returned a int" in no_tuple.message


def test_a_large_value_goes_to_the_object_store(engine: FakeEngine, sample: Any) -> None:
    outcome = engine.run(sample(engine, "big"), 20_000)
    assert outcome.outs[0].value is None
    assert outcome.outs[0].size == 20_003
    assert engine.value(outcome) == bytes(20_000)
    assert engine.run(sample(engine, "big"), 9_000).outs[0].value is not None


def test_a_value_without_an_encoding_is_a_bad_output(engine: FakeEngine, sample: Any) -> None:
    found = failure(engine.run(sample(engine, "unstorable", ())), Reason.BAD_OUTPUT)
    assert "generator" in found.message
    assert "use numbers, text, arrays" in found.message
    assert found.traceback == "", "none of it is the user's"
    found = failure(engine.run(sample(engine, "shy", ())), Reason.BAD_OUTPUT)
    assert "I would rather not" in found.traceback


# ---------------------------------------------------------------------------------------------------------------- files


def test_a_file_is_staged_read_only_under_its_name(engine: FakeEngine, sample: Any, tmp_path: Path) -> None:
    tool = tmp_path / "tool.sh"
    tool.write_text("#!/bin/sh\n")
    task = sample(engine, "look", ("path",))
    assert engine.value(engine.run(task, tool)) == ["tool.sh", "#!/bin/sh\n", ["inputs"], False]
    tool.chmod(0o755)
    assert engine.value(engine.run(task, tool))[3] is True


def test_files_of_one_name_are_kept_apart(engine: FakeEngine, sample: Any, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.txt").write_text(folder)
    task = engine.task(python_spec("list", ["paths"], module="builtins"))
    outcome = engine.run(task, [tmp_path / "a" / "same.txt", tmp_path / "b" / "same.txt"])
    first, second = engine.value(outcome)
    assert (first.name, second.name) == ("same.txt", "same.txt")
    assert [engine.objects.get(ref.digest) for ref in (first, second)] == [b"a", b"b"]
    assert outcome.outs[0].objects == [first.digest, second.digest]


def test_a_returned_path_is_captured(engine: FakeEngine, sample: Any) -> None:
    outcome = engine.run(sample(engine, "write_here", ("name", "text")), "table.csv", "1,2")
    ref = engine.value(outcome)
    assert isinstance(ref, Ref)
    assert (ref.kind, ref.name, ref.size) == ("file", "table.csv", 3)
    assert engine.objects.get(ref.digest) == b"1,2"
    assert outcome.outs[0].objects == [ref.digest]
    assert engine.value(engine.run(sample(engine, "listing", ()))) == [], "the next attempt starts empty"


def test_a_returned_directory_is_captured(engine: FakeEngine, sample: Any, tmp_path: Path) -> None:
    ref = engine.value(engine.run(sample(engine, "write_tree", ())))
    assert (ref.kind, ref.name) == ("dir", "tree")
    engine.objects.get_dir(ref.digest, tmp_path / "back")
    assert (tmp_path / "back" / "sub" / "leaf").read_text() == "leaf"


def test_a_file_that_was_not_written_is_named(engine: FakeEngine, sample: Any) -> None:
    found = failure(engine.run(sample(engine, "promise"), "plot.png"), Reason.BAD_OUTPUT)
    assert "the result names the file 'plot.png', but it was not written" in found.message


def test_the_directory_of_a_failed_attempt_is_kept(engine: FakeEngine, sample: Any) -> None:
    found = failure(engine.run(sample(engine, "litter"), "look at me"), Reason.EXCEPTION)
    assert Path(found.scratch, "notes.txt").read_text() == "look at me"
    assert Path(found.scratch).is_relative_to(engine.scratch)
    assert engine.value(engine.run(sample(engine, "listing", ()))) == []


def test_nothing_is_kept_where_that_is_not_wanted(tmp_path: Path, sample: Any) -> None:
    with FakeEngine(tmp_path, path=[os.path.dirname(__file__)], keep=False) as engine:
        assert failure(engine.run(sample(engine, "litter"), "x"), Reason.EXCEPTION).scratch == ""
        assert engine.value(engine.run(sample(engine, "listing", ()))) == []


def test_a_task_that_changes_directory_does_not_take_the_next_one_along(engine: FakeEngine, sample: Any) -> None:
    before = engine.value(engine.run(sample(engine, "where", ())))
    engine.run(sample(engine, "wander", ()))
    assert engine.value(engine.run(sample(engine, "where", ()))) == before


def test_what_a_task_does_to_its_process_is_undone(engine: FakeEngine, sample: Any) -> None:
    look = sample(engine, "surroundings", ())
    before = engine.value(engine.run(look))
    assert before[0] is None
    engine.value(engine.run(sample(engine, "upset", ())))
    assert engine.value(engine.run(look)) == before


def test_a_task_that_removes_its_directory_does_not_take_it_from_the_next_one(engine: FakeEngine, sample: Any) -> None:
    engine.run(sample(engine, "remove_directory", ()))
    outcome = engine.run(sample(engine, "write_here", ("name", "text")), "a", "b")
    assert engine.objects.get(engine.value(outcome).digest) == b"b"


def test_a_failed_result_leaves_no_file_to_the_next_one(engine: FakeEngine, sample: Any, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.touch()
    failure(engine.run(sample(engine, "half_storable", ("path",)), str(outside)), Reason.BAD_OUTPUT)
    assert engine.run(sample(engine, "double"), 1).outs[0].objects == []


# ------------------------------------------------------------------------------------------------------------- printing


def test_everything_printed_is_captured_in_order(engine: FakeEngine, sample: Any) -> None:
    outcome = engine.run(sample(engine, "speak", ("text",)), "out\n")
    assert outcome.log == b"out\nerror\nfrom the shell\nraw\n"
    assert engine.run(sample(engine, "nothing", ())).log == b""


def test_a_long_log_keeps_its_ends_and_says_where_the_rest_is(engine: FakeEngine, sample: Any) -> None:
    outcome = engine.run(sample(engine, "chatter", ("lines",)), 20_000)
    lines = outcome.log.decode().splitlines()
    assert (lines[0], lines[-1]) == ("line 0", "line 19999")
    assert len(outcome.log) < 10_200
    [middle] = [line for line in lines if line.startswith("[...")]
    whole = engine.objects.get(bytes.fromhex(middle.partition("blake3:")[2].split()[0]))
    assert whole.decode().splitlines() == [f"line {number}" for number in range(20_000)]
    left = int(middle.split()[1])
    assert left + len(outcome.log) - len(middle) - 1 == len(whole)


@pytest.mark.parametrize("how", ["closed", "redirected"])
def test_lost_descriptors_are_put_back(engine: FakeEngine, sample: Any, how: str) -> None:
    task, speak = sample(engine, "lose_stdout", ("how",)), sample(engine, "speak", ("text",))
    assert engine.run(task, how).log == b"before\n"
    outcome = engine.run(speak, "hello\n")
    assert engine.value(outcome) is None
    assert sorted(outcome.log.splitlines()) == [b"error", b"from the shell", b"hello", b"raw"]


def test_a_replaced_stdout_is_put_back(engine: FakeEngine, sample: Any) -> None:
    engine.run(sample(engine, "replace_stdout", ()))
    assert engine.run(sample(engine, "chatter", ("lines",)), 1).log == b"line 0\n"


# -------------------------------------------------------------------------------------------------------------- failing


def test_an_exception_is_told_with_the_users_frames_and_its_cause(engine: FakeEngine, sample: Any) -> None:
    found = failure(engine.run(sample(engine, "divide"), 0), Reason.EXCEPTION)
    assert (found.kind, found.message) == ("ValueError", "no ratio for 0")
    assert "ZeroDivisionError: division by zero" in found.traceback
    assert "in _ratio" in found.traceback
    assert "in divide" in found.traceback
    assert os.path.join("src", "tidemill") not in found.traceback
    assert engine.value(engine.run(sample(engine, "divide"), 2)) == 0.5


def test_long_messages_and_tracebacks_are_shortened(engine: FakeEngine, sample: Any) -> None:
    found = failure(engine.run(sample(engine, "ramble", ("size",)), 100_000), Reason.EXCEPTION)
    assert len(found.message) < 600
    assert found.traceback.startswith("Traceback")
    assert found.traceback.endswith("the end\n")
    assert len(found.traceback) < 40_000


@pytest.mark.parametrize(
    ("name", "args", "reason", "kind", "message"),
    [
        ("leave", (3,), Reason.EXCEPTION, "SystemExit", "3"),
        ("interrupt", (), Reason.EXCEPTION, "KeyboardInterrupt", ""),
        ("exhaust", (), Reason.OUT_OF_MEMORY, "MemoryError", ""),
        ("fill_disk", (), Reason.DISK_FULL, "OSError", "[Errno 28] No space left on device"),
        ("awkward", (), Reason.EXCEPTION, "AwkwardError", "(the error has no text)"),
    ],
)
def test_whatever_user_code_raises_fails_the_attempt_only(
    engine: FakeEngine, sample: Any, name: str, args: tuple[int, ...], reason: Reason, kind: str, message: str
) -> None:
    pid = engine.pool.workers[0].pid
    found = failure(engine.run(sample(engine, name, ("x",) * len(args)), *args), reason)
    assert (found.kind, found.message) == (kind, message)
    assert engine.value(engine.run(sample(engine, "double"), 4)) == 8
    assert engine.pool.workers[0].pid == pid


def test_arguments_that_cannot_be_decoded_are_a_bad_input(engine: FakeEngine, sample: Any) -> None:
    claim = engine.claim(sample(engine, "identity"))
    claim.args = b"\xc1"
    engine.send([claim])
    assert "not an encoded value" in failure(engine.finish(claim.run), Reason.BAD_INPUT).message


def test_objects_that_are_not_there_are_named(engine: FakeEngine, sample: Any) -> None:
    """All of them, though the first one ends the attempt."""
    here = engine.objects.put(encode(b"here"))
    gone = [Resolved(None, bytes([i]) * 32, 100_000) for i in (1, 2)]
    file = Resolved(encode([Ref(b"\x03" * 32, 9, "file", "a.txt")]), b"\x04" * 32)
    inputs = [Resolved(None, here, 10), *gone, file]
    outcome = engine.run(sample(engine, "identity"), [Input(i) for i in range(len(inputs))], inputs=inputs)
    found = failure(outcome, Reason.LOST_INPUT)
    assert found.kind == "lost input"
    assert "is gone from" in found.message
    assert found.lost == [bytes([i]) * 32 for i in (1, 2, 3)]


def test_a_forked_child_that_returns_does_not_answer_for_its_parent(engine: FakeEngine, sample: Any) -> None:
    claim = engine.claim(sample(engine, "fork_and_return", ()))
    engine.send([claim])
    assert engine.value(engine.finish(claim.run)) == 1
    assert engine.value(engine.run(sample(engine, "double"), 4)) == 8
    assert engine.outcomes[claim.run].outs[0].value == b"\x01"


# ---------------------------------------------------------------------------------------------------------------- usage


def test_usage_is_measured(engine: FakeEngine, sample: Any) -> None:
    idle = engine.run(sample(engine, "nothing", ()))
    busy = engine.run(sample(engine, "spin", ("turns",)), 300_000)
    large = engine.run(sample(engine, "grab", ("megabytes",)), 200)
    after = engine.run(sample(engine, "spin", ("turns",)), 30_000)
    child = engine.run(sample(engine, "in_children", ("turns",)), 300_000)
    assert idle.t0 <= idle.t1 <= busy.t0 <= busy.t1
    assert idle.cpu < busy.cpu <= (busy.t1 - busy.t0) * 1.5
    assert busy.rss > 5_000_000
    assert large.rss - busy.rss > 150_000_000
    assert large.rss - after.rss > 150_000_000, "the peak is each attempt's own"
    assert child.cpu > busy.cpu / 2 > idle.cpu


def test_the_function_of_a_prompt_comes_as_a_pickle_with_its_classes(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = sys.modules["__main__"]
    typed = """
from dataclasses import dataclass

@dataclass
class Cell:
    a: float

factor = 3

def scaled(cell: Cell) -> Cell:
    return Cell(cell.a * factor)
"""
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(typed, scope)
    monkeypatch.setattr(main, "Cell", scope["Cell"], raising=False)
    task = engine.task(python_spec("scaled", ["cell"], pickled=cloudpickle.dumps(scope["scaled"])))
    assert engine.value(engine.run(task, scope["Cell"](2.0))) == scope["Cell"](6.0)


def test_a_function_of_a_prompt_need_not_name_the_classes_of_its_arguments(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = """
from dataclasses import dataclass

@dataclass
class Unnamed:
    a: float

class Stubborn(type):
    def __reduce_ex__(cls, protocol): raise RuntimeError("not me")

def part(cell): return cell.a
"""
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(typed, scope)
    main = sys.modules["__main__"]
    for name in ("Unnamed", "Stubborn", "part"):
        monkeypatch.setattr(main, name, scope[name], raising=False)
    monkeypatch.delattr(main, "__file__", raising=False)
    monkeypatch.setattr(main, "__spec__", None)
    task = engine.task(tm.task(scope["part"]).spec)
    assert engine.value(engine.run(task, scope["Unnamed"](2.0))) == 2.0
