"""Going on with a workflow of which one run is left: `tidemill resume`, from the start of its process to its end."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import limits
from measure import Row, Watch, flush_ms, fresh, main

N = 100_000

SCRIPT = """
import os, sys
import tidemill as tm

@tm.task
def step(i: int) -> int:
    if i == {n} - 1 and not os.path.exists({gate!r}):
        {end}
    return i

@tm.workflow
def steps():
    step(tm.sweep(range({n} - 1)))
    return step({n} - 1)

if __name__ == "__main__":
    steps().run(store=sys.argv[1], workers=2, progress=False)
"""

ENDS = {
    "restart_killed": ("os.kill(os.getppid(), 9); os.kill(os.getpid(), 9)", "resume"),
    "restart_failed": ("raise ValueError(i)", "retry"),
}
"""How the last run ends the first time, and the command that goes on: everything is killed, or it fails."""


def rows(directory: Path) -> Iterator[Row]:
    for name, (end, command) in ENDS.items():
        with fresh(directory) as place:
            yield _restart(name, place, end, command)


def _restart(name: str, place: Path, end: str, command: str) -> Row:
    script, store, gate = place / "steps.py", place / "store", place / "gate"
    script.write_text(SCRIPT.format(n=N, gate=str(gate), end=end), encoding="utf-8")
    with Watch():  # until its engine has ended
        subprocess.run([sys.executable, str(script), str(store)], capture_output=True, check=False)
    shutil.copytree(store, place / "copy", ignore=shutil.ignore_patterns("*.sock"))
    bare = limits.reopening(place / "copy" / "state.db")
    gate.touch()
    with Watch() as watch:
        words = [sys.executable, "-m", "tidemill", command, "1", "-q", "--store", str(store)]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(N - 1), done.stdout
    return Row(name, watch.seconds, bare, "s bare sqlite3", watch.others, flush_ms(place))


if __name__ == "__main__":
    main(rows)
