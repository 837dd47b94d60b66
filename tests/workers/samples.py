"""Functions that the executors under test import by name."""

# ruff: noqa: T201

import ctypes
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn


@dataclass
class Point:
    x: float
    y: float


def nothing() -> None:
    pass


def identity(x: Any) -> Any:
    return x


def length(members: list[Any]) -> int:
    return len(members)


def double(x: int) -> int:
    return 2 * x


def add(a: int, b: int, *rest: int, scale: int = 1, **named: int) -> int:
    return (a + b + sum(rest) + sum(named.values())) * scale


def mirrored(point: Point) -> Point:
    return Point(-point.x, -point.y)


def pair() -> tuple[int, str]:
    return 1, "one"


def mapping(keys: list[str]) -> dict[str, int]:
    return {key: number for number, key in enumerate(keys)}


def big(size: int) -> bytes:
    return bytes(size)


def unstorable() -> Any:
    return (n for n in range(3))


class Shy:
    def __reduce__(self) -> NoReturn:
        raise RuntimeError("I would rather not")


def shy() -> Any:
    return Shy()


def half_storable(path: str) -> Any:
    return [Path(path), unstorable()]


# ------------------------------------------------------------------------------------------------------------- printing


def speak(text: str) -> None:
    print(text, end="")
    print("error", file=sys.stderr)
    subprocess.run(["sh", "-c", "echo from the shell"], check=True)
    os.write(1, b"raw\n")


def chatter(lines: int) -> None:
    for number in range(lines):
        print(f"line {number}")


def replace_stdout() -> None:
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115


def lose_stdout(how: str) -> None:
    print("before", flush=True)
    if how == "closed":
        os.close(1)
        os.close(2)
    else:
        with open("elsewhere", "wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)


# -------------------------------------------------------------------------------------------------------------- failing


def divide(x: int) -> float:
    return _ratio(x)


def _ratio(x: int) -> float:
    try:
        return 1 / x
    except ZeroDivisionError as error:
        raise ValueError(f"no ratio for {x}\nsecond line") from error


def leave(code: int) -> NoReturn:
    sys.exit(code)


def interrupt() -> NoReturn:
    raise KeyboardInterrupt


def ramble(size: int) -> NoReturn:
    raise ValueError("x" * size + "\nthe end")


def remove_directory() -> None:
    Path.cwd().rmdir()


def exhaust() -> NoReturn:
    raise MemoryError


def fill_disk() -> NoReturn:
    raise OSError(28, "No space left on device")


class AwkwardError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def awkward() -> NoReturn:
    raise AwkwardError


def fork_and_return() -> int:
    """A child that comes back from user code, as happens with a careless os.fork."""
    return os.fork() and 1


# ---------------------------------------------------------------------------------------------------------------- dying


def vanish(code: int) -> NoReturn:
    print("last words", flush=True)
    os._exit(code)


def crash() -> None:
    ctypes.string_at(0)


def hang(marker: str) -> NoReturn:
    """Ignore every polite request, in a process and in a shell below it, and say into a pipe which they are."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    shell = subprocess.Popen(["sh", "-c", "sleep 1000 & echo $! && wait"], stdout=subprocess.PIPE, text=True)
    assert shell.stdout is not None
    Path(marker).write_text(f"{os.getpid()} {shell.pid} {shell.stdout.readline().strip()}")
    while True:
        signal.pause()


def hold_lock(marker: str) -> None:
    """Say into a pipe that it has begun, and keep the interpreter busy in C code that lets no other thread run."""
    Path(marker).write_text("begun")
    re.match("(a|aa)+$", "a" * 200 + "b")


def sabotage() -> None:
    """Put a file where the executor needs its directory."""
    area = Path.cwd().parent
    shutil.rmtree(area)
    area.touch()


# ---------------------------------------------------------------------------------------------------------------- files


def write_here(name: str, text: str) -> Path:
    Path(name).write_text(text)
    return Path(name)


def write_tree() -> Path:
    Path("tree/sub").mkdir(parents=True)
    Path("tree/sub/leaf").write_text("leaf")
    return Path("tree")


def look(path: Path) -> list[Any]:
    return [path.name, path.read_text(), sorted(os.listdir(".")), os.access(path, os.X_OK)]


def listing() -> list[str]:
    return sorted(os.listdir("."))


def where() -> str:
    return os.getcwd()


def wander() -> None:
    os.chdir("/")


def upset() -> None:
    """Change all that a process's runs share, and leave it so."""
    os.environ["TIDEMILL_SAMPLE"] = "left over"
    os.environ.pop("PATH")
    os.umask(0o777)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_REAL, 3600)
    sum(n * n for n in range(100_000))


def surroundings() -> list[Any]:
    mask = os.umask(0o22)
    os.umask(mask)
    ignored = signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN
    timer = signal.getitimer(signal.ITIMER_REAL)[0]
    return [os.environ.get("TIDEMILL_SAMPLE"), "PATH" in os.environ, mask, ignored, timer]


def promise(name: str) -> Path:
    return Path(name)


def litter(text: str) -> NoReturn:
    Path("notes.txt").write_text(text)
    locked = Path("locked")
    locked.mkdir()
    (locked / "file").write_text("x")
    locked.chmod(0o500)
    raise RuntimeError("left something behind")


# ---------------------------------------------------------------------------------------------------------------- usage


def grab(megabytes: int) -> int:
    return len(bytearray(random.randbytes(1024)) * (1024 * megabytes))


def spin(turns: int) -> int:
    return sum(n * n for n in range(turns))


def in_children(turns: int) -> None:
    subprocess.run([sys.executable, "-c", f"sum(n * n for n in range({turns}))"], check=True)


# ------------------------------------------------------------------------------------------------------------- specials


class Doubler:
    """A callable that is not a function."""

    def __call__(self, x: int) -> int:
        return 2 * x


doubler = Doubler()
nested: Callable[[int], int] = lambda x: x + 1  # noqa: E731
