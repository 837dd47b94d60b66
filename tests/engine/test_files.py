"""Files that attempts write, read and delete: rows with the outcome, journal in the same transaction, expiry."""

from typing import Any

import pytest

from tests.engine.conftest import Drive
from tests.engine.tasks import ADD, NUMBER, Switch, shaky
from tidemill.engine import files, names, remove, revive
from tidemill.engine.complete import Answer
from tidemill.model.digest import digest
from tidemill.model.errors import NotFoundError
from tidemill.model.fileid import FileId, Origin
from tidemill.model.protocol import Claimed, Failure, Out, Outcome, Written
from tidemill.model.states import AttemptState, BlockState, DatumState, Reason
from tidemill.model.values import Ref, encode
from tidemill.stores.state import data, runs
from tidemill.stores.state import files as rows
from tidemill.testing.engine import EngineDriver
from tidemill.testing.graphs import Task
from tidemill.testing.invariants import check_invariants

ONE, TWO, THREE = (digest(bytes([n])) for n in (1, 2, 3))
USE = Task("use", lambda x: x)


def good(d: EngineDriver, claimed: Claimed, **said: Any) -> Outcome:
    """An outcome with more to tell."""
    outcome = d.execute(claimed)
    assert outcome is not None
    for name, value in said.items():
        setattr(outcome, name, value)
    return outcome


def bad(claimed: Claimed, reason: Reason = Reason.EXCEPTION, **said: Any) -> Outcome:
    lost = said.pop("lost", [])
    failure = Failure(int(reason), "oops", "it failed", lost=lost)
    return Outcome(claimed.run, claimed.fence, int(AttemptState.ERROR), [], 0.0, 0.0, failure=failure, **said)


def a_file(n: int, content: bytes, **changed: Any) -> Written:
    return Written(n, content, 7, 0o644, f"f{n}", **changed)


def id_of(claimed: Claimed, written: Written) -> FileId:
    return FileId.of(Origin(claimed.run, claimed.fence, written.n), written.digest, written.size, written.name)


def states(d: EngineDriver, *found: FileId) -> list[int]:
    return [row.state if (row := rows.get(d.engine.db, one.origin)) else -1 for one in found]


def journal(d: EngineDriver) -> set[bytes]:
    return {one for one, _ in rows.journaled(d.engine.db, b"", 100)}


def start(d: EngineDriver, *numbers: int) -> tuple[int, list[Claimed]]:
    """Runs of one workflow, claimed."""
    g = d.graph()
    g.result = [g.run("number", n) for n in numbers]
    return d.submit(g), d.take()


def condemned(d: EngineDriver) -> set[bytes]:
    return {c.digest for c in d.control(lambda turn: files.condemned(turn, b"", 100)).condemned}


def test_what_an_accepted_attempt_wrote_is_there_with_its_outcome(drive: Drive) -> None:
    d = drive(NUMBER)
    block, (first, second) = start(d, 1, 2)
    one, two = a_file(1, ONE), a_file(2, TWO, temporary=True)
    used = [(THREE, 5.5, "in\0put", 0), (ONE, 6.5, "", 3)]
    assert d.hand_in(good(d, first, files=[one, two], used=used)) == [Answer.ACCEPTED]
    found = rows.between(d.engine.db, first.run, first.run + 1)
    home = runs.get(d.engine.db, [first.run])[first.run].block
    assert found == [
        rows.FileRow(first.run, 1, 1, ONE, 7, 0o644, "f1", 0, home, 2),
        rows.FileRow(first.run, 1, 2, TWO, 7, 0o644, "f2", 1, home, 2),
    ]
    assert rows.used(d.engine.db, [first.run]) == [
        (first.run, 1, THREE, 5.5, "in\ufffdput"),
        (first.run, 1, ONE, 6.5, ""),
    ]
    assert d.hand_in(good(d, first, files=[a_file(3, THREE)])) == [Answer.ALREADY]
    assert len(rows.between(d.engine.db, first.run, first.run + 1)) == 2
    assert d.hand_in(good(d, second)) == [Answer.ACCEPTED]
    assert block
    check_invariants(d.engine.db)


def test_of_a_failed_attempt_only_what_it_read_counts(drive: Drive) -> None:
    d = drive(NUMBER)
    _, (one,) = start(d, 1)
    kept = d.control(files.write, TWO, 3, 0o755, "kept")
    failed = bad(one, files=[a_file(1, ONE)], deleted=[kept], used=[(TWO, 1.0, "x", 0)])
    assert d.hand_in(failed) == [Answer.ACCEPTED]
    assert rows.between(d.engine.db, one.run, one.run + 1) == []
    assert rows.used(d.engine.db, [one.run]) == [(one.run, 1, TWO, 1.0, "x")]
    assert states(d, kept) == [DatumState.COMPLETE]
    assert journal(d) == {ONE}


