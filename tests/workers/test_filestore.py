"""Files of running tasks, through a real executor."""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tidemill.graph as tm
from tests.objects.servers import KEY, SECRET, moto_server
from tests.workers.conftest import HERE
from tidemill.launchers.local import LocalWorker
from tidemill.model import protocol
from tidemill.model.digest import digest
from tidemill.model.errors import ChangedError, NotFoundError, UsageError
from tidemill.model.fileid import FileId, Origin
from tidemill.model.protocol import Ask, Outcome, Written
from tidemill.model.states import Reason
from tidemill.model.values import Ref, ref_id
from tidemill.stores.objects.interface import SMALL
from tidemill.testing.workers import FakeEngine, python_spec

SIZES = [0, 1, 4096, SMALL, SMALL + 1, 3 << 20]
BINARY = bytes(range(256)) * 20


def call(engine: FakeEngine, name: str, *args: object) -> Outcome:
    spec = python_spec(name, [f"a{i}" for i in range(len(args))], module="filetasks")
    return engine.run(engine.task(spec), *args)


def told(engine: FakeEngine, name: str, *args: object) -> Any:
    """The result of a task; ids among it as such."""
    return _ids(engine.value(call(engine, name, *args)))


def _ids(value: Any) -> Any:
    if isinstance(value, Ref):
        return ref_id(value)
    if isinstance(value, (list, tuple)):
        return type(value)(_ids(member) for member in value)
    return value


