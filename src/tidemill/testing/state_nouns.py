"""Nouns with few statements each: ready runs and classes, leases, the key index, events, queues, attempts, tasks,
generations.
"""

import math

from tidemill.model.errors import StoreError
from tidemill.model.states import WorkerState
from tidemill.stores.state import (
    attempts,
    classes,
    events,
    leases,
    memo,
    meta,
    queues,
    runs,
    supersedes,
    tasks,
    workers,
)
from tidemill.stores.state.attempts import Attempt
from tidemill.stores.state.classes import Class, Hub
from tidemill.stores.state.database import Database
from tidemill.testing.state_base import StateSuite, refused, rows
from tidemill.testing.state_rows import (
    DIGEST,
    a_block,
    a_datum,
    a_run,
    a_worker,
    add_blocks,
    add_data,
    add_runs,
    add_worker,
)

SHORTS = [0, 1, -1, 1 << 62, -(1 << 63), (1 << 63) - 1]


class ClassesSuite(StateSuite):
    """Hubs, classes, and who stands in them."""

    def test_hubs(self, db: Database) -> None:
        classes.add_hub(db, 2, "two", 0.25, active=True, block=9)
        classes.add_hub(db, 1, "one", 3.0, active=False, block=None)
        assert classes.hubs(db) == [Hub(1, "one", 3.0, 0, None), Hub(2, "two", 0.25, 1, 9)]
        classes.set_active(db, 2, active=False)
        classes.set_active(db, 1, active=True)
        classes.set_weight(db, 1, 1 / 3)
        assert classes.hubs(db) == [Hub(1, "one", 1 / 3, 1, None), Hub(2, "two", 0.25, 0, 9)]

    def test_a_class_is_found_by_all_that_it_is(self, db: Database) -> None:
        plain = Class(1, 1, 0, 1.0, 1.0, 0)
        numbers = ("hub", "priority", "weight", "cpus", "memory", "disk", "walltime", "preemptible", "local")
        others = [Class._make([*plain[:at], 7, *plain[at + 1 :]]) for at in map(Class._fields.index, numbers)]
        others.append(plain._replace(accelerators="cuda:1"))
        others = [one._replace(id=number) for number, one in enumerate(others, 20)]
        for one in others:
            classes.add(db, one)
        assert classes.find(db, *plain[1:]) is None
        classes.add(db, plain)
        classes.add(db, plain._replace(id=8))  # of an engine that added it at the same moment
        assert classes.find(db, *plain[1:]) == 1
        assert [classes.find(db, *one[1:]) for one in others] == [one.id for one in others]
        assert [classes.get(db, one.id) for one in others] == others
        assert classes.get(db, 99) is None
        classes.change(db, 1, -5, 0.1)
        assert classes.find(db, *plain[1:]) == 8
        assert classes.every(db)[0] == Class(1, 1, -5, 0.1, 1.0, 0)
        assert [c.id for c in classes.every(db)] == [1, 8, *(one.id for one in others)]

    def test_ready_runs_are_taken_in_order(self, db: Database) -> None:
        for cls in (1, 2, 3):
            classes.add(db, Class(cls, 1, 0, 1.0, 1.0, 0))
        classes.stand(db, [2, 1, 1, 1, 2], [5, 9, 3, 7, 1 << 61])
        classes.stand(db, [1, 1], [3, 4])  # standing twice is standing once
        assert classes.counts(db) == {1: 4, 2: 2}
        assert classes.standing(db) == [1, 2]
        assert sorted(classes.stand_in(db, 1, [9, 5, 3, 100])) == [3, 9]
        assert classes.take(db, 1, 3) == [3, 4, 7]
        assert classes.take(db, 1, 3) == [9]
        assert classes.take(db, 1, 3) == classes.take(db, 3, 3) == []
        assert classes.drop(db, [2, 2, 1], [5, 6, 1 << 61]) == 1
        assert classes.take(db, 2, 0) == []
        assert classes.counts(db) == {2: 1}
        assert classes.take(db, 2, 1000) == [1 << 61]
        assert classes.standing(db) == []

    def test_no_more_is_taken_than_was_asked_for(self, store: Database) -> None:
        """Also where a planner last looked when next to nothing stood there."""
        for n, limit in ((2, 1), (30, 1), (100, 7)):
            with store.transaction():
                classes.take(store, 1, 1000)
                queues.doomed(store, 1000)
                classes.stand(store, [1], [0])
                queues.doom(store, [0], [5], [1])
            for name in ("ready", "doom"):
                rows(store, f"analyze {name}")
            with store.transaction():
                classes.stand(store, [1] * n, list(range(1, n + 1)))
                queues.doom(store, list(range(1, n + 1)), [5] * n, [1] * n)
            with store.transaction():
                assert classes.take(store, 1, limit) == list(range(limit))
                assert queues.doomed(store, limit) == [(d, 5, 1) for d in range(limit)]
                assert classes.counts(store) == {1: n + 1 - limit}

    def test_further_classes_of_runs(self, db: Database) -> None:
        classes.act(db, [1, 1, 2, 1], [3, 4, 3, 3])
        assert sorted(classes.actions(db, [2, 1, 9])) == [(1, 3), (1, 4), (2, 3)]
        classes.withdraw(db, [1, 2, 5], [3, 4, 3])
        assert sorted(classes.actions(db, [1, 2])) == [(1, 4), (2, 3)]
        classes.notify(db)