def test_deletions_count_with_the_outcome(drive: Drive) -> None:
    """Not when it is refused, and once; nonsense among them stops nobody."""
    d = drive(NUMBER)
    kept = d.control(files.write, TWO, 3, 0o755, "gone")
    assert kept.executable
    _, (one,) = start(d, 1)
    mine = a_file(4, ONE)
    gone = [kept, "nonsense", kept, str(id_of(one, mine)), f"file:99.1.1:{ONE.hex()}:1:-:never"]
    stale = good(d, one, deleted=gone)
    stale.fence = 9
    assert d.hand_in(stale) == [Answer.REFUSED]
    assert states(d, kept) == [DatumState.COMPLETE]
    assert d.hand_in(good(d, one, files=[mine], deleted=gone)) == [Answer.ACCEPTED]
    assert states(d, kept, id_of(one, mine)) == [DatumState.DELETED] * 2
    assert journal(d) == {ONE, TWO}
    assert not d.control(files.delete, kept)
    with pytest.raises(NotFoundError):
        d.control(files.delete, FileId(f"file:7.7.7:{ONE.hex()}:1:-:never"))


def test_what_a_task_wrote_and_deleted_itself_goes_to_the_journal(drive: Drive) -> None:
    """It never becomes a file. Of a failed attempt it is told among what was written."""
    d = drive(NUMBER)
    _, (one, two) = start(d, 1, 2)
    own = id_of(one, a_file(1, ONE))
    foreign = id_of(one, a_file(1, TWO))
    assert d.hand_in(good(d, one, deleted=[str(own)]), good(d, two, deleted=[str(foreign)])) == [Answer.ACCEPTED] * 2
    assert states(d, own, foreign) == [-1, -1]
    assert journal(d) == {ONE}


def test_an_id_is_never_used_again(drive: Drive) -> None:
    d = drive(NUMBER)
    first = d.control(files.write, ONE, 1, 0o644, "a")
    d.control(files.delete, first)
    second = d.control(files.write, ONE, 1, 0o644, "a")
    assert first.origin != second.origin
    assert states(d, first, second) == [DatumState.DELETED, DatumState.COMPLETE]
    assert condemned(d) == set()  # the second has the same content


def test_temporary_files_go_when_their_block_has_ended_well(drive: Drive) -> None:
    d = drive(NUMBER)
    block, (first, second) = start(d, 1, 2)
    kept, gone = a_file(1, ONE), a_file(2, TWO, temporary=True)
    ids = [id_of(first, one) for one in (kept, gone)]
    d.hand_in(good(d, first, files=[kept, gone]))
    assert states(d, *ids) == [DatumState.COMPLETE] * 2
    d.hand_in(good(d, second))
    d.settle()
    assert d.block(block).state == BlockState.COMPLETE
    assert states(d, *ids) == [DatumState.COMPLETE, DatumState.EXPIRED]
    assert journal(d) == {TWO}


def test_temporary_files_outlive_their_block_while_somebody_follows_from_their_run(drive: Drive) -> None:
    d = drive(NUMBER, ADD)
    g = d.graph()
    inner = g.block("inner")
    made = g.run("number", 1, block=inner)
    listed = g.gather([g.run("add", made)])
    g.result = [g.run("add", listed)]
    block = d.submit(g)
    (one,) = d.take()
    gone = a_file(1, ONE, temporary=True)
    d.hand_in(good(d, one, files=[gone]))
    d.control(lambda turn: turn.engine.upkeep(turn))
    assert d.block(block + inner).state == BlockState.COMPLETE
    assert states(d, id_of(one, gone)) == [DatumState.COMPLETE]
    assert journal(d) == set()
    d.settle()
    assert d.block(block).state == BlockState.COMPLETE
    assert states(d, id_of(one, gone)) == [DatumState.EXPIRED]
    assert journal(d) == {ONE}


def test_a_block_with_failures_keeps_them_until_it_is_retried(drive: Drive) -> None:
    switch = Switch()
    d = drive(NUMBER, shaky(switch))
    g = d.graph()
    g.result = [g.run("number", 1), g.run("shaky", 2)]
    switch.broken = True
    block = d.submit(g)
    found = {d.engine.spec(d.engine.db, c.task).name: c for c in d.take()}
    gone = a_file(1, ONE, temporary=True)
    d.hand_in(good(d, found["number"], files=[gone]), good(d, found["shaky"]))
    d.settle()
    assert d.block(block).state == BlockState.ERROR
    assert states(d, id_of(found["number"], gone)) == [DatumState.COMPLETE]
    switch.broken = False
    d.control(revive.retry, [found["shaky"].run])
    d.settle()
    assert d.block(block).state == BlockState.COMPLETE
    assert states(d, id_of(found["number"], gone)) == [DatumState.EXPIRED]


def test_another_engine_knows_of_them(drive: Drive) -> None:
    """After a crash, too: what is kept in memory is derived."""
    d = drive(NUMBER)
    block, (first, second) = start(d, 1, 2)
    d.hand_in(good(d, first, files=[a_file(1, ONE, temporary=True)]))
    assert second.run != first.run
    d.crash()
    d.settle()
    assert d.block(block).state == BlockState.COMPLETE
    assert d.engine.journaled
    assert journal(d) == {ONE}


