"""What a task is: ports, resources, policies, and the code or command behind it.

A `TaskSpec` is stored with its task row and sent to workers. Its `digest` is the identity of its meaning; everything
that only changes how it is scheduled (resources, retries, priority) stays outside the digest.
"""

from typing import Literal

import msgspec

from tidemill.model.states import OnInput

TaskKind = Literal["python", "command", "builtin"]


class Port(msgspec.Struct, frozen=True, omit_defaults=True):
    """One input or output of a task.

    Attributes:
        name: the parameter's name, or the output's.
        type: the annotation as text, for people and for wiring checks.
        many: an input that wants a list, so a sweep's results are gathered for it.
        file: "file" or "dir" where the value is a path to stage, else "".
        variadic: "*" or "**" where the port collects the remaining arguments.
        optional: has a default.
    """

    name: str
    type: str = ""
    many: bool = False
    file: Literal["", "file", "dir"] = ""
    variadic: Literal["", "*", "**"] = ""
    optional: bool = False


AUTO = -1
"""Stands for an amount of memory or disk that is taken from what earlier attempts used."""


class Resources(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one attempt occupies, and how much it may use.

    Attributes:
        cpus: processors; may be fractional.
        memory: bytes, 0 for unspecified, `AUTO` until it is submitted.
        disk: bytes in its directory; as `memory`.
        accelerators: canonical text, see `tidemill.model.accelerators`; "" for none.
        preemptible: it may run where it can be interrupted at any time.
        walltime: seconds after which it is ended, 0 for never.
        local: it stays with the engine and occupies no processors.
        service: it goes on while others use it, in a worker of its own.
        like: name of the task whose earlier attempts tell what is `AUTO`, "" if nothing is.
    """

    cpus: float = 1.0
    memory: int = 0
    disk: int = 0
    accelerators: str = ""
    preemptible: bool = False
    walltime: float = 0.0
    local: bool = False
    like: str = ""
    service: bool = False


class Raise(msgspec.Struct, frozen=True, array_like=True):
    """How a dimension of a request grows when an attempt exceeded it: times `factor`, up to `most` (0: no ceiling)."""

    factor: float
    most: float = 0.0


class Python(msgspec.Struct, frozen=True, omit_defaults=True):
    """A Python function: where to import it from, or the function itself where it cannot be imported.

    Attributes:
        module: importable name, or "" when `file` or `pickled` is used.
        qualname: attribute path inside the module.
        file: path of the script for functions defined in `__main__`.
        pickled: cloudpickle of the function, for functions typed at a prompt or in a notebook.
        classes: with `pickled`, cloudpickles of the classes defined at that prompt: the values it is given may be of
            any of them, whether the function names them or not.
        spread: the function returns several outputs (tuple or mapping), one per output port.
        root: directory from which `module` can be imported, where nothing on the worker's own path has it.
        cwd: where the workflow was started: its module or script may read files from there while it is imported.
        role: what this task does for the task that is found there, see `tidemill.graph.roles`; "" if it is that.
        base: with a role, the digest of the task that is found there.
        details: with a role, what that task was called with, beside its arguments; pickled.
    """

    qualname: str
    module: str = ""
    file: str = ""
    pickled: bytes = b""
    spread: bool = False
    root: str = ""
    cwd: str = ""
    classes: tuple[bytes, ...] = ()
    role: str = ""
    base: bytes = b""
    details: bytes = b""


class Command(msgspec.Struct, frozen=True, omit_defaults=True):
    """A shell command. `template` has `{port}` fields; values are quoted for the shell.

    Attributes:
        template: the command text.
        outputs: output port -> path relative to the scratch directory.
        stdout: output port that receives standard output, or "".
        stdout_text: that output is text (str) and not a file.
        ok: exit codes that mean success.
    """

    template: str
    outputs: dict[str, str] = {}
    stdout: str = ""
    stdout_text: bool = False
    ok: tuple[int, ...] = (0,)


class TaskSpec(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Everything about a task.

    Attributes:
        digest: 32 bytes; identity of the meaning (code, command, ports, version, environment).
        parts: named digests that make up `digest`, so that `why` can say which changed:
            "code" (the function itself), "helper:<module>.<name>", "constant:<module>.<name>", "version",
            "environment", "ports".
        timeout: seconds, 0 for none.
        backoff: seconds before the first retry; doubles with each.
        escalate: "memory", "disk" or "timeout" -> how much more a retry gets where the last attempt exceeded it; None
            for what is usual.
        on_error, on_skipped, on_cancelled: what this task does when an input ended so.
        service: seconds between two looks at whether the service is still up; 0 for what is no service.
    """

    name: str
    digest: bytes
    kind: TaskKind = "python"
    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = (Port("result"),)
    python: Python | None = None
    command: Command | None = None
    resources: Resources = Resources()
    priority: int = 0
    retries: int = 0
    backoff: float = 1.0
    timeout: float = 0.0
    escalate: dict[str, Raise] | None = None
    cache: bool = True
    version: str = ""
    doc: str = ""
    place: str = ""
    parts: dict[str, bytes] = {}
    on_error: OnInput = OnInput.SKIP
    on_skipped: OnInput = OnInput.SKIP
    on_cancelled: OnInput = OnInput.SKIP
    service: float = 0.0


_encoder = msgspec.msgpack.Encoder(order="deterministic")
_decoder = msgspec.msgpack.Decoder(TaskSpec)


def encode_spec(spec: TaskSpec) -> bytes:
    """MessagePack of the specification, with sorted keys."""
    return _encoder.encode(spec)


def decode_spec(data: bytes) -> TaskSpec:
    """The inverse of `encode_spec`.

    Raises:
        msgspec.ValidationError: if `data` is not a specification.
    """
    return _decoder.decode(data)
