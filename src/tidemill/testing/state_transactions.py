"""What a transaction of a state store is: all or nothing, unseen until it ends, and there after whatever happens."""

import threading
from contextlib import closing

import pytest

from tidemill.model.errors import StoreError
from tidemill.stores.state import blocks, classes, data, edges, events, leases, memo, meta, queues, tasks
from tidemill.stores.state.database import Database, insert
from tidemill.testing.state_base import Opener, StateSuite, refused, rows, table, throw, together
from tidemill.testing.state_child import TOGETHER, Child
from tidemill.testing.state_rows import a_block, a_datum, a_run, a_worker, add_blocks, add_data, add_runs, add_worker

WRITERS, TURNS = 3, 12


class Undo(BaseException):
    """Not even an ordinary exception."""


def write_everything(db: Database) -> None:
    """A row in many tables."""
    add_blocks(db, [a_block(1)])
    add_runs(db, [a_run(1), a_run(2, state=4, cause=1)])
    add_data(db, [a_datum(1)])
    add_worker(db, a_worker(1))
    edges.add(db, [2], [0], [1])
    classes.stand(db, [1], [1])
    leases.add(db, [1], [1], [1], [0.5])
    events.add(db, 0.5, 1, 1, b"e")
    memo.add(db, [7], [1])
    queues.wake_at(db, [0.5], [1], [1])
    tasks.put(db, b"t" * 32, "task", b"spec")
    meta.take(db, "run", 2)


WRITTEN = ("block", "run", "datum", "worker", "edge", "ready", "lease", "event", "memo", "timer", "task", "meta")


def contents(db: Database) -> dict[str, object]:
    """What `write_everything` writes into."""
    return {name: table(db, name) for name in WRITTEN}


class TransactionsSuite(StateSuite):
    """One connection."""

    @pytest.mark.parametrize("error", [Undo, KeyboardInterrupt, ValueError])
    def test_nothing_stays_of_a_transaction_that_raises(self, store: Database, error: type[BaseException]) -> None:
        before = contents(store)
        raised = error()
        with refused(store, error) as caught:
            write_everything(store)
            assert all(contents(store)[name] != before[name] for name in WRITTEN)
            throw(raised)
        assert caught.value is raised
        assert contents(store) == before
        with store.transaction():
            write_everything(store)
        assert all(contents(store)[name] != before[name] for name in WRITTEN)

    def test_a_transaction_inside_another_is_refused(self, store: Database) -> None:
        with refused(store, StoreError, match="transaction"):
            meta.put(store, "outer", 1)
            with store.transaction():
                meta.put(store, "inner", 1)
        assert {"outer", "inner"}.isdisjoint(meta.read(store))
        with store.transaction():
            meta.put(store, "later", 1)
        assert meta.read(store)["later"] == 1

    def test_a_commit_says_so_if_it_does_not_keep_what_was_written(self, store: Database) -> None:
        with store.transaction():
            blocks.add_chunk(store, 1, 1, b"", None)
        said = False
        try:
            with store.transaction():
                meta.put(store, "before", 1)
                with pytest.raises(StoreError):
                    blocks.add_chunk(store, 1, 1, b"", None)
        except StoreError:
            said = True
        assert ("before" in meta.read(store)) is not said

    def test_after_a_refused_statement_the_connection_goes_on(self, store: Database) -> None:
        for _ in range(2):
            with refused(store, StoreError):
                meta.put(store, "gone", 1)
                leases.add(store, [1, 1], [1, 2], [1, 1], [0.0, 0.0])
        assert "gone" not in meta.read(store)
        assert leases.number(store) == 0
        with store.transaction():
            leases.add(store, [1], [1], [1], [0.0])
        assert leases.number(store) == 1

    def test_columns_of_unequal_lengths_are_refused(self, store: Database) -> None:
        statement = insert("failure", "run:i n:i reason:i body:b")
        with refused(store, ValueError, match=r"argument|columns"):
            store.many(statement, [1, 2], [1, 1], [1], [b"", b""])
        assert table(store, "failure") == []

    def test_rolling_back_nothing_does_nothing(self, store: Database) -> None:
        store.rollback()
        with store.transaction():
            meta.put(store, "mark", 1)
        store.rollback()
        assert meta.read(store)["mark"] == 1

    def test_a_closed_connection_says_so(self, opener: Opener) -> None:
        db = opener()
        db.close()
        with pytest.raises(StoreError, match="closed"):
            meta.read(db)
        with pytest.raises(StoreError, match="closed"):
            db.begin()

    def test_the_clock_counts_from_the_epoch(self, store: Database) -> None:
        first, second = store.time(), store.time()
        # A billion seconds were over in 2001; a store's machine need not agree with this one any better.
        assert 1e9 < first < 1e11 and abs(second - first) < 1e4


