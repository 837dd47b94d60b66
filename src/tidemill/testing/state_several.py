"""Several engines at one store: what holds for every database, and more where several write at the same time."""

import threading
from collections.abc import Callable
from contextlib import closing
from random import Random

from tidemill.stores.state import blocks, classes, data, edges, events, gathers, leases, meta, queues, runs
from tidemill.stores.state.classes import Class
from tidemill.stores.state.database import ContentionError, Database
from tidemill.testing.state_base import Opener, StateSuite, rows, throw, together
from tidemill.testing.state_rows import a_block, a_datum, a_run, add_blocks, add_data, add_gather, add_runs

ENGINES = 3
RUNS = 90

Engine = Callable[[Database], list[int]]


def engines(opener: Opener, *acts: Engine) -> list[list[int]]:
    """What engines do that start at the same time, each by a connection of its own."""

    def own(act: Engine) -> Callable[[], list[int]]:
        def work() -> list[int]:
            with closing(opener()) as db:
                return act(db)

        return work

    return together(*[own(act) for act in acts])


def claim(db: Database, worker: int, limit: int) -> list[int]:
    """Take ready runs and lease them."""
    with db.transaction():
        found = [r.id for r in runs.for_claim(db, classes.take(db, 1, limit))]
        leases.add(db, found, [1] * len(found), [worker] * len(found), [0.0] * len(found))
    return found


def stand(db: Database, count: int) -> list[int]:
    """So many ready runs in class 1."""
    ids = list(range(1, count + 1))
    with db.transaction():
        classes.add(db, Class(1, 1, 0, 1.0, 1.0, 0))
        add_runs(db, [a_run(n) for n in ids])
        classes.stand(db, [1] * count, ids)
    return ids


