"""What clients are told: progress, failures, ends; and what they may ask for meanwhile."""

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

import tidemill as tm
from tests.server.support import Bench
from tidemill.client.connection import Connection
from tidemill.client.submission import Submission
from tidemill.graph.plan import build
from tidemill.model import delta, session
from tidemill.model.digest import digest
from tidemill.model.errors import ConflictError, NotFoundError, UsageError
from tidemill.model.session import Failed, Progress, Said
from tidemill.model.states import BlockState, RunState
from tidemill.server.addresses import place_of
from tidemill.stores.objects import ObjectStore
from tidemill.stores.state import blocks, leases, workers
from tidemill.testing.crash import every_run, wait_for
from tidemill.testing.workers import wait_gone


@tm.task
def double(x: int) -> int:
    if x == 13:
        raise ValueError("unlucky")
    return 2 * x


@tm.task
def total(values: list[int]) -> int:
    return sum(values)


@tm.workflow
def doubled(n: int, first: int = 0) -> int:
    return total(double(tm.sweep(list(range(first, first + n)))))


class Watcher:
    """Remembers what it is shown."""

    def __init__(self) -> None:
        self.shown: list[Progress] = []
        self.failures: list[Failed] = []

    def progress(self, message: Progress) -> None:
        self.shown.append(message)

    def failed(self, message: Failed) -> None:
        self.failures.append(message)

    def said(self, message: Said) -> None: ...

    def note(self, text: str) -> None: ...

    def last(self) -> dict[str, tuple[int, int, int, int, int]]:
        """(total, done, reused, failed, skipped) by task, as shown last."""
        return {t.name: (t.total, t.done, t.reused, t.failed, t.skipped) for t in self.shown[-1].tasks}


@contextmanager
def connected(bench: Bench, count: int = 0) -> Iterator[Connection]:
    with closing(Connection(place_of(bench.url), count, sys.path)) as found:
        found.welcome()
        yield found


def follow(connection: Connection, call: object) -> tuple[BlockState | None, Watcher]:
    """Run a call to its end."""
    watcher = Watcher()
    plan = build(call)
    submission = Submission(connection, watcher)
    submission.begin(plan, 0)
    submission.send(plan, no_objects)
    return submission.wait(), watcher


def no_objects() -> ObjectStore:
    raise AssertionError("there is nothing to store")


def test_progress_ends_with_the_truth(bench: Bench) -> None:
    with connected(bench, 2) as connection:
        state, watcher = follow(connection, doubled(12))
        assert state is BlockState.COMPLETE
        assert watcher.last() == {"double": (12, 12, 0, 0, 0), "total": (1, 1, 0, 0, 0)}
        assert [m.block for m in watcher.shown] == [watcher.shown[0].block] * len(watcher.shown)
        done = [sum(t.done for t in m.tasks) for m in watcher.shown]
        assert done == sorted(done)
        state, watcher = follow(connection, doubled(12))
        assert watcher.last() == {"double": (12, 12, 12, 0, 0), "total": (1, 1, 1, 0, 0)}
        assert state is BlockState.COMPLETE


def test_a_failure_is_told_at_once_and_by_name(bench: Bench) -> None:
    with connected(bench, 2) as connection:
        state, watcher = follow(connection, doubled(20))
        assert state is BlockState.ERROR
        assert watcher.last() == {"double": (20, 19, 0, 1, 0), "total": (1, 0, 0, 0, 1)}
        (failure,) = watcher.failures
        assert (failure.task, failure.kind, failure.message) == ("double", "ValueError", "unlucky")
        assert failure.block == watcher.shown[-1].block


def test_who_joins_later_is_shown_what_was_before(bench: Bench) -> None:
    gates = bench.gates(["a", "b"])
    program = bench.start("gates", ["a", "b"])
    gates[0].open()
    gates[1].reached()
    block = bench.block().id
    with connected(bench) as connection:
        watcher = Watcher()
        submission = Submission(connection, watcher)
        submission.watch(block)
        while not watcher.shown:
            submission._take(None)
        assert watcher.last() == {"gated": (2, 1, 0, 0, 0)}
        gates[1].open()
        assert submission.wait() is BlockState.COMPLETE
        assert watcher.last() == {"gated": (2, 2, 0, 0, 0)}
        submission = Submission(connection, watcher)
        submission.watch(block)
        assert submission.wait() is BlockState.COMPLETE, "it has ended already"
    assert program.result() == ["a", "b"]


