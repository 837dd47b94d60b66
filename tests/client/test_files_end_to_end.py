"""Files, names, messages and large arguments of tasks, as a user's script meets them: real engines and workers."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.objects.web import serving
from tidemill.client.store import Store
from tidemill.model.errors import NotFoundError, StoreError
from tidemill.model.fileid import FileId
from tidemill.stores.state import files
from tidemill.testing.crash import wait_for

SCRIPT = '''
import os
import random
import signal
from pathlib import Path
from typing import Any

import tidemill as tm


def note(path: str, line: str) -> int:
    """Write a line; how many like it there are then."""
    with open(path, "a") as log:
        log.write(line + "\\n")
    return Path(path).read_text().splitlines().count(line)


@tm.task
def say_where(size: int) -> str:
    with tm.files.writing("made.txt", encoding="utf-8") as out:
        out.write("x" * size)
    return f"it is in {out.id}, as you wished"


@tm.task
def find(text: str) -> list[Any]:
    id = text.split(" in ")[1].split(",")[0]
    with tm.files.open(id, encoding="utf-8") as stream:
        return [id, len(stream.read()), tm.files.read(id).name, tm.files.exists(id), tm.files.size(id)]


@tm.workflow
def in_words(sizes: list[int]) -> Any:
    return find(say_where(tm.sweep(sizes)))


@tm.task(cache=False)
def put_and_wait(gate: str) -> list[Any]:
    with tm.files.shared("note", "wb", encoding="utf-8") as out:
        out.write("hello")
    Path(gate, "put").write_text(tm.files.get("note"))
    with open(Path(gate, "go"), "rb") as go:
        go.read(1)
    mine = tm.files.get("note")
    with tm.files.shared("note", encoding="utf-8") as stream:
        return [mine, tm.files.exists(mine), stream.read()]


@tm.workflow
def naming(gate: str) -> Any:
    return put_and_wait(gate)


@tm.task
def write_many(count: int, size: int) -> list[tm.FileId]:
    made = []
    for i in range(count):
        with tm.files.writing(f"{i}", temporary=True) as out:
            out.write(os.urandom(size))
        made.append(out.id)
    return made


@tm.task
def read_all(ids: list[tm.FileId]) -> int:
    return sum(tm.files.read(id).stat().st_size for id in ids)


@tm.workflow
def passing(count: int, size: int) -> Any:
    return read_all(write_many(count, size))


@tm.task
def grow(sizes: list[int], load: bytes, seen: list[int]) -> list[int]:
    seen = [*seen, len(load)]
    return grow(sizes[1:], os.urandom(sizes[0]), seen) if sizes else seen


@tm.workflow
def growing(sizes: list[int]) -> Any:
    return grow(sizes, b"", [])


@tm.task(retries=50, backoff=0.001)
def random_work(seed: int, log: str, deaths: int) -> list[tuple[str, int]]:
    """Thirty operations, and sizes that are those of a model all the time; the process dies in its first attempts."""
    tm.defer(note, log, f"deferred {seed}")
    tries = note(log, f"attempt {seed}")
    dice = random.Random(seed)
    die_at = random.Random(f"{seed} {tries}").randrange(30) if tries <= deaths else -1
    model: dict[str, int] = {}
    copies: dict[Path, int] = {}
    for step in range(30):
        if step == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        what = dice.choice(["write", "write", "read", "delete"]) if model else "write"
        if what == "write":
            size = dice.choice([0, 1, 4096, 70_000])
            with tm.files.writing(f"{step}") as out:
                out.write(dice.randbytes(size))
            model[out.id] = size
        elif what == "read":
            one = dice.choice(sorted(model, key=lambda id: int(tm.FileId(id).name)))
            copies[tm.files.read(one, f"copy{step}", mutable=True)] = model[one]
        else:
            one = dice.choice(sorted(model, key=lambda id: int(tm.FileId(id).name)))
            tm.files.delete(one)
            del model[one]
            assert not tm.files.exists(one)
        assert all(tm.files.size(id) == size and tm.files.exists(id) for id, size in model.items())
        there = {path: path.stat().st_size for path in copies if path.exists()}
        assert there == {path: copies[path] for path in there}
        assert tm.files.usage() >= sum(there.values())
    return [(tm.FileId(id).name, size) for id, size in model.items()]


@tm.workflow
def bad_workers(seeds: list[int], log: str, deaths: int) -> Any:
    return random_work(tm.sweep(seeds), log, deaths)


@tm.task
def make_file(text: str) -> Path:
    Path("made.txt").write_text(text)
    return Path("made.txt")


@tm.workflow
def making(text: str) -> Any:
    return make_file(text)
'''


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    (tmp_path / "flow.py").write_text(SCRIPT, encoding="utf-8")
    with Store(tmp_path / "store") as found:
        yield found


def start(store: Store, workflow: str, **settings: object) -> "subprocess.Popen[str]":
    """`tidemill run` of a workflow of the script."""
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in settings.items()}
    words = [f"--set={name}={text}" for name, text in texts.items()]
    command = [sys.executable, "-m", "tidemill", "run", "flow.py", "--workflow", workflow, "--workers", "2", *words]
    place = ["--store", str(store.url), "--quiet"]
    return subprocess.Popen([*command, *place], cwd=store.place.directory.parent, text=True, stderr=subprocess.PIPE)


def run(store: Store, workflow: str, **settings: object) -> object:
    """Its result."""
    process = start(store, workflow, **settings)
    _, said = process.communicate(timeout=100)
    assert process.returncode == 0, said
    return store.result(store.status(limit=1).blocks[0].id)


def work_off(store: Store) -> None:
    """Have engines serve the store until nothing is left to be deleted. What was put a moment ago is spared."""

    def served() -> bool:
        store.command("sync")
        return not files.any_journaled(store.db)

    wait_for(served, "the journal to be worked off")


def test_an_id_in_a_sentence_is_as_good_as_any(store: Store) -> None:
    found = run(store, "in_words", sizes=[5, 100_000])
    assert isinstance(found, list)
    for (one, *rest), size in zip(found, [5, 100_000], strict=True):
        assert rest == [size, "made.txt", True, size]
        assert store.files.open(one).read() == b"x" * size, "also outside"


def test_a_named_file_is_there_for_everybody_at_once(store: Store, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")
    process = start(store, "naming", gate=str(tmp_path))
    told = tmp_path / "put"
    wait_for(lambda: told.exists() and bool(told.read_text()), "the name")
    one = FileId(told.read_text())
    assert store.names.open("note").read() == b"hello"
    # An id that a name gave is one of a file, outside too.
    assert store.files.exists(one) and store.files.size(one) == 5
    assert store.files.open(one, "r").read() == "hello"
    assert store.files.read(one, tmp_path / "copy").read_bytes() == b"hello"
    assert not store.files.exists(FileId(one.replace(one.digest.hex(), "0" * 64)))
    store.names.put("note", b"good bye")
    (tmp_path / "go").write_bytes(b"!")
    _, said = process.communicate(timeout=100)
    assert process.returncode == 0, said
    mine, there, text = store.result(1)
    assert (there, text) == (True, "good bye") and mine != one
    with pytest.raises(NotFoundError):
        store.files.delete(one)


def test_temporary_files_go_when_their_block_ends_however_many(store: Store) -> None:
    for count, size in ((1, 70_000), (499, 10), (500, 10), (501, 10), (1000, 10)):
        assert run(store, "passing", count=count, size=size) == count * size
        made = store.files.list(store.status(limit=1).blocks[0].id)
        assert len(made) == count and {one.state for one in made} == {"expired"}
        work_off(store)
        assert not store.objects.exists([FileId(one.id).digest for one in made])


def test_what_has_used_up_its_files_is_reused_as_a_whole(store: Store) -> None:
    """Made again they would have other ids, and all that follows from them would be made again."""
    assert run(store, "passing", count=3, size=70_000) == 3 * 70_000
    work_off(store)
    assert run(store, "passing", count=3, size=70_000) == 3 * 70_000
    assert len(store.files.list(1)) == 3
    assert store.files.list(store.status(limit=1).blocks[0].id) == []


def test_arguments_grow_and_shrink(store: Store) -> None:
    sizes = [500_000, 1, 500_000, 0, 64_000, 66_000, 10]
    assert run(store, "growing", sizes=sizes) == [0, *sizes]
    assert [row.state for row in store.runs().runs] == ["complete"] * (len(sizes) + 1)


def test_sizes_are_those_of_a_model_though_workers_die(store: Store, tmp_path: Path) -> None:
    log, seeds = tmp_path / "log", [1, 2, 3, 4]
    found = run(store, "bad_workers", seeds=seeds, log=str(log), deaths=2)
    assert isinstance(found, list)
    lines = log.read_text().splitlines()
    assert all(lines.count(f"attempt {seed}") >= 3 for seed in seeds)
    wait_for(
        lambda: all(log.read_text().count(f"deferred {seed}\n") >= 3 for seed in seeds), "what was deferred each time"
    )
    there = [(one.name, one.size) for one in store.files.list(1) if one.state == "complete"]
    assert sorted(there) == sorted(tuple(one) for result in found for one in result)
    work_off(store)
    complete = {FileId(one.id).digest for one in store.files.list(1) if one.state == "complete"}
    assert store.objects.exists(complete) == complete


def test_what_could_not_be_sent_is_sent_later(store: Store, tmp_path: Path) -> None:
    run(store, "making", text="content")
    with pytest.raises(StoreError):
        store.send(1, "http://127.0.0.1:9/out")
    with serving() as web:
        store.send(1, web.url + "/out")
        assert web.files["/out"] == b"content"
    store.send(1, str(tmp_path / "here.txt"))
    assert (tmp_path / "here.txt").read_text() == "content"
