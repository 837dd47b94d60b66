"""Shell commands: fill the template with quoted values, run it in the attempt's directory, collect its files."""

import functools
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from tidemill.model.file import File
from tidemill.model.spec import Command, TaskSpec
from tidemill.model.states import Reason
from tidemill.workers.failure import Fault, signal_name
from tidemill.workers.usage import OutOfMemory

SHELL = "/bin/sh"

_FIELD = re.compile(r"\{\{|\}\}|\{([A-Za-z_]\w*)\}")
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024
_DEFAULT_SIGNALS = [signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ]
"""Signals that Python or the executor ignores and that a command expects to work."""


def fill(template: str, fields: Mapping[str, object]) -> str:
    """The command text: `{port}` becomes the value, quoted for the shell, `{{` and `}}` single braces.

    Other braces are the shell's and stay as they are.

    Raises:
        Fault: BAD_INPUT if a value has no form on a command line.
    """

    def put(match: re.Match[str]) -> str:
        name = match.group(1)
        if name is None:
            return match.group()[0]
        return words(fields[name], name) if name in fields else match.group()

    return _FIELD.sub(put, template)


def words(value: object, port: str) -> str:
    """`value` as one or more shell words: a sequence gives a word for each member, None gives nothing.

    Raises:
        Fault: BAD_INPUT if it has no form on a command line.
    """
    if isinstance(value, (list, tuple)):
        return " ".join(words(member, port) for member in value)
    if value is None:
        return ""
    if isinstance(value, (os.PathLike, str)):
        return shlex.quote(os.fspath(value))
    if type(value).__format__ is object.__format__:
        raise Fault(
            Reason.BAD_INPUT,
            f"the value of {port!r} is a {type(value).__qualname__}, which cannot stand on a command line",
            hint="pass a number, a text, a file, or a list of these",
        )
    return shlex.quote(format(value, ""))


def place(path: str, fields: Mapping[str, object]) -> str:
    """The path of an output: `{port}` becomes an input's value, which must be good for a file's name.

    Raises:
        Fault: BAD_INPUT if it is not.
    """

    def put(match: re.Match[str]) -> str:
        name = match.group(1)
        if name is None:
            return match.group()[0]
        value = fields.get(name)
        text = value if isinstance(value, str) else format(value, "") if isinstance(value, (int, float)) else ""
        if not text or text in {".", ".."} or "/" in text or "\0" in text:
            raise Fault(
                Reason.BAD_INPUT,
                f"{value!r} of {name!r} cannot be part of the output's path {path!r}",
                hint="it must be a number, or a text without slashes",
            )
        return text

    return _FIELD.sub(put, path) if "{" in path else path


def run_command(
    spec: TaskSpec, args: Sequence[object], scratch: Path, capture: Callable[[Path, str], object]
) -> tuple[list[object], int]:
    """Run a command task.

    Args:
        spec: the task.
        args: values of the input ports, in order.
        scratch: the attempt's directory, which is also the working directory of this process.
        capture: turns the path of an output file into a value; the text begins its message if there is no such file.

    Returns:
        The values of the output ports, and the peak memory in bytes of the largest process.

    Raises:
        Fault: EXIT_CODE, SIGNAL, BAD_INPUT or BAD_OUTPUT.
    """
    command, text = prepare(spec, args, scratch)
    _out_of_memory()
    target = _Target(command, scratch)
    try:
        status, rss = _spawn(text, target.fd)
        _check(command, text, status)
        _check_written(command, scratch)
        values = [_output(command, port.name, scratch, target, capture) for port in spec.outputs]
    finally:
        target.close()
    return values, rss


def prepare(spec: TaskSpec, args: Sequence[object], scratch: Path) -> tuple[Command, str]:
    """What a command task executes in a directory, in which directories for its outputs are made: the command with the
    places of its outputs, and the text for the shell.

    Raises:
        Fault: BAD_INPUT if a value has no form on a command line.
    """
    assert spec.command is not None
    fields: dict[str, object] = {
        port.name: _relative(value, scratch) for port, value in zip(spec.inputs, args, strict=False)
    }
    command = msgspec.structs.replace(
        spec.command, outputs={port: place(path, fields) for port, path in spec.command.outputs.items()}
    )
    fields.update(command.outputs)
    for path in command.outputs.values():
        if os.path.dirname(path):
            os.makedirs(scratch / os.path.dirname(path), exist_ok=True)
    return command, fill(command.template, fields)


