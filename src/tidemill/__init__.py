"""Tidemill: a durable workflow engine for computational science.

    import tidemill as tm

    @tm.task
    def energy(symbol: str, a: float) -> float: ...

    @tm.workflow
    def scan(symbol: str):
        return energy(symbol, tm.sweep([3.5, 3.6, 3.7]))

    scan("Cu").run()

What stands here is imported when it is first used, so that importing Tidemill costs nothing; type checkers read
`__init__.pyi`.
"""

from importlib import import_module
from typing import Any

from tidemill._version import __version__ as __version__

_GRAPH = [
    "Block", "Call", "File", "FileId", "Plan", "Service", "Task", "Workflow", "after", "block", "command", "defer",
    "files", "gather", "log", "log_stream", "options", "product", "repeat", "service", "sweep", "task", "workflow",
    "zip",
]  # fmt: skip
_ERRORS = [
    "ChangedError", "HaltedError", "NotFoundError", "RunCancelledError", "RunFailedError", "StoreError",
    "TidemillError", "UsageError", "WiringError",
]  # fmt: skip
_MODULES = {name: f"tidemill.client.{name}" for name in ("arguments", "helpers", "operations", "urls")}
_HOMES = {
    **dict.fromkeys(_GRAPH, "tidemill.graph"),
    **dict.fromkeys(_ERRORS, "tidemill.model.errors"),
    "Handle": "tidemill.client.handle",
    "PlanReport": "tidemill.client.planning",
    "Store": "tidemill.client.store",
    "open": "tidemill.client.store",
}

__all__ = ["__version__", *_HOMES, *_MODULES]  # noqa: PLE0604 — names are text


class _Runner:
    """What executes calls, imported when the first is to be executed: a worker only wants the tasks."""

    def __getattr__(self, method: str) -> Any:
        return getattr(import_module("tidemill.client.runner").StoreRunner(), method)


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(_MODULES[name])
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'tidemill' has no attribute {name!r}")
    if home == "tidemill.graph":
        import_module("tidemill.graph.runner").register(_Runner())
    found = globals()[name] = getattr(import_module(home), {"open": "Store"}.get(name, name))
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
