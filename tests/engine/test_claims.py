"""Claims: hub by weight, then priority, then class by weight, then in order."""

from collections import Counter

import pytest

from tests.engine.conftest import Drive
from tests.engine.tasks import NUMBER
from tidemill.engine import claim, hubs, shares
from tidemill.model.errors import NotFoundError, UsageError
from tidemill.model.states import RunView
from tidemill.testing.engine import EngineDriver
from tidemill.testing.invariants import check_invariants


def flat(d: EngineDriver, n: int, key: str, **options: float) -> tuple[int, list[int]]:
    g = d.graph()
    slots = [g.run("number", i, flags=1, **options) for i in range(n)]  # type: ignore[arg-type]
    block = d.submit(g, key=key)
    return block, [d.run_id(block, s) for s in slots]


def taken(d: EngineDriver, n: int, batch: int = 1) -> list[int]:
    """The runs of the next `n` claims, in order."""
    return [c.run for _ in range(n) for c in d.take(batch)]


def test_in_order_within_a_class(drive: Drive) -> None:
    d = drive(NUMBER)
    _, runs = flat(d, 20, "a")
    assert taken(d, 5, batch=3) == runs[:15]


def test_higher_priorities_first(drive: Drive) -> None:
    d = drive(NUMBER)
    g = d.graph()
    slots = [g.run("number", i, priority=i % 3) for i in range(9)]
    block = d.submit(g)
    order = taken(d, 9)
    wanted = sorted(range(9), key=lambda i: (-(i % 3), i))
    assert order == [d.run_id(block, slots[i]) for i in wanted]


def test_hubs_by_weight(drive: Drive) -> None:
    d = drive(NUMBER)
    d.engine.random.seed(1)
    blocks = [flat(d, 300, key)[0] for key in "abc"]
    for block, weight in zip(blocks, (1.0, 3.0, 0.0), strict=True):
        d.control(hubs.set_weight, d.block(block).hub, weight)
    owner = Counter(d.run(r).block for r in taken(d, 200))
    assert owner[blocks[2]] == 0
    assert 0.62 < owner[blocks[1]] / 200 < 0.88


def test_classes_by_weight_and_number(drive: Drive) -> None:
    d = drive(NUMBER)
    d.engine.random.seed(2)
    g = d.graph()
    light = [g.run("number", i, weight=1.0) for i in range(200)]
    heavy = [g.run("number", 1000 + i, weight=4.0) for i in range(200)]
    block = d.submit(g)
    heavy_runs = {d.run_id(block, s) for s in heavy}
    got = taken(d, 100)
    share = sum(r in heavy_runs for r in got) / len(got)
    if d.engine.alone:
        assert 0.65 < share < 0.93
    else:
        assert share > 0.65  # how many stand there is not known
    assert [r for r in got if r not in heavy_runs] == [d.run_id(block, s) for s in light][: len(got) - int(share * 100)]


def test_what_does_not_fit_is_left(drive: Drive) -> None:
    d = drive(NUMBER)
    g = d.graph()
    big = g.run("number", 1, cpus=8.0)
    small = g.run("number", 2, cpus=1.0)
    block = d.submit(g)
    with d.engine.turn() as turn:
        got = claim.claim(turn, d.worker, lambda c, n: n if c.cpus <= 1 else 0)
    assert [c.run for c in got] == [d.run_id(block, small)]
    assert d.view(d.run_id(block, big)) is RunView.READY


def test_a_suspended_hub_keeps_its_runs(drive: Drive) -> None:
    d = drive(NUMBER)
    block, runs = flat(d, 3, "a")
    hub = d.block(block).hub
    d.control(hubs.set_active, hub, active=False)
    assert taken(d, 1, batch=9) == []
    assert [d.view(r) for r in runs] == [RunView.READY] * 3
    d.control(hubs.set_active, hub, active=True)
    assert taken(d, 1, batch=9) == runs


def test_priorities_and_weights_of_runs_blocks_and_classes(drive: Drive) -> None:
    d = drive(NUMBER)
    block, runs = flat(d, 10, "a")
    assert d.control(shares.change_runs, runs[7:9], priority=3) == 2
    check_invariants(d.engine.db)
    assert taken(d, 3) == [runs[7], runs[8], runs[0]]
    assert d.control(shares.change_block, block, priority=5) == 10
    check_invariants(d.engine.db)
    ((cls, number),) = d.rows("select class, count(*) from ready group by class")
    assert number == 7
    d.control(shares.change_class, cls, priority=8, weight=2.5)
    assert d.engine.classes[cls][2:4] == (8, 2.5)
    assert d.rows("select count(*) from run where class = ?", cls) == [(10,)]
    assert taken(d, 1, batch=20) == [r for r in runs[1:] if r not in runs[7:9]]
    with pytest.raises(UsageError):
        d.control(shares.change_runs, runs, weight=-1.0)
    with pytest.raises(NotFoundError):
        d.control(shares.change_class, 999, weight=1.0)


def test_actioned_runs_are_claimed_through_any_of_their_hubs_once(drive: Drive) -> None:
    d = drive(NUMBER)
    block, runs = flat(d, 6, "a")
    own = d.block(block).hub
    other = d.control(hubs.create, "other", 2.0)
    assert d.control(hubs.action, runs[:4], other, 3.0) == 4
    check_invariants(d.engine.db)
    d.control(hubs.set_active, own, active=False)
    assert taken(d, 2, batch=2) == runs[:4]
    check_invariants(d.engine.db)
    d.control(hubs.set_active, own, active=True)
    assert taken(d, 2, batch=9) == runs[4:]


def test_a_waiting_run_that_is_actioned_stands_in_all_its_hubs_when_it_is_ready(drive: Drive) -> None:
    d = drive(NUMBER)
    g = d.graph()
    a = g.run("number", 1)
    b = g.run("number", a)
    block = d.submit(g)
    other = d.control(hubs.create, "other")
    d.control(hubs.action, [d.run_id(block, b)], other)
    d.step()
    d.control(hubs.set_active, d.block(block).hub, active=False)
    d.settle()
    assert d.view(d.run_id(block, b)) is RunView.COMPLETE
    check_invariants(d.engine.db)


def test_withdrawing_changes_no_status(drive: Drive) -> None:
    d = drive(NUMBER)
    block, runs = flat(d, 4, "a")
    own = d.block(block).hub
    other = d.control(hubs.create, "other")
    d.control(hubs.action, runs[:2], other)
    assert d.control(hubs.withdraw, runs, own) == 4
    check_invariants(d.engine.db)
    assert [d.view(r) for r in runs] == [RunView.READY] * 4
    assert taken(d, 2, batch=9) == runs[:2]
    assert d.control(hubs.withdraw, runs, other) == 2
    d.control(hubs.action, runs[2:], other)
    check_invariants(d.engine.db)
    assert taken(d, 2, batch=9) == runs[2:]
    with pytest.raises(NotFoundError):
        d.control(hubs.withdraw, runs, 999)


def test_withdrawing_from_a_further_hub(drive: Drive) -> None:
    d = drive(NUMBER)
    block, runs = flat(d, 2, "a")
    other = d.control(hubs.create, "other")
    d.control(hubs.action, runs, other)
    assert d.control(hubs.withdraw, runs[:1], other) == 1
    d.control(hubs.set_active, d.block(block).hub, active=False)
    assert taken(d, 2, batch=9) == runs[1:]
    check_invariants(d.engine.db)
