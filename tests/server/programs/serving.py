"""A user's script with services. Arguments as for `flows.py`."""

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tidemill as tm

HERE = Path(os.environ.get("TEST_DIRECTORY", "."))
CPUS = len(os.sched_getaffinity(0))


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


def first_time(name: str) -> bool:
    """Whether nobody asked before."""
    try:
        os.close(os.open(HERE / name, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


# ---------------------------------------------------------------------------------------------------- a tree of them


@tm.service(cpus=0.1)
def noting(name: str, *above: str) -> Iterator[str]:
    note(f"{name} up")
    try:
        yield name
    finally:
        note(f"{name} down")


@tm.task(cpus=0.1)
def use(name: str, *above: str) -> str:
    note(f"{name} begins")
    note(f"{name} ends")
    return name


@tm.workflow
def tree() -> Any:
    with noting("outer") as outer:
        with noting("inner", outer) as inner:
            first = [use(f"inner user {i}", inner) for i in range(3)]
        second = use("outer user", outer)
    return [*first, second]


# ---------------------------------------------------------------------------------------------------- one that answers


def listen(answer: Any) -> tuple[socket.socket, int]:
    """A server of this process; each connection sends a line and gets one back."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection, connection.makefile("rw") as stream:
                stream.write(answer(stream.readline().strip()) + "\n")

    threading.Thread(target=serve, daemon=True).start()
    return server, server.getsockname()[1]


def ask(port: int, text: str) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection, connection.makefile("rw") as stream:
        stream.write(text + "\n")
        stream.flush()
        found = stream.readline().strip()
    if not found:
        raise ConnectionError("the service has gone")
    return found


def maybe_die(chance: float) -> None:
    if os.urandom(1)[0] < 256 * chance:
        os.kill(os.getpid(), signal.SIGKILL)


@tm.service(cpus=0.1, retries=50, backoff=0)
class Shouting:
    """Answers in capitals; it may be killed at any time."""

    def __init__(self, chance: float) -> None:
        self.chance = chance

    def start(self) -> int:
        note("shouting up")

        def answer(text: str) -> str:
            maybe_die(self.chance)
            return text.upper()

        self.server, port = listen(answer)
        return port

    def stop(self) -> None:
        self.server.close()


@tm.task(cpus=0.1, retries=50, backoff=0)
def shout(port: int, text: str, chance: float) -> str:
    maybe_die(chance)
    said = ask(port, text)
    maybe_die(chance)
    return said


@tm.task
def join(parts: list[str]) -> str:
    return "".join(parts)


@tm.workflow
def messages(text: str, chance: float) -> Any:
    with Shouting(chance) as port:  # type: ignore[attr-defined]
        said = [shout(port, letter, chance) for letter in text]
    return join(said)


# ---------------------------------------------------------------------------------------------------- no room


@tm.service(cpus=1)
def large(name: str, *above: str) -> Iterator[str]:
    yield name


@tm.task(cpus=1)
def small(name: str) -> str:
    return name


@tm.workflow
def too_many() -> Any:
    """As many nested services as there are processors, and one more."""
    return _nested(CPUS + 1, ())


def _nested(depth: int, above: tuple[Any, ...]) -> Any:
    if not depth:
        return small(above[-1])
    with large(f"s{depth}", *above) as found:
        return _nested(depth - 1, (*above, found))


@tm.workflow
def side_by_side(n: int) -> Any:
    """Many services that are used apart."""
    found = []
    for i in range(n):
        with large(f"s{i}") as address:
            found.append(small(address))
    return found


@tm.workflow
def many(n: int) -> Any:
    """Many services that are up together."""
    addresses: list[Any] = []
    return _around(n, addresses)


def _around(n: int, above: list[Any]) -> Any:
    if not n:
        return use("user", *above)
    with noting(f"s{n}") as found:
        return _around(n - 1, [*above, found])


# ---------------------------------------------------------------------------------------------------- how they end


@tm.service(cpus=0.1, interval=0.05, retries=2, backoff=0)
class Checked:
    """What it does at each point is told by its arguments: fail the first time, always, or never."""

    def __init__(self, start: str = "", check: str = "", stop: str = "") -> None:
        self.plan = {"start": start, "check": check, "stop": stop}

    def _go(self, point: str) -> None:
        note(point)
        how = self.plan[point]
        if how == "always" or (how == "first" and first_time(point)):
            raise RuntimeError(f"no {point}")
        if how == "hang":
            signal.pause()

    def start(self) -> str:
        self._go("start")
        return "here"

    def check(self) -> bool:
        self._go("check")
        return self.plan["check"] != "false"

    def stop(self) -> None:
        self._go("stop")


@tm.task(cpus=0.1)
def wait_here(address: str, name: str) -> str:
    note(f"{name} begins")
    pass_gate(name)
    note(f"{name} ends")
    return f"{name} {address}"


@tm.workflow
def checked(plan: dict[str, str], names: list[str]) -> Any:
    with Checked(**plan) as address:  # type: ignore[attr-defined]
        return [wait_here(address, name) for name in names]


@tm.workflow
def checked_briefly(plan: dict[str, str]) -> Any:
    with Checked(**plan) as address:  # type: ignore[attr-defined]
        return small(address)


@tm.service(timeout=2, retries=1, backoff=0)
def slow() -> Iterator[str]:
    note("start")
    if first_time("slow"):
        signal.pause()
    yield "here"
    note("down")


@tm.workflow
def slowly(names: list[str]) -> Any:
    with slow() as address:
        return [wait_here(address, name) for name in names]


@tm.service
def silent(n: int) -> Iterator[str]:
    for i in range(n):
        yield str(i)


@tm.workflow
def yields(n: int) -> Any:
    with silent(n) as address:
        return small(address)


@tm.service(cpus=0.1)
class Stubborn:
    """It does not come down."""

    def start(self) -> str:
        return "here"

    def stop(self) -> None:
        note("stop")
        signal.pause()


@tm.workflow
def stubborn(names: list[str]) -> Any:
    with Stubborn() as address:  # type: ignore[attr-defined]
        return [wait_here(address, name) for name in names]


# ---------------------------------------------------------------------------------------------------- where


@tm.service(local=True)
def at_home() -> Iterator[str]:
    yield "home"


@tm.workflow
def local() -> Any:
    with at_home() as address:
        return [use(f"user {i}", address) for i in range(3)]


@tm.task(cpus=0.1)
def grow(address: str, n: int) -> Any:
    note(f"grow {n}")
    return join([use(f"{n}", address), grow(address, n - 1)]) if n else "."


@tm.workflow
def growing(n: int) -> Any:
    with noting("service") as address:
        return grow(address, n)


@tm.task
def inside(n: int) -> Any:
    with noting("service") as address:
        return join([use(f"{i}", address) for i in range(n)])


@tm.workflow
def inside_a_task(n: int) -> Any:
    return inside(n)


@tm.workflow
def gated(names: list[str]) -> Any:
    with noting("service") as address:
        return [wait_here(address, name) for name in names]


@tm.task(cpus=0.1)
def quick(i: int) -> int:
    return i


@tm.workflow
def beside(n: int) -> Any:
    """Services among many short runs."""
    with noting("service") as address:
        found = use("user", address)
    return [found, sum_of([quick(i) for i in range(n)])]


@tm.task
def sum_of(values: list[int]) -> int:
    return sum(values)


# ---------------------------------------------------------------------------------------------------- what may come


@tm.task(cpus=0.1, retries=1, backoff=3)
def second_time(address: str) -> str:
    if first_time("second_time"):
        note("failed")
        raise RuntimeError("not yet")
    return address


@tm.task(cpus=CPUS)
def all_of_it(before: str) -> str:
    return "all"


@tm.workflow
def backing_off() -> Any:
    """A service whose user waits for its next attempt, and a run that does not fit beside it."""
    with noting("service") as address:
        found = second_time(address)
    return [found, all_of_it(wait_here("", "a"))]


@tm.task(cpus=0.1)
def shared(name: str) -> str:
    pass_gate(name)
    return name


@tm.workflow
def share(name: str) -> Any:
    return shared(name)


@tm.workflow
def beside_shared(name: str) -> Any:
    """The service's user waits for what another workflow makes."""
    with noting("service") as address:
        found = use("user", address, shared(name))
    return [found, all_of_it(wait_here("", "b"))]


@tm.service(cpus=0.1, accelerators="cuda:1")
def with_device() -> Iterator[str]:
    yield "here"


@tm.task(cpus=0.1, accelerators="cuda:1")
def on_device(address: str) -> str:
    return address


@tm.workflow
def device_twice() -> Any:
    with with_device() as address:
        return on_device(address)


def main(url: str, workers: str, name: str, *args: str) -> None:
    with tm.open(url) as store:
        flow = globals()[name]
        found = store.run(flow(*map(json.loads, args)), workers=int(workers))
        print(json.dumps(found), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
