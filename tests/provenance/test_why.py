"""Why runs execute, are reused, wait or end: what changed is found and followed to where it began."""

from typing import Any

import pytest

from tests.lab import Lab, Project
from tidemill.engine import hold, remove, rerun, revive
from tidemill.model.errors import NotFoundError
from tidemill.model.ids import Id
from tidemill.provenance import why as provenance_why
from tidemill.provenance.difference import Change, roots
from tidemill.provenance.why import Why
from tidemill.stores.state import blocks, data, runs


def why(lab: Lab, run: int) -> Why:
    return provenance_why.why(lab.db, Id("run", run))


def runs_of(lab: Lab, block: int, task: str) -> list[int]:
    row = blocks.get(lab.db, block)
    assert row is not None
    found = runs.get(lab.db, list(range(row.run_lo, row.run_lo + row.run_n)))
    return [i for i, r in found.items() if lab.engine.spec(lab.db, r.task).name == task]


def texts(changes: list[Change]) -> list[str]:
    return [c.text for c in changes]


def test_a_first_run_is_new(lab: Lab, project: Project) -> None:
    metals = project.load()
    block = lab.run(metals.scan())
    (fit,) = runs_of(lab, block, "fit")
    found = why(lab, fit)
    assert (found.verdict, found.state, found.like) == ("new", "complete", "")
    assert "had not run before" in found.text


def test_the_components_of_the_key_are_listed(lab: Lab, project: Project) -> None:
    metals = project.load()
    block = lab.run(metals.scan())
    energy = runs_of(lab, block, "energy")[1]
    found = {(c.kind, c.name): c.value for c in why(lab, energy).components}
    assert found["argument", "symbol"] == "'Cu'"
    assert found["argument", "a"] == "1"
    assert {("code", ""), ("helper", "metals.helper"), ("constant", "metals.FACTOR"), ("ports", "")} <= set(found)
    (fit,) = runs_of(lab, block, "fit")
    inputs = [c for c in why(lab, fit).components if c.kind == "input"]
    assert [c.name for c in inputs] == ["e"]
    assert inputs[0].value.endswith("from a list")


def test_a_reused_run_names_its_source(lab: Lab, project: Project) -> None:
    metals = project.load()
    first = lab.run(metals.scan())
    again = lab.run(metals.scan())
    for task in ("energy", "fit"):
        found = why(lab, runs_of(lab, again, task)[0])
        assert found.verdict == "reused"
        assert found.like == f"{first}.{runs_of(lab, first, task)[0]}"
        assert found.changes == []


def test_comments_do_not_count(lab: Lab, project: Project) -> None:
    lab.run(project.load().scan())
    block = lab.run(project.load(comment="# another comment").scan())
    assert why(lab, runs_of(lab, block, "energy")[0]).verdict == "reused"


@pytest.mark.parametrize(
    ("values", "kind", "text"),
    [
        ({"times": 3}, "helper", "helper metals.helper changed"),
        ({"factor": 5}, "constant", "constant metals.FACTOR changed"),
    ],
)
def test_a_changed_part_of_the_code_is_named(
    lab: Lab, project: Project, values: dict[str, int], kind: str, text: str
) -> None:
    before = lab.run(project.load().scan())
    block = lab.run(project.load(**values).scan())
    energy = runs_of(lab, block, "energy")[0]
    found = why(lab, energy)
    assert found.verdict == "changed"
    assert texts(found.changes) == [text]
    assert found.changes[0].kind == kind
    assert found.like == f"{before}.{runs_of(lab, before, 'energy')[0]}"
    assert found.how == "with the same arguments"


