"""The commands, each in a process of its own, on stores that they made themselves."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Done, Run, start
from tidemill.stores.state import meta
from tidemill.stores.state.open import open_database


def sums(cli: Run, *more: object, **environment: str) -> Done:
    return cli("run", "flow.py", "--workflow", "sums", *more, **environment)


# ----------------------------------------------------------------------------------------------------------------- run


def test_run_prints_the_result_and_reuses_it(cli: Run) -> None:
    done = sums(cli)
    assert (done.code, done.out) == (0, "3\n")
    assert "7 of 7 runs ended" in done.err
    again = sums(cli, "--quiet")
    assert again == Done(0, "3\n", "")


def test_run_tells_programs_everything(cli: Run) -> None:
    done = sums(cli, "--set", "n=4", "--json", "-q", "--workers", 1, "--store", "elsewhere")
    found = json.loads(done.out)
    assert done.code == 0
    assert found == {
        "block": 1, "workflow": "sums", "state": "complete", "total": 9, "done": 9, "reused": 0, "failed": 0,
        "skipped": 0, "cancelled": 0, "result": 6, "failures": [],
    }  # fmt: skip


def test_settings_reach_the_workflow_with_their_types(cli: Run) -> None:
    words = ["n=3", "name=12", "scale=2", "sizes=1,2", "mode=slow", "file=input.txt"]
    options = [part for word in words for part in ("--set", word)]
    done = cli("run", "flow.py", "--workflow", "settings", *options, "--json", "-q")
    assert json.loads(done.out)["result"] == {
        "n": 3, "name": "12", "scale": 2.0, "sizes": [1, 2], "mode": "slow", "file": "hello", "note": None,
    }  # fmt: skip


def test_failures_are_reported_and_counted(cli: Run, folder: Path) -> None:
    done = sums(cli, "-q", GATE="closed")
    assert done.code == 1
    assert done.out == ""
    assert done.err.startswith("error[TM501]: sums: 3 of 7 runs failed, 1 skipped")
    assert "ValueError: 0 is not to my taste" in done.err
    assert "tidemill debug 1.4" in done.err
    assert "tidemill/cli" not in done.err
    found = json.loads(sums(cli, "-q", "--json", GATE="closed").out)
    assert (found["state"], found["failed"], len(found["failures"])) == ("error", 3, 3)
    assert found["failures"][0]["arguments"][0] == {"port": "x", "value": "0", "sources": ["1.1"]}


def test_the_first_failure_can_be_the_last(cli: Run) -> None:
    found = json.loads(sums(cli, "-q", "--json", "--stop-on-failure", "--set", "n=3000", "-w", 1, GATE="closed").out)
    assert found["state"] == "error"
    assert found["failed"] < 3000
    assert found["cancelled"] > 0


def test_interrupting_exits_with_130_and_loses_nothing(folder: Path, cli: Run) -> None:
    (folder / "slow.py").write_text(
        "import os, time\nimport tidemill as tm\n@tm.task\ndef step(i: int) -> int:\n"
        "    open(os.environ['MARK'], 'a').close()\n"
        "    time.sleep(0.05)\n    return i\n@tm.task\ndef total(xs: list[int]) -> int:\n    return sum(xs)\n"
        "@tm.workflow\ndef many():\n    return total(step(tm.sweep(range(200))))\n",
        encoding="utf-8",
    )
    mark = folder / "mark"
    with start("run", "slow.py", "-w", 1, cwd=folder, MARK=str(mark)) as process:
        while not mark.exists() and process.poll() is None:
            os.sched_yield()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "interrupted; the same command goes on where it was" in err
    status = json.loads(cli("status", "--json").out)["blocks"][0]
    assert status["state"] == "interrupted"
    assert status["cancelled"] == status["failed"] == 0
    assert "interrupted" in cli("status").out
    done = cli("resume", 1, "-q", MARK=str(mark))
    assert (done.code, done.out) == (0, f"{sum(range(200))}\n")


# --------------------------------------------------------------------------------------------------- plan, then look


def test_plan_says_what_would_run(cli: Run, folder: Path) -> None:
    before = cli("plan", "flow.py", "--workflow", "sums")
    assert before.code == 0
    assert "7 runs: 3 would run now, 4 after these, 0 reused" in before.out
    assert not (folder / ".tidemill").exists()
    sums(cli, "-q")
    (folder / "flow.py").write_text((folder / "flow.py").read_text().replace("return x\n", "return x + 0\n"))
    found = json.loads(cli("plan", "flow.py", "--workflow", "sums", "--json").out)
    tasks = {t["name"]: t for t in found["tasks"]}
    assert tasks["number"]["reused"] == 3
    assert tasks["picky"]["reasons"] == [["the code of picky changed", 3]]
    assert tasks["total"]["reasons"] == [["input xs (picky would run first)", 1]]


@pytest.fixture
def looked(cli: Run) -> Run:
    """A store with a good workflow and a bad one."""
    sums(cli, "-q")
    sums(cli, "-q", "--set", "n=5", GATE="closed")
    return cli


def test_looking(looked: Run) -> None:
    out = looked("status").out.splitlines()
    assert [line.split()[:3] for line in out[1:3]] == [["2", "sums", "error"], ["1", "sums", "complete"]]
    assert "picky" in looked("status", 2).out
    assert json.loads(looked("status", 2, "--json").out)["blocks"][0]["id"] == 2

    listed = json.loads(looked("list", "--state", "error", "--block", 2, "--json").out)
    assert [r["task"] for r in listed["runs"]] == ["picky", "picky"]
    bad = listed["runs"][0]["id"]
    assert "is not to my taste" in looked("list", "--task", "picky", "--state", "error").out
    assert "--after" in looked("list", "--limit", 2).out
    assert "there are no such runs" in looked("list", "--state", "held").out

    shown = looked("show", bad)
    assert "input x" in shown.out
    assert "Traceback" in shown.out
    assert json.loads(looked("show", bad, "--json").out)["state"] == "error"
    assert json.loads(looked("show", 1, "--json").out)["result"] == ["3"]
    assert json.loads(looked("show", "datum:1", "--json").out)["value"] == "0"

    assert looked("logs", bad).out == "looking at 3\n"
    assert looked("logs", bad, "-f").out == "looking at 3\n"
    assert json.loads(looked("logs", bad, "--json").out)[0]["attempt"] == 1
    silent = looked("logs", "1.1")
    assert (silent.code, silent.out, silent.err) == (0, "", "run 1.1 has printed nothing\n")


def test_explaining(looked: Run) -> None:
    reused = json.loads(looked("why", "2.8", "--json").out)
    assert (reused["verdict"], reused["like"]) == ("reused", "1.1")
    assert "reused from number 1.1" in looked("why", "2.8").out
    up = looked("lineage", 1).out.splitlines()
    assert up[0].startswith("total 1.7 complete")
    assert "number × 3" in up[-1]
    down = looked("lineage", "1.1", "--down", "--depth", 1).out.splitlines()
    assert [line.strip("└─ ").split()[0:3] for line in down] == [
        ["number", "1.1", "complete"],
        ["x:", "picky", "1.4"],
    ] or len(down) == 2
    found = json.loads(looked("lineage", "1.7", "--json", "--limit", 0).out)
    assert found["total"] == 7
    assert len(looked("lineage", "1.4", "--up", "--down").out.splitlines()) > 3


# ---------------------------------------------------------------------------------------------------------- changing


def test_retry_goes_on_with_what_failed(cli: Run, folder: Path) -> None:
    gate = folder / "gate"
    assert sums(cli, "-q", GATE=str(gate)).code == 1
    still = cli("retry", 1, "-q", GATE=str(gate))
    assert still.code == 1
    gate.touch()
    done = cli("retry", 1, "-q", GATE=str(gate))
    assert (done.code, done.out) == (0, "3\n")
    nothing = cli("retry", 1)
    assert nothing.code == 2
    assert "nothing failed or was cancelled there" in nothing.err


def test_retry_of_one_run(cli: Run, folder: Path) -> None:
    gate = folder / "gate"
    sums(cli, "-q", "--set", "n=1", GATE=str(gate))
    gate.touch()
    found = json.loads(cli("retry", "1.2", "-q", "--json", GATE=str(gate)).out)
    assert (found["state"], found["result"]) == ("complete", 0)


def test_rerun_makes_new_runs(cli: Run) -> None:
    sums(cli, "-q", "--set", "n=1")
    done = cli("rerun", "1.1", "-q")
    assert (done.code, done.out) == (0, "0\n")
    rows = json.loads(cli("list", "--task", "number", "--json").out)["runs"]
    assert [r["attempts"] for r in rows] == [1, 1]
    assert json.loads(cli("why", rows[1]["id"], "--json").out)["verdict"] == "forced"


COUNTING = """
from pathlib import Path
import tidemill as tm


