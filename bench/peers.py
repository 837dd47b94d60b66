"""What users would take instead, installed from PyPI in environments of their own: `python bench/peers.py [DIRECTORY]`.

redun keeps values and provenance in SQLite, Snakemake keeps files. Each runs no-ops (a function that returns its
argument, `touch`) with two workers, then the same again unchanged. This file is also the program that runs inside them.
"""

import logging
import os
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PINS = {"redun": "redun==0.44.1", "snakemake": "snakemake==9.27.1", "toil": "toil==9.6.0"}
INDEPENDENT, CHAIN, WIDTH, SHELL = 1000, 200, 1000, 200


def main(directory: Path) -> None:
    """Install what is missing, measure all."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("redun", "snakemake"):
        python = environment(name)
        subprocess.run([python, __file__, name, directory / f"peer-{name}-{os.getpid()}"], check=True)


def environment(name: str) -> Path:
    """The interpreter of a peer's own environment, made when it is first wanted."""
    place = HERE / ".peers" / name
    python = place / "bin" / "python"
    if not (place / "installed").exists():
        print(f"installing {PINS[name]} in {place}", flush=True)
        venv.create(place, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-q", PINS[name]], check=True)
        (place / "installed").touch()
    return python


def _timed(peer: str, what: str, n: int, run: Callable[[], object]) -> None:
    start, used = time.perf_counter(), os.times()
    run()
    seconds, after = time.perf_counter() - start, os.times()
    cpu = sum(after[:4]) - sum(used[:4])
    print(f"{peer:10} {what:32} {n:6} {n / seconds:10.1f} /s {seconds / n * 1e3:8.2f} ms {cpu / n * 1e3:8.2f} ms CPU")


def redun(directory: Path) -> None:
    """With its SQLite backend and two local threads."""
    from redun import Scheduler, task  # type: ignore[import-not-found]
    from redun.config import Config  # type: ignore[import-not-found]

    logging.getLogger("redun").setLevel(logging.ERROR)
    os.chdir(directory)
    sys.setrecursionlimit(20_000)

    @task(namespace="bench", version="1")  # type: ignore[untyped-decorator]
    def noop(x: Any, *_: Any) -> Any:
        return x

    @task(namespace="bench", version="1")  # type: ignore[untyped-decorator]
    def many(n: int) -> Any:
        return [noop(i) for i in range(n)]

    @task(namespace="bench", version="1")  # type: ignore[untyped-decorator]
    def count(values: list[int]) -> int:
        return len(values)

    @task(namespace="bench", version="1")  # type: ignore[untyped-decorator]
    def diamond(n: int) -> Any:
        first = noop(-1)
        return count([noop(first, i) for i in range(n)])

    @task(namespace="bench", version="1")  # type: ignore[untyped-decorator]
    def chain(n: int) -> Any:
        x = noop("chain")
        for _ in range(n - 1):
            x = noop(x, "chain")
        return x

    options = {"backend": {"db_uri": "sqlite:///redun.db"}, "executors.default": {"type": "local", "max_workers": "2"}}
    scheduler = Scheduler(config=Config(options))
    scheduler.load()
    _timed("redun", "independent", INDEPENDENT, lambda: scheduler.run(many(INDEPENDENT)))
    _timed("redun", "the same again", INDEPENDENT, lambda: scheduler.run(many(INDEPENDENT)))
    _timed("redun", "chain", CHAIN, lambda: scheduler.run(chain(CHAIN)))
    _timed("redun", "diamond", WIDTH + 2, lambda: scheduler.run(diamond(WIDTH)))


_RULES = """
rule all:
    input: expand('out/{{i}}', i=range({n}))
rule one:
    output: 'out/{{i}}'
    shell: 'touch {{output}}'
"""


def snakemake(directory: Path) -> None:
    """Shell jobs that each touch a file, on two cores."""
    os.chdir(directory)
    Path("Snakefile").write_text(_RULES.format(n=SHELL), encoding="utf-8")
    program = Path(sys.executable).parent / "snakemake"

    def run() -> None:
        subprocess.run([program, "-c", "2", "--quiet", "all"], check=True, capture_output=True)

    _timed("snakemake", "independent shell jobs", SHELL, run)
    _timed("snakemake", "the same again", SHELL, run)


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in PINS:
        place = Path(sys.argv[2])
        place.mkdir(parents=True)
        {"redun": redun, "snakemake": snakemake}[sys.argv[1]](place)
    else:
        main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / ".work")
