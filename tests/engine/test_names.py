"""Names: versions, compare-and-swap; messages: who said what; questions of running tasks and their fences."""

from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any

import pytest

from tests.engine.conftest import Drive
from tests.engine.tasks import NUMBER
from tidemill.engine import control, files, messages, names
from tidemill.model.digest import digest
from tidemill.model.errors import ChangedError, NotFoundError, UsageError
from tidemill.model.fileid import FileId, Origin
from tidemill.model.protocol import Ask, Claimed, Note, Told
from tidemill.server import inquiries
from tidemill.server.orders import order
from tidemill.stores.state import messages as message_rows
from tidemill.stores.state import names as name_rows
from tidemill.testing.engine import EngineDriver
from tidemill.testing.state_base import together

ONE, TWO = (digest(bytes([n])) for n in (1, 2))
ME = names.Writer(0, "me@here")
WRITERS, ROUNDS = 2, 12


def content(found: bytes = ONE, **changed: Any) -> names.Content:
    return names.Content(found, 7, 0o644, "f", "file")._replace(**changed)


def put(d: EngineDriver, expect: int | None = None, by: names.Writer = ME, what: names.Content | None = None) -> int:
    version: int = d.control(names.put, by, "model", what or content(), expect)
    return version


def ask(d: EngineDriver, claimed: Claimed, name: str, /, **args: object) -> Told:
    told: Told = d.control(
        lambda turn: inquiries.answer(turn, d.worker, Ask(5, claimed.run, claimed.fence, name, args))
    )
    assert told.number == 5
    return told


def start(d: EngineDriver, *numbers: int) -> list[Claimed]:
    g = d.graph()
    g.result = [g.run("number", n) for n in numbers]
    d.submit(g)
    return d.take()


def test_each_put_is_a_version(drive: Drive) -> None:
    d = drive(NUMBER)
    assert [put(d), put(d), put(d, 2), put(d, what=content(TWO))] == [1, 2, 3, 4]
    found = d.control(names.get, 1, "model")
    assert (found.version, found.digest, found.who, found.base) == (4, TWO, "me@here", "f")
    assert [v.digest for v in name_rows.history(d.engine.db, 1, "model")] == [ONE, ONE, ONE, TWO]


def test_who_did_not_see_a_change_is_told_of_it(drive: Drive) -> None:
    d = drive(NUMBER)
    assert put(d, 0) == 1
    for expect in (0, 2, 9):
        with pytest.raises(ChangedError, match=rf"at version 1, not at version {expect}; me@here .*1970"):
            put(d, expect)
    with pytest.raises(ChangedError, match="at version 0, not at version 3"):
        d.control(names.put, ME, "other", content(), 3)
    assert put(d, 1) == 2


def test_a_number_is_not_used_again(drive: Drive) -> None:
    d = drive(NUMBER)
    put(d)
    with pytest.raises(ChangedError):
        d.control(names.give_up, ME, "model", 5)
    assert d.control(names.give_up, ME, "model", 1)
    assert not d.control(names.give_up, ME, "model", None)
    with pytest.raises(NotFoundError, match="me@here gave it up"):
        d.control(names.get, 1, "model")
    assert put(d, 0) == 3
    assert d.control(names.give_up, ME, "model", None)
    assert put(d, 4) == 5


@pytest.mark.parametrize("name", ["", "a b", "a/b", "ä", "a\n", "..\0", None, 5])
def test_not_everything_is_a_name(drive: Drive, name: Any) -> None:
    d = drive(NUMBER)
    acts: list[Callable[[Any], Any]] = [
        lambda turn: names.get(turn, 1, name),
        lambda turn: names.put(turn, ME, name, content(), None),
        lambda turn: names.give_up(turn, ME, name, None),
    ]
    for act in acts:
        with pytest.raises(UsageError, match="cannot be the name"):
            d.control(act)


def test_a_run_that_asks_again_changes_nothing(drive: Drive) -> None:
    """It has not heard the answer, or is tried again; others do the same thing anew."""
    d = drive(NUMBER)
    run = names.Writer(5, "number")
    assert [put(d, 0, run), put(d, 0, run), put(d, None, run)] == [1, 1, 1]
    assert put(d, 1, run, content(TWO)) == put(d, 1, run, content(TWO)) == 2
    with pytest.raises(ChangedError):
        put(d, 1, run)
    with pytest.raises(ChangedError):
        put(d, 1, names.Writer(6, "number"), content(TWO))
    assert put(d, None, names.Writer(6, "number"), content(TWO)) == 3


