"""Waiting for everything below, checkpoints, and results that are promised: with a real engine and real workers.

Each execution leaves a line in a file, and fails as often as it is told to. How often something was tried is read from
the store.
"""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import tidemill as tm
from tidemill.client.store import Store
from tidemill.model.errors import RunCancelledError, RunFailedError, UsageError
from tidemill.stores.state.database import Statement
from tidemill.testing.crash import wait_for
from tidemill.testing.invariants import check_invariants

DEEP = '''
import os
import signal
from pathlib import Path
from typing import Any

import tidemill as tm


def note(line: str) -> int:
    """Write a line; how many like it there are then."""
    with open(os.environ["EFFECTS"], "a") as log:
        log.write(f"{line}\\n")
    return Path(os.environ["EFFECTS"]).read_text().splitlines().count(line)


@tm.task
def leaf(name: str, failures: int = 0) -> str:
    """Fails so many times."""
    if note(name) <= failures and not os.path.exists(os.environ["EFFECTS"] + ".mended"):
        raise ValueError(f"{name} fails")
    return name


@tm.task
def branch(name: str, depth: int, failures: int = 0) -> str:
    note(name)
    if depth == 0:
        return leaf(f"{name}!", failures)
    branch(f"{name}l", depth - 1)
    branch(f"{name}r", depth - 1, failures)
    return name


@tm.task(checkpoint=True, retries=2)
def point(name: str, failures: int) -> str:
    note(f"point {name}")
    branch(f"{name}.", 1, failures)
    return leaf(name)


@tm.task(checkpoint=True, retries=1)
def outer(name: str, failures: int) -> str:
    note(f"outer {name}")
    return point(name, failures)


@tm.task(checkpoint=True, retries=1, outputs=("first", "second"))
def pair(name: str, failures: int):
    note(f"pair {name}")
    return leaf(f"{name}1"), leaf(f"{name}2", failures)


@tm.task(checkpoint=True, retries=1)
def lines(file: Path, failures: int) -> str:
    return leaf(file.read_text(), failures)


@tm.task(checkpoint=True, retries=3)
def waits(name: str) -> str:
    note(f"waits {name}")
    return held(name)


@tm.task
def held(name: str) -> str:
    """Until somebody stops it."""
    note(name)
    signal.pause()


@tm.task(retries=2, backoff=0.0)
def killed(name: str) -> list:
    """Its process dies while it grows, twice."""
    first = leaf(f"{name}1")
    if note(name) < 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return [first, leaf(f"{name}2")]


@tm.task
def number(n: int) -> int:
    return n


@tm.task
def promised(kind: str) -> Any:
    """What work that has not run yet will give, handed on as its own, some levels deep."""
    if kind == "forwarded":
        return promised("more")
    if kind == "more":
        return number(42)
    if kind == "indexed":
        return promised("list")[1]
    if kind == "list":
        return [number(41), number(42)]
    if kind == "path":
        return promised("nested")["a"][1][0]
    return {"a": [number(1), ("b", number(43), promised("three"))[:2]], "n": 3}


@tm.task
def nested() -> Any:
    return {"a": [1, [("b", number(43), number(3))]], "c": number(9)}


@tm.task
def path() -> Any:
    return nested()["a"][1][0]


@tm.task(on_error="run", on_skipped="run")
def or_none(x: Any) -> Any:
    return x


@tm.task
def both(x: Any, y: Any) -> list:
    return [x, y]


@tm.task
def families(name: str) -> Any:
    """A step wrapped with all below it, and what comes after that."""
    with tm.block("A") as a:
        branch("A", 3)
    last = leaf("B").after(a)
    with tm.block("C") as c:
        branch("C", 1)
        leaf("D").after(last)
    return both(a.done, leaf("E").after(a, c))


@tm.task
def fails_for(name: str) -> Any:
    """A promise that is broken, needed by a sibling, which others need."""
    bad = leaf(name, 99)
    sibling = both(bad, 1)
    return both(sibling, families("x"))


@tm.workflow
def trial(failures: int) -> Any:
    with tm.block("trial", contained=True) as found:
        value = branch("t", 0, failures)
        last = leaf("t end").after(value)
    return or_none(found.done), or_none(last), leaf("rest")


@tm.workflow
def without() -> Any:
    with tm.block("trial", contained=True):
        value = both(leaf("t", 99), 1)
    return {"value": value, "rest": leaf("rest")}


@tm.workflow
def swept() -> Any:
    return both(tm.gather(point(tm.sweep(["u", "v"]), 1)), pair("w", 1).second)
'''


