"""Where `call.run()` goes: a hook that the client fills, because authoring must not know the engine."""

from typing import Any, Protocol

from tidemill.graph import context
from tidemill.graph.problems import problem
from tidemill.model.errors import UsageError


class Runner(Protocol):
    """What executes calls. `options` are the keyword arguments the user gave to the method of the same name."""

    def run(self, call: Any, **options: Any) -> Any:
        """Execute the call and return its result."""

    def submit(self, call: Any, **options: Any) -> Any:
        """Start executing the call and return a handle to wait on."""

    def plan(self, call: Any, **options: Any) -> Any:
        """Say what would run, and why."""


_runner: Runner | None = None


def register(found: Runner | None) -> None:
    """Make `found` what `run()`, `submit()` and `plan()` of calls use."""
    global _runner  # noqa: PLW0603
    _runner = found


def runner(method: str) -> Runner:
    """The registered runner.

    Raises:
        ImportOnly: while a worker imports the user's script.
        WiringError: inside a running task.
        UsageError: if nothing is registered.
    """
    if context.importing:
        raise context.ImportOnly
    if context.running():
        raise problem(f".{method}() was called inside a running task: return the call instead, and it will be run")
    if _runner is None:
        raise UsageError(
            f"nothing is registered that could {method} a call",
            hint="import tidemill, which registers the client, instead of its parts",
        )
    return _runner