@tm.task
def count(place: str) -> int:
    path = Path(place)
    number = int(path.read_text()) + 1 if path.exists() else 1
    path.write_text(str(number))
    return number


@tm.task
def ten_times(x: int) -> int:
    return 10 * x


@tm.workflow
def counting(place: str):
    return ten_times(count(place))
"""


def test_after_a_rerun_the_newest_result_is_shown(cli: Run, folder: Path) -> None:
    (folder / "counting.py").write_text(COUNTING)
    found = cli("run", "counting.py", "-q")
    assert (found.code, found.err) == (2, "error[TM100]: counting needs a value of 'place'\n  --set place=…\n")
    assert cli("run", "counting.py", "-q", "--set", f"place={folder / 'n'}").out == "10\n"
    assert cli("rerun", "1.1", "-q").out == "20\n"
    assert json.loads(cli("show", "1", "--json").out)["result"] == ["20"]
    assert "ten_times 2.4" in cli("lineage", "1").out


def test_invalid_results_are_not_reused(cli: Run) -> None:
    sums(cli, "-q", "--set", "n=1")
    assert cli("invalidate", "1.1").out == "marked invalid: 1.1\n"
    assert (
        json.loads(cli("plan", "flow.py", "--workflow", "sums", "--set", "n=1", "--json").out)["tasks"][0]["run"] == 1
    )
    assert cli("hold", "1.1").out == "none of these could be held: 1.1 is invalid\n"


def test_cancel_of_what_has_ended_says_so(cli: Run) -> None:
    sums(cli, "-q", "--set", "n=1")
    assert cli("cancel", 1).out == "block 1 is complete\n"
    assert cli("cancel", "1.1", "1.2").out == "cancelled 0 of 2 runs; the others had ended\n"


def test_gc(cli: Run, folder: Path) -> None:
    sums(cli, "-q")
    found = json.loads(cli("gc", "--dry-run", "--json").out)
    assert (found["objects"], found["dry_run"]) == (0, True)
    assert cli("gc", "--grace", "7d").code == 0


# ---------------------------------------------------------------------------------------------------------- debugging


def test_debug_runs_one_step_alone(cli: Run, folder: Path) -> None:
    gate = folder / "gate"
    sums(cli, "-q", GATE=str(gate))
    failed = cli("debug", "1.5", GATE=str(gate))
    assert failed.code == 1
    assert failed.out == "looking at 1\n"
    assert "ValueError: 1 is not to my taste" in failed.err
    gate.touch()
    good = cli("debug", "1.5", GATE=str(gate))
    assert (good.code, good.out) == (0, "looking at 1\n1\n")
    # the store still says what happened
    assert json.loads(cli("show", "1.5", "--json").out)["state"] == "error"
    pdb = cli("debug", "1.5", "--pdb", stdin="p x + 41\nq\n", GATE="closed")
    assert "42" in pdb.out
    step = cli("debug", "1.5", "--step", stdin="n\np x + 41\nc\n", GATE=str(gate))
    assert "42" in step.out
    assert step.code == 0
    found = json.loads(cli("debug", "1.5", "--json", GATE="closed").out.partition("{")[2].join(["{", ""]))
    assert (found["ok"], found["error"]) == (False, "ValueError: 1 is not to my taste")


# -------------------------------------------------------------------------------------------------------- wrong usage


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["run", "none.py"], 2, "error[TM200]: there is no file none.py"),
        (["run", "flow.py"], 2, "choose one with --workflow; it has sums, settings, anything"),
        (["run", "flow.py", "--workflow", "x"], 2, "error[TM100]: flow.py has no workflow 'x'"),
        (["run", "flow.py", "--workflow", "sums", "--set", "m=1"], 2, "sums has no parameter 'm'; it has n"),
        (["run", "flow.py", "--workflow", "sums", "--set", "n=many"], 2, "'many' does not fit int"),
        (["run", "flow.py", "--workflow", "settings"], 2, "settings needs a value of 'n', 'name'"),
        (["run", "flow.py", "--workflow", "sums", "--workers", "0"], 2, "workers must be a positive integer"),
        (["run", "flow.py", "--workflow", "sums", "--store", "s3://x"], 2, "not a store address: s3://x"),
        (["status"], 2, "there is no store at"),
        (["cancel", "3"], 2, "there is no store at"),
        (["frobnicate"], 2, 'Unknown command "frobnicate"'),
        (["show"], 2, "ID"),
        (["list", "--state", "tired"], 2, "tired"),
        (["list", "--colour", "red"], 2, "--colour"),
        (["why", "x"], 2, "error[TM100]: 'x' is not an id"),
        (["why", "3"], 2, "3 is a block, but a run is wanted here\n  tidemill list --block 3 lists its runs"),
        (["why", "datum:3"], 2, "datum:3 is a datum, but a run is wanted here"),
        (["gc", "--grace", "soon"], 2, "'soon' is not a duration"),
        (["debug", "1.1", "--pdb", "--json"], 2, "a debugger needs the terminal"),
        (["priority", "1"], 2, "say what to change"),
    ],
)
def test_mistakes_are_told_in_a_line_or_two(cli: Run, argv: list[str], code: int, message: str) -> None:
    done = cli(*argv)
    assert done.code == code
    assert done.out == ""
    assert message in done.err
    assert "Traceback" not in done.err
    assert len(done.err.splitlines()) <= 3


def test_what_is_not_in_the_store(looked: Run) -> None:
    for argv in (
        ["show", "9.9"],
        ["why", "1.99"],
        ["logs", "9.9"],
        ["lineage", "99"],
        ["cancel", "99"],
        ["retry", "99"],
    ):
        done = looked(*argv)
        assert done.code == 2, argv
        assert done.err.startswith("error[TM200]: there is no "), argv


def test_a_store_of_a_newer_version(looked: Run, folder: Path) -> None:
    db = open_database(str(folder / ".tidemill"))
    with db.transaction():
        meta.put(db, "schema", 77)
    db.close()
    for argv in (["status"], ["plan", "flow.py", "--workflow", "sums"], ["run", "flow.py", "--workflow", "sums"]):
        done = looked(*argv)
        assert done.code == 1, argv
        assert "has schema version 77" in done.err
        assert "pip install -U tidemill" in done.err
        assert "Traceback" not in done.err


def test_our_own_mistakes_show_their_traceback(folder: Path) -> None:
    code = (
        "import sys\nfrom tidemill import cli\n"
        "import tidemill.cli.asking as asking\n"
        "def broken(*a, **k): raise RuntimeError('our fault')\n"
        "asking.open_store = broken\nsys.exit(cli.main(['status']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "RuntimeError: our fault" in done.stderr


def test_help_and_version(cli: Run) -> None:
    top = cli("--help")
    assert top.code == 0
    for name in ("run", "plan", "status", "show", "logs", "why", "lineage", "list", "cancel", "retry", "gc", "debug"):
        assert f" {name} " in top.out
        one = cli(name, "--help")
        assert one.code == 0
        assert "Usage: tidemill" in one.out
    assert "Ctrl-C once finishes what runs" in " ".join(cli("run", "--help").out.split()), "the whole docstring"
    assert cli("--version").out == cli("version").out


def test_help_imports_no_command() -> None:
    code = "import sys\nfrom tidemill import cli\ncli.main(['--help'])\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not any(m.startswith(("tidemill.client", "tidemill.graph", "tidemill.engine")) for m in loaded)


def test_a_reader_that_goes_away_is_no_error(looked: Run, folder: Path) -> None:
    with start("show", "1.4", cwd=folder) as process:
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        _, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    assert "BrokenPipe" not in err


def test_output_is_stable(looked: Run) -> None:
    """The names that programs rely on."""
    shapes: dict[str, Any] = {
        "status": {"store", "served", "blocks", "more"},
        "list": {"runs", "after"},
    }
    for command, keys in shapes.items():
        assert set(json.loads(looked(command, "--json").out)) == keys
    assert set(json.loads(looked("show", "1.4", "--json").out)) == {
        "id", "task", "state", "block", "workflow", "place", "arguments", "outputs", "attempts", "after", "reused_from",
        "grew", "cause", "newer", "failure", "scratch", "options", "key", "files", "used",
    }  # fmt: skip
    assert set(json.loads(looked("why", "1.4", "--json").out)) == {
        "run", "task", "state", "verdict", "text", "like", "how", "components", "changes", "waits", "cause",
    }  # fmt: skip
    assert set(json.loads(looked("lineage", "1.4", "--json").out)) == {
        "subject", "up", "start", "total", "nodes", "edges",
    }  # fmt: skip