class LeasesSuite(StateSuite):
    """Fences."""

    def test_a_run_has_one_lease(self, store: Database) -> None:
        with store.transaction():
            leases.add(store, [1, 2, 3], [1, 5, 1], [7, 7, 8], [0.5, 0.25, 0.125])
        for run, fence in ((2, 5), (2, 6)):
            with refused(store, StoreError):
                leases.add(store, [4, run], [1, fence], [9, 9], [0.0, 0.0])
        expected = [(1, 1, 7, 0.5), (2, 5, 7, 0.25), (3, 1, 8, 0.125)]
        assert leases.every(store) == expected
        assert leases.of_workers(store, [7, 9]) == expected[:2]
        assert sorted(leases.of_runs(store, [3, 1, 4])) == [expected[0], expected[2]]
        assert leases.current(store, [2, 3, 4]) == {2: (5, 7), 3: (1, 8)}
        assert leases.number(store) == 3

    def test_only_a_current_lease_is_given_back(self, db: Database) -> None:
        leases.add(db, [1, 2, 3], [4, 4, 4], [7, 7, 7], [0.0, 0.0, 0.0])
        assert leases.give_back(db, [1, 2, 9, 3], [3, 4, 4, 5]) == 1
        assert leases.current(db, [1, 2, 3]) == {1: (4, 7), 3: (4, 7)}
        assert leases.give_back(db, [2], [4]) == 0

    def test_a_fence_moves_when_a_lease_is_voided(self, db: Database) -> None:
        add_runs(db, [a_run(1)])
        for fence in range(1, 4):
            (candidate,) = runs.for_claim(db, [1])
            assert candidate.attempt + 1 == fence
            leases.add(db, [1], [fence], [7], [0.0])
            assert leases.give_back(db, [1], [fence]) == 1
            assert runs.bump(db, [1], [fence], [0], [1]) == 1
            assert leases.give_back(db, [1], [fence]) == 0  # who had it comes too late
        assert runs.get(db, [1])[1] == a_run(1, attempt=3, losses=3)

    def test_leases_last_as_long_as_who_has_them(self, db: Database) -> None:
        for worker in (a_worker(1), a_worker(2, parent=1), a_worker(3, parent=1), a_worker(4)):
            add_worker(db, worker)
        add_runs(db, [a_run(n, attempt=n) for n in (1, 2, 3)])
        leases.add(db, [1, 2, 3], [2, 3, 4], [2, 3, 4], [0.5] * 3)
        assert workers.beat(db, 1, 5.0, 65.0)
        assert [(w.id, w.deadline) for w in workers.engines(db)] == [(1, 65.0), (4, 2.0)]
        mine = [w.id for w in workers.executors(db, [1])]
        assert sorted(workers.set_state(db, [1, *mine], int(WorkerState.EXPIRED))) == [1, 2, 3]
        assert not workers.beat(db, 1, 6.0, 66.0)  # it has been given up
        held = leases.of_workers(db, mine)
        assert held == [(1, 2, 2, 0.5), (2, 3, 3, 0.5)]
        ids, fences = [row[0] for row in held], [row[1] for row in held]
        assert leases.give_back(db, ids, fences) == runs.bump(db, ids, fences, [0, 0], [1, 1]) == 2
        assert [r.attempt + 1 for r in runs.for_claim(db, [1, 2])] == [3, 4]
        assert leases.every(db) == [(3, 4, 4, 0.5)]


