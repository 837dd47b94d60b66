"""Tidemill: a durable workflow engine for computational science.

    import tidemill as tm

    @tm.task
    def energy(symbol: str, a: float) -> float: ...

    @tm.workflow
    def scan(symbol: str):
        return energy(symbol, tm.sweep([3.5, 3.6, 3.7]))

    scan("Cu").run()
"""

from tidemill._version import __version__
from tidemill.client.runner import register as _register
from tidemill.client.store import Store
from tidemill.graph import (
    Call,
    File,
    Plan,
    Task,
    Workflow,
    after,
    command,
    gather,
    options,
    product,
    repeat,
    sweep,
    task,
    workflow,
    zip,  # noqa: A004
)
from tidemill.model.errors import (
    RunCancelledError,
    RunFailedError,
    TidemillError,
    WiringError,
)

open = Store  # noqa: A001 — `tm.open(path_or_url)`

__all__ = [
    "Call",
    "File",
    "Plan",
    "RunCancelledError",
    "RunFailedError",
    "Store",
    "Task",
    "TidemillError",
    "WiringError",
    "Workflow",
    "__version__",
    "after",
    "command",
    "gather",
    "open",
    "options",
    "product",
    "repeat",
    "sweep",
    "task",
    "workflow",
    "zip",
]

_register()
