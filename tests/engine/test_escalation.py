"""A failed attempt is tried again after a pause that doubles; only what it had too little of is raised."""

from itertools import pairwise
from typing import Any

import pytest

from tests.engine.conftest import Drive
from tests.engine.tasks import NUMBER, Switch
from tidemill.engine import hubs, retry, revive
from tidemill.model import events
from tidemill.model.protocol import Failure, Outcome, Started
from tidemill.model.spec import Raise, Resources
from tidemill.model.states import AttemptState, Reason, RunView
from tidemill.stores.state.classes import Class
from tidemill.testing.engine import EngineDriver
from tidemill.testing.graphs import Task
from tidemill.testing.invariants import check_invariants

ALL = Resources(cpus=2.0, memory=100, disk=1000, walltime=10.0)
WANTS = {Reason.OUT_OF_MEMORY: "memory", Reason.DISK_FULL: "disk", Reason.TIMEOUT: "walltime"}


def wanting(**options: Any) -> Task:
    return Task("wanting", Switch(), options={"retries": 9, **options})


def start(d: EngineDriver, resources: Resources = ALL, task: str = "wanting") -> int:
    """Submit one run; its id."""
    g = d.graph()
    slot = g.run(task, 1, resources=resources)
    return d.run_id(d.submit(g), slot)


def cls_of(d: EngineDriver, run: int) -> Class:
    return d.engine.classes[d.run(run).cls]


def fail(d: EngineDriver, reason: Reason, rss: int = 0, disk: int = 0) -> None:
    """Claim the one run that is ready and have it fail so; it is ready again at once if it is to be retried."""
    (claimed,) = d.take()
    failure = Failure(int(reason), "kind", "message")
    now = d.clock.now
    error = int(AttemptState.ERROR)
    d.hand_in(Outcome(claimed.run, claimed.fence, error, [], now, now, rss=rss, failure=failure, disk=disk))


def raised(d: EngineDriver) -> list[Any]:
    """The notes of what was raised, in order."""
    found = [e for (data,) in d.rows("select data from event order by seq") for e in events.decode(bytes(data))]
    return [e.note for e in found if e.kind == events.Kind.RETRYING and e.note]


@pytest.mark.parametrize("reason", WANTS)
def test_only_what_was_too_little_is_raised(drive: Drive, reason: Reason) -> None:
    d = drive(wanting())
    run = start(d)
    before = cls_of(d, run)
    assert before.spec.resources == ALL
    fail(d, reason, rss=150, disk=1500)
    column = WANTS[reason]
    after = cls_of(d, run)
    changed = {name for name in Class._fields[1:] if getattr(after, name) != getattr(before, name)}
    assert changed == {column}
    assert getattr(after, column) == 2 * getattr(before, column)
    name = "timeout" if column == "walltime" else column
    assert raised(d) == [[[name, getattr(before, column), getattr(after, column)]]]
    (claimed,) = d.take(1)
    assert (claimed.run, d.engine.flight[run].cls) == (run, after.id)


@pytest.mark.parametrize("reason", sorted({Reason.EXCEPTION, Reason.EXIT_CODE, Reason.SIGNAL, Reason.BAD_OUTPUT}))
def test_other_failures_raise_nothing(drive: Drive, reason: Reason) -> None:
    d = drive(wanting())
    run = start(d)
    before = cls_of(d, run)
    fail(d, reason, rss=1000, disk=10_000)
    assert cls_of(d, run) == before
    assert d.run(run).tries == 1
    assert raised(d) == []


def test_requests_grow_each_in_its_own_dimension_time_after_time(drive: Drive) -> None:
    d = drive(wanting())
    run = start(d)
    for reason in (Reason.OUT_OF_MEMORY, Reason.TIMEOUT, Reason.EXCEPTION, Reason.OUT_OF_MEMORY, Reason.DISK_FULL):
        fail(d, reason)
    assert cls_of(d, run).spec.resources == Resources(cpus=2.0, memory=400, disk=2000, walltime=20.0)
    d.crash()
    check_invariants(d.engine.db)
    assert cls_of(d, run).spec.resources.memory == 400


def test_factors_and_ceilings_are_the_tasks_own(drive: Drive) -> None:
    policy = {"memory": Raise(1.5, 200), "timeout": Raise(3.0)}
    d = drive(wanting(escalate=policy))
    run = start(d)
    for _ in range(3):
        fail(d, Reason.OUT_OF_MEMORY)
    fail(d, Reason.DISK_FULL)
    fail(d, Reason.TIMEOUT)
    assert cls_of(d, run).spec.resources == Resources(cpus=2.0, memory=200, disk=1000, walltime=30.0)
    assert d.run(run).tries == 5


