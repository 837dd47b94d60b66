"""Authoring: Python functions and shell commands become tasks, calls of them a graph in columns.

`task`, `command` and `workflow` make definitions; calling them inside a workflow makes futures (`future`), with sweeps
(`sweep`) elements of many runs. A `Builder` writes the calls down, `lower` finds out what each waits for and along
which axes it is mapped, `emit` turns it all into the chunks of a delta; `plan` does so for a workflow, `growth` for a
running task. Nothing here opens a store or runs a task.
"""

from tidemill.graph import files
from tidemill.graph.blocks import Block
from tidemill.graph.call import Call
from tidemill.graph.command import command
from tidemill.graph.inside import defer, log, log_stream
from tidemill.graph.plan import Plan, build
from tidemill.graph.service import Service, service
from tidemill.graph.sweep import after, block, gather, options, product, repeat, sweep, zip  # noqa: A004
from tidemill.graph.task import Task, task
from tidemill.graph.workflow import Workflow, workflow
from tidemill.model.file import File
from tidemill.model.fileid import FileId

__all__ = [
    "Block",
    "Call",
    "File",
    "FileId",
    "Plan",
    "Service",
    "Task",
    "Workflow",
    "after",
    "block",
    "build",
    "command",
    "defer",
    "files",
    "gather",
    "log",
    "log_stream",
    "options",
    "product",
    "repeat",
    "service",
    "sweep",
    "task",
    "workflow",
    "zip",
]
