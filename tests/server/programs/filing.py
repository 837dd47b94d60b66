"""A user's script whose tasks use files, and defer things. Arguments as for flows.py."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import tidemill as tm

HERE = Path(os.environ.get("TEST_DIRECTORY", "."))


def note(text: str) -> None:
    """Append a line to the log; one write, so lines of several processes do not mix."""
    log = os.open(HERE / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(log, f"{text}\n".encode())
    os.close(log)


@tm.task
def make(i: int, size: int) -> tm.FileId:
    with tm.files.writing(f"{i}.txt", encoding="utf-8") as out:
        out.write(f"{i}:" + "." * size)
    return out.id


@tm.task
def measure(ids: list[tm.FileId]) -> list[Any]:
    found = []
    for known in ids:
        with tm.files.open(known, encoding="utf-8") as source:
            found.append([known.name, source.read(2), tm.files.size(known), len(tm.files.read(known).read_text())])
    return found


@tm.workflow
def pass_on(count: int, size: int) -> Any:
    return measure(make(tm.sweep(list(range(count))), size))


@tm.task
def grow(count: int, size: int) -> Any:
    """What it has written is read by what it grows."""
    here = make.fn(count, size)
    return measure([here, *[make(i, size) for i in range(count)]])


@tm.workflow
def grown(count: int, size: int) -> Any:
    return grow(count, size)


@tm.task
def remove(ids: list[tm.FileId], fail: bool) -> list[bool]:
    for known in ids:
        tm.files.delete(known)
    if fail:
        raise KeyError("no such thing")
    return [tm.files.exists(known) for known in ids]


@tm.task
def there(ids: list[tm.FileId], removed: Any) -> list[bool]:
    return [tm.files.exists(known) for known in ids]


@tm.workflow
def removing(count: int, size: int, fail: bool) -> Any:
    ids = make(tm.sweep(list(range(count))), size)
    removed = remove(tm.gather(ids), fail)
    return [removed, there(tm.gather(ids), [] if fail else removed)]


@tm.workflow
def still_there(count: int, size: int) -> Any:
    return there(tm.gather(make(tm.sweep(list(range(count))), size)), [])


@tm.task
def raise_to(number: int) -> int:
    """The largest number so far, kept by several at once."""
    while True:
        version = tm.files.version("largest")
        largest = 0
        if version:
            with tm.files.shared("largest", encoding="utf-8") as file:
                largest = int(file.read())
        if number <= largest:
            return largest
        try:
            with tm.files.shared("largest", "wb", encoding="utf-8", expect=version) as out:
                out.write(str(number))
        except tm.ChangedError:
            continue
        return number


@tm.task
def largest(numbers: list[int]) -> int:
    with tm.files.shared("largest", encoding="utf-8") as file:
        return int(file.read())


@tm.workflow
def racing(count: int) -> Any:
    return largest(raise_to(tm.sweep(list(range(1, count + 1)))))


@tm.task(timeout=1)
def deferring(how: str) -> str:
    tm.defer(note, f"deferred {how}")
    note(f"run {how}")
    if how == "raise":
        raise KeyError("no such thing")
    if how == "os._exit":
        os._exit(3)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "timeout":
        signal.pause()
    return how


@tm.workflow
def ends(hows: list[str]) -> Any:
    return [deferring(how) for how in hows]


@tm.task
def gated_deferring(name: str, directory: str) -> str:
    """Defer, and wait at a gate with a temporary file."""
    tm.defer(note, f"deferred {name}")
    Path(directory, "temporary").write_text(str(tm.files.temporary()))
    Path(HERE, f"{name}.here").write_text(f"{os.getpid()}\n")
    gate = os.open(HERE / f"{name}.gate", os.O_RDONLY)
    os.read(gate, 1)
    os.close(gate)
    return name


@tm.workflow
def gated(name: str, directory: str) -> Any:
    return gated_deferring(name, directory)


def main(url: str, workers: str, name: str, *args: str) -> None:
    with tm.open(url) as store:
        flow = globals()[name]
        print(json.dumps(store.run(flow(*map(json.loads, args)), workers=int(workers))), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
