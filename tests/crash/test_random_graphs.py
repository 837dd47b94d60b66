"""Random graphs, at every second execution the death of a worker: each effect once in the record, the right strings."""

import json
import os
import random
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from tidemill.client.store import Store
from tidemill.model.states import RunState
from tidemill.stores.state.open import open_database
from tidemill.testing.crash import check_store, completions, every_run, label_of

FLOW = '''
import os
import random
import signal
from typing import Any

import tidemill as tm

DEATHS = 4  # a fifth one would end the run


def note(line: str) -> int:
    log = os.open(os.environ["LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(log, f"{line}\\n".encode())
    os.close(log)
    with open(os.environ["LOG"]) as lines:
        return lines.read().splitlines().count(line)


@tm.task
def letter(label: str, before: list[str]) -> str:
    tries = note(label)
    if tries <= DEATHS and random.Random(f"{label} {tries} {os.environ['SEED']}").random() < 0.5:
        os.kill(os.getpid(), signal.SIGKILL)
    return "".join(sorted({*"".join(before), label}))


@tm.task
def grow(label: str, before: list[str]) -> Any:
    """The same, by another one that it calls."""
    return letter(label, before)


@tm.workflow
def graph(edges: list[list[str]], after: list[list[str]], growing: list[str]) -> Any:
    made: dict[str, Any] = {}
    for label, *parents in edges:
        task = grow if label in growing else letter
        made[label] = task(label, [made[one] for one in parents])
        for later, earlier in after:
            if later == label:
                made[label].after(made[earlier])
    return made


if __name__ == "__main__":
    import json
    import sys

    print(json.dumps(graph(*json.loads(sys.argv[2])).run(store=sys.argv[1], workers=3, progress=False)))
'''
LABELS = "ABCDEFGHIJKLMN"


@pytest.mark.parametrize("seed", range(3))
def test_effects_count_once_though_workers_die(seed: int, tmp_path: Path) -> None:
    dice = random.Random(seed)
    edges = [[one, *(other for other in LABELS[:i] if dice.random() < 0.3)] for i, one in enumerate(LABELS)]
    after = [[one, dice.choice(LABELS[:i])] for i, one in enumerate(LABELS) if i and dice.random() < 0.4]
    growing = [one for one in LABELS if dice.random() < 0.3]
    (tmp_path / "flow.py").write_text(FLOW, encoding="utf-8")
    command = [sys.executable, "flow.py", "store", json.dumps([edges, after, growing])]
    environment = {**os.environ, "LOG": str(tmp_path / "log"), "SEED": str(seed)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == expected(edges)
    executed = Counter((tmp_path / "log").read_text().split())
    assert set(executed) == set(LABELS) and executed.total() > len(LABELS), "nobody died"
    with closing(open_database(str(tmp_path / "store"), read_only=True)) as db:
        check_store(db)
        found = {run.id: (label_of(run), run) for run in every_run(db)}
        assert all(run.state == RunState.COMPLETE for _, run in found.values())
        order = [found[run][0] for run in completions(db)]
    # A call that was grown bears its caller's label, and is complete after it.
    assert Counter(order) == Counter(LABELS) + Counter(growing)
    last = {label: at for at, label in enumerate(order)}
    first = {label: at for at, label in reversed(list(enumerate(order)))}
    assert all(last[parent] < first[label] for label, *parents in edges for parent in parents)
    assert all(first[earlier] < first[later] for later, earlier in after)
    with Store(tmp_path / "store") as store:
        tries = {run.id: run.attempts for run in store.runs(limit=1000).runs}
    assert max(tries.values()) > 1


def expected(edges: list[list[str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for label, *parents in edges:
        found[label] = "".join(sorted({*"".join(found[one] for one in parents), label}))
    return found