def by_id(one: FileId) -> names.Content:
    return names.Content(one.digest, one.size, one.mode, one.name, "file", one)


def test_a_run_that_puts_the_same_file_again_changes_nothing(drive: Drive) -> None:
    """Also when somebody has deleted the file meanwhile: the name stands for it already."""
    d = drive(NUMBER)
    run = names.Writer(5, "number")
    one = d.control(files.write, ONE, 7, 0o644, "f")
    assert [put(d, expect, run, by_id(one)) for expect in (0, 0, None)] == [1, 1, 1]
    d.control(files.delete, one)
    assert put(d, 0, run, by_id(one)) == 1


@pytest.mark.parametrize("state", ["there", "deleted", "deleted, and there again", "never there", "another digest"])
def test_a_name_stands_for_a_file_that_is_there(drive: Drive, state: str) -> None:
    d = drive(NUMBER)
    one = d.control(files.write, ONE, 7, 0o644, "f")
    if "deleted" in state:
        d.control(files.delete, one)
        d.control(lambda turn: files.condemned(turn, b"", 100))
    if "again" in state:
        one = d.control(files.write, ONE, 7, 0o644, "f")
    elif state == "never there":
        one = FileId(one.replace("file:0.1.1", "file:9.1.1"))
    elif state == "another digest":
        one = FileId(one.replace(ONE.hex(), TWO.hex()))
    if state in {"there", "deleted, and there again"}:
        assert put(d, None, what=by_id(one)) == 1
        return
    with pytest.raises(NotFoundError, match="there is no file"):
        put(d, None, what=by_id(one))
    with pytest.raises(NotFoundError):
        d.control(names.get, 1, "model")


def test_what_a_name_gave_may_be_named_for_ever(drive: Drive) -> None:
    """Its bytes stay, though the name moved on and no file has them: until garbage is collected."""
    d = drive(NUMBER)
    one = d.control(files.write, ONE, 7, 0o644, "f")
    put(d, what=by_id(one))
    put(d, what=content(TWO))
    d.control(files.delete, one)
    assert d.control(lambda turn: files.condemned(turn, b"", 100)).condemned == []
    given = FileId.of(Origin(0, 0, 1), ONE, 7, "f")
    assert put(d, what=by_id(given)) == 3
    with pytest.raises(NotFoundError):
        put(d, what=by_id(FileId.of(Origin(0, 0, 1), bytes(32), 7, "f")))


def test_every_engine_knows_of_a_file_that_is_being_deleted(postgres_database: str) -> None:
    with (
        closing(EngineDriver(postgres_database, [NUMBER])) as first,
        closing(EngineDriver(postgres_database, [NUMBER])) as second,
    ):
        one = first.control(files.write, ONE, 7, 0o644, "f")
        first.control(files.delete, one)
        found = first.control(lambda turn: files.condemned(turn, b"", 100)).condemned
        for d in (first, second):
            with pytest.raises(NotFoundError):
                put(d, what=by_id(one))
        first.control(files.gone, found)
        with pytest.raises(NotFoundError):
            put(second, what=by_id(one))


def test_of_engines_that_put_at_once_one_wins_each_round(postgres_database: str) -> None:
    drivers = [EngineDriver(postgres_database, [NUMBER]) for _ in range(WRITERS)]

    def attempt(d: EngineDriver, expect: int) -> int:
        def work(turn: Any) -> int:
            try:
                return names.put(turn, names.Writer(0, str(id(d))), "model", content(), expect)
            except ChangedError:
                return 0

        return d.engine.transact(work, shared=True)

    for version in range(ROUNDS):
        found = together(*[partial(attempt, d, version) for d in drivers])
        assert sorted(found) == [0] * (WRITERS - 1) + [version + 1]
    last = together(*[partial(d.engine.transact, partial(_put, who=str(i))) for i, d in enumerate(drivers)])
    assert sorted(last) == [ROUNDS + 1, ROUNDS + 2]
    for d in drivers:
        with closing(d.engine.db):
            assert len(name_rows.history(d.engine.db, 1, "model")) == ROUNDS + WRITERS