def test_deleted_runs_take_their_files_with_them(drive: Drive) -> None:
    d = drive(NUMBER)
    block, (one,) = start(d, 1)
    mine = a_file(1, ONE)
    d.hand_in(good(d, one, files=[mine]))
    d.settle()
    d.control(remove.delete_block, block)
    assert states(d, id_of(one, mine)) == [DatumState.DELETED]
    assert journal(d) == {ONE}


@pytest.mark.parametrize("what", ["nothing", "file", "name", "value", "large", "literal", "id", "id in a large value"])
def test_what_keeps_bytes(drive: Drive, what: str) -> None:
    d = drive(NUMBER)
    _, (one, two) = start(d, 1, 2)
    gone = a_file(1, ONE)
    d.hand_in(good(d, one, files=[gone]))
    mine = id_of(one, gone)
    if what in {"value", "id"}:
        value = encode([mine] if what == "id" else Ref(ONE, 7, "file", "x"))
        outs = [Out(value, digest(value), len(value), [ONE])]
    elif what == "large":
        outs = [Out(None, ONE, 7)]
    elif what == "id in a large value":
        outs = [Out(None, TWO, 70_000, [ONE])]
    else:
        outs = [Out(value := encode(1), digest(value), len(value))]
    d.hand_in(good(d, two, outs=outs))
    d.settle()
    if what == "file":
        d.control(files.write, ONE, 7, 0o644, "")
    elif what == "name":
        d.control(names.put, names.Writer(0, "me"), "n", names.Content(ONE, 7, 0o644, "", "file"), None)
    elif what == "literal":
        d.control(lambda turn: data.name_literals(turn.db, 1, [ONE]))
    d.control(files.delete, mine)
    free = what in {"nothing", "id"}
    assert condemned(d) == ({ONE} if free else set())
    assert journal(d) == ({ONE} if free else set())
    d.control(files.gone, [files.Condemned(ONE, d.clock.now)])
    assert journal(d) == set()
    assert not d.engine.journaled


def test_what_runs_may_be_putting_again(drive: Drive) -> None:
    d = drive(NUMBER)
    d.control(files.delete, d.control(files.write, ONE, 1, 0o644, ""))
    quiet = d.control(lambda turn: files.condemned(turn, b"", 10))
    assert (quiet.before, quiet.last) == (d.clock.now, b"")
    d.clock.now += 5.0
    since = d.clock.now
    start(d, 1)
    d.clock.now += 50.0
    assert d.control(lambda turn: files.condemned(turn, b"", 10)).before == since
    assert d.control(lambda turn: files.condemned(turn, b"", 1)).last == ONE


def test_a_file_that_has_gone_is_made_again_for_who_needs_it(drive: Drive) -> None:
    """Its id came as an input: the run that gave it executes again, as for lost data."""
    d = drive(NUMBER, USE)
    g = d.graph()
    made = g.run("number", 1)
    g.result = [g.run("use", made)]
    block = d.submit(g)
    (maker,) = d.take()
    temporary = a_file(1, ONE, temporary=True)

    def answer(claimed: Claimed) -> Outcome:
        value = encode([id_of(claimed, temporary)])
        return good(d, claimed, files=[temporary], outs=[Out(value, digest(value), len(value), [ONE])])

    d.hand_in(answer(maker))
    (user,) = d.take()
    d.hand_in(bad(user, Reason.LOST_INPUT, lost=[ONE]))
    for _ in range(10):
        d.clock.now += 1.0
        d.control(lambda turn: turn.engine.upkeep(turn))
        again = d.take()
        if again:
            break
    assert [d.engine.spec(d.engine.db, c.task).name for c in again] == ["number"]
    d.hand_in(answer(again[0]))
    last: list[Claimed] = []
    for _ in range(10):
        last = last or d.take()
        d.control(lambda turn: turn.engine.upkeep(turn))
    assert [d.engine.spec(d.engine.db, c.task).name for c in last] == ["use"]
    assert last[0].inputs[0].value == encode([id_of(again[0], temporary)])
    value = encode(5)
    d.hand_in(Outcome(last[0].run, last[0].fence, int(AttemptState.COMPLETE), [Out(value, digest(value), 1)], 0.0, 0.0))
    d.settle()
    assert d.block(block).state == BlockState.COMPLETE
    assert states(d, id_of(again[0], temporary)) == [DatumState.EXPIRED]
    check_invariants(d.engine.db, quiet=True)


def test_a_file_that_has_gone_and_that_no_run_gives_is_an_error(drive: Drive) -> None:
    d = drive(NUMBER)
    block, (one,) = start(d, 1)
    d.hand_in(bad(one, Reason.LOST_INPUT, lost=[ONE]))
    d.settle()
    assert d.block(block).state == BlockState.ERROR
    assert "no run makes it" in str(d.rows("select body from failure")[0][0])
