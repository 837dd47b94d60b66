"""How the public API looks to a type checker. mypy checks this file with the rest; what it must refuse is marked so.

A call of a task has the type of what the function returns, because that is what its result is good for. A sweep has the
type of one of its values. So wiring is checked as the plain Python that it looks like; where a sweep's results stand
for a list, a second signature of every task admits them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, assert_type

import tidemill.graph as tm


@tm.task
def energy(symbol: str, a: float) -> float:
    return len(symbol) * a


@tm.task(retries=2, memory="2 GiB", timeout=10)
def fit(a: list[float], e: Sequence[float]) -> dict[str, float]:
    return {"a0": min(a), "e0": min(e)}


@tm.task(outputs=("quotient", "remainder"))
def divide(a: int, b: int) -> tuple[int, int]:
    return divmod(a, b)


@tm.task
def fibonacci(n: int) -> int:
    return n if n < 2 else add(fibonacci(n - 1), fibonacci(n - 2))


@tm.task
def add(a: int, b: int) -> int:
    return a + b


@tm.workflow
def passing_results() -> float:
    e = energy("Cu", energy("Al", 3.6))
    assert_type(e, float)
    return e


@tm.workflow
def gathering(symbol: str = "Cu") -> dict[str, float]:
    a = tm.sweep([3.4, 3.5, 3.6])
    assert_type(a, float)
    implicit = fit(a, energy(symbol, a))
    assert_type(implicit, dict[str, float])
    explicit = fit(tm.gather(a), tm.gather(energy(symbol, a), over=a))
    plain = fit([1.0, energy(symbol, 3.4)], [energy(symbol, 3.4), energy(symbol, a=3.5)])
    assert_type(explicit["a0"], float)
    return plain


@tm.workflow
def several_outputs(n: int) -> int:
    both = divide(n, 7)
    quotient, remainder = both
    assert_type(both.quotient, Any)
    x, y = tm.zip([1, 2], [3.0, 4.0])
    assert_type(x, int)
    assert_type(energy("Cu", y), float)
    p, q = tm.product(range(3), ["a", "b"])
    assert_type(energy(q, p), float)
    return add(quotient, remainder)


@tm.workflow
def nested(metals: list[str]) -> list[float]:
    with tm.after(energy("Cu", 1.0)), tm.options(priority=1):
        found = [energy(m, 3.6) for m in metals]
    draws = tm.repeat(10)(energy)
    many = energy.repeat(10, name="draw")
    assert_type(draws("Cu", 1.0), float)
    return tm.gather(many.options(cpus=2)("Cu", 1.0)) + found


@tm.task
def filing(known: tm.FileId) -> tm.FileId:
    with tm.files.writing("a.txt", encoding="utf-8") as text, tm.files.writing("a.bin") as out:
        text.write("text")
        out.write(b"bytes")
        out.write("text")  # type: ignore[call-overload]
    with tm.files.open(known) as stream, tm.files.open(str(known), encoding="utf-8") as lines:
        assert_type(stream.read(), bytes)
        assert_type(lines.read(), str)
    assert_type(tm.files.read(known, mutable=True), Path)
    assert_type(tm.files.put("name", known, expect=known), int)
    with tm.files.shared("name", encoding="utf-8") as lines, tm.files.shared("name", "wb", expect=1) as out:
        assert_type(lines.read(), str)
        assert_type(out.id, tm.FileId)
    tm.defer(divmod, 1, 2)
    tm.defer(add.fn, 1, b=2)
    tm.defer(add.fn, 1, "b")  # type: ignore[arg-type]
    return tm.files.write("a.txt", temporary=True)


@tm.workflow
def mistakes() -> None:
    wrong: str = energy("Cu", 1.0)  # type: ignore[assignment]
    energy("Cu", 1.0).nothing  # type: ignore[attr-defined]  # noqa: B018
    del wrong


def main() -> None:
    tm.task(retries="often")(energy.fn)  # type: ignore[call-overload]
    assert_type(gathering("Al").run(workers=2), dict[str, float])
    assert_type(several_outputs(30).run(), int)
    assert_type(gathering(tm.sweep(["Al", "Cu"])).run(), dict[str, float])
    assert_type(energy.fn("Cu", 1.0), float)
    assert_type(energy.call("Cu", 1.0).after(energy("Al", 1.0)).run(), Any)
    assert_type(energy.call("Cu", 1.0).run(), float)
    count = tm.command("wc -l {src}", inputs={"src": tm.File}, stdout="n")
    count("README.md")


class Doubled:
    def __init__(self, n: int) -> None:
        self.n = n

    def run(self) -> int:
        return 2 * self.n


def a_class_gives_what_its_run_gives() -> None:
    doubled = tm.task(Doubled)
    assert_type(doubled(2), int)
