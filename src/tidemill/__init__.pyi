from tidemill._version import __version__ as __version__
from tidemill.client import arguments as arguments
from tidemill.client import helpers as helpers
from tidemill.client import operations as operations
from tidemill.client import urls as urls
from tidemill.client.handle import Handle as Handle
from tidemill.client.planning import PlanReport as PlanReport
from tidemill.client.store import Store as Store
from tidemill.graph import Block as Block
from tidemill.graph import Call as Call
from tidemill.graph import File as File
from tidemill.graph import FileId as FileId
from tidemill.graph import Plan as Plan
from tidemill.graph import Service as Service
from tidemill.graph import Task as Task
from tidemill.graph import Workflow as Workflow
from tidemill.graph import after as after
from tidemill.graph import block as block
from tidemill.graph import command as command
from tidemill.graph import defer as defer
from tidemill.graph import files as files
from tidemill.graph import gather as gather
from tidemill.graph import log as log
from tidemill.graph import log_stream as log_stream
from tidemill.graph import options as options
from tidemill.graph import product as product
from tidemill.graph import repeat as repeat
from tidemill.graph import service as service
from tidemill.graph import sweep as sweep
from tidemill.graph import task as task
from tidemill.graph import workflow as workflow
from tidemill.graph import zip as zip  # noqa: A004
from tidemill.model.errors import ChangedError as ChangedError
from tidemill.model.errors import HaltedError as HaltedError
from tidemill.model.errors import NotFoundError as NotFoundError
from tidemill.model.errors import RunCancelledError as RunCancelledError
from tidemill.model.errors import RunFailedError as RunFailedError
from tidemill.model.errors import StoreError as StoreError
from tidemill.model.errors import TidemillError as TidemillError
from tidemill.model.errors import UsageError as UsageError
from tidemill.model.errors import WiringError as WiringError

open = Store  # noqa: A001

__all__ = [
    "Block",
    "Call",
    "ChangedError",
    "File",
    "FileId",
    "HaltedError",
    "Handle",
    "NotFoundError",
    "Plan",
    "PlanReport",
    "RunCancelledError",
    "RunFailedError",
    "Service",
    "Store",
    "StoreError",
    "Task",
    "TidemillError",
    "UsageError",
    "WiringError",
    "Workflow",
    "__version__",
    "after",
    "arguments",
    "block",
    "command",
    "defer",
    "files",
    "gather",
    "helpers",
    "log",
    "log_stream",
    "open",
    "operations",
    "options",
    "product",
    "repeat",
    "service",
    "sweep",
    "task",
    "urls",
    "workflow",
    "zip",
]