class EnginesSuite(StateSuite):
    """Engines that take turns or work at once, as the database has it: nothing is done twice, nothing forgotten."""

    def test_no_two_engines_claim_the_same_run(self, store: Database, opener: Opener) -> None:
        ids = stand(store, RUNS)

        def act(worker: int) -> Engine:
            def work(db: Database) -> list[int]:
                found: list[int] = []
                while rows(db, "select 1 from ready limit 1"):
                    found += claim(db, worker, 4)
                return found

            return work

        found = engines(opener, *[act(worker) for worker in range(ENGINES)])
        assert sorted(run for one in found for run in one) == ids
        assert all(one == sorted(one) for one in found)  # the oldest first
        held = {run: worker for run, _, worker, _ in leases.every(store)}
        assert held == {run: worker for worker, one in enumerate(found) for run in one}

    def test_a_claim_that_is_undone_is_free_for_others(self, store: Database, opener: Opener) -> None:
        ids = stand(store, 5)
        store.begin()
        assert classes.take(store, 1, 3) == ids[:3]
        store.rollback()
        with closing(opener()) as other:
            assert claim(other, 1, 10) == ids

    def test_a_lease_is_given_back_once(self, store: Database, opener: Opener) -> None:
        ids = stand(store, 12)
        claim(store, 1, 12)

        def work(db: Database) -> list[int]:
            won = []
            for run in ids:
                with db.transaction():
                    if leases.give_back(db, [run], [1]):
                        won += [run] * runs.complete(db, [run], [1], [b"k" * 32], [0])
            return won

        found = engines(opener, *[work] * ENGINES)
        assert sorted(run for one in found for run in one) == ids
        assert leases.number(store) == 0

    def test_no_event_is_lost(self, store: Database, opener: Opener) -> None:
        def act(engine: int) -> Engine:
            def work(db: Database) -> list[int]:
                for n in range(8):
                    with db.transaction():
                        events.add(db, 0.0, engine, n, b"")
                return []

            return work

        engines(opener, *[act(engine) for engine in range(ENGINES)])
        found = events.after(store, 0)
        assert len({row[0] for row in found}) == 8 * ENGINES
        for engine in range(ENGINES):
            assert [row[3] for row in found if row[2] == engine] == list(range(8))

    def test_what_is_owed_is_given_to_one(self, store: Database, opener: Opener) -> None:
        ids = list(range(1, RUNS + 1))
        with store.transaction():
            queues.doom(store, ids, [5] * RUNS, [1] * RUNS)
            queues.wake_at(store, [0.5] * RUNS, [1] * RUNS, ids)

        def work(db: Database) -> list[int]:
            found: list[int] = []
            while rows(db, "select 1 from doom union select 1 from timer limit 1"):
                with db.transaction():
                    found += [-row[0] for row in queues.doomed(db, 4)] + [row[2] for row in queues.due(db, 1.0, 4)]
            return found

        found = [n for one in engines(opener, *[work] * ENGINES) for n in one]
        assert sorted(found) == sorted([*ids, *[-n for n in ids]])

    def test_every_input_is_counted(self, store: Database, opener: Opener) -> None:
        """Each run waits for all data; who completes the last of them sees nothing pending."""
        n = 4 * ENGINES
        with store.transaction():
            add_runs(store, [a_run(run, pending=n) for run in range(1, 21)])
            for run in range(1, 21):
                edges.add(store, [run] * n, list(range(n)), list(range(101, 101 + n)))

        def act(engine: int) -> Engine:
            def work(db: Database) -> list[int]:
                found: list[int] = []
                for datum in range(101 + engine, 101 + n, ENGINES):
                    with db.transaction():
                        add_data(db, [a_datum(datum)])
                        found += [row.id for row in runs.release(db, [datum]) if row.pending == 0]
                return found

            return work

        found = engines(opener, *[act(engine) for engine in range(ENGINES)])
        assert sorted(run for one in found for run in one) == list(range(1, 21))

    def test_every_member_is_counted(self, store: Database, opener: Opener) -> None:
        members = list(range(1, 1 + 20 * ENGINES))
        with store.transaction():
            add_gather(store, 1000, [(1, len(members), 1)])
            add_gather(store, 1001, [(n, len(members) // 2, 2) for n in (1, 2)])

        def act(engine: int) -> Engine:
            def work(db: Database) -> list[int]:
                ended: list[int] = []
                for first in range(engine, len(members), 4 * ENGINES):
                    part = members[first : first + 4 * ENGINES : ENGINES]
                    with db.transaction():
                        ended += count_members(db, part)
                return ended

            return work

        found = engines(opener, *[act(engine) for engine in range(ENGINES)])
        assert sorted(gather for one in found for gather in one) == [1000, 1001]
        for gather in (1000, 1001):
            row = gathers.get(store, gather)
            assert row is not None and (row[0].pending, row[0].complete) == (0, len(members))

    def test_every_change_of_a_block_is_counted(self, store: Database, opener: Opener) -> None:
        with store.transaction():
            add_blocks(store, [a_block(1, open=1000), a_block(2, parent=1, open=1000)])

        def act(engine: int) -> Engine:
            def work(db: Database) -> list[int]:
                for turn in range(8):
                    with db.transaction():
                        blocks.count(db, {1: [-1, 1, 0, 0, 0, 0, 0], 2: [-2, 0, 1, engine, 0, 0, 3]})
                        if turn % 3 == engine:
                            blocks.fold(db)
                return []

            return work

        engines(opener, *[act(engine) for engine in range(ENGINES)])
        with store.transaction():
            blocks.fold(store)
        n = 8 * ENGINES
        one, two = blocks.get(store, 1), blocks.get(store, 2)
        assert one is not None and one[11:18] == (1000 - n, n, 0, 0, 0, 0, 0)
        assert two is not None and two[11:18] == (1000 - 2 * n, 0, n, 8 * sum(range(ENGINES)), 0, 0, 3 * n)


def count_members(db: Database, part: list[int]) -> list[int]:
    """Members of collections have ended; the collections that this completes."""
    hits = gathers.hits(db, part, gathers.levels(db))
    gathers.lock(db, sorted({gather for gather, _, _ in hits}))
    ended: list[int] = []
    for gather in sorted({gather for gather, _, _ in hits}):
        own = [seq for g, seq, _ in hits if g == gather]
        closed = sum(gathers.count(db, gather, seq, own.count(seq))[0] == 0 for seq in sorted(set(own)))
        row = gathers.tell(db, gather, closed, len(own), 0)
        if row is not None and row.pending == 0:
            ended.append(gather)
    return ended


class SeveralWritersSuite(StateSuite):
    """More, of a database to which several engines write at the same time."""

    def test_claims_do_not_wait_for_each_other(self, store: Database, opener: Opener) -> None:
        ids = stand(store, 10)
        with closing(opener()) as one, closing(opener()) as other:
            one.begin()
            other.begin()
            assert classes.take(one, 1, 3) == ids[:3]
            assert classes.take(other, 1, 3) == ids[3:6]
            assert classes.take(one, 1, 1) == ids[6:7]
            one.rollback()
            other.commit()
            assert claim(one, 1, 10) == [1, 2, 3, 7, 8, 9, 10]

    def test_what_is_owed_is_passed_over_while_somebody_takes_it(self, store: Database, opener: Opener) -> None:
        with store.transaction():
            queues.doom(store, [1, 2, 3], [5] * 3, [9] * 3)
            queues.wake_at(store, [1.0, 2.0, 3.0], [1] * 3, [1, 2, 3])
        with closing(opener()) as other:
            store.begin()
            assert queues.doomed(store, 2) == [(1, 5, 9), (2, 5, 9)]
            assert queues.due(store, 9.0, 2) == [(1.0, 1, 1), (2.0, 1, 2)]
            with other.transaction():
                assert queues.doomed(other, 9) == [(3, 5, 9)]
                assert queues.due(other, 9.0, 9) == [(3.0, 1, 3)]
            store.rollback()
            with other.transaction():
                assert queues.doomed(other, 9) == [(1, 5, 9), (2, 5, 9)]
                assert queues.due(other, 9.0, 9) == [(1.0, 1, 1), (2.0, 1, 2)]

    def test_rows_are_locked_in_one_order(self, store: Database, opener: Opener) -> None:
        """So nobody ever has to be told that he stood in another's way."""
        ids, lists = list(range(1, 31)), list(range(201, 211))
        with store.transaction():
            add_runs(store, [a_run(n, pending=1 << 30) for n in reversed(ids)])
            for run in ids:
                edges.add(store, [run] * 5, list(range(5)), [100 + (run * k) % 31 for k in (1, 2, 3, 5, 7)])
            for gather in reversed(lists):
                add_gather(store, gather, [(1, 30, 1)])

        def act(seed: int) -> Engine:
            def work(db: Database) -> list[int]:
                draw = Random(seed)
                for _ in range(25):
                    with db.transaction():
                        chosen = draw.sample(ids, 12)
                        runs.lock(db, chosen)
                        runs.set_flags(db, chosen, [seed] * 12)
                        runs.lock(db, chosen[::-1])
                    with db.transaction():
                        runs.release(db, draw.sample(range(100, 131), 8))
                    with db.transaction():
                        chosen = draw.sample(lists, 6)
                        gathers.lock(db, chosen)
                        for gather in chosen:
                            gathers.tell(db, gather, 0, 1, 0)
                return []

            return work

        engines(opener, *[act(seed) for seed in range(ENGINES)])

    def test_who_stands_in_each_others_way_may_try_again(self, store: Database, opener: Opener) -> None:
        with store.transaction():
            add_runs(store, [a_run(1), a_run(2)])
        gate = threading.Barrier(2)

        def act(first: int, second: int) -> Engine:
            def work(db: Database) -> list[int]:
                def change() -> None:
                    with db.transaction():
                        runs.bump(db, [first], [first], [1], [0])
                        if not met:
                            met.append(gate.wait())
                        runs.bump(db, [second], [first], [1], [0])

                met: list[int] = []
                failures = 0
                while True:
                    try:
                        change()
                    except ContentionError:
                        failures += 1
                    else:
                        return [failures]

            return work

        # who tries again may be faster than who was let go on, and stand in the way once more
        assert sum(failures for (failures,) in engines(opener, act(1, 2), act(2, 1))) >= 1
        # of the failed one nothing had stayed
        assert [row.tries for row in runs.get(store, [1, 2]).values()] == [2, 2]

    def test_one_engine_folds_at_a_time(self, store: Database, opener: Opener) -> None:
        with store.transaction():
            add_blocks(store, [a_block(1)])
            assert blocks.count(store, {1: [5, 0, 0, 0, 0, 0, 5]}) == []
            assert blocks.count(store, {1: [-1, 1, 0, 0, 0, 0, 0]}) == []
        assert meta.pulse(store).unfolded
        with closing(opener()) as other:
            with store.transaction():
                (row,) = blocks.fold(store) or []
                assert (row.id, row.open) == (1, 4)
                with other.transaction():
                    blocks.count(other, {1: [-2, 2, 0, 0, 0, 0, 0]})
                    assert blocks.fold(other) is None
            with other.transaction():
                (row,) = blocks.fold(other) or []
                assert row.open == 2
                assert blocks.fold(other) == []
            assert not meta.pulse(store).unfolded
            found = blocks.get(store, 1)
            assert found is not None and found[11:18] == (2, 3, 0, 0, 0, 0, 5)

    def test_submission_waits_for_completions(self, store: Database, opener: Opener) -> None:
        shared = threading.Event()

        def complete(db: Database) -> list[int]:
            with db.transaction():
                classes.lock_graph(db, exclusive=False)
                shared.set()
                add_data(db, [a_datum(1)])
            return []

        def submit(db: Database) -> list[int]:
            shared.wait()
            with db.transaction():
                classes.lock_graph(db, exclusive=True)
                return sorted(data.states(db, [1]))

        assert engines(opener, complete, submit) == [[], [1]]
        with closing(opener()) as other, store.transaction():
            classes.lock_graph(store, exclusive=False)
            with other.transaction():
                classes.lock_graph(other, exclusive=False)  # completions do not wait for each other

    def test_who_is_pinned_stays(self, store: Database, opener: Opener) -> None:
        with store.transaction():
            add_runs(store, [a_run(1, flags=3, out=7)])
            data.forward(store, [7], [8], [1], [0])
        pinned = threading.Event()

        def pin(db: Database) -> list[int]:
            with db.transaction():
                seen = [runs.pin(db, 1), data.promise_open(db, 7, 8)]
                pinned.set()
                assert [runs.pin(db, 1), data.promise_open(db, 7, 8)] == seen == [(0, 3, 7, 1, 0), True]
                meta.put(db, "pinned", 1)
            return []

        def change(db: Database) -> list[int]:
            pinned.wait()
            with db.transaction():
                data.forwarded(db, [8])
                runs.hold(db, [1])
                return [meta.read(db)["pinned"]]

        assert engines(opener, pin, change) == [[], [1]]
        assert runs.pin(store, 1) == (9, 3, 7, 1, 0)
        assert runs.pin(store, 2) is None

    def test_an_engine_that_fails_holds_nobody_up(self, store: Database, opener: Opener) -> None:
        ids = stand(store, 4)
        with closing(opener()) as other:
            for error in (ValueError, KeyboardInterrupt):
                try:
                    with other.transaction():
                        runs.lock(other, ids)
                        classes.lock_graph(other, exclusive=True)
                        assert classes.take(other, 1, 9) == ids
                        throw(error())
                except error:
                    pass
                with store.transaction():
                    classes.lock_graph(store, exclusive=True)
                    runs.set_flags(store, ids, [1] * 4)
        assert claim(store, 1, 9) == ids