def _put(turn: Any, who: str) -> int:
    return names.put(turn, names.Writer(0, who), "model", content(), None)


def test_questions_of_running_tasks(drive: Drive) -> None:
    d = drive(NUMBER)
    (one,) = start(d, 1)
    what = {"digest": ONE, "size": 7, "mode": 0o755, "base": "f"}
    assert ask(d, one, "name.put", name="model", **what, expect=None).result == 1
    found: Any = ask(d, one, "name.get", name="model").result
    assert (found["version"], found["digest"], found["size"], found["mode"], found["base"]) == (1, ONE, 7, 0o755, "f")
    assert found["who"].startswith("number (run ")
    told = ask(d, one, "name.put", name="model", **{**what, "digest": TWO}, expect=7)
    assert (told.code, told.result) == ("TM304", None)
    assert told.hint
    assert ask(d, one, "name.get", name="nothing").code == "TM200"
    for nonsense in ({}, {"name": 5}, {"name": "a", "digest": b"short"}, {"name": "a", **what, "size": -1}):
        assert ask(d, one, "name.put", **nonsense).code == "TM100"
    assert ask(d, one, "no.such.thing").code == "TM100"
    written: Any = d.control(order, "file.write", {"digest": TWO.hex(), "size": 3, "mode": 0o644, "name": "x"})
    assert ask(d, one, "file.exists", id=written["id"]).result is True
    assert d.control(order, "file.delete", {"id": written["id"]}) == {"deleted": True}
    assert ask(d, one, "file.exists", id=written["id"]).result is False


def test_who_has_lost_its_lease_is_not_answered(drive: Drive) -> None:
    d = drive(NUMBER)
    (one,) = start(d, 1)
    args = {"name": "model", "digest": ONE, "size": 7}
    stale = Claimed(one.run, one.fence + 1, one.task, b"")
    assert ask(d, stale, "name.put", **args).code == "TM301"
    other = d.control(lambda turn: inquiries.answer(turn, d.worker + 1, Ask(1, one.run, one.fence, "name.put", args)))
    assert other.code == "TM301"
    d.control(control.cancel_runs, [one.run], 0, running=True)
    assert ask(d, one, "name.put", **args).code == "TM301"
    assert name_rows.every(d.engine.db) == []


def test_messages_are_kept_in_the_order_in_which_they_come(drive: Drive) -> None:
    """Those of attempts that were cancelled meanwhile, too; not those of nobody."""
    d = drive(NUMBER)
    first, second = start(d, 1, 2)
    d.control(control.cancel_runs, [second.run], 0, running=True)
    notes = [
        Note(first.run, first.fence, 1.5, 20, "", "one\0"),
        Note(second.run, second.fence, 0.5, 40, "table", "a\nb\n"),
        Note(first.run, first.fence + 1, 1.5, 20, "", "never"),
        Note(first.run, 0, 1.5, 20, "", "never"),
        Note(999, 1, 1.5, 20, "", "never"),
    ]
    said = d.control(messages.take, notes)
    root = d.engine.facts(d.engine.db, said[0].root).root
    assert message_rows.after(d.engine.db, root, 0, 10) == said
    assert [(m.id, m.run, m.fence, m.level, m.stream, m.text) for m in said] == [
        (1, first.run, 1, 20, "", "one\ufffd"),
        (2, second.run, 1, 40, "table", "a\nb\n"),
    ]
    assert d.control(messages.take, notes[2:]) == []
    assert [m.id for m in d.control(messages.take, notes[:1])] == [3]


def test_what_is_shown_at_once(drive: Drive) -> None:
    d = drive(NUMBER)
    (one,) = start(d, 1)
    notes = [
        Note(one.run, one.fence, 1.0, level, stream, "x" * 9000) for level, stream in [(20, ""), (30, ""), (50, "s")]
    ]
    found = d.control(lambda turn: inquiries.loud(turn, messages.take(turn, notes)))
    assert [(s.run, s.level, len(s.text)) for s in found] == [(one.run, 30, inquiries.LINE)]


def test_a_reader_is_given_each_message_once(drive: Drive) -> None:
    d = drive(NUMBER)
    args = {"reader": "me", "root": 1, "before": 0, "to": 5}
    assert d.control(order, "messages.seen", args) == {"moved": True}
    assert d.control(order, "messages.seen", args) == {"moved": False}