def test_a_running_workflow_is_cancelled(bench: Bench) -> None:
    names = ["a", "b", "c"]
    gates = bench.gates(names)
    program = bench.start("gates_after_quick", names, workers=1)
    worker = gates[0].reached()
    block = bench.block().id
    with connected(bench) as connection:
        connection.ask("cancel", blocks=[block])
        assert "RunCancelledError" in program.error()
    wait_gone([worker])
    bench.quiet()
    assert bench.block().state == BlockState.CANCELLED
    assert {bench.states()[n] for n in names} == {RunState.CANCELLED}
    assert bench.run("a").losses == 0
    assert not bench.look(leases.every)
    for gate in gates:
        gate.open(3)
    assert bench.start("gates_after_quick", names).result() == names, "it may be run again"
    assert len([line for line in bench.log() if line.startswith("quick")]) == 40


def test_cancelling_one_workflow_leaves_another_on_the_same_worker_alone(bench: Bench) -> None:
    gates = bench.gates(["a", "b"])
    first = bench.start("gates", ["a"], workers=2)
    gates[0].reached()
    second = bench.start("gates", ["b"], workers=2)
    gates[1].reached()
    mine = [b.id for b in bench.look(blocks.roots)][-1]
    with connected(bench) as connection:
        connection.ask("cancel", blocks=[mine])
        assert "RunCancelledError" in first.error()
    gates[1].open()
    assert second.result() == ["b"]
    assert bench.log().count("gated b") == 1


def test_what_cannot_be_done_is_refused_and_changes_nothing(bench: Bench) -> None:
    with connected(bench, 1) as connection:
        with pytest.raises(UsageError, match="no command"):
            connection.ask("dance")
        with pytest.raises(NotFoundError):
            connection.ask("cancel", blocks=[99])
        connection.send(session.Part(99, 0, digest(b""), delta.encode(delta.Chunk(0, 0, 0, [], b""))))
        with pytest.raises(UsageError, match="was not begun"):
            connection.wait_for(lambda _: False)
        connection.send(session.Watch(99))
        with pytest.raises(NotFoundError):
            connection.wait_for(lambda _: False)
        state, _ = follow(connection, doubled(0))
        assert state is BlockState.COMPLETE


def test_a_part_that_makes_no_sense_is_nobody_elses_end(bench: Bench) -> None:
    gate = bench.gate("a")
    program = bench.start("gates", ["a"])
    gate.reached()
    plan = build(doubled(3))
    with connected(bench, 2) as connection:
        submission = Submission(connection, Watcher())
        submission.begin(plan, 0)
        block = submission.block
        chunk = next(plan.chunks())
        chunk.task = [0] * (len(chunk.args) - 1) + [7]
        for body in (delta.encode(chunk), b"no chunk"):
            connection.send(session.Part(block, 0, digest(body), body))
            with pytest.raises(UsageError, match="makes no sense"):
                connection.wait_for(lambda _: False)
        assert sorted(b.total for b in bench.look(blocks.roots)) == [0, 1]
        submission.send(plan, no_objects)
        assert submission.wait() is BlockState.COMPLETE
    gate.open()
    assert program.result() == ["a"]


def test_a_command_that_is_refused_half_way_changes_nothing(bench: Bench) -> None:
    gate = bench.gate("a")
    program = bench.start("gates", ["a"])
    gate.reached()
    running = bench.run("a").id
    assert bench.start("number", 7, workers=2).result() == 7
    done = bench.run(7).id
    with connected(bench) as connection, pytest.raises(ConflictError, match="has not ended"):
        connection.ask("rerun", runs=[done, running])
    assert len(bench.look(lambda db: list(every_run(db)))) == 2
    gate.open()
    assert program.result() == ["a"]


def test_a_client_that_does_not_listen_holds_nobody_up(bench: Bench) -> None:
    gate = bench.gate("a")
    program = bench.start("gates", ["a"])
    gate.reached()
    with connected(bench) as deaf:
        deaf.send(session.Watch(bench.block().id))
        assert bench.start("filling", 40, workers=2).result() == 40 * 60_000
        gate.open()
        assert program.result() == ["a"]
    bench.quiet()


def test_detached_work_goes_on_without_its_client(bench: Bench) -> None:
    plan = build(doubled(8, 100))
    with connected(bench, 1) as connection:
        submission = Submission(connection, Watcher())
        submission.begin(plan, blocks.DETACHED)
        submission.send(plan, no_objects)
        connection.ask("cancel", blocks=[])  # answered after all that was sent before
    wait_for(lambda: bench.block().state == BlockState.COMPLETE, "the work to end")
    assert bench.block().done == 9


def test_detached_work_that_was_not_all_submitted_keeps_no_server_alive(bench: Bench) -> None:
    plan = build(doubled(8, 100))
    with connected(bench, 1) as connection:
        submission = Submission(connection, Watcher())
        submission.begin(plan, blocks.DETACHED)
        (host,) = bench.look(workers.engines)
    wait_gone([host.pid])
    with connected(bench, 1) as connection:
        submission = Submission(connection, Watcher())
        submission.begin(plan, blocks.DETACHED)
        assert submission.resumed
        submission.send(plan, no_objects)
        assert submission.wait() is BlockState.COMPLETE
