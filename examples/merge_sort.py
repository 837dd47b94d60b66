"""A merge sort that grows: the lines of a file, sorted by as many steps as the file needs.

A step that gets a long piece cuts it in two and calls itself for both halves; a step that gets a short one sorts it.
Two sorted pieces are merged into one. How many steps there will be is known when the last piece has been cut. All of
them are durable: kill whatever you like, with `kill -9`, and start the program again.

    python examples/merge_sort.py readings.txt

Without a file it makes one, of 100,000 readings of tide gauges in no order. The result is written to merge-results/.
"""

import heapq
import io
import random
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import tidemill as tm

RESULTS = Path("merge-results")


def keep(name: str, lines: Iterable[str], temporary: bool = True) -> tm.FileId:
    """Lines as a file of the store, which is not needed any more when the whole sort is done."""
    with tm.files.writing(name, encoding="utf-8", temporary=temporary) as out:
        for line in lines:
            out.write(line)
    return out.id


@tm.task
def sort(piece: tm.FileId, most: int) -> tm.FileId:
    """Sort a piece of at most `most` lines. A longer one is cut in two."""
    with tm.files.open(piece, encoding="utf-8") as stream:
        lines = stream.readlines()
    if len(lines) <= most:
        return keep("sorted.txt", sorted(lines), temporary=False)
    middle = len(lines) // 2
    left, right = keep("left.txt", lines[:middle]), keep("right.txt", lines[middle:])
    return merge(sort(left, most), sort(right, most))


@tm.task
def merge(left: tm.FileId, right: tm.FileId) -> tm.FileId:
    """One sorted piece of two. Neither is ever in memory as a whole."""
    with tm.files.open(left, encoding="utf-8") as one, tm.files.open(right, encoding="utf-8") as other:
        merged = keep("merged.txt", heapq.merge(one, other), temporary=False)
    tm.files.delete(left)
    tm.files.delete(right)
    return merged


@tm.task
def first_piece(source: Path) -> tm.FileId:
    """The file as it is, but that its last line ends like the others."""
    with source.open(encoding="utf-8", newline="") as lines:
        return keep("unsorted.txt", (line if line.endswith("\n") else line + "\n" for line in lines))


@tm.task
def result(piece: tm.FileId) -> Path:
    return tm.files.read(piece, "sorted.txt")


@tm.workflow
def merge_sort(source: Path, most: int = 10_000):
    return result(sort(first_piece(source), most))


def readings(path: Path, count: int) -> Path:
    """A file of readings in no order: a day and a time, a gauge, and a height in m. It is made once: an input that is
    written anew is another input, and what was begun with the old one is not gone on with."""
    if path.exists():
        return path
    dice = random.Random(1)
    lines = [
        f"2024-{dice.randint(1, 12):02}-{dice.randint(1, 28):02}T{dice.randint(0, 23):02}:{dice.randint(0, 59):02}"
        f" gauge-{dice.randint(1, 40):02} {dice.gauss(2.0, 0.7):+.3f}\n"
        for _ in range(count)
    ]
    tm.helpers.atomic_write(io.BytesIO("".join(lines).encode()), path)
    return path


def main() -> None:
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else readings(Path("readings.txt"), 100_000)
    made = merge_sort(source).run(store=".tidemill", workers=2)
    RESULTS.mkdir(exist_ok=True)
    shutil.copyfile(made, RESULTS / "sorted.txt")
    with made.open(encoding="utf-8") as lines:
        first = next(lines, "").rstrip()
    print(f"{RESULTS / 'sorted.txt'}: {made.stat().st_size} bytes, the first line is {first!r}")


if __name__ == "__main__":
    main()