@pytest.fixture
def deep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module, whose effects go to `effects`."""
    (tmp_path / "deep.py").write_text(DEEP, encoding="utf-8")
    monkeypatch.setenv("EFFECTS", str(tmp_path / "effects"))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    sys.modules.pop("deep", None)
    import deep  # type: ignore[import-not-found]

    yield deep
    sys.modules.pop("deep", None)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store") as found:
        yield found


def run(store: Store, call: Any) -> Any:
    try:
        return store.run(call, workers=2, progress=False)
    finally:
        wait_for(lambda: not store.status().served, "the engine to end")
        check_invariants(store.db, quiet=True)


def names(store: Store) -> Counter[tuple[str, str]]:
    """How many runs there are of each task, by how they ended."""
    return Counter((r.task, r.state) for r in store.runs(limit=1000).runs)


def effects(tmp_path: Path) -> Counter[str]:
    return Counter((tmp_path / "effects").read_text().splitlines())


def order(tmp_path: Path) -> list[str]:
    return (tmp_path / "effects").read_text().splitlines()


# ------------------------------------------------------------------------------------------------ children, follow-ons


def test_what_follows_comes_after_the_whole_subtree(deep: ModuleType, store: Store, tmp_path: Path) -> None:
    assert run(store, deep.families("x")) == [True, "E"]
    done = order(tmp_path)
    assert all(n == 1 for n in Counter(done).values())
    assert {name[0] for name in done[: done.index("B")]} - {"C"} == {"A"}
    assert sum(name.startswith("A") for name in done[: done.index("B")]) == 2 + 4 + 8 + 8 + 1
    assert done.index("D") > done.index("B")
    assert done[-1] == "E"


def test_results_of_work_that_has_not_run(deep: ModuleType, store: Store) -> None:
    found = run(store, deep.both(deep.both(deep.promised("forwarded"), deep.promised("indexed")), deep.path()))
    assert found == [[42, 42], ("b", 43, 3)]


def test_a_failure_that_others_were_promised_ends_everything(deep: ModuleType, store: Store, tmp_path: Path) -> None:
    with pytest.raises(RunFailedError, match="ValueError: bad fails"):
        run(store, deep.fails_for("bad"))
    assert names(store)["both", "skipped"] == 2
    assert "E" in effects(tmp_path), "what does not need it goes on"
    assert store.status().blocks[0].state == "error"


def test_a_worker_that_dies_while_it_grows_leaves_nothing_half_grown(
    deep: ModuleType, store: Store, tmp_path: Path
) -> None:
    assert run(store, deep.killed("k")) == ["k1", "k2"]
    assert effects(tmp_path) == {"k": 3, "k1": 1, "k2": 1}
    assert names(store)["leaf", "complete"] == 2
    assert store.status().blocks[0].total == 4, "itself, two leaves, and what puts their list together"


# ---------------------------------------------------------------------------------------------------------- contained


def test_a_contained_failure_is_told_and_does_not_count(deep: ModuleType, store: Store, tmp_path: Path) -> None:
    assert run(store, deep.trial(99)) == (None, None, "rest")
    (block,) = store.status().blocks
    assert (block.state, block.failed, block.skipped) == ("complete", 0, 0)
    assert "contained  1 failed, 1 skipped" in str(store.show(1))
    (failure,) = store.failures(1)
    assert failure.contained
    assert "✗ leaf (run" in str(failure) and "in a contained block" in str(failure)
    (tmp_path / "effects.mended").touch()
    assert run(store, deep.trial(99)) == (True, "t end", "rest")


def test_a_result_that_was_lost_in_a_contained_block_says_where(deep: ModuleType, store: Store) -> None:
    with pytest.raises(RunFailedError) as caught:
        run(store, deep.without())
    text = str(caught.value)
    assert text.startswith("without has no result: what it returns needs leaf (run 2.1), which has none")
    assert "ValueError: t fails" in text
    assert 'a task with on_error="run" and on_skipped="run" gets None in its place' in text
    assert store.status().blocks[0].state == "complete"


# --------------------------------------------------------------------------------------------------------- checkpoints


@pytest.mark.parametrize("failures", [0, 1, 2])
def test_a_checkpoint_does_everything_below_it_again(
    failures: int, deep: ModuleType, store: Store, tmp_path: Path
) -> None:
    assert run(store, deep.point("p", failures)) == "p"
    tries = failures + 1
    assert effects(tmp_path) == dict.fromkeys(("point p", "p", "p.", "p.l", "p.l!", "p.r", "p.r!"), tries)
    found = names(store)
    assert found["point", "complete"] == tries
    assert found["point.judge", "complete"] == min(tries, 2)
    assert found["point.checkpoint", "complete"] == 1
    assert found["leaf", "error"] == failures
    (block,) = store.status().blocks
    assert (block.state, block.failed) == ("complete", 0)


def test_a_checkpoint_that_fails_for_good_and_a_second_start(deep: ModuleType, store: Store, tmp_path: Path) -> None:
    with pytest.raises(RunFailedError) as caught:
        run(store, deep.point("p", 99))
    assert str(caught.value).startswith("point: 1 of 25 runs failed")
    assert str(caught.value).count("✗") == 1, "only the last try is the workflow's failure"
    assert effects(tmp_path)["point p"] == effects(tmp_path)["p.r!"] == 3
    before = effects(tmp_path)
    (tmp_path / "effects.mended").touch()
    assert run(store, deep.point("p", 99)) == "p"
    again = effects(tmp_path) - before
    assert again == {"p.r": 1, "p.r!": 1}, "what had succeeded is known"


def test_a_checkpoint_whose_last_try_failed_is_retried_by_hand(deep: ModuleType, store: Store, tmp_path: Path) -> None:
    with pytest.raises(RunFailedError):
        run(store, deep.point("p", 99))
    (tmp_path / "effects.mended").touch()
    before = effects(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "tidemill", "retry", "1", "--store", str(tmp_path / "store"), "-w", "2"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert store.result(1) == "p"
    assert store.status().blocks[0].state == "complete"
    assert set(effects(tmp_path) - before) == {"p.r!"}


def test_checkpoints_in_sweeps_and_with_several_outputs(deep: ModuleType, store: Store, tmp_path: Path) -> None:
    assert run(store, deep.swept()) == [["u", "v"], "w2"]
    done = effects(tmp_path)
    assert (done["point u"], done["point v"], done["pair w"], done["w1"], done["w2"]) == (2, 2, 2, 2, 2)


def test_checkpoints_with_files(deep: ModuleType, store: Store, tmp_path: Path) -> None:
    (tmp_path / "input.txt").write_text("content")
    assert run(store, deep.lines(tmp_path / "input.txt", 1)) == "content"
    assert effects(tmp_path) == {"content": 2}


def test_checkpoints_in_checkpoints(deep: ModuleType, store: Store, tmp_path: Path) -> None:
    assert run(store, deep.outer("n", 4)) == "n"
    done = effects(tmp_path)
    assert (done["outer n"], done["point n"], done["n.r!"]) == (2, 5, 5)
    assert names(store)["leaf", "error"] == 4


def test_how_often_a_checkpoint_tries_can_be_said_at_the_call(deep: ModuleType, store: Store, tmp_path: Path) -> None:
    with pytest.raises(RunFailedError):
        run(store, deep.point.options(retries=0)("o", 1))
    assert effects(tmp_path)["point o"] == 1
    assert run(store, deep.point.options(retries=4)("q", 4)) == "q"
    assert effects(tmp_path)["point q"] == 5
    assert run(store, deep.point.options(checkpoint=False)("r", 0)) == "r"
    assert names(store)["point.checkpoint", "complete"] == 2


def test_a_checkpoint_that_is_cancelled_is_not_done_again(deep: ModuleType, store: Store, tmp_path: Path) -> None:
    handle = store.submit(deep.waits("w"), workers=1)
    wait_for(lambda: (tmp_path / "effects").exists() and "w" in effects(tmp_path), "it to be under way")
    handle.cancel()
    with pytest.raises(RunCancelledError):
        handle.result(60)
    wait_for(lambda: not store.status().served, "the engine to end")
    check_invariants(store.db, quiet=True)
    assert effects(tmp_path) == {"waits w": 1, "w": 1}


def test_one_step_of_a_checkpoint_is_cancelled(deep: ModuleType, store: Store, tmp_path: Path) -> None:
    handle = store.submit(deep.waits("w"), workers=1)
    wait_for(lambda: (tmp_path / "effects").exists() and "w" in effects(tmp_path), "it to be under way")
    (row,) = store.db.rows(Statement("select r.block from run r join task t on t.id = r.task where t.name = 'held'"))
    store.cancel(row[0])
    assert isinstance(handle.exception(60), RunCancelledError)
    wait_for(lambda: not store.status().served, "the engine to end")
    check_invariants(store.db, quiet=True)
    assert effects(tmp_path) == {"waits w": 1, "w": 1}, "somebody did not want it"


def test_checkpoints_in_a_package_and_at_a_prompt(tmp_path: Path, deep: ModuleType) -> None:
    package = tmp_path / "project" / "steps"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "deep.py").write_text(DEEP)
    (package / "main.py").write_text(
        "import tidemill as tm\nfrom .deep import point\n@tm.workflow\ndef main():\n    return point('m', 2)\n"
    )
    done = command("run", "steps/main.py", "--workflow", "main", "-q", cwd=tmp_path / "project")
    assert (done.returncode, done.stdout) == (0, "m\n"), done.stderr
    assert effects(tmp_path)["point m"] == 3
    typed = DEEP + "\nprint(outer('typed', 3).run(progress=False, workers=2))\n"
    done = subprocess.run(
        [sys.executable, "-"], input=typed, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "typed\n"), done.stderr
    assert effects(tmp_path)["point typed"] == 4


def command(*argv: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "tidemill", *argv], cwd=cwd, capture_output=True, text=True, timeout=60, check=False
    )


def test_commands_and_other_values_are_no_checkpoints() -> None:
    with pytest.raises(UsageError, match="grows nothing, so it cannot be a checkpoint"):
        tm.command("true", checkpoint=True)
    with pytest.raises(UsageError, match="checkpoint='yes' must be True or False"):
        tm.task(checkpoint="yes")(lambda: None)  # type: ignore[call-overload]