class MemoSuite(StateSuite):
    """The key index, and who waits for an equal run."""

    def test_runs_are_found_by_short_keys(self, db: Database) -> None:
        memo.add(db, sorted(SHORTS), [10 * n for n in range(len(SHORTS))])
        memo.add(db, [0, 0, 1, 1], [7, 8, 10, 30])  # several runs with a key, and one that is there already
        found = [(s, 10 * n) for n, s in enumerate(sorted(SHORTS))] + [(0, 7), (0, 8), (1, 10)]
        assert sorted(memo.find(db, [*SHORTS, 17])) == sorted(found)
        assert sorted(memo.find(db, [0])) == sorted(pair for pair in found if pair[0] == 0)
        assert memo.find(db, [17, 18]) == []

    def test_a_short_key_is_not_the_key(self, db: Database) -> None:
        keys = [b"same 64 bits"[:8] + bytes([n]) * 24 for n in range(3)]
        assert len({memo.short(key) for key in keys}) == 1
        assert memo.short(b"\xff" * 32) == -1
        add_runs(db, [a_run(n, key=key, state=3, out=100 + n, flags=n) for n, key in enumerate(keys, 1)])
        memo.add(db, [memo.short(key) for key in keys], [1, 2, 3])
        add_data(db, [a_datum(101, size=7), a_datum(102, src=101, value=None), a_datum(9)])
        found = [run for _, run in memo.find(db, [memo.short(keys[0])])]
        outputs = {1: (2, 1, 7, None, DIGEST), 2: (2, 1, 1, 101, DIGEST), 3: (None,) * 5}
        expected = [(n, keys[n - 1], 100 + n, 3, n, 1, *outputs[n]) for n in (1, 2, 3)]
        assert sorted(memo.sources(db, found)) == expected
        assert sorted(memo.keys(db, found)) == [(n, keys[n - 1], 3, n) for n in (1, 2, 3)]
        assert sorted(memo.sources_by_key(db, [memo.short(keys[0]), 17])) == expected

    def test_who_waits_for_an_equal_run(self, db: Database) -> None:
        for cls, hub in ((1, 5), (2, 6)):
            classes.add(db, Class(cls, hub, 0, 1.0, 1.0, 0))
        add_blocks(db, [a_block(1, hub=7), a_block(2, hub=5)])
        add_runs(db, [a_run(n, cls=1 + n % 2, block=1 + n % 2) for n in range(1, 9)])
        memo.follow(db, [3, 4, 5, 6], [1, 1, 2, 2])
        memo.follow(db, [3], [2])  # who waits for one already goes on with that
        assert memo.any_follow(db) == 4
        assert memo.leaders(db, [3, 5, 8]) == {3: 1, 5: 2}
        # run 1 stands in hub 6 and belongs to a workflow of hub 5; run 2 stands in hub 5, and its workflow's hub is 7
        assert memo.following(db, 5) == [(3, 1, 2), (4, 1, 1), (5, 2, 2), (6, 2, 1)]
        assert memo.following(db, 6) == [(3, 1, 2), (4, 1, 1), (5, 2, 2)]
        assert memo.following(db, 7) == [(5, 2, 2), (6, 2, 1)]
        assert memo.leave(db, [5, 7]) == 1
        assert sorted(memo.followers(db, [1, 2, 3])) == [(3, 1), (4, 1), (6, 2)]
        assert memo.followers(db, [1, 2, 3]) == []
        assert memo.any_follow(db) == 0


class QueuesSuite(StateSuite):
    """Timers, and data whose ends have to be told."""

    def test_timers(self, db: Database) -> None:
        assert queues.next_timer(db) is None
        queues.wake_at(db, [3.5, 0.0, 0.0, 7.25, 3.5], [1, 2, 1, 3, 1], [9, 8, 8, 7, 2])
        queues.wake_at(db, [3.5], [1], [9])
        assert queues.next_timer(db) == 0.0
        assert queues.waiting(db, 1, [8, 9]) == {8}
        assert queues.due(db, -1.0, 10) == []
        assert queues.due(db, 3.5, 3) == [(0.0, 1, 8), (0.0, 2, 8), (3.5, 1, 2)]
        assert queues.next_timer(db) == 3.5
        queues.cancel(db, 1, [7, 9])
        assert queues.due(db, math.inf, 10) == [(7.25, 3, 7)]
        assert queues.due(db, math.inf, 10) == []
        assert queues.next_timer(db) is None

    def test_data_whose_ends_are_to_be_told(self, db: Database) -> None:
        queues.doom(db, [5, 1, 9, 1 << 60], [5, 6, 7, 5], [1, 2, 3, 4])
        queues.doom(db, [1, 2], [7, 7], [9, 9])  # the first end is the one
        assert queues.doomed_among(db, [1, 3, 9]) == {1, 9}
        assert sorted(queues.undoom(db, [9, 10])) == [9]
        assert queues.doomed(db, 2) == [(1, 6, 2), (2, 7, 9)]
        assert queues.doomed(db, 100) == [(5, 5, 1), (1 << 60, 5, 4)]
        assert queues.doomed(db, 100) == []

    def test_the_pulse_tells_what_is_to_be_done(self, db: Database) -> None:
        quiet = meta.pulse(db)
        assert quiet[1:] == (0, False, False, False, False, False, None)
        queues.wake_at(db, [2.5, 1.5], [1, 1], [1, 2])
        queues.doom(db, [1], [5], [1])
        meta.bump(db, "shares")
        assert meta.pulse(db) == quiet._replace(shares=1, doomed=True, timer=1.5)


