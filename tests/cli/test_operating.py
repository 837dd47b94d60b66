"""Operations from another process: states, settings that come back, statistics, cleaning up, destroying."""

import json
import os
import select
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Done, Run, start
from tests.cli.test_commands import sums
from tidemill.client.startup import without_passwords

GATED = """
import os
import tidemill as tm

@tm.task
def step(i: int) -> int:
    here = os.environ["HERE"]
    open(f"{here}/here", "w").write("!")
    open(f"{here}/gate", "rb", 0).read(1)
    return i

@tm.workflow
def steps():
    return step(tm.sweep([1, 2, 3]))
"""

PICKY = """
import os
import tidemill as tm

@tm.task
def step(i: int) -> int:
    here = os.environ["HERE"]
    if i == 0 and not os.path.exists(f"{here}/good"):
        raise ValueError(f"{i} is not to my taste")
    if i == 1:
        open(f"{here}/here", "w").write("!")
        open(f"{here}/gate", "rb", 0).read(1)
    return i

@tm.task
def grown(n: int) -> list[int]:
    return [step(i) for i in range(n)]

@tm.workflow
def steps():
    return CALLED
"""
"""The first of three steps fails, before the second one waits to be let on."""


class Gated:
    """A workflow in a process of its own, whose steps wait to be let on."""

    def __init__(
        self, folder: Path, *words: object, script: str = GATED, resume: bool = False, **environment: str
    ) -> None:
        (folder / "gated.py").write_text(script, encoding="utf-8")
        self._pipes = []
        for name in ("here", "gate"):
            if not (folder / name).exists():
                os.mkfifo(folder / name)
            self._pipes.append(os.open(folder / name, os.O_RDWR | os.O_CLOEXEC))
        command = ["resume", "1"] if resume else ["run", "gated.py"]
        self.process = start(*command, *words, cwd=folder, HERE=str(folder), **environment)

    def reached(self) -> None:
        os.read(self._pipes[0], 1)

    def forget(self) -> None:
        """Who came to the gate before."""
        while select.select([self._pipes[0]], [], [], 0)[0]:
            os.read(self._pipes[0], 4096)

    def open(self, times: int = 3) -> None:
        os.write(self._pipes[1], b"!" * times)

    def ended(self) -> Done:
        out, err = self.process.communicate(timeout=60)
        return Done(self.process.returncode, out, err)


