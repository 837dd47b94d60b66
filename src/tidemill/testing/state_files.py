"""Files, names, messages and settings: what running tasks and programs outside leave beside results."""

from contextlib import closing
from functools import partial

from tidemill.model.fileid import Origin
from tidemill.stores.state import data, edges, files, leases, lineage, messages, names, settings
from tidemill.stores.state.database import Database
from tidemill.stores.state.files import FileRow
from tidemill.stores.state.messages import Message
from tidemill.stores.state.names import Version
from tidemill.testing.state_base import Opener, StateSuite, rows, together
from tidemill.testing.state_rows import a_datum, a_run, add_data, add_runs

ONE, TWO, THREE = (bytes([n]) * 32 for n in (1, 2, 3))
WRITERS = 4


def a_file(run: int, n: int = 1, digest: bytes = ONE, **changed: object) -> FileRow:
    """A file that is there."""
    return FileRow(run, 1, n, digest, 7, 0o644, "é.txt", 0, 5, files.COMPLETE)._replace(**changed)  # type: ignore[arg-type]


def a_version(version: int, digest: bytes | None = ONE, **changed: object) -> Version:
    """A version of a name."""
    plain = Version(1, "model", version, digest, 9, "file", 0o755, "m.bin", 0, "ä@here", 0.25)
    return plain._replace(**changed)  # type: ignore[arg-type]


def a_message(number: int, root: int = 1, **changed: object) -> Message:
    """A line."""
    return Message(number, root, 4, 1, 0.5, 20, "", "hällo")._replace(**changed)  # type: ignore[arg-type]