class RecordsSuite(StateSuite):
    """What is only ever appended, and what is kept once."""

    def test_events_stay_in_order(self, store: Database) -> None:
        for n in range(5):
            with store.transaction():
                for k in range(3):
                    events.add(store, n + 0.5, 7, 3 * n + k, b"e%d" % k)
        found = events.after(store, 0)
        assert [row[1:] for row in found] == [(n + 0.5, 7, 3 * n + k, b"e%d" % k) for n in range(5) for k in range(3)]
        seqs = [row[0] for row in found]
        assert seqs == sorted(set(seqs)) and events.last(store) == seqs[-1]
        assert events.after(store, seqs[6]) == found[7:]
        assert events.after(store, seqs[6], 2) == found[7:9]
        assert events.after(store, seqs[-1]) == []

    def test_a_message_is_answered_once(self, store: Database) -> None:
        with store.transaction():
            events.tell(store, "key", 1.0, b"answer")
        with refused(store, StoreError):
            events.tell(store, "key", 2.0, b"another")
        assert events.told(store, "key") == b"answer"
        assert events.told(store, "other") is None

    def test_attempts(self, db: Database) -> None:
        attempts.add(
            db, [2, 1, 1], [1, 2, 1], [7] * 3, [3, 4, 8], [0.5, None, 1.0], [1.5] * 3, [0.1] * 3, [1 << 40, None, 0]
        )
        attempts.add(db, [1], [2], [9], [3], [9.0], [9.0], [9.0], [9])  # told twice: the first report stays
        attempts.note_disk(db, [(2, 1, 1 << 41), (5, 1, 3)])
        attempts.fail(db, [(1, 2, 5, b"why"), (3, 1, 5, b"")])
        attempts.fail(db, [(1, 2, 6, b"not this")])
        attempts.log(db, [(1, 2, b"out"), (1, 1, b""), (2, 1, b"o")])
        attempts.log(db, [(1, 2, b"not this")])
        assert attempts.of(db, [2, 1, 5]) == [
            Attempt(1, 1, 7, 8, 1.0, 1.5, 0.1, 0, None, None),
            Attempt(1, 2, 7, 4, None, 1.5, 0.1, None, 5, b"why"),
            Attempt(2, 1, 7, 3, 0.5, 1.5, 0.1, 1 << 40, None, None, 1 << 41),
        ]
        assert attempts.logs(db, 1) == [(1, b""), (2, b"out")]
        assert attempts.logs(db, 3) == []

    def test_a_task_is_its_digest(self, db: Database) -> None:
        one, other = tasks.put(db, b"1" * 32, "same name", b"s1"), tasks.put(db, b"2" * 32, "same name", b"s2")
        assert one != other
        assert tasks.put(db, b"1" * 32, "same name", b"as last declared") == one
        assert [tasks.spec(db, task) for task in (one, other, 99)] == [b"as last declared", b"s2", None]
        assert tasks.every(db) == [
            (one, "same name", b"1" * 32, b"as last declared"),
            (other, "same name", b"2" * 32, b"s2"),
        ]

    def test_generations(self, db: Database) -> None:
        supersedes.add(db, [], [])
        supersedes.add(db, [1, 2, 3], [11, 12, 13])
        supersedes.add(db, [11, 1], [21, 99])  # what has a successor keeps it
        supersedes.add(db, [1], [5], supersedes.RUN)
        assert [supersedes.newest(db, old) for old in (1, 2, 21, 7)] == [21, 12, 21, 7]
        kinds = (supersedes.DATUM, supersedes.RUN, supersedes.BLOCK)
        assert [supersedes.newest(db, 1, kind) for kind in kinds] == [21, 5, 1]
        assert supersedes.successors(db, [1, 11, 7]) == {1: 11, 11: 21}
        assert supersedes.successors(db, [1, 11], supersedes.RUN) == {1: 5}

    def test_counters(self, db: Database) -> None:
        assert (meta.take(db, "run", 3), meta.take(db, "run", 1), meta.take(db, "datum", 1)) == (1, 4, 1)
        meta.put(db, "run", 100)
        meta.put(db, "mine", -1)
        assert meta.take(db, "run", 1) == 101
        meta.bump(db, "shares")
        found = meta.read(db)
        assert (found["run"], found["mine"], found["shares"], found["datum"]) == (101, -1, 1, 1)