def test_changed_inputs_are_followed_to_where_they_began(lab: Lab, project: Project) -> None:
    lab.run(project.load().scan())
    block = lab.run(project.load(times=3).scan())
    (fit,) = runs_of(lab, block, "fit")
    found = why(lab, fit)
    assert found.verdict == "changed"
    # 0 * 2 == 0 * 3: the first energy is what it was
    assert texts(found.changes) == ["input e: 2 of 3 members changed"]
    assert texts(roots(found.changes)) == ["helper metals.helper changed"]
    assert "helper metals.helper changed" in found.text
    member = found.changes[0].causes[0]
    assert member.run == f"energy {block}.{runs_of(lab, block, 'energy')[1]}"


def test_a_changed_argument_is_shown_with_both_values(lab: Lab, project: Project) -> None:
    metals = project.load()
    lab.run(metals.scan(3, 0))
    block = lab.run(metals.scan(3, 7))
    found = why(lab, runs_of(lab, block, "fit")[0])
    assert texts(found.changes) == ["argument k: 0 → 7"]
    assert (found.changes[0].before, found.changes[0].after) == ("0", "7")


def test_code_and_argument_at_once(lab: Lab, project: Project) -> None:
    lab.run(project.load().scan(3, 0))
    block = lab.run(project.load(fit="max(e)").scan(3, 7))
    found = why(lab, runs_of(lab, block, "fit")[0])
    assert texts(found.changes) == ["the code of fit changed", "argument k: 0 → 7"]


def test_another_length_of_a_list(lab: Lab, project: Project) -> None:
    metals = project.load()
    lab.run(metals.scan(3))
    block = lab.run(metals.scan(5))
    found = why(lab, runs_of(lab, block, "fit")[0])
    assert texts(found.changes) == ["input e: a list of 3 → 5"]
    last = why(lab, runs_of(lab, block, "energy")[4])
    assert last.verdict == "new"


def test_the_most_similar_of_the_last_workflows_is_compared(lab: Lab, project: Project) -> None:
    metals = project.load()
    first = lab.run(metals.scan(3, 0))
    lab.run(metals.scan(4, 9))
    block = lab.run(metals.scan(3, 1))
    found = why(lab, runs_of(lab, block, "fit")[0])
    assert found.like == f"{first}.{runs_of(lab, first, 'fit')[0]}"
    assert texts(found.changes) == ["argument k: 0 → 1"]


def test_a_task_that_is_not_cached(lab: Lab, project: Project) -> None:
    metals = project.load()
    lab.run(metals.chain(1))
    block = lab.run(metals.chain(1))
    assert why(lab, runs_of(lab, block, "clock")[0]).verdict == "not cached"


def test_what_failed_before_is_tried_again(lab: Lab, project: Project) -> None:
    metals = project.load()
    first = lab.run(metals.chain(1))
    block = lab.run(metals.chain(1))
    found = why(lab, runs_of(lab, block, "broken")[0])
    assert found.verdict == "failed"
    assert f"broken {first}." in found.text
    assert found.cause is not None
    assert found.cause.message == "ValueError: no good"


def test_a_skipped_run_names_its_root_cause(lab: Lab, project: Project) -> None:
    metals = project.load()
    block = lab.run(metals.chain(1))
    (broken,) = runs_of(lab, block, "broken")
    skipped = next(r for r in runs_of(lab, block, "report") if why(lab, r).state == "skipped")
    found = why(lab, skipped)
    assert found.verdict == "skipped"
    assert found.cause is not None
    assert found.cause.id == f"{block}.{broken}"
    assert "ValueError: no good" in found.text


@pytest.mark.parametrize(("act", "verdict"), [(data.expire, "expired"), (data.lose, "lost")])
def test_an_earlier_result_that_is_gone(lab: Lab, project: Project, act: Any, verdict: str) -> None:
    metals = project.load()
    first = lab.run(metals.scan())
    (fit,) = runs_of(lab, first, "fit")
    lab.turn(lambda turn: act(turn.db, [runs.get(turn.db, [fit])[fit].out]))
    block = lab.run(metals.scan())
    found = why(lab, runs_of(lab, block, "fit")[0])
    assert found.verdict == verdict
    assert found.like == f"{first}.{fit}"


