"""Toil, from PyPI in an environment of its own: what `toil_jobs.py` measures there."""

import json
import subprocess
import time
from pathlib import Path

from measure import fresh
from peers import environment

SCRIPT = Path(__file__).with_name("toil_jobs.py")


def children(directory: Path, few: int = 10, many: int = 50) -> tuple[float, float]:
    """Seconds of a program with no-op children of one root: what it takes anyway, and for each of them."""
    short, long = (_run(directory, "fan", n)[1] for n in (few, many))
    each = (long - short) / (many - few)
    return short - few * each, each


def small_files(directory: Path, n: int) -> float:
    """Seconds for writing and reading files of 4 KiB in one job, with caching on."""
    return _run(directory, "files", n)[0]


def _run(directory: Path, shape: str, n: int) -> tuple[float, float]:
    """(what the workflow returned, seconds of the whole program)."""
    python = environment("toil")
    # Toil finds its workers by their name only
    paths = {"PATH": f"{python.parent}:/usr/local/bin:/usr/bin:/bin", "TOIL_HISTORY": "False", "HOME": str(Path.home())}
    with fresh(directory) as place:
        command: list[str | Path] = [python, SCRIPT, shape, place / "jobs", str(n)]
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=paths)
        seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"Toil failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    if shape == "fan" and found != n:
        raise SystemExit(f"Toil counted {found} of {n} children")
    return float(found), seconds