class FilesSuite(StateSuite):
    """What attempts wrote, read and gave up."""

    def test_files_are_found_by_who_wrote_them(self, db: Database) -> None:
        found = [a_file(3), a_file(3, 2, TWO, size=0, mode=0o755), a_file(8), a_file(0, fence=1 << 60)]
        files.add(db, found)
        files.add(db, [a_file(3, name="again")])
        assert files.known(db)
        assert files.get(db, Origin(3, 1, 2)) == found[1]
        assert files.get(db, Origin(3, 2, 1)) is None
        assert files.between(db, 3, 8) == found[:2]
        assert files.between(db, 0, 9) == [found[3], *found[:3]]
        assert files.live(db) == {ONE, TWO}

    def test_temporary_files_expire_with_their_block(self, db: Database) -> None:
        assert not files.any_temporary(db)
        files.add(db, [a_file(1, temporary=1), a_file(2, 1, TWO), a_file(3, 1, THREE, temporary=1, block=6)])
        assert files.any_temporary(db)
        assert files.expire(db, [5, 7]) == [ONE]
        assert files.expire(db, [5, 7]) == []
        assert [f.state for f in files.between(db, 1, 4)] == [3, 2, 2]
        assert files.live(db) == {TWO, THREE}
        assert files.expire(db, [6]) == [THREE]
        assert not files.any_temporary(db)

    def test_a_file_is_deleted_from_every_state_in_which_it_was_there_once(self, db: Database) -> None:
        for state in range(9):
            files.add(db, [a_file(9, state, state=state)])
        assert [files.remove(db, Origin(9, 1, n)) for n in range(9)] == [
            ONE if n in (2, 3, 8) else None for n in range(9)
        ]
        assert files.remove(db, Origin(9, 9, 9)) is None
        assert [f.state for f in files.between(db, 9, 10)] == [0, 1, 4, 4, 4, 5, 6, 7, 4]
        files.add(db, [a_file(10), a_file(11, 1, TWO, state=3), a_file(12, 1, THREE)])
        assert sorted(files.remove_of(db, [10, 11, 99])) == [ONE, TWO]
        assert files.live(db) == {THREE}

    def test_what_was_read_is_recorded_once_an_attempt(self, db: Database) -> None:
        files.use(db, [3, 3, 2], [1, 1, 1], [ONE, ONE, TWO], [7, 7, 0], [0.5, 0.75, 0.25], ["a", "b", ""])
        assert files.used(db, [2, 3, 4]) == [(2, 1, TWO, 0.25, ""), (3, 1, ONE, 0.5, "a")]

    def test_the_journal_keeps_when_it_was_told_last(self, db: Database) -> None:
        assert not files.any_journaled(db)
        files.journal(db, [TWO, ONE, TWO], 0.5)
        files.journal(db, [ONE, THREE], 9.5)
        assert files.journaled(db, b"", 10) == [(ONE, 9.5), (TWO, 0.5), (THREE, 9.5)]
        assert files.journaled(db, ONE, 1) == [(TWO, 0.5)]
        assert files.drop(db, [ONE, THREE, bytes(32)], [0.5, 9.5, 9.5]) == 1
        assert files.drop(db, [ONE], [9.5]) == 1
        assert files.journaled(db, b"", 10) == [(TWO, 0.5)]
        assert files.any_journaled(db)

    def test_who_needs_bytes(self, db: Database) -> None:
        assert not files.needed(db, ONE)
        files.add(db, [a_file(1), a_file(1, 2, TWO, state=3)])
        assert files.needed(db, ONE)
        assert not files.needed(db, TWO)
        data.name_literals(db, 1, [TWO])
        assert files.needed(db, TWO)
        large = a_datum(7, digest=THREE, value=None)
        add_data(db, [large._replace(id=8, size=0), a_datum(9, digest=THREE)])
        assert not files.needed(db, THREE)
        add_data(db, [large])
        assert files.needed(db, THREE)
        data.lose(db, [7])
        assert not files.needed(db, THREE)

    def test_which_values_name_bytes(self, db: Database) -> None:
        add_data(db, [a_datum(5, value=b"five"), a_datum(6, value=None), a_datum(7)])
        data.name_objects(db, [5, 6, 7, 7], [ONE, ONE, ONE, TWO])
        data.expire(db, [7])
        assert files.holders(db, ONE, 10) == [(5, b"five"), (6, None)]
        assert files.holders(db, ONE, 1) == [(5, b"five")]
        assert files.holders(db, TWO, 10) == []

    def test_what_may_be_a_directory(self, db: Database) -> None:
        files.note_folders(db, [TWO, ONE])
        files.note_folders(db, [TWO])
        assert files.folders(db) == [ONE, TWO]
        assert files.folders(db, ONE) == [TWO]

    def test_the_oldest_lease(self, db: Database) -> None:
        assert files.oldest_lease(db) is None
        leases.add(db, [1, 2], [1, 1], [1, 1], [7.5, 3.25])
        assert files.oldest_lease(db) == 3.25

    def test_reading_a_file_of_another_run_is_a_way(self, db: Database) -> None:
        """From the run that wrote it to the one whose last attempt read it, both ways, once."""
        add_runs(db, [a_run(n, state=3, attempt=1 + (n == 2)) for n in (1, 2, 3)])
        files.add(db, [a_file(1), a_file(1, 2), a_file(2, 1, TWO), a_file(0, digest=THREE)])
        assert lineage.uses(db, [1, 2, 3]) == []
        files.use(db, [2, 2, 3, 2], [2, 2, 1, 1], [ONE, TWO, THREE, TWO], [1, 2, 0, 3], [0.0] * 4, [""] * 4)
        files.use(db, [3], [1], [TWO], [2], [0.0], [""])
        edges.add(db, [3], [0], [1])
        shape = lineage.shape(db, [])
        assert shape.used
        assert lineage.uses(db, [1, 2, 3]) == [(2, 1), (3, 2)]
        assert set(lineage.before(db, [3])) >= {3, 2, 1}
        assert set(lineage.after(db, [1], shape)) == {1, 2, 3}
        assert set(lineage.hop_after(db, [2], shape)) == {3}
        assert set(lineage.hop_before(db, [2])) == {1}