def asked(cli: Run, *words: object) -> Any:
    done = cli(*words, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


def asked_anyway(cli: Run, *words: object, **environment: str) -> Any:
    """What a command says of a workflow, which has failed or not."""
    return json.loads(cli(*words, "--json", **environment).out)


# --------------------------------------------------------------------------------------------------------------- states


def test_the_states_of_a_workflow_as_another_process_sees_them(cli: Run, folder: Path) -> None:
    gated = Gated(folder, "-w", 1)
    gated.reached()
    one = asked(cli, "status")["blocks"][0]
    assert (one["state"], one["running"] >= 1, one["ended"]) == ("open", True, 0)
    engine = asked(cli, "status", "--engine")[0]
    assert (engine["host"], engine["workers"]) == (os.uname().nodename, 1)
    assert os.readlink(f"/proc/{engine['pid']}/cwd") == str(folder)
    assert abs(engine["since"] - Path(f"/proc/{engine['pid']}").stat().st_mtime) < 60
    assert asked(cli, "kill", "--now") == {"served": True, "workflows": 1, "killed": False, "ended": True}
    ended = gated.ended()
    assert (ended.code, ended.out) == (130, "")
    assert "(tidemill kill)" in ended.err
    assert "nothing is lost" in ended.err
    assert asked(cli, "status")["blocks"][0]["state"] == "interrupted"
    assert asked(cli, "status", "--engine") == []
    gated.open()
    assert cli("resume", 1, "-q", HERE=str(folder)) == Done(0, "[1, 2, 3]\n", "")
    assert asked(cli, "status")["blocks"][0]["state"] == "complete"
    assert sums(cli, "-q", GATE="closed").code == 1
    assert [b["state"] for b in asked(cli, "status")["blocks"]] == ["error", "complete"]


def test_resume_tries_again_what_failed_in_a_workflow_that_has_ended(cli: Run, folder: Path) -> None:
    assert sums(cli, "-q", GATE="closed").code == 1
    still = asked_anyway(cli, "resume", 1, "-q", GATE="closed")
    assert (still["state"], still["failed"]) == ("error", 3)
    tries = json.loads(cli("show", "1.4", "--json").out)["attempts"]
    assert len(tries) == 2, "it was tried again, and failed again"
    assert cli("resume", 1, "-q", GATE=str(folder)) == Done(0, "3\n", "")
    again = asked_anyway(cli, "resume", 1, "-q", GATE="closed")
    assert (again["state"], again["result"]) == ("complete", 3), "what is complete is not tried again"
    assert len(json.loads(cli("show", "1.4", "--json").out)["attempts"]) == 3


@pytest.mark.parametrize("called", ["step(tm.sweep([0, 1, 2]))", "grown(3)"])
def test_resume_tries_again_what_failed_before_an_interruption(cli: Run, folder: Path, called: str) -> None:
    script = PICKY.replace("CALLED", called)
    gated = Gated(folder, "-w", 1, "-q", script=script)
    gated.reached()
    cli("kill", "--now")
    assert gated.ended().code == 130
    (one,) = asked(cli, "status")["blocks"]
    assert (one["state"], one["failed"]) == ("interrupted", 1)
    (folder / "good").touch()
    gated.open()
    assert cli("resume", 1, "-q", HERE=str(folder)) == Done(0, "[0, 1, 2]\n", "")


def test_failed_runs_are_listed_with_why_and_what_they_printed(cli: Run) -> None:
    sums(cli, "-q", GATE="closed")
    found = asked(cli, "status", "--failed")
    assert [(f["task"], f["message"], f["log"]) for f in found] == [
        ("picky", f"{i} is not to my taste", [f"looking at {i}"]) for i in range(3)
    ]
    assert "looking at 2" in cli("status", "--failed").out
    assert cli("status", "--failed", "--engine").code == 2
    sums(cli, "-q", "--store", "good")
    assert cli("status", "--failed", "--store", "good").out == "nothing failed\n"


# ------------------------------------------------------------------------------------------------------------- settings


def test_how_a_workflow_was_started_is_kept_and_restored(cli: Run, folder: Path) -> None:
    gated = Gated(
        folder, "-w", 3, "--stop-on-failure",
        TIDEMILL_LEASE_SECONDS="77", TIDEMILL_ACCELERATORS="cuda:2", TIDEMILL_CACHE_LIMIT="1G",
    )  # fmt: skip
    gated.reached()
    gated.process.send_signal(signal.SIGKILL)
    gated.ended()
    cli("kill", "--now")
    gated.forget()
    kept = asked(cli, "config", "--block", 1)
    assert (kept["workers"], kept["stop"], kept["detached"], kept["cwd"]) == (3, True, False, str(folder))
    assert kept["argv"][-5:] == ["run", "gated.py", "-w", "3", "--stop-on-failure"]
    assert kept["environment"] == {"TIDEMILL_LEASE_SECONDS": "77"}
    assert "workers" in cli("config", "--block", 1).out
    for words, count in (([], 3), (["-w", 2], 2)):
        again = Gated(folder, "-q", *words, resume=True)
        again.reached()
        engine = asked(cli, "status", "--engine")[0]
        assert engine["workers"] == count
        environment = Path(f"/proc/{engine['pid']}/environ").read_bytes().split(b"\0")
        assert b"TIDEMILL_LEASE_SECONDS=77" in environment
        assert not [one for one in environment if one.startswith((b"TIDEMILL_ACC", b"TIDEMILL_CACHE"))]
        cli("kill", "--now")
        assert again.ended().code == 130
        gated.forget()


def test_settings_are_kept_in_the_store_and_count_for_everybody(cli: Run, folder: Path) -> None:
    assert cli("config").code == 2, "there is no store"
    sums(cli, "-q")
    assert [(s["name"], s["value"]) for s in asked(cli, "config")] == [("workers", ""), ("gc-grace", "")]
    assert asked(cli, "config", "workers", 5)[0]["value"] == "5"
    assert asked(cli, "config", "workers")[0]["value"] == "5"
    gated = Gated(folder)
    gated.reached()
    assert asked(cli, "status", "--engine")[0]["workers"] == 5
    gated.open()
    assert gated.ended().code == 0
    assert asked(cli, "config", "workers", "--unset")[0]["value"] == ""
    for words, said in (
        (["workers", "many"], "workers must be a positive integer, not 'many'"),
        (["gc-grace", "soon"], "gc-grace must be a duration"),
        (["wrokers", "1"], "there is no setting 'wrokers'"),
        (["--unset"], "say which setting"),
    ):
        done = cli("config", *words)
        assert (done.code, said in done.err) == (2, True), done.err


@pytest.mark.parametrize(
    ("word", "kept"),
    [
        ("postgresql://me:secret@host/db", "postgresql://me:***@host/db"),
        ("--store=postgresql://me:secret@host:5/db?x=1", "--store=postgresql://me:***@host:5/db?x=1"),
        ("postgresql://host/db?user=me&password=secret&x=1", "postgresql://host/db?user=me&password=***&x=1"),
        ("https://host:8080/path", "https://host:8080/path"),
        ("plain", "plain"),
    ],
)
def test_passwords_in_addresses_are_not_kept(word: str, kept: str) -> None:
    assert without_passwords(word) == kept


# ----------------------------------------------------------------------------------------------------------- statistics


def test_statistics_by_task(cli: Run) -> None:
    sums(cli, "-q", "--set", "n=4")
    sums(cli, "-q", "--set", "n=6", GATE="closed")
    whole = {t["task"]: t for t in asked(cli, "stats")["tasks"]}
    assert {n: (t["runs"], t["failed"], t["retried"]) for n, t in whole.items()} == {
        "number": (6, 0, 0), "picky": (6, 2, 0), "total": (1, 0, 0),
    }  # fmt: skip
    one = {t["task"]: t for t in asked(cli, "stats", 1)["tasks"]}
    for quantity in ("wall", "cpu", "wait", "memory"):
        spread = one["number"][quantity]
        assert spread["count"] == 4
        assert spread["min"] <= spread["median"] <= spread["max"]
        assert spread["min"] <= spread["mean"] <= spread["max"]
        assert spread["total"] == pytest.approx(4 * spread["mean"])
    runs = asked(cli, "stats", 1, "--per-run")["runs"]
    assert [r["task"] for r in runs].count("number") == 4
    assert all(r["wall"] >= 0 and r["host"] == os.uname().nodename for r in runs)
    table = cli("stats", "--sort", "task").out.splitlines()
    assert table[0].split() == ["task", "runs", "failed", "retried", "min", "median", "mean", "max", "total"]
    assert [line.split()[0] for line in table[1:] if not line.startswith(" ")] == ["number", "picky", "total"]
    assert cli("stats", 99).code == 2


# ------------------------------------------------------------------------------------------------- cleaning, destroying


def test_cleaning_deletes_results_and_keeps_the_record(cli: Run) -> None:
    sums(cli, "-q")
    sums(cli, "-q", "--set", "n=5", GATE="closed")
    assert cli("clean").code == 2
    assert cli("clean", "--all", "--older", "1d").code == 2
    assert asked(cli, "clean", "--older", "1d")["blocks"] == []
    assert asked(cli, "clean", "--all", "--dry-run")["blocks"] == [2, 1]
    assert asked(cli, "clean", "--all", "--failed")["blocks"] == [2]
    assert asked(cli, "clean", 1) == {"blocks": [1], "runs": 7, "bytes": 0, "dry_run": False}
    assert asked(cli, "clean", "--all")["blocks"] == []
    assert [b["id"] for b in asked(cli, "status")["blocks"]] == [2, 1]
    assert {r["state"] for r in asked(cli, "list", "--block", 1)["runs"]} == {"deleted"}
    assert sums(cli, "-q") == Done(0, "3\n", ""), "what was deleted is computed again"


def test_destroying_takes_what_is_the_stores_and_nothing_else(cli: Run, folder: Path) -> None:
    sums(cli, "-q")
    store = folder / ".tidemill"
    mine = [store / "notes.txt", store / "objects" / "mine", store / "work" / "mine" / "deep.txt", folder / "flow.py"]
    for path in mine:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.exists() or path.write_text("mine", encoding="utf-8")
    (store / "objects" / "ab").mkdir()
    (store / "objects" / "ab" / ("0" * 62)).write_text("an object")
    (store / "objects" / "ab" / ("0" * 62)).chmod(0o444)
    (store / "objects" / "ab").chmod(0o555)
    assert cli("destroy", ".tidemill").code == 2
    assert store.joinpath("state.db").exists()
    found = asked(cli, "destroy", ".tidemill", "--yes")
    assert found["kept"] == ["notes.txt", "objects/mine", "work/mine/deep.txt"]
    assert all(path.exists() for path in mine)
    assert not (store / "state.db").exists()
    assert not (store / "objects" / "ab").exists()
    assert asked(cli, "destroy", ".tidemill", "--yes")["found"] is False
    assert all(path.exists() for path in mine)


def test_a_directory_that_is_no_store_is_left_alone(cli: Run, folder: Path) -> None:
    for name in ("objects/ab", "work/engine-1-0", "files/0123456789abcdef"):
        (folder / "data" / name).mkdir(parents=True)
    assert asked(cli, "destroy", "data", "--yes")["found"] is False
    assert len(list((folder / "data").rglob("*"))) == 6


def test_a_damaged_and_a_half_deleted_store_are_destroyed(cli: Run, folder: Path) -> None:
    sums(cli, "-q")
    store = folder / ".tidemill"
    shutil.copytree(store, folder / "half", ignore=shutil.ignore_patterns("*.sock", "state.db*"))
    (store / "state.db").write_bytes(b"this is no database")
    assert asked(cli, "destroy", ".tidemill", "--yes") == {
        "store": str(store), "found": True, "kept": [], "objects": "",
    }  # fmt: skip
    assert asked(cli, "destroy", "half", "--yes")["found"]
    assert not store.exists()
    assert not (folder / "half").exists()


def test_a_store_that_is_served_is_not_destroyed(cli: Run, folder: Path) -> None:
    gated = Gated(folder, "-q")
    gated.reached()
    done = cli("destroy", ".tidemill", "--yes")
    assert (done.code, "tidemill kill ends that" in done.err) == (1, True)
    gated.open()
    assert gated.ended() == Done(0, "[1, 2, 3]\n", "")
    assert cli("destroy", ".tidemill", "--yes").code == 0, "an engine that is just ending is waited for"