def _relative(value: object, scratch: Path) -> object:
    """Staged files by their path from the working directory, so that no command prints where this machine kept them."""
    if isinstance(value, (list, tuple)):
        return [_relative(member, scratch) for member in value]
    if isinstance(value, (Path, File)):
        path = Path(value)
        return path.relative_to(scratch) if path.is_relative_to(scratch) else path
    return value


class _Target:
    """Where standard output goes: the log (`fd` None), a file in the scratch directory, or a nameless file for text."""

    def __init__(self, command: Command, scratch: Path) -> None:
        self.fd: int | None = None
        self.path = scratch / command.outputs.get(command.stdout, command.stdout)
        if not command.stdout:
            return
        if command.stdout_text:
            self.fd = _nameless()
        else:
            self.fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)

    def text(self) -> str:
        assert self.fd is not None
        return os.pread(self.fd, os.fstat(self.fd).st_size, 0).decode()

    def close(self) -> None:
        if self.fd is not None:
            os.close(self.fd)


@functools.cache
def _out_of_memory() -> OutOfMemory:
    return OutOfMemory()


def _nameless() -> int:
    """A descriptor of an empty file that has no name."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("stdout")
    import tempfile

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _spawn(text: str, stdout: int | None) -> tuple[int, int]:
    """Run the shell and wait: (wait status, peak memory in bytes). posix_spawn does not copy this process's memory."""
    actions = [] if stdout is None else [(os.POSIX_SPAWN_DUP2, stdout, 1)]
    pid = os.posix_spawn(
        SHELL, ("sh", "-c", text), os.environ, file_actions=actions, setsigdef=_DEFAULT_SIGNALS
    )  # fmt: skip
    try:
        _, status, used = os.wait4(pid, 0)
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    return status, used.ru_maxrss * _RSS_UNIT


def _check(command: Command, text: str, status: int) -> None:
    code = os.waitstatus_to_exitcode(status)
    if code in command.ok:
        return
    if code in {-signal.SIGKILL, 128 + signal.SIGKILL} and _out_of_memory().struck():
        raise Fault(Reason.OUT_OF_MEMORY, "the system ran out of memory and killed the command", kind="out of memory")
    first = text.strip().split("\n", 1)[0]
    shown = first if len(first) <= 200 else first[:200] + " …"
    if code < 0:
        raise Fault(Reason.SIGNAL, f"the shell was killed: {shown}", kind=signal_name(-code))
    kind = f"exit code {code}"
    if 128 < code < 128 + signal.NSIG:
        kind += f", {signal_name(code - 128)}"
    hint = "the shell did not find a program: is it installed and on PATH?" if code == 127 else ""
    raise Fault(Reason.EXIT_CODE, f"the command failed: {shown}", kind=kind, hint=hint)


def _check_written(command: Command, scratch: Path) -> None:
    missing = [
        f"{path!r} (output {port!r})" for port, path in command.outputs.items() if not os.path.exists(scratch / path)
    ]
    if missing:
        raise Fault(
            Reason.BAD_OUTPUT,
            f"the command ended well but did not write {', '.join(missing)}",
            hint="outputs are looked for in the directory in which the command starts",
        )


def _output(
    command: Command, port: str, scratch: Path, target: _Target, capture: Callable[[Path, str], object]
) -> object:
    if port == command.stdout:
        if not command.stdout_text:
            return capture(target.path, f"output {port!r} is the standard output")
        try:
            return target.text()
        except UnicodeDecodeError as error:
            raise Fault(
                Reason.BAD_OUTPUT,
                f"output {port!r} is the standard output as text, but it is not UTF-8 ({error.reason})",
                hint="declare the output as a file",
            ) from error
    path = command.outputs.get(port)
    return None if path is None else capture(scratch / path, f"output {port!r} is the file {path!r}")