class NamesSuite(StateSuite):
    """Versions of names."""

    def test_a_version_is_inserted_once(self, db: Database) -> None:
        assert names.newest(db, 1, "model") is None
        assert names.add(db, a_version(1))
        assert names.add(db, a_version(2, TWO))
        assert not names.add(db, a_version(2, THREE))
        assert names.add(db, a_version(1, THREE, scope=2))
        assert names.newest(db, 1, "model") == a_version(2, TWO)
        assert names.history(db, 1, "model") == [a_version(1), a_version(2, TWO)]
        assert names.every(db) == [a_version(2, TWO), a_version(1, THREE, scope=2)]

    def test_a_name_points_to_its_newest_version(self, db: Database) -> None:
        for version in (a_version(1), a_version(2, TWO), a_version(1, THREE, name="z")):
            names.add(db, version)
        assert names.live(db) == {TWO, THREE}
        names.add(db, a_version(3, None))
        assert names.newest(db, 1, "model") == a_version(3, None)
        assert names.live(db) == {THREE}
        assert [v.name for v in names.every(db)] == ["z"]

    def test_what_a_version_stood_for_is_named_for_ever(self, db: Database) -> None:
        for version in (a_version(1), a_version(2, TWO), a_version(3, None)):
            names.add(db, version)
        assert [names.named(db, d) for d in (ONE, TWO, THREE)] == [True, True, False]

    def test_of_those_who_insert_at_once_one_is_first(self, store: Database, opener: Opener) -> None:
        def put(who: str) -> bool:
            with closing(opener()) as db, db.transaction():
                return names.add(db, a_version(1, who=who))

        found = together(*[partial(put, str(n)) for n in range(WRITERS)])
        assert sorted(found) == [False] * (WRITERS - 1) + [True]
        assert names.history(store, 1, "model")[0].who == str(found.index(True))


class MessagesSuite(StateSuite):
    """What tasks said, and who has heard it."""

    def test_messages_come_in_order(self, db: Database) -> None:
        found = [
            a_message(3),
            a_message(5, level=-3, text=""),
            a_message(6, 2),
            a_message(9, stream="s", text="x\n" * 9),
        ]
        messages.add(db, found)
        assert messages.roots(db) == [1, 2]
        assert messages.after(db, 1, 0, 10) == [found[0], found[1], found[3]]
        assert messages.after(db, 1, 3, 1) == [found[1]]
        assert messages.after(db, 1, 9, 10) == messages.after(db, 7, 0, 10) == []
        assert messages.streams(db, 1, 4) == [(1, "s", "x\n" * 9)]

    def test_a_message_may_be_a_megabyte(self, db: Database) -> None:
        messages.add(db, [a_message(1, text="ä" * (1 << 20))])
        assert messages.after(db, 1, 0, 1)[0].text == "ä" * (1 << 20)

    def test_a_reader_moves_from_where_it_stands(self, db: Database) -> None:
        assert messages.seen(db, "me", 1) == 0
        assert messages.move(db, "me", 1, 0, 5)
        assert not messages.move(db, "me", 1, 0, 7)
        assert messages.move(db, "me", 1, 5, 1 << 60)
        assert (messages.seen(db, "me", 1), messages.seen(db, "me", 2), messages.seen(db, "you", 1)) == (1 << 60, 0, 0)

    def test_of_those_who_read_at_once_one_is_given_it(self, store: Database, opener: Opener) -> None:
        def move() -> bool:
            with closing(opener()) as db, db.transaction():
                return messages.move(db, "me", 1, 0, 5)

        assert sorted(together(*[move] * WRITERS)) == [False] * (WRITERS - 1) + [True]
        assert rows(store, "select name, root, seen from reader") == [("me", 1, 5)]


class SettingsSuite(StateSuite):
    """The store's own configuration."""

    def test_settings(self, db: Database) -> None:
        assert settings.get(db, "seal") == ""
        settings.put(db, "seal", "läb")
        settings.put(db, "other", "")
        settings.put(db, "seal", "lab2")
        assert settings.get(db, "seal") == "lab2"
        assert settings.every(db) == {"other": "", "seal": "lab2"}
        assert settings.remove(db, "seal")
        assert not settings.remove(db, "seal")
        assert settings.get(db, "seal") == ""
