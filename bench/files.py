"""Files of a running task: 1,000 small ones written and read, one large one in and out, each beside plain copies."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import toil_peer
from blake3 import blake3
from measure import Row, Watch, flush_ms, fresh, main

import tidemill as tm

N = 1000
SIZE = 4096
LARGE = 1 << 30
PIECE = 1 << 20


def seconds(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


@tm.task
def make() -> dict[str, object]:
    """Small files written, and the same copied."""
    folder = tm.files.directory()
    (folder / "copies").mkdir()
    paths = [folder / f"{i}.bin" for i in range(N)]
    for path in paths:
        path.write_bytes(os.urandom(SIZE))
    copied = seconds(lambda: [shutil.copyfile(path, folder / "copies" / path.name) for path in paths])
    began = time.time()
    ids = [tm.files.write(path) for path in paths]
    return {"ids": ids, "copied": copied, "began": began}


@tm.task
def take(made: dict[str, object]) -> dict[str, float]:
    """The same read by another task, and copied; when it began: after the commit of who made them."""
    begun = time.time()
    ids = made["ids"]
    assert isinstance(ids, list)
    first, copies = tm.files.directory(), tm.files.directory()
    read = seconds(lambda: [tm.files.read(one, first / one.name) for one in ids])
    copied = seconds(lambda: [shutil.copyfile(first / one.name, copies / one.name) for one in ids])
    return {"read": read, "copied": copied, "begun": begun}


@tm.task
def large() -> dict[str, float]:
    """A large file in and out, beside a copy and its digest; each goes first in one of two rounds, since what is
    written first is written faster."""
    folder = tm.files.directory()
    taken = {"ours": 0.0, "plain": 0.0}
    for names in (("plain", "ours"), ("ours", "plain")):
        for name, took in in_and_out(folder, names):
            taken[name] += took
    return taken


def in_and_out(folder: Path, names: tuple[str, str]) -> Iterator[tuple[str, float]]:
    """Seconds of each of the four acts, which are done in the order of the names."""
    piece = os.urandom(PIECE)
    with open(folder / "large", "wb") as file:
        file.writelines(piece[i:] + piece[:i] for i in range(LARGE // PIECE))
    ids: list[tm.FileId] = []
    into: dict[str, Callable[[], object]] = {
        "plain": lambda: copy_and_digest(folder / "large", folder / "in"),
        "ours": lambda: ids.append(tm.files.write(folder / "large")),
    }
    out: dict[str, Callable[[], object]] = {
        "plain": lambda: copy_and_digest(folder / "large", folder / "out", durable=False),
        "ours": lambda: tm.files.read(ids[0], folder / "read"),
    }
    for acts in (into, out):
        for name in names:
            yield name, settled(folder, acts[name])
    for made in ("large", "in", "out", "read"):
        (folder / made).unlink()


def settled(folder: Path, act: Callable[[], object]) -> float:
    """Seconds, after what was written before is on the disk and as much memory as a copy needs has been used.

    A virtual machine may get memory from its host at the first use only, several times slower than a copy goes on.
    """
    shutil.copyfile(folder / "large", folder / "memory")
    os.sync()
    (folder / "memory").unlink()
    return seconds(act)


def copy_and_digest(source: Path, target: Path, *, durable: bool = True) -> None:
    """What has to be done at least: read and write; what goes in is digested, and survives a power failure."""
    h = blake3()
    with open(source, "rb") as reader, open(target, "wb") as writer:
        while piece := reader.read(PIECE // 4):
            if durable:
                h.update(piece)
            writer.write(piece)
        if durable:
            writer.flush()
            os.fsync(writer.fileno())


@tm.workflow
def small_files() -> object:
    made = make()
    return [take(made), made["copied"], made["began"]]


@tm.workflow
def large_file() -> object:
    return large()


def rows(directory: Path) -> Iterator[Row]:
    more = {"write_s": 0.0, "read_s": 0.0}
    plain = toil = 0.0
    with Watch() as watch:
        for ours_first in (True, False):  # what making a file costs changes from minute to minute
            if not ours_first:
                toil += toil_peer.small_files(directory, N)
            with fresh(directory) as place, tm.open(place / "store") as store:
                taken, copied, began = store.run(small_files(), workers=1, progress=False)
            more["write_s"] += taken["begun"] - began
            more["read_s"] += taken["read"]
            plain += copied + taken["copied"]
            if ours_first:
                toil += toil_peer.small_files(directory, N)
    ours = sum(more.values())
    yield Row("files", 4 * N / ours, 4 * N / plain, "/s plain copies", watch.others, flush_ms(directory), more)
    yield Row("files_toil", toil, ours, "s ours", watch.others, flush_ms(directory))
    with fresh(directory) as place, Watch() as watch, tm.open(place / "store") as store:
        found = store.run(large_file(), workers=1, progress=False)
    rate = 4 * LARGE / 1e6
    yield Row(
        "file_large", rate / found["ours"], rate / found["plain"], "MB/s copy and BLAKE3", watch.others,
        flush_ms(directory),
    )  # fmt: skip


if __name__ == "__main__":
    main(rows)