def test_what_was_not_declared_is_asked_for_by_what_was_seen_if_the_task_wants_that(drive: Drive) -> None:
    d = drive(wanting(), Task("told", Switch(), options={"retries": 3, "escalate": {"memory": Raise(2.0)}}))
    first = start(d, Resources())
    fail(d, Reason.OUT_OF_MEMORY, rss=500)
    assert cls_of(d, first).memory == 0
    d.settle()
    second = start(d, Resources(), "told")
    fail(d, Reason.OUT_OF_MEMORY, rss=500)
    assert cls_of(d, second).memory == 1000


def test_nothing_is_raised_without_a_retry_or_where_the_task_says_so(drive: Drive) -> None:
    d = drive(wanting(retries=0), Task("fixed", Switch(), options={"retries": 1, "escalate": {}}))
    first = start(d)
    fail(d, Reason.OUT_OF_MEMORY)
    assert d.view(first) is RunView.ERROR
    assert cls_of(d, first).memory == 100
    second = start(d, ALL, "fixed")
    fail(d, Reason.OUT_OF_MEMORY)
    assert cls_of(d, second).memory == 100


def test_no_request_is_raised_beyond_the_machine(drive: Drive) -> None:
    d = drive(wanting())
    d.engine.memory = 150
    run = start(d)
    for _ in range(2):
        fail(d, Reason.OUT_OF_MEMORY)
    assert cls_of(d, run).memory == 150
    d.engine.memory = 50  # a smaller machine than the one that was asked for
    fail(d, Reason.OUT_OF_MEMORY)
    assert cls_of(d, run).memory == 150


def test_a_worker_that_was_ended_for_it_counts_with_what_was_seen(drive: Drive) -> None:
    d = drive(wanting(escalate={"disk": Raise(2.0)}))
    run = start(d, Resources())
    (claimed,) = d.take(1)
    failure = Failure(int(Reason.DISK_FULL), "disk full", "it used too much")
    started = Started(run, claimed.fence, d.clock.now, d.clock.now)
    with d.engine.turn() as turn:
        retry.worker_died(turn, d.worker, started, failure, b"", charge=True, peak=(70, 300))
    assert cls_of(d, run).disk == 600
    assert d.rows("select rss, disk from attempt") == [(70, 300)]


def test_a_retry_by_hand_keeps_what_was_raised(drive: Drive) -> None:
    d = drive(wanting(retries=1))
    run = start(d)
    fail(d, Reason.OUT_OF_MEMORY)
    fail(d, Reason.EXCEPTION)
    assert d.view(run) is RunView.ERROR
    d.control(revive.retry, [run])
    assert d.run(run).tries == 0
    assert cls_of(d, run).memory == 200
    (claimed,) = d.take(1)
    assert claimed.run == run


def test_it_is_raised_on_all_hubs_that_a_run_stands_on(drive: Drive) -> None:
    d = drive(wanting())
    run = start(d)
    hub = d.control(lambda turn: turn.engine.add_hub(turn, "other", None))
    d.control(hubs.action, [run], hub, 2.0)
    fail(d, Reason.OUT_OF_MEMORY)
    further = [d.engine.classes[cls] for _, cls in d.rows("select run, class from action")]
    assert [(c.hub, c.weight, c.memory, c.disk) for c in further] == [(hub, 2.0, 200, 1000)]
    assert cls_of(d, run).memory == 200
    stood = {cls for (cls,) in d.rows("select class from ready")}
    assert stood == {further[0].id, d.run(run).cls}


def test_an_equal_run_of_higher_priority_lifts_it_and_leaves_it_what_it_has(drive: Drive) -> None:
    d = drive(wanting())
    run = start(d)
    fail(d, Reason.OUT_OF_MEMORY)
    g = d.graph()
    g.run("wanting", 1, priority=5)
    d.submit(g)
    (further,) = [d.engine.classes[cls] for _, cls in d.rows("select run, class from action")]
    assert [(c.priority, c.memory) for c in (cls_of(d, run), further)] == [(0, 200), (5, 200)]


def test_pauses_double_and_there_is_one_attempt_more_than_retries(drive: Drive) -> None:
    switch = Switch()
    d = drive(NUMBER, Task("shaky", switch, options={"retries": 4, "backoff": 1.0}))
    g = d.graph()
    bad = g.run("shaky", 1)
    block = d.submit(g)
    d.settle()
    run = d.run_id(block, bad)
    assert d.view(run) is RunView.ERROR
    tried = d.rows("select n, t0, t1 from attempt where run = ? order by n", run)
    assert [n for n, _, _ in tried] == [1, 2, 3, 4, 5]
    gaps = [later[1] - earlier[2] for earlier, later in pairwise(tried)]
    assert all(gap >= wanted for gap, wanted in zip(gaps, (1, 2, 4, 8), strict=True))
    assert gaps == [1, 2, 4, 8]
