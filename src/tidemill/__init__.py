"""Tidemill: a durable workflow engine for computational science.

    import tidemill as tm

    @tm.task
    def energy(symbol: str, a: float) -> float: ...

    @tm.workflow
    def scan(symbol: str):
        return energy(symbol, tm.sweep([3.5, 3.6, 3.7]))

    scan("Cu").run()

What stands here is imported when it is first used, so that importing Tidemill costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tidemill._version import __version__ as __version__

if TYPE_CHECKING:
    from tidemill.client.handle import Handle as Handle
    from tidemill.client.planning import PlanReport as PlanReport
    from tidemill.client.store import Store as Store
    from tidemill.graph import Call as Call
    from tidemill.graph import File as File
    from tidemill.graph import FileId as FileId
    from tidemill.graph import Plan as Plan
    from tidemill.graph import Task as Task
    from tidemill.graph import Workflow as Workflow
    from tidemill.graph import after as after
    from tidemill.graph import command as command
    from tidemill.graph import defer as defer
    from tidemill.graph import files as files
    from tidemill.graph import gather as gather
    from tidemill.graph import log as log
    from tidemill.graph import log_stream as log_stream
    from tidemill.graph import options as options
    from tidemill.graph import product as product
    from tidemill.graph import repeat as repeat
    from tidemill.graph import sweep as sweep
    from tidemill.graph import task as task
    from tidemill.graph import workflow as workflow
    from tidemill.graph import zip as zip  # noqa: A004
    from tidemill.model.errors import ChangedError as ChangedError
    from tidemill.model.errors import NotFoundError as NotFoundError
    from tidemill.model.errors import RunCancelledError as RunCancelledError
    from tidemill.model.errors import RunFailedError as RunFailedError
    from tidemill.model.errors import StoreError as StoreError
    from tidemill.model.errors import TidemillError as TidemillError
    from tidemill.model.errors import UsageError as UsageError
    from tidemill.model.errors import WiringError as WiringError

    open = Store  # noqa: A001

_GRAPH = [
    "Call", "File", "FileId", "Plan", "Task", "Workflow", "after", "command", "defer", "files", "gather", "log",
    "log_stream", "options", "product", "repeat", "sweep", "task", "workflow", "zip",
]  # fmt: skip
_ERRORS = [
    "ChangedError", "NotFoundError", "RunCancelledError", "RunFailedError", "StoreError", "TidemillError", "UsageError",
    "WiringError",
]  # fmt: skip
_HOMES = {
    **dict.fromkeys(_GRAPH, "tidemill.graph"),
    **dict.fromkeys(_ERRORS, "tidemill.model.errors"),
    "Handle": "tidemill.client.handle",
    "PlanReport": "tidemill.client.planning",
    "Store": "tidemill.client.store",
    "open": "tidemill.client.store",
}

__all__ = ["__version__", *_HOMES]  # noqa: PLE0604 — names are text


class _Runner:
    """What executes calls, imported when the first is to be executed: a worker only wants the tasks."""

    def __getattr__(self, method: str) -> Any:
        return getattr(import_module("tidemill.client.runner").StoreRunner(), method)


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'tidemill' has no attribute {name!r}")
    if home == "tidemill.graph":
        import_module("tidemill.graph.runner").register(_Runner())
    found = globals()[name] = getattr(import_module(home), {"open": "Store"}.get(name, name))
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