class SeveralConnectionsSuite(StateSuite):
    """What connections see and leave of each other."""

    def test_nothing_is_seen_before_it_is_committed(self, store: Database, opener: Opener) -> None:
        with closing(opener()) as other:
            before = contents(other)
            with store.transaction():
                write_everything(store)
                with other.transaction(write=False):
                    assert contents(other) == before
            assert contents(other) == contents(store)
            store.begin()
            meta.put(store, "mark", 1)
            store.rollback()
            assert "mark" not in meta.read(other)

    def test_who_reads_does_not_stop_who_writes(self, store: Database, opener: Opener) -> None:
        with closing(opener()) as reader, closing(opener(read_only=True)) as other:
            for _ in range(3):
                with reader.transaction(write=False), other.transaction(write=False):
                    seen = [meta.read(reader)["run"], meta.read(other)["run"]]
                    with store.transaction():
                        first = meta.take(store, "run", 1)
                    assert seen == [first - 1, first - 1]
            assert meta.read(reader)["run"] == meta.read(other)["run"] == 3

    def test_one_question_sees_whole_transactions(self, store: Database, opener: Opener) -> None:
        stop = threading.Event()

        def write() -> int:
            try:
                for n in range(60):
                    with store.transaction():
                        meta.put(store, "one", n)
                        meta.put(store, "other", n)
            finally:
                stop.set()
            return 60

        def read() -> int:
            with closing(opener()) as db:
                reads = 0
                while not stop.is_set() or reads == 0:
                    found = meta.read(db)
                    assert found.get("one") == found.get("other")
                    reads += 1
                return reads

        assert min(together(write, read, read)) > 0

    def test_writers_wait_for_each_other(self, store: Database, opener: Opener) -> None:
        def write() -> list[int]:
            with closing(opener()) as db:
                found = []
                for _ in range(TURNS):
                    with db.transaction():
                        before = meta.read(db)["datum"]  # who reads first must have waited already
                        found += [meta.take(db, "datum", 2), meta.take(db, "datum", 3) + 1]
                        assert found[-2] > before
                return found

        found = together(*[write] * WRITERS)
        taken = sorted(number for one in found for number in one)
        assert taken == [5 * n + k for n in range(WRITERS * TURNS) for k in (1, 4)]
        assert meta.read(store)["datum"] == 5 * WRITERS * TURNS

    def test_a_writer_that_had_to_wait_sees_what_it_waited_for(self, store: Database, opener: Opener) -> None:
        began = threading.Event()

        def second() -> int:
            with closing(opener()) as db:
                began.set()
                with db.transaction():
                    assert meta.read(db)["run"] in (0, 10)
                    return meta.take(db, "run", 1)

        def first() -> int:
            with store.transaction():
                found = meta.take(store, "run", 10)
                began.wait()
            return found

        assert together(first, second) in ([1, 11], [2, 1])

    def test_numbers_are_never_given_twice(self, store: Database, opener: Opener) -> None:
        with store.transaction():
            assert [meta.take(store, "run", n) for n in (1, 5, 1 << 40)] == [1, 2, 7]
            assert meta.take(store, "datum", 0) == meta.take(store, "datum", 2) == 1
        with refused(store, Undo):
            lost = meta.take(store, "run", 3)
            throw(Undo())
        with closing(opener()) as other, other.transaction():
            # what a transaction that was undone had taken is free, or left out
            assert meta.take(other, "run", 1) >= lost == 7 + (1 << 40)
            assert meta.take(other, "datum", 1) == 3

    def test_equal_tasks_of_several_writers_are_one(self, store: Database, opener: Opener) -> None:
        digests = [bytes([n]) * 32 for n in range(6)]

        def put(shift: int) -> dict[bytes, int]:
            with closing(opener()) as db:
                found = {}
                for n in range(len(digests)):
                    digest = digests[(n + shift) % len(digests)]
                    with db.transaction():
                        found[digest] = tasks.put(db, digest, f"t{digest[0]}", b"spec")
                return found

        one, *others = together(*[lambda shift=shift: put(shift) for shift in range(WRITERS)])
        assert all(other == one for other in others)
        assert sorted(one.values()) == sorted(i for i, *_ in tasks.every(store))
        assert len(set(one.values())) == len(digests)


class DurabilitySuite(StateSuite):
    """What is there after a process was killed, and after all have gone."""

    def test_a_store_keeps_what_it_has(self, opener: Opener) -> None:
        with closing(opener()) as db:
            with db.transaction():
                write_everything(db)
            before = contents(db)
        for read_only in (False, True):
            with closing(opener(read_only=read_only)) as db:
                assert contents(db) == before

    def test_what_was_committed_is_there_after_a_kill(self, store: Database, opener: Opener) -> None:
        done = 0
        for _ in range(2):
            with Child("write", opener) as child:
                child.go()
                heard = [int(child.hear()) for _ in range(10)]
                heard += [int(word) for word in child.kill()]
            assert heard == list(range(1, len(heard) + 1))
            with closing(opener()) as db:
                last = meta.read(db)["run"]
                # whole transactions, all that were told of, and at most the one under way beside them
                assert last % TOGETHER == 0 and last // TOGETHER - done - len(heard) in (0, 1)
                done = last // TOGETHER
                ids = list(range(1, last + 1))
                assert sorted(run for _, run in rows(db, "select k, run from memo")) == ids
                assert [row[3] for row in events.after(db, 0, last + 1)] == ids

    def test_what_a_killed_process_had_not_committed_is_gone(self, store: Database, opener: Opener) -> None:
        before = contents(store)
        with Child("hold", opener) as child:
            child.go()
            assert child.hear() == "held"
            assert contents(store) == before
            child.kill()
        with store.transaction():  # nobody is in the way any more
            assert meta.take(store, "run", 1) == 1
        assert memo.find(store, [1]) == []

    def test_a_kill_leaves_data_as_whole_as_before(self, store: Database, opener: Opener) -> None:
        body = bytes(range(256)) * 256
        with store.transaction():
            add_data(store, [a_datum(n, value=body) for n in range(1, 9)])
        with Child("write", opener) as child:
            child.go()
            child.hear()
        with closing(opener()) as db:
            assert {d.value for d in data.get(db, list(range(1, 9))).values()} == {body}
