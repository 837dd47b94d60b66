"""A user's script whose tasks ask for resources. Arguments as for `flows.py`."""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tidemill as tm

HERE = Path(os.environ.get("TEST_DIRECTORY", "."))
MIB = 1 << 20


@contextmanager
def noted(name: object) -> Iterator[None]:
    """Tell when something begins and ends, on a clock that all processes share."""
    began = time.monotonic()
    yield
    log = os.open(HERE / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(log, json.dumps([name, began, time.monotonic()]).encode() + b"\n")
    os.close(log)


def first_time(name: str) -> bool:
    """Whether nobody asked before."""
    try:
        os.close(os.open(HERE / name, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


@tm.task(memory="250 MiB", disk="30 MiB", timeout=30, retries=1, backoff=0)
def hungry(name: str) -> int:
    first = first_time(name)
    block = b"x" * (300 * MIB)
    if first:
        signal.pause()
    return len(block)


@tm.task(disk="20 MiB", memory="1 GiB", timeout=30, retries=1, backoff=0)
def wide(name: str) -> int:
    first = first_time(name)
    Path("deep/er").mkdir(parents=True)
    for i in range(30):
        Path(f"deep/er/{i}").write_bytes(bytes(MIB))
    if first:
        signal.pause()
    return 30


@tm.task(timeout=0.7, disk="20 MiB", memory="1 GiB", retries=1, backoff=0)
def slow(name: str) -> str:
    if first_time(name):
        signal.pause()
    time.sleep(1.0)
    return name


@tm.task
def written(megabytes: int) -> int:
    Path("file").write_bytes(b"x" * (megabytes * MIB))
    return megabytes


made = tm.command("head -c {n} /dev/zero > {out}", inputs={"n": int}, outputs={"out": "out"})


@tm.task
def sized(file: Path) -> int:
    return file.stat().st_size


@tm.task
def occupied(i: int) -> list[Any]:
    with noted(i):
        time.sleep(0.2)
    return [os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ.get("TIDEMILL_ACCELERATORS"), os.getpid()]


@tm.task
def gated(name: str) -> list[Any]:
    """What it was told, once the test lets it on."""
    Path(HERE, f"{name}.here").write_text(f"{os.getpid()}\n")
    gate = os.open(HERE / f"{name}.gate", os.O_RDONLY)
    os.read(gate, 1)
    os.close(gate)
    return [os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ.get("TIDEMILL_ACCELERATORS")]


@tm.workflow
def gates(names: list[str], options: dict[str, Any]) -> Any:
    return gated.options(**options)(tm.sweep(names))


@tm.workflow
def escalated(what: str) -> Any:
    return globals()[what](what)


@tm.workflow
def footprints(n: int) -> Any:
    return [written(n), written(0), sized(made(n * MIB))]


@tm.workflow
def beside(n: int, options: dict[str, Any]) -> Any:
    return occupied.options(**options)(tm.sweep(range(n)))


@tm.workflow
def beside_local(large: str, small: str) -> Any:
    """One that takes the whole machine, and a small step beside it."""
    return [gated.options(cpus=1000, priority=1)(large), gated.options(local=True)(small)]


@tm.workflow
def mixed() -> Any:
    """One with both accelerators after those with one each, so that processes have to be replaced."""
    single = occupied.options(accelerators=1)
    both = occupied.options(accelerators="cuda:2")
    ones = tm.gather(single(tm.sweep(range(4))))
    return [ones, both.call(9).after(ones), occupied(10)]


@tm.workflow
def impossible() -> Any:
    wanted = occupied.options(accelerators="nvidia-a100:2", retries=5)
    return [wanted(tm.sweep(range(3))), occupied(7)]


@tm.task
def how_many(cpus: float) -> float:
    return cpus


@tm.workflow
def promised(n: int, cpus: float) -> Any:
    return occupied.options(cpus=how_many(cpus))(tm.sweep(range(n)))


@tm.task
def room(megabytes: int) -> dict[str, str]:
    return {"memory": f"{megabytes} MiB", "time": "1:00:00"}


@tm.task(outputs=("half", "rest"), retries=1)
def halves(values: list[int], *, label: str = "x") -> tuple[list[int], str]:
    return values[: len(values) // 2], label


def draw(i: int) -> str:
    return f"{i} {os.urandom(4).hex()}"


drawn = tm.task(draw)
counted = tm.command("wc -c < {file}", inputs={"file": Path}, stdout="n")


@tm.task
def grown(i: int) -> Any:
    """Asks for what a step that it calls itself computes."""
    return quick.options(memory=room(i)["memory"])(i)


@tm.task
def quick(i: int) -> int:
    return i


@tm.task
def text(n: int) -> Path:
    Path("text").write_text("x" * n)
    return Path("text")


@tm.workflow
def promises() -> Any:
    asked = room(700)
    half, rest = halves.options(memory=asked["memory"], timeout=asked["time"], cpus=0.5)(
        tm.sweep([1, 2, 3, 4]), label="y"
    )
    several = drawn.repeat(3).options(memory=asked["memory"])(5)
    size = counted.options(cpus=how_many(0.25), retries=2)(text(12))
    return [half, rest, several, size, grown(300)]


@tm.workflow
def bad_promise(cpus: Any) -> Any:
    return quick.options(cpus=how_many(cpus))(77)


@tm.task(memory="auto", disk="auto")
def learning(n: int) -> int:
    Path("file").write_bytes(bytes(n << 20))
    return n


@tm.workflow
def learnt(n: int) -> Any:
    return learning(n)


def main(url: str, workers: str, name: str, *args: str) -> None:
    with tm.open(url) as store:
        flow = globals()[name]
        print(json.dumps(store.run(flow(*map(json.loads, args)), workers=int(workers))), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
