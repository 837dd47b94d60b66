"""Tasks that several tests use."""

from typing import Any

from tidemill.model.spec import Resources
from tidemill.testing.graphs import Graph, Task


def total(value: Any) -> int:
    """The sum over nested lists; what is missing counts nothing."""
    return sum(map(total, value)) if isinstance(value, list) else int(value or 0)


class Switch:
    """A function that fails while it is broken."""

    def __init__(self, *, broken: bool = True) -> None:
        self.broken = broken

    def __call__(self, *args: Any) -> int:
        if self.broken:
            raise ValueError("broken")
        return total(list(args))


NUMBER = Task("number", lambda x: x)
ADD = Task("add", lambda *args: total(list(args)))
COLLECT = Task("collect", lambda *args: list(args))
PAIR = Task("pair", lambda x: [x, x + 1], outputs=2)
ANYWAY = Task(
    "anyway",
    lambda *args: total(list(args)),
    options={"on_error": "run", "on_skipped": "run", "on_cancelled": "run"},
)
STRICT = Task(
    "strict",
    lambda *args: total(list(args)),
    options={"on_error": "fail", "on_skipped": "fail", "on_cancelled": "fail"},
)


def shaky(switch: Switch, **options: Any) -> Task:
    """A task that fails while `switch` is broken."""
    return Task("shaky", switch, options=options)


class Growing:
    """Tasks whose runs grow graphs of the same tasks."""

    def __init__(self, *tasks: Task) -> None:
        self.tasks = {t.name: t for t in tasks}

    def graph(self) -> Graph:
        return Graph(self.tasks)

    def all(self, *growing: Task) -> list[Task]:
        self.tasks.update((t.name, t) for t in growing)
        return list(self.tasks.values())


def cpus(n: float) -> dict[str, Any]:
    return {"resources": Resources(cpus=n)}
