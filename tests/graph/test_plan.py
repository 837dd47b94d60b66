"""Plans: determinism, keys, files and large values, blocks and lists in chunks."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tidemill.graph as tm
from tests.graph.reading import chunks, encoded, result, runs_of
from tidemill.graph.literals import describe
from tidemill.model import delta
from tidemill.model.digest import digest
from tidemill.model.errors import UsageError, WiringError
from tidemill.model.file import File
from tidemill.model.fileid import FileId, Origin
from tidemill.model.values import Input, Ref, decode, encode, id_ref
from tidemill.stores.objects import open_objects
from tidemill.testing.interpreter import Interpreter


@tm.task
def add(a: Any, b: Any) -> Any:
    return a + b


@tm.task
def size(path: Path) -> int:
    return len(path.read_bytes()) if path.is_file() else len(list(path.iterdir()))


@tm.task
def same(value: Any) -> Any:
    return value


@tm.task
def total(values: list[float]) -> float:
    return sum(values)


@tm.workflow
def everything(n: int, text: str = "x") -> Any:
    a = tm.sweep(range(n), name="a")
    found = add(a, add(tm.sweep([1, 2]), 3))
    with tm.after(found):
        late = same({"b": 1, "a": text, "f": add(1, 2)})
    return {"late": late, "all": total(found), "found": found, "draws": same.repeat(2)(text)}


def test_equal_plans_are_equal_bytes() -> None:
    first, second = everything(1200).plan_graph(), everything(1200).plan_graph()
    assert encoded(first) == encoded(second) == encoded(first)
    assert first.key == second.key
    assert len(chunks(first)) > 2


def test_chunks_fit_together() -> None:
    plan = everything(1700).plan_graph()
    run = output = 0
    for chunk in plan.chunks():
        assert delta.decode_chunk(delta.encode(chunk)) == chunk
        assert (chunk.first, chunk.first_output) == (run, output)
        assert len(chunk.keys) == 32 * len(chunk.args)
        assert len(chunk.edge_run) == len(chunk.edge_port) == len(chunk.edge_ref)
        assert chunk.edge_run == sorted(chunk.edge_run)
        assert not chunk.edge_run or chunk.edge_run[-1] < len(chunk.args)
        pending = chunk.pending if isinstance(chunk.pending, list) else [chunk.pending] * len(chunk.args)
        assert sum(pending) == len(chunk.edge_run)
        run += len(chunk.args)
        output += len(chunk.args)
    assert run == plan.header.runs
    assert output + sum(len(c.gathers) for c in plan.chunks()) == plan.header.outputs


def test_the_key_says_what_is_run() -> None:
    keys = {
        everything(3).plan_graph().key,
        everything(n=3, text="x").plan_graph().key,
        everything(3, "x").plan_graph().key,
    }
    assert len(keys) == 1
    others = [
        everything(4),
        everything(3, "y"),
        tm.workflow(name="other")(everything.fn)(3),
        add(1, 2),
        add(2, 1),
        add.repeat(2)(1, 2),
        add(tm.sweep([1]), 2),
        add(tm.sweep([1, 2]), 2),
        add(add(1, 2), 3),
        add(add(2, 2), 3),
        same({"x": 1}),
        same({"x": 1})["x"],
        same({"x": 1}).after(add(1, 2)),
    ]
    keys |= {call.plan_graph().key for call in others}
    assert len(keys) == len(others) + 1
    assert tm.build(add(b=2, a=1)).key == tm.build(add(1, 2)).key


def test_axes_are_part_of_the_key() -> None:
    a, b = tm.sweep([1, 2]), tm.sweep([1, 2])
    assert tm.build(add(a, b)).key != tm.build(add(a, a)).key
    assert tm.build(add(a, a)).key == tm.build(add(b, b)).key


def test_what_a_plan_says_of_itself() -> None:
    plan = everything(2).plan_graph()
    assert plan.tasks == ["add", "same", "total"]
    assert plan.counts == {"add": 7, "same": 3, "total": 1}
    assert repr(plan) == "<plan everything: 11 runs: 7 × add, 3 × same, 1 × total>"
    assert "<td>total</td>" in plan._repr_html_()
    assert repr(add) == "<task add(a: Any, b: Any)>"
    assert repr(add.repeat(2)) == "<task add(a: Any, b: Any) repeated 2 times>"
    assert repr(everything) == "<workflow everything(n: int, text: str)>"
    assert repr(add(1, b=2)) == "<call add(1, b=2); .run() executes it>"


def test_a_workflow_without_calls() -> None:
    plan = tm.workflow(lambda: {"x": [1, (2, 3)]})().plan_graph()
    assert chunks(plan) == []
    assert decode(plan.header.result) == {"x": [1, (2, 3)]}
    assert result(tm.workflow(lambda: None)()) is None


# ---------------------------------------------------------------------------------------------------------- files


def test_files_are_named_by_content(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    (tmp_path / "run.sh").write_text("hello!")
    (tmp_path / "run.sh").chmod(0o755)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "b").write_text("b")
    plan = tm.workflow(
        lambda: [
            size(tmp_path / "a.txt"),
            size(File(tmp_path / "run.sh")),
            size(str(folder)),
            same([tmp_path / "a.txt"]),
        ]
    )().plan_graph()
    [chunk] = chunks(plan)
    text, script, directory, listed = (decode(args)[0] for args in chunk.args)
    assert text == Ref(digest(b"hello"), 5, "file", "a.txt", 0o644)
    assert script == Ref(digest(b"hello!"), 6, "file", "run.sh", 0o755)
    assert (directory.kind, directory.name) == ("dir", "folder")
    assert listed == [text]
    assert set(chunk.objects) == set(plan.files) == {text.digest, script.digest, directory.digest}
    assert plan.files[directory.digest] == folder
    assert Interpreter().run(plan)[:3] == [5, 6, 1]


def test_a_directory_gets_the_digest_that_a_store_gives_it(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "large").write_bytes(os.urandom(200_000))
    (folder / "small").write_text("s")
    (folder / "link").symlink_to("small")
    store = open_objects(f"memory://{tmp_path.name}")
    assert (describe(str(folder)).digest, describe(str(folder)).size) == store.put_dir(folder)


def test_a_file_that_is_in_a_store_already_may_be_gone(tmp_path: Path) -> None:
    ref = Ref(b"r" * 32, 3, "file", "gone")
    plan = tm.build(size(File(tmp_path / "gone", ref)))
    assert decode(chunks(plan)[0].args[0]) == [ref]
    assert plan.files == {}
    with pytest.raises(WiringError, match="gone"):
        tm.build(size(File(tmp_path / "gone")))


def test_the_id_of_a_stored_file_is_an_argument_by_itself() -> None:
    one, other = (FileId.of(Origin(0, n, 1), b"d" * 32, 3, "gone.txt") for n in (1, 2))
    plan = tm.build(same([one]))
    assert decode(chunks(plan)[0].args[0]) == [[id_ref(one)]]
    assert plan.files == {}
    assert plan.key == tm.build(same([one])).key != tm.build(same([other])).key


def test_files_of_large_sweeps_are_read_chunk_by_chunk(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}" for i in range(2100)]
    for i, path in enumerate(paths):
        path.write_text(str(i))
    plan = tm.build(size(tm.sweep(paths)))
    assert plan.files == {}
    seen = plan.chunks()
    first = next(seen)
    assert len(plan.files) == len(first.objects) == 500
    assert [len(c.objects) for c in seen] == [500, 500, 500, 100]
    paths[2050].unlink()
    with pytest.raises(UsageError, match="2050"):
        chunks(plan)


# ---------------------------------------------------------------------------------------------------- large values


def test_large_arguments_are_objects() -> None:
    array = np.arange(20_000.0)

    @tm.workflow
    def large() -> Any:
        return same(array), same([1, add(b"x" * 70_000, b"y")]), same("s" * 65_000)

    plan = large().plan_graph()
    [chunk] = chunks(plan)
    found = [decode(args)[0] for args in chunk.args]
    assert found[0] == Ref(digest(encode(array)), len(encode(array)), "value")
    assert found[1].kind == "value"
    assert found[2] == [1, Input(0)]
    assert found[3] == "s" * 65_000
    assert set(chunk.objects) == set(plan.blobs) == {found[0].digest, found[1].digest}
    values = Interpreter().run(plan)
    assert values[0].tolist() == array.tolist()
    assert values[1] == [1, b"x" * 70_000 + b"y"]


def test_large_values_of_a_sweep_pass_by() -> None:
    n = 1100
    plan = tm.build(same(tm.sweep([bytes([i % 256]) * 70_000 for i in range(n)])))
    found = plan.chunks()
    chunk = next(found)
    assert len(plan.blobs) == 256
    assert len(chunk.objects) == 256
    assert [len(c.objects) for c in found] == [256, 100]
    assert plan.blobs == {}
    eager = tm.build(same(tm.sweep([b"x" * 70_000, b"y"])))
    assert len(eager.blobs) == 1
    assert Interpreter().run(eager) == [b"x" * 70_000, b"y"]


def test_objects_of_the_result_are_named() -> None:
    plan = tm.workflow(lambda: {"big": np.zeros(10_000), "one": add(1, 2)})().plan_graph()
    assert Interpreter().run(plan)["one"] == 3
    only = tm.workflow(lambda: Path(__file__))().plan_graph()
    [chunk] = chunks(only)
    assert chunk.args == []
    assert chunk.objects == list(only.files)


def test_the_same_array_inside_and_outside_a_sweep_is_the_same_argument() -> None:
    array = np.arange(3.0)
    one = runs_of(tm.build(same(array)))[0]
    [swept] = runs_of(tm.build(same(tm.sweep([array]))))
    assert swept.key == one.key


def test_what_is_changed_after_the_call_does_not_matter() -> None:
    @tm.workflow
    def changing() -> Any:
        settings, values = {"x": 1}, [1, 2]
        found = same(settings), add(tm.sweep(values), 0), add([settings["x"]], [tm.sweep(range(3))][0:0])
        settings["x"] = 2
        values.append(3)
        return found

    assert result(changing()) == ({"x": 1}, [1, 2], [1])


def test_constants_of_large_sweeps_are_frozen_too() -> None:
    settings = [1]

    @tm.workflow
    def changing() -> Any:
        found = same((tm.sweep(range(1500)), settings)), add(settings, [tm.sweep(range(1500))])
        settings.append(2)
        return found

    plan = changing().plan_graph()
    assert runs_of(plan)[1600].args[0] == [1]