def blob(size: int) -> bytes:
    return (b"\xff\x00\xfeabc" * (size // 6 + 1))[:size]


# --------------------------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize("size", SIZES)
def test_what_is_written_is_what_is_read(engine: FakeEngine, size: int) -> None:
    data = blob(size)
    outcome = call(engine, "put", data, "x.bin")
    file = _ids(engine.value(outcome))
    assert outcome.files == [Written(1, digest(data), size, 0o644, "x.bin")]
    assert (file.digest, file.size, file.name, file.executable) == (digest(data), size, "x.bin", False)
    assert file.origin == Origin(outcome.run, outcome.fence, 1)
    assert engine.objects.get(file.digest) == data, "the bytes are there when the outcome is"
    assert outcome.outs[0].objects == [file.digest]
    assert told(engine, "get", file)[:2] == (data, "x.bin")
    assert told(engine, "stream", file) == data
    assert told(engine, "stream", str(file)) == data, "a plain text will do"


@pytest.mark.parametrize("size", SIZES)
def test_a_task_reads_what_it_wrote(engine: FakeEngine, size: int) -> None:
    data = blob(size)
    _, streamed, copied, exists, told_size = told(engine, "write_and_read", data)
    assert (streamed, copied, exists, told_size) == (data, data, True, size)


def test_names_and_modes_are_kept(engine: FakeEngine) -> None:
    outcome = call(engine, "put", b"#!", "run.sh", True, True)
    assert outcome.files[0] == Written(1, digest(b"#!"), 2, 0o755, "run.sh", temporary=True)
    assert told(engine, "put_as", b"1", "a b.txt", None).name == "a b.txt"
    assert told(engine, "put_as", b"1", "a b.txt", "ü.txt").name == "ü.txt"
    assert told(engine, "put_as", b"1", os.fsdecode(b"\xff.txt"), None).name == "\ufffd.txt"


@pytest.mark.parametrize("executable", [False, True])
@pytest.mark.parametrize("mutable", [False, True])
@pytest.mark.parametrize("link", [False, True])
@pytest.mark.parametrize("size", [10, SMALL + 1])
def test_who_may_execute_it_is_kept(engine: FakeEngine, executable: bool, mutable: bool, link: bool, size: int) -> None:
    file = told(engine, "put", blob(size), "x", executable)
    assert told(engine, "get", file, mutable, link)[:3] == (blob(size), "x", executable)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\0b"])
def test_a_name_that_is_none_is_refused(engine: FakeEngine, name: str) -> None:
    failure = call(engine, "put_as", b"1", "x", name).failure
    assert failure is not None and "cannot be the name of a file" in failure.message


def test_what_is_no_file_is_refused(engine: FakeEngine, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo", tmp_path / "none"):
        failure = call(engine, "put_path", str(path)).failure
        assert failure is not None and str(path) in failure.message


@pytest.mark.parametrize("size", [100, SMALL + 1])
def test_the_source_may_change_afterwards(engine: FakeEngine, size: int) -> None:
    file = told(engine, "overwrite_source", blob(size), b"other")
    assert engine.objects.get(file.digest) == blob(size)


def test_ids_are_never_used_again(engine: FakeEngine) -> None:
    first, second = (told(engine, "put", b"the same") for _ in range(2))
    assert first != second
    assert first.digest == second.digest


# --------------------------------------------------------------------------------------------------------- streams

TEXTS = ["", "a\r\nb\n", "zwölf\u2028", "x" * 50_000, "\N{GRINNING FACE}" * 20_000]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1"])
def test_text_comes_back_as_it_was(engine: FakeEngine, encoding: str) -> None:
    texts = TEXTS[:3] if encoding != "latin-1" else ["a\r\nb\n", "zwölf"]
    file = told(engine, "write_stream", texts, -1, encoding)
    assert told(engine, "text_stream", file, encoding) == "".join(texts)
    assert told(engine, "stream", file) == "".join(texts).encode(encoding)


@pytest.mark.parametrize("encoding", [None, "utf-8"])
def test_a_long_stream_comes_back_as_it_was(engine: FakeEngine, encoding: str | None) -> None:
    parts: list[Any] = TEXTS if encoding else [text.encode() for text in TEXTS]
    outcome = call(engine, "write_stream", parts, -1, encoding, True)
    file = _ids(engine.value(outcome))
    assert told(engine, "stream", file) == "".join(TEXTS).encode()
    assert outcome.files[0].mode == 0o755
    assert file.executable


@pytest.mark.parametrize("sizes", [[1, 2], [100, 200_000, 3, 70_000]])
def test_a_stream_may_go_back_in_what_it_writes(engine: FakeEngine, sizes: list[int]) -> None:
    assert told(engine, "unzipped", told(engine, "zipped", sizes)) == sizes


@pytest.mark.parametrize("encoding", [None, "utf-8"])
@pytest.mark.parametrize("size", [10, 30_000, 70_000])
@pytest.mark.parametrize("fail_at", [0, 1, 2, 3, 4])
def test_an_error_at_any_write_leaves_nothing(
    engine: FakeEngine, encoding: str | None, size: int, fail_at: int
) -> None:
    marker = f"{encoding}{size}{fail_at}".encode().ljust(size, b".")
    parts: list[Any] = [marker.decode() if encoding else marker] * 4
    before = {stored.digest for stored in engine.objects.list()}
    outcome = call(engine, "write_stream", parts, fail_at, encoding)
    assert engine.value(outcome) is None
    assert outcome.files == []
    assert {stored.digest for stored in engine.objects.list()} == before
    assert not list((engine.scratch).glob("w*/temp"))


def test_part_of_a_long_stream_may_be_read(engine: FakeEngine) -> None:
    file = told(engine, "put", bytes(30 << 20))
    assert told(engine, "stream", file, 1) == b"\0"


def test_bytes_that_are_no_text_are_the_readers_business(engine: FakeEngine) -> None:
    file = told(engine, "put", BINARY)
    failure = call(engine, "text_stream", file, "utf-8").failure
    assert failure is not None and failure.kind == "UnicodeDecodeError"
    assert told(engine, "text_stream", file, "utf-8", "replace") == BINARY.decode(errors="replace")
    failure = call(engine, "text_stream", file, "utf-9").failure
    assert failure is not None and failure.kind == "UsageError"


# --------------------------------------------------------------------------------------------------------- reading


def test_reading_never_overwrites(engine: FakeEngine, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.write_text("mine")
    dangling = tmp_path / "dangling"
    dangling.symlink_to("nowhere")
    for size in (10, SMALL + 1):
        file = told(engine, "put", blob(size))
        for path in (there, dangling, tmp_path):
            failure = call(engine, "get", file, False, True, str(path)).failure
            assert failure is not None and "would overwrite" in failure.message
        failure = call(engine, "get", file, False, True, str(tmp_path / "none" / "x")).failure
        assert failure is not None and "no directory" in failure.message
    assert there.read_text() == "mine"


def test_reading_the_same_name_again_gives_another_place(engine: FakeEngine) -> None:
    ids = [told(engine, "put", data) for data in (b"1", b"2")]
    assert told(engine, "forget_twice", ids[0]) == (True, 2, True, True)
    assert told(engine, "forget_what_is_gone", ids[0]) == "NoCopyError"
    assert told(engine, "forget_written") == (False, True)


def test_every_read_is_told(engine: FakeEngine, tmp_path: Path) -> None:
    file = told(engine, "put", b"read me")
    outcome = call(engine, "get", file, False, True, str(tmp_path / "place"))
    (digest_, when, path, source) = outcome.used[0]
    assert (digest_, path, source) == (file.digest, str(tmp_path / "place"), file.origin.run)
    assert outcome.t0 <= when <= outcome.t1
    assert [path for _, _, path, _ in call(engine, "stream", file).used] == [""]
    assert call(engine, "forget_twice", file).used != []


def test_a_file_that_is_not_there_is_a_lost_input(engine: FakeEngine) -> None:
    nowhere = FileId.of(Origin(1, 1, 1), bytes(32), 5, "none.txt")
    for large in (nowhere, FileId.of(Origin(1, 1, 1), bytes(32), 5 << 20, "none.txt")):
        for name in ("get", "stream"):
            failure = call(engine, name, large).failure
            assert failure is not None
            assert Reason(failure.reason) is Reason.LOST_INPUT
            assert failure.lost == [bytes(32)]
            assert "none.txt" in failure.message and "filetasks" in failure.traceback


@pytest.mark.parametrize("text", ["", "file:1.1.1", "nonsense", 5])
def test_what_is_no_id_is_refused(engine: FakeEngine, text: object) -> None:
    failure = call(engine, "stream", text).failure
    assert failure is not None and failure.kind == "UsageError"


def _always(answer: object, _: Ask) -> object:
    return answer


def test_whether_a_file_is_there_is_the_engines_to_say(engine: FakeEngine) -> None:
    file = told(engine, "put", b"here")
    for there in (True, False):
        engine.answer = functools.partial(_always, there)
        assert told(engine, "exists", file) is there
        assert (engine.asks[-1].name, engine.asks[-1].args) == ("file.exists", {"id": str(file)})
    engine.answer = lambda _: True
    assert told(engine, "exists", FileId.of(file.origin, bytes(32), 5, "x")) is False, "its bytes are gone"


@pytest.mark.parametrize("how", ["stream", "get"])
def test_what_is_not_there_is_not_read(engine: FakeEngine, how: str) -> None:
    """Though its bytes are. Of an input it is not asked."""
    file = told(engine, "put", b"of a failed attempt")
    engine.answer = functools.partial(_always, False)
    failure = call(engine, how, str(file)).failure
    assert failure is not None and failure.kind == "NotFoundError" and str(file) in failure.message
    asked = len(engine.asks)
    assert call(engine, how, file).failure is None
    assert len(engine.asks) == asked
    engine.answer = functools.partial(_always, True)
    assert told(engine, "read_twice", str(file)) == [b"of a failed attempt"] * 2
    assert len(engine.asks) == asked + 1, "once"


# -------------------------------------------------------------------------------------------------------- deleting


def test_deleting_is_told_and_not_done(engine: FakeEngine) -> None:
    ids = [told(engine, "put", blob(size)) for size in (10, SMALL + 1)]
    outcome = call(engine, "delete", ids)
    assert engine.value(outcome) == [(False, False)] * 2
    assert outcome.deleted == [str(file) for file in ids]
    assert engine.objects.exists([file.digest for file in ids]) == {file.digest for file in ids}


@pytest.mark.parametrize("size", [10, SMALL + 1])
def test_what_a_task_wrote_and_deleted_is_told_to_be_deleted(engine: FakeEngine, size: int) -> None:
    outcome = call(engine, "delete_own", blob(size))
    assert (outcome.files, [FileId(one).origin for one in outcome.deleted]) == ([], [(outcome.run, outcome.fence, 1)])


@pytest.mark.parametrize("size", [10, SMALL + 1])
def test_of_a_failed_attempt_is_told_what_is_stored(engine: FakeEngine, size: int) -> None:
    """So that it is deleted; its deletions of others' files are not."""
    data, other = b"d" * size, b"o" * size
    file = told(engine, "put", b"of another")
    outcome = call(engine, "then_fail", data, other, file)
    assert outcome.failure is not None and outcome.failure.kind == "ValueError"
    stored = {digest(data), digest(other)} if size > SMALL else set()
    assert {written.digest for written in outcome.files} == stored == engine.objects.exists(stored)
    assert outcome.deleted == []
    assert engine.objects.exists([digest(data), digest(other)]) == stored


# --------------------------------------------------------------------------------------------------- what is temporary


def test_temporary_files_are_gone_at_the_end(engine: FakeEngine) -> None:
    outcome = call(engine, "temporaries")
    folder, mode, file, name, usage = engine.value(outcome)
    assert mode == "711"
    assert name.startswith("a-") and name.endswith(".txt")
    assert usage >= 100_000
    assert outcome.disk >= usage
    assert not Path(folder).exists() and not Path(file).exists()


@pytest.mark.parametrize("how", ["temporaries_and_die", "temporaries_and_fail"])
def test_temporary_files_are_gone_however_it_ends(fresh: FakeEngine, tmp_path: Path, how: str) -> None:
    report = tmp_path / "report"
    claim = fresh.claim(fresh.task(python_spec(how, ["report"], module="filetasks")), str(report))
    fresh.send([claim])
    fresh.wait(lambda: bool(fresh.gone) or claim.run in fresh.outcomes)
    if fresh.gone:
        worker = fresh.pool.workers[0]
        worker.exit_reason()
        assert Path(report.read_text()).exists()
        fresh.pool.clear_up(worker)
    assert not Path(report.read_text()).exists()


# --------------------------------------------------------------------------------------------------------- together


def test_many_small_files_are_put_together(engine: FakeEngine) -> None:
    outcome = call(engine, "many", 300, 4096)
    assert [written.n for written in outcome.files] == list(range(1, 301))
    digests = [written.digest for written in outcome.files]
    assert engine.objects.exists(digests) == set(digests)


def test_more_than_is_held_in_memory(engine: FakeEngine) -> None:
    outcome = call(engine, "many", 350, 60_000)
    digests = {written.digest for written in outcome.files}
    assert engine.objects.exists(digests) == digests


def test_threads_of_a_task_may_use_files(engine: FakeEngine) -> None:
    outcome = call(engine, "threads", 8)
    assert engine.value(outcome) == [bytes([i]) if i else b"" for i in range(8)]
    assert len(outcome.files) == 8
    assert {note.text for note in engine.notes if note.run == outcome.run} == {f"thread {i}" for i in range(8)}


def test_a_thread_that_outlives_its_task_is_refused(engine: FakeEngine, tmp_path: Path) -> None:
    fifo, found = tmp_path / "fifo", tmp_path / "fifo.found"
    os.mkfifo(fifo)
    os.mkfifo(found)
    call(engine, "leave_a_thread", str(fifo))
    fifo.write_text("now")
    assert found.read_text() == "no task is running\n"


@pytest.mark.parametrize("name", ["fork", "fork_and_return"])
def test_a_forked_child_has_no_part_in_it(engine: FakeEngine, name: str) -> None:
    outcome = call(engine, name)
    assert engine.value(outcome) in {7, "parent"}
    assert engine.value(call(engine, "stream", _ids(told(engine, "put", b"after")))) == b"after"


def test_outside_of_a_task_it_is_said_what_to_do() -> None:
    file = FileId.of(Origin(1, 1, 1), bytes(32), 5, "x")
    tries: list[Callable[[], object]] = [
        lambda: tm.files.write("x"), tm.files.writing, lambda: tm.files.read(file), lambda: tm.files.open(file),
        lambda: tm.files.exists(file), lambda: tm.files.forget(file), lambda: tm.files.delete(file), tm.files.directory,
        tm.files.temporary, tm.files.usage, lambda: tm.files.get("n"), lambda: tm.files.put("n", "x"),
        lambda: tm.files.version("n"), lambda: tm.files.shared("n"), lambda: tm.log("x"),
        lambda: tm.log_stream("x", "y"), lambda: tm.defer(print),
    ]  # fmt: skip
    for one in tries:
        with pytest.raises(UsageError, match="inside a running task only") as found:
            one()
        assert found.value.hint
    assert tm.files.size(str(file)) == 5


class Watching(FakeEngine):
    """Looks at each message when it arrives."""

    def _handle(self, worker: LocalWorker, frame: bytes) -> None:
        message = protocol.decode_to_engine(frame)
        if isinstance(message, protocol.Done):
            for outcome in message.outcomes:
                named = {written.digest for written in outcome.files}
                assert self.objects.exists(named) == named, "an outcome came before its bytes were durable"
        super()._handle(worker, frame)


@pytest.mark.parametrize("size", [100, SMALL + 1])
def test_outcomes_come_in_order_and_never_before_their_bytes(tmp_path: Path, size: int) -> None:
    with Watching(tmp_path, path=[HERE]) as engine:
        outcomes_in_order(engine, size)


@pytest.mark.parametrize("size", [100, SMALL + 1])
def test_nor_before_a_cache_has_sent_their_bytes(tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    with moto_server() as server:
        url, cache = server.fresh_url(), tmp_path / "cache"
        with Watching(tmp_path, path=[HERE], objects=url, cache=str(cache)) as engine:
            outcomes_in_order(engine, size)
        assert cache.exists() is (size > SMALL), "the files have gone through it"


def outcomes_in_order(engine: FakeEngine, size: int) -> None:
    task = engine.task(python_spec("put", ["data"], module="filetasks"))
    claims = [engine.claim(task, i.to_bytes(2, "big") * (size // 2 + 1)) for i in range(40)]
    engine.send(claims)
    for claim in claims:
        assert engine.finish(claim.run).files
    assert list(engine.outcomes) == [claim.run for claim in claims]


# --------------------------------------------------------------------------------------------------------- names


class Names:
    """Just enough of an engine to keep shared names."""

    def __init__(self, engine: FakeEngine) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.engine = engine

    def __call__(self, ask: Ask) -> object:
        args: dict[str, Any] = ask.args
        row = self.rows.get(args["name"])
        if ask.name == "name.get":
            if row is None:
                raise NotFoundError(f"there is no name {args['name']}")
            return row
        assert ask.name == "name.put"
        digest = FileId(args["id"]).digest if "id" in args else args["digest"]
        assert self.engine.objects.exists([digest]), "the bytes are durable before the name moves"
        version = row["version"] if row else 0
        if args["expect"] is not None and args["expect"] != version:
            raise ChangedError(f"{args['name']} has moved", hint="Read it again.")
        self.rows[args["name"]] = {**args, "digest": digest, "version": version + 1}
        return version + 1


@pytest.fixture
def names(engine: FakeEngine) -> Names:
    engine.answer = Names(engine)
    return engine.answer


def test_a_shared_name_is_put_and_read(engine: FakeEngine, names: Names) -> None:
    failure = call(engine, "get_named", "model").failure
    assert failure is not None and failure.kind == "NotFoundError"
    assert told(engine, "put_named", "model", b"one", None) == 1
    file, data, version = told(engine, "get_named", "model")
    assert (data, version) == (b"one", 1)
    assert told(engine, "stream", file) == b"one", "its id is an id like any other"
    assert told(engine, "put_named", "model", BINARY, 1) == 2
    assert told(engine, "get_named", "model")[0] != file
    failure = call(engine, "put_named", "model", b"three", 1).failure
    assert failure is not None and failure.kind == "ChangedError"
    assert told(engine, "put_named", "new", b"", 0) == 1


def test_a_file_of_another_is_put_by_its_id(engine: FakeEngine, names: Names) -> None:
    """The engine knows whether it is there still; of its own the task does."""
    file = told(engine, "put", b"of another")
    assert told(engine, "name_it", "model", file) == 1
    assert engine.asks[-1].args == {"name": "model", "id": str(file), "expect": None}
    assert told(engine, "name_own", "model", b"own", False) == 2
    assert engine.asks[-1].args["digest"] == digest(b"own")
    failure = call(engine, "name_own", "model", b"own", True).failure
    assert failure is not None and failure.kind == "NotFoundError"


def test_what_a_shared_name_stands_for_is_not_deleted(engine: FakeEngine, names: Names) -> None:
    assert told(engine, "put_named", "model", b"one", None) == 1
    file, *_ = told(engine, "get_named", "model")
    failure = call(engine, "delete", [file]).failure
    assert failure is not None and failure.kind == "UsageError" and "shared name" in failure.message


def test_a_change_meanwhile_is_seen(engine: FakeEngine, names: Names) -> None:
    told(engine, "put_named", "counter", b"1", None)
    assert told(engine, "replace_named", "counter", b"2", None) == 2
    assert told(engine, "replace_named", "counter", b"4", b"3") == "counter has moved"
    assert told(engine, "get_named", "counter")[1:] == (b"3", 3)


def test_streams_of_shared_names(engine: FakeEngine, names: Names) -> None:
    assert told(engine, "shared_text", "note.txt", "zwölf\r\n", False) == "zwölf\r\n"
    assert told(engine, "shared_text", "note.txt", "dreizehn", True) == "zwölf\r\n"
    assert names.rows["note.txt"]["version"] == 1


@pytest.mark.parametrize("name", ["", "a b", "a/b", "ü"])
def test_a_shared_name_that_is_none_is_refused(engine: FakeEngine, names: Names, name: str) -> None:
    before = len(engine.asks)
    failure = call(engine, "get_named", name).failure
    assert failure is not None and failure.kind == "UsageError"
    assert len(engine.asks) == before


# --------------------------------------------------------------------------------------------------------- messages


def test_messages_are_sent_at_once_and_are_in_the_log(engine: FakeEngine, tmp_path: Path) -> None:
    outcome = call(engine, "messages")
    notes = [note for note in engine.notes if note.run == outcome.run]
    assert [(n.fence, n.level, n.stream, n.text) for n in notes] == [
        (1, 20, "", "hello"),
        (1, 30, "", "careful \\udc80"),
        (1, 20, "stderr of x", "one\ntwo \\xff\n"),
        (1, 20, "a stream", "three"),
    ]
    assert all(outcome.t0 <= note.t <= outcome.t1 for note in notes)
    assert outcome.log.decode() == (
        "hello\ncareful \\udc80\n--- stderr of x\none\ntwo \\xff\n---\n--- a stream\nthree\n---\n"
    )
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    claim = engine.claim(engine.task(python_spec("message_and_wait", ["path"], module="filetasks")), str(fifo))
    engine.send([claim])
    engine.wait(lambda: engine.notes[-1].text == "waiting")
    assert claim.run not in engine.outcomes
    fifo.write_text("go on")
    engine.finish(claim.run)


def test_a_task_that_uses_nothing_tells_nothing(engine: FakeEngine, sample: Any) -> None:
    outcome = engine.run(sample(engine, "identity"), 1)
    assert (outcome.files, outcome.deleted, outcome.used, outcome.disk) == ([], [], [], 0)
