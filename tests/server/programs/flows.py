"""A user's script. Arguments: the store, how many workers, the name of a workflow, and its arguments as JSON."""

import ctypes
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import tidemill as tm

HERE = Path(os.environ.get("TEST_DIRECTORY", "."))


def note(text: str) -> None:
    """Append a line to the log; one write, so lines of several processes do not mix."""
    log = os.open(HERE / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(log, f"{text}\n".encode())
    os.close(log)


def pass_gate(name: str) -> None:
    """Tell the test that we are here, and wait until it lets us on."""
    Path(HERE, f"{name}.here").write_text(f"{os.getpid()}\n")
    gate = os.open(HERE / f"{name}.gate", os.O_RDONLY)
    os.read(gate, 1)
    os.close(gate)


@tm.task
def gated(name: str) -> str:
    note(f"gated {name}")
    pass_gate(name)
    return name


@tm.task
def quick(i: int) -> int:
    note(f"quick {i}")
    return i


@tm.task
def after(i: int, before: list[int]) -> int:
    return i


@tm.task
def gated_after(name: str, before: list[int]) -> str:
    note(f"gated {name}")
    pass_gate(name)
    return name


@tm.task
def both(a: Any, b: Any) -> list[Any]:
    return [a, b]


@tm.task
def sized(name: str, seconds: float) -> str:
    note(f"begin {name}")
    time.sleep(seconds)
    note(f"end {name}")
    return name


@tm.task
def end_badly(how: str) -> str:
    note(how)
    if how == "exception":
        raise KeyError("no such thing")
    if how == "sys.exit":
        sys.exit("I am leaving")
    if how == "memory error":
        raise MemoryError
    if how == "os._exit":
        os._exit(3)
    if how == "os._exit 0":
        os._exit(0)
    if how == "segfault":
        ctypes.string_at(0)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    return how


@tm.task
def needs(path: str) -> str:
    return open(path).read()


@tm.task(timeout=1)
def too_long(name: str) -> str:
    pass_gate(name)
    return name


endless = tm.command('echo $$ > "{pids}"; sleep 1000 & echo $! >> "{pids}"; wait', inputs={"pids": str}, timeout=1)


@tm.task(memory="200 MiB")
def greedy(name: str) -> str:
    pass_gate(name)
    block = b"x" * (400 << 20)
    signal.pause()
    return name + str(len(block))


@tm.task
def large(i: int) -> bytes:
    """Values that fit into rows, many of which fill a disk."""
    note(f"large {i}")
    return bytes([i]) * 60_000


@tm.task
def total(values: list[bytes]) -> int:
    return sum(map(len, values))


@tm.workflow
def gates(names: list[str]) -> Any:
    return gated(tm.sweep(names))


@tm.workflow
def gates_after_quick(names: list[str]) -> Any:
    """Runs whose class is known to be quick, so that a worker gets several in advance."""
    return gated_after(tm.sweep(names), quick(tm.sweep(list(range(40)))))


@tm.workflow
def shared(own: str, common: str) -> Any:
    return both(gated(own), gated(common))


@tm.workflow
def number(i: int) -> Any:
    return quick(i)


@tm.workflow
def needs_and_gates(path: str, names: list[str]) -> Any:
    return [needs(path), gated(tm.sweep(names))]


@tm.workflow
def long_sweep(n: int) -> Any:
    return quick(tm.sweep(range(n)))


@tm.workflow
def sizes(runs: list[Any]) -> Any:
    """Runs (name, seconds, cpus, priority)."""
    return [sized.options(cpus=cpus, priority=priority)(name, seconds) for name, seconds, cpus, priority in runs]


@tm.workflow
def behind_gate(gate: str, runs: list[Any]) -> Any:
    return [gated(gate), sizes(runs)]


@tm.workflow
def bad_ends(hows: list[str], good: int) -> Any:
    return [*[end_badly(how) for how in hows], quick(tm.sweep(list(range(good))))]


@tm.workflow
def overrun(gate: str, pids: str) -> Any:
    return [too_long(gate), endless(pids), quick(1)]


@tm.workflow
def overfull(gate: str) -> Any:
    return [greedy(gate), quick(1)]


@tm.workflow
def filling(n: int) -> Any:
    return total(large(tm.sweep(list(range(n)))))


@tm.task
def bulk(i: int) -> bytes:
    note(f"bulk {i}")
    return bytes([i]) * 100_000


@tm.task
def weigh(parts: list[bytes], files: list[Path], more: int) -> int:
    note(f"weigh {more}")
    return sum(map(len, parts)) + sum(len(file.read_text()) for file in files) + more


@tm.task
def leaf(i: int) -> Path:
    note(f"leaf {i}")
    Path("leaf.txt").write_text("x" * i)
    return Path("leaf.txt")


@tm.workflow
def bulky(n: int, more: int = 0) -> Any:
    """Large values in files of the object store, small files in its pack."""
    numbers = tm.sweep(list(range(n)))
    return weigh(bulk(numbers), leaf(numbers), more)


@tm.workflow
def given(more: int) -> Any:
    return weigh([b"given" * 20_000], [], quick_after(more))


@tm.task
def quick_after(more: int) -> int:
    pass_gate("a")
    return more


@tm.task
def corner(name: str, how: str, before: list[str]) -> list[str]:
    note(f"diamond {name}")
    if name == "right" and how == "exception":
        raise ValueError("the right parent fails")
    if name == "right" and how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    return sorted({name}.union(*before))


@tm.workflow
def diamond(how: str) -> Any:
    top = corner("top", "well", [])
    left, right = corner("left", "well", [top]), corner("right", how, [top])
    return corner("bottom", "well", [left, right])


@tm.task
def follow(i: int) -> int:
    note(f"follow {i}")
    if not (HERE / "open").exists():
        raise ValueError("the gate is closed")
    return i


@tm.task
def add_one(i: int) -> int:
    note(f"add to {i}")
    return i + 1


@tm.workflow
def chained(n: int) -> Any:
    found = 0
    for _ in range(n):
        found = add_one(found)
    return follow(found)


@tm.workflow
def filed(n: int) -> Any:
    return leaf(follow(n))


def main(url: str, workers: str, name: str, *args: str) -> None:
    with tm.open(url, objects=os.environ.get("TEST_OBJECTS", "")) as store:
        flow = globals()[name]
        found = store.run(flow(*map(json.loads, args)), workers=int(workers))
        print(json.dumps(None if isinstance(found, Path) else found), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
