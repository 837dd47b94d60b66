"""The tables of a state store: made once whoever comes first, versioned, and not touched by who only reads."""

from contextlib import closing

import pytest

from tidemill.model.errors import NewerStoreError, NotFoundError, StoreError
from tidemill.stores.state import blocks, classes, events, meta, schema, tasks
from tidemill.stores.state.database import Database
from tidemill.testing.state_base import Opener, StateSuite, refused, rows, throw, together
from tidemill.testing.state_child import Child
from tidemill.testing.state_transactions import Undo, contents, write_everything

COUNTERS = {"run", "datum", "block", "worker", "hub", "class", "memo", "shares", "message", "file"}
PROCESSES, THREADS = 3, 5


class SchemaSuite(StateSuite):
    """Opening."""

    def test_an_empty_store_has_its_tables(self, store: Database) -> None:
        assert schema.version(store) == schema.check(store) == schema.VERSION
        assert meta.read(store) == {"schema": schema.VERSION, **dict.fromkeys(COUNTERS, 0)}
        assert not any([tasks.every(store), classes.every(store), classes.hubs(store), blocks.roots(store)])
        assert events.last(store) == 0

    def test_migrating_again_changes_nothing(self, store: Database, opener: Opener) -> None:
        with store.transaction():
            write_everything(store)
        before = contents(store)
        schema.migrate(store)
        with closing(opener()) as other:
            schema.migrate(other)
            assert contents(other) == before
        assert contents(store) == before

    def test_threads_that_open_at_once_make_one_store(self, opener: Opener) -> None:
        def enter() -> int:
            with closing(opener()) as db, db.transaction():
                return meta.take(db, "run", 1)

        assert sorted(together(*[enter] * THREADS)) == list(range(1, THREADS + 1))

    def test_processes_that_open_at_once_make_one_store(self, opener: Opener) -> None:
        children = [Child("open", opener) for _ in range(PROCESSES)]
        for child in children:
            child.go()
        found = [child.hear() for child in children]
        codes = [child.end() for child in children]
        for child in children:
            child.kill()
        assert codes == [0] * PROCESSES
        assert sorted(found) == [str(n) for n in range(1, PROCESSES + 1)]

    def test_a_newer_store_is_refused(self, store: Database, opener: Opener) -> None:
        with store.transaction():
            write_everything(store)
            meta.put(store, "schema", schema.VERSION + 41)
        before = contents(store)
        for read_only in (False, True):
            with pytest.raises(NewerStoreError, match=rf"{schema.VERSION + 41}\b.*\b{schema.VERSION}\b"):
                opener(read_only=read_only)
        for ask in (schema.check, schema.migrate):
            with pytest.raises(NewerStoreError, match=f"{schema.VERSION + 41}"):
                ask(store)
        assert contents(store) == before

    def test_the_version_can_be_seen_in_every_transaction(self, store: Database, opener: Opener) -> None:
        with store.transaction():
            assert meta.pulse(store).schema == schema.VERSION
        with closing(opener()) as other, other.transaction():
            meta.put(other, "schema", schema.VERSION + 1)
        with store.transaction():
            assert meta.pulse(store).schema == schema.VERSION + 1
            with pytest.raises(NewerStoreError, match=str(schema.VERSION + 1)):
                schema.refuse_newer(store, meta.pulse(store).schema)

    def test_tables_are_made_in_transactions(self, store: Database) -> None:
        for _ in range(2):
            with refused(store, Undo):
                store.script("create table half (id {int} primary key, b {blob}, r {real}) {strict}; drop table task;")
                store.script("insert into half(id) values (1), (2); create index half_b on half(b);")
                assert rows(store, "select count(*) from half") == [(2,)]
                throw(Undo())
        with pytest.raises(StoreError):
            rows(store, "select * from half")
        assert tasks.every(store) == []


class ReadOnlySuite(StateSuite):
    """Connections that only read."""

    def test_there_is_nothing_to_read_before_somebody_has_written(self, opener: Opener) -> None:
        for _ in range(2):  # asking makes nothing
            with pytest.raises(NotFoundError, match="no store"):
                opener(read_only=True)
        opener().close()
        opener(read_only=True).close()

    def test_who_reads_changes_nothing(self, store: Database, opener: Opener) -> None:
        with store.transaction():
            write_everything(store)
        before = contents(store)
        with closing(opener(read_only=True)) as db:
            assert contents(db) == before
            with pytest.raises(StoreError, match="written"):
                meta.put(db, "mark", 1)
            with refused(db, StoreError, match="written"):
                meta.put(db, "mark", 1)
            with pytest.raises(StoreError, match="written"), db.transaction(write=False):
                tasks.put(db, b"new" * 10, "new", b"")
            with db.transaction(write=False):
                assert contents(db) == before
        assert contents(store) == before

    def test_who_reads_sees_what_is_written_later(self, store: Database, opener: Opener) -> None:
        with closing(opener(read_only=True)) as db:
            for number in range(1, 4):
                with store.transaction():
                    meta.take(store, "run", 1)
                assert meta.read(db)["run"] == number