def test_an_invalid_result_is_not_reused(lab: Lab, project: Project) -> None:
    metals = project.load()
    first = lab.run(metals.scan())
    (fit,) = runs_of(lab, first, "fit")
    lab.turn(lambda turn: remove.invalidate(turn, [fit]))
    block = lab.run(metals.scan())
    assert why(lab, runs_of(lab, block, "fit")[0]).verdict == "invalid"


def test_a_run_asked_to_execute_again_is_forced(lab: Lab, project: Project) -> None:
    metals = project.load()
    block = lab.run(metals.scan())
    (fit,) = runs_of(lab, block, "fit")
    made = lab.turn(lambda turn: rerun.rerun(turn, [fit]))
    lab.work()
    assert why(lab, made[fit]).verdict == "forced"


def test_what_a_waiting_run_waits_for(lab: Lab, project: Project) -> None:
    metals = project.load()
    block = lab.submit(metals.chain(1))
    lab.work(1)
    energies = runs_of(lab, block, "energy")
    (fit,) = runs_of(lab, block, "fit")
    found = why(lab, fit)
    assert found.verdict == "waiting"
    assert [(w.port, w.what, w.state) for w in found.waits] == [
        ("e", "list", "1 of 3"), ("e", "energy", "ready"), ("e", "energy", "ready"),
    ]  # fmt: skip
    assert {w.id for w in found.waits[1:]} < {f"{block}.{e}" for e in energies}
    (broken,) = runs_of(lab, block, "broken")
    assert [(w.what, w.id) for w in why(lab, broken).waits] == [("fit", f"{block}.{fit}")]


def test_a_ready_run_of_a_workflow_that_nobody_works_on(lab: Lab, project: Project) -> None:
    block = lab.submit(project.load().scan())
    energy = runs_of(lab, block, "energy")[0]
    assert "it is ready and will execute" in why(lab, energy).text
    lab.activate(block, active=False)
    found = why(lab, energy)
    assert found.verdict == "stopped"
    assert f"tidemill resume {block}" in found.text


def test_a_held_run_says_so(lab: Lab, project: Project) -> None:
    block = lab.submit(project.load().scan())
    energy = runs_of(lab, block, "energy")[0]
    lab.turn(lambda turn: hold.hold(turn, [energy]))
    assert why(lab, energy).verdict == "held"


def test_a_run_that_waits_for_an_equal_one(lab: Lab, project: Project) -> None:
    metals = project.load()
    first = lab.submit(metals.scan(1))
    second = lab.submit(metals.scan(1, 5))
    found = why(lab, runs_of(lab, second, "energy")[0])
    assert found.verdict == "waiting"
    assert [w.id for w in found.waits] == [f"{first}.{runs_of(lab, first, 'energy')[0]}"]


def test_a_retried_run_still_explains_itself(lab: Lab, project: Project) -> None:
    block = lab.run(project.load().chain(1))
    (broken,) = runs_of(lab, block, "broken")
    lab.turn(lambda turn: revive.retry(turn, [broken]))
    assert why(lab, broken).state == "ready"
    lab.work()
    assert why(lab, broken).state == "error"


def test_it_reads_well(lab: Lab, project: Project) -> None:
    lab.run(project.load().scan())
    block = lab.run(project.load(times=3).scan())
    (fit,) = runs_of(lab, block, "fit")
    lines = str(why(lab, fit)).splitlines()
    assert lines[0].startswith(f"fit {block}.{fit} (complete): helper metals.helper changed")
    assert "  input e: 2 of 3 members changed" in lines
    assert "      helper metals.helper changed" in lines


def test_there_must_be_such_a_run(lab: Lab, project: Project) -> None:
    lab.run(project.load().scan())
    with pytest.raises(NotFoundError, match="999"):
        why(lab, 999)
