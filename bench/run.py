"""Measures everything and prints one table: `python bench/run.py [GROUP …] [--repeat N] [--save] [--peers]`."""

import argparse
import os
import platform
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from goals import GOALS
from measure import Row, flush_ms, prepare, row_of, table

HERE = Path(__file__).parent
GROUPS = (
    "throughput", "latency", "scale", "submission", "reuse", "restart", "shell", "postgres", "objects", "transfer",
    "ancestry", "cache", "files", "jobs",
)  # fmt: skip


def main() -> int:
    """Run the groups, each in a process of its own; 1 if a gate is missed."""
    parser = argparse.ArgumentParser(description="Measure Tidemill against limits and peers measured in the same run.")
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}; default: all")
    parser.add_argument("--repeat", type=int, default=1, help="run each group so often and show the row in the middle")
    parser.add_argument("--save", action="store_true", help="keep the JSON lines in bench/results/")
    parser.add_argument("--peers", action="store_true", help="also install and measure peers from PyPI in bench/.peers")
    parser.add_argument(
        "--dir", type=Path, default=HERE / ".work", help="where stores are made: on the disk that counts"
    )
    options = parser.parse_args()
    unknown = sorted(set(options.groups) - set(GROUPS))
    if unknown:
        parser.error(f"no such group: {', '.join(unknown)}; there are {', '.join(GROUPS)}")
    directory = prepare(options.dir.absolute())
    print(machine(directory), flush=True)
    found = [row for group in options.groups or GROUPS for row in _group(group, options.repeat, directory)]
    print(f"\n{table(found)}")
    if options.save:
        _save(found)
    if options.peers:
        subprocess.run([sys.executable, HERE / "peers.py", directory], check=True)
    return int(any(row.verdict == "MISSED" for row in found))


def machine(directory: Path) -> str:
    """One line about where this is measured."""
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} CPUs, load {load:.2f}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        f"Linux {platform.release()}, fdatasync {flush_ms(directory):.2f} ms, {time.strftime('%Y-%m-%d %H:%M')}"
    )


def _group(name: str, repeat: int, directory: Path) -> Iterator[Row]:
    """The rows of a group: of several runs, the one with the ratio in the middle."""
    runs: dict[str, list[Row]] = {}
    for _ in range(repeat):
        command: list[str | Path] = [sys.executable, HERE / f"{name}.py", "--lines", "--dir", directory]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                row = row_of(line)
                runs.setdefault(row.name, []).append(row)
                print(f"  {GOALS[row.name].text}: ratio {row.ratio:.3g}, {row.verdict}", flush=True)
        if process.returncode:
            raise SystemExit(f"{name}.py failed with exit code {process.returncode}")
    for rows in runs.values():
        yield min(rows, key=lambda row: abs(row.ratio - statistics.median_low(r.ratio for r in rows)))


def _save(rows: list[Row]) -> None:
    place = HERE / "results" / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    place.parent.mkdir(exist_ok=True)
    place.write_text("".join(row.line() + "\n" for row in rows), encoding="utf-8")
    print(f"\nsaved as {place}")


if __name__ == "__main__":
    sys.exit(main())
