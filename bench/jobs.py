"""Growth: children of one root beside Toil, and a recursion that grows by itself beside the bare loop."""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import limits
from measure import Row, Watch, flush_ms, fresh, main
from peers import environment
from stores import engine, execute
from work import fan, tree

CHILDREN = 500
TOIL_CHILDREN = 40
DEPTH = 16
"""Of the recursion: 2^(DEPTH + 1) - 1 runs and as many that only hand on."""


def rows(directory: Path) -> Iterator[Row]:
    with Watch() as busy:
        toil = _toil(directory)
    with fresh(directory) as place:
        watch = execute(place, fan(CHILDREN))
    more = {"toil_per_s": toil, "seconds": watch.seconds}
    yield Row("children", CHILDREN / watch.seconds, toil, "/s Toil", max(watch.others, busy.others), 0.0, more)
    bare = limits.independent(directory, 100_000).rate
    runs = 2 ** (DEPTH + 1) - 1
    with fresh(directory) as place, engine(place) as store, Watch() as watch:
        store.run(tree(DEPTH), workers=2, progress=False)
    yield Row("recursion", runs / watch.seconds, bare, "/s bare loop", watch.others, flush_ms(directory))


def _toil(directory: Path) -> float:
    """Children of one root per second, from the start of the program to its end, as a user has them."""
    python = environment("toil")
    with fresh(directory) as place:
        start = time.perf_counter()
        script = Path(__file__).with_name("toil_jobs.py")
        command: list[str | Path] = [python, script, "fan", place / "jobs", str(TOIL_CHILDREN)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=_paths(python))
        seconds = time.perf_counter() - start
    if done.returncode or json.loads(done.stdout.splitlines()[-1]) != TOIL_CHILDREN:
        raise SystemExit(f"Toil failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return TOIL_CHILDREN / seconds


def _paths(python: Path) -> dict[str, str]:
    """Toil finds its workers by name only."""
    return {"PATH": f"{python.parent}:/usr/local/bin:/usr/bin:/bin", "TOIL_HISTORY": "False", "HOME": str(Path.home())}


if __name__ == "__main__":
    main(rows)
