"""Shell commands as tasks."""

import string
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tidemill.graph import check
from tidemill.graph.index import Axis
from tidemill.graph.policies import Policies
from tidemill.graph.ports import Signature, positional
from tidemill.graph.problems import place
from tidemill.graph.task import Details, Task, common_parts, specification
from tidemill.model.digest import digest
from tidemill.model.errors import UsageError, WiringError
from tidemill.model.file import File
from tidemill.model.spec import Command, Port, Python, TaskSpec


class CommandTask(Task[..., Any]):
    """A task that is a shell command.

    Attributes:
        shell: the command and its outputs.
        inputs: type of each input.
    """

    def __init__(
        self, shell: Command, inputs: Mapping[str, object], details: Details, axis: Axis | None = None
    ) -> None:
        if details.policies.checkpoint:
            raise UsageError(f"the command {details.name} grows nothing, so it cannot be a checkpoint; use retries")
        self.shell = shell
        self.inputs = dict(inputs)
        super().__init__(None, details, axis)  # type: ignore[arg-type]
        self.__name__ = details.name
        self.__doc__ = shell.template

    def _copy(self, details: Details, axis: Axis | None) -> "CommandTask":
        return CommandTask(self.shell, self.inputs, details, axis)

    def __reduce__(self) -> Any:
        return CommandTask, (self.shell, self.inputs, self.details, self.axis)

    def _signature(self) -> Signature:
        return positional(self.name, self.inputs)

    @property
    def output_types(self) -> tuple[object, ...]:
        text = self.shell.stdout_text
        return tuple(str if text and name == self.shell.stdout else File for name in self.details.outputs)

    @property
    def mapping(self) -> bool:
        return True

    def _specify(self) -> TaskSpec:
        ports = self.signature.ports
        outputs = tuple(
            Port(name, "str") if kind is str else Port(name, check.show(File), file="file")
            for name, kind in zip(self.details.outputs, self.output_types, strict=True)
        )
        parts = common_parts(self.details.version, ports, outputs)
        parts["command"] = digest(msgspec.msgpack.encode(self.shell, order="deterministic"))
        doc = self.shell.template
        return specification(self.details, ports, outputs, parts, doc, kind="command", command=self.shell)

    def _python(self) -> Python:
        raise NotImplementedError


def command(
    template: str,
    *,
    name: str | None = None,
    inputs: Mapping[str, object] | None = None,
    outputs: Mapping[str, str] | None = None,
    stdout: str | Mapping[str, type] | None = None,
    ok: Sequence[int] = (0,),
    version: str | int = "",
    **options: Any,
) -> CommandTask:
    """Make a task of a shell command.

    `tm.command("sort {src} > {out}", inputs={"src": tm.File}, outputs={"out": "sorted"})`, called with values for the
    inputs, by position or name, returns its outputs: one, or several to be used by name.

    Args:
        template: the command. `{port}` stands for an input's value, quoted for the shell (of a list, all its values),
            or an output's path; `{{` and `}}` for braces.
        name: shown everywhere; the first word of the command by default.
        inputs: type of each input: `tm.File` for a file or directory, `list[tm.File]`, `str`, `int`, `float`, ….
        outputs: path of each output, relative to the directory in which the command runs; `{port}` in it stands for
            the value of an input that is a text or a number: `{"out": "{sample}.bam"}`.
        stdout: name of an output that is what the command prints, as text; `{"log": tm.File}` for a file. Without any
            outputs it is one called "stdout".
        ok: exit codes that mean success.
        version: part of the task's identity.
        options: `retries`, `timeout`, `cpus`, `memory`, `disk`, `accelerators`, … as for `tm.task`.

    Raises:
        WiringError: with everything that is wrong with template and ports.
        UsageError: if an option is wrong.
    """
    inputs, outputs = dict(inputs or {}), dict(outputs or {})
    policies = Policies().changed(options)
    if stdout is None and not outputs:
        stdout = "stdout"
    printed, kind = _stdout(stdout)
    where = place()
    texts = _wrong_ports(inputs, outputs, printed, kind) + _wrong_fields(template, inputs, outputs)
    if texts:
        raise WiringError([(where, f"command: {text}") for text in texts])
    shell = Command(template, outputs, printed, kind is str, tuple(ok))
    names = (*outputs, printed) if printed else tuple(outputs)
    called = name or template.split(maxsplit=1)[0]
    return CommandTask(
        shell, inputs, Details(name=called, policies=policies, version=str(version), outputs=names, place=where)
    )


def _stdout(stdout: Any) -> tuple[str, object]:
    """Name of the output with what is printed, "" for none, and `str` or `File`."""
    if stdout is None or isinstance(stdout, str):
        return stdout or "", str
    if isinstance(stdout, Mapping) and len(stdout) == 1:
        return next(iter(stdout.items()))
    return repr(stdout), None


def _wrong_ports(inputs: Mapping[str, object], outputs: Mapping[str, str], printed: str, kind: object) -> list[str]:
    texts = []
    names = [*inputs, *outputs, *([printed] if printed else [])]
    for n in dict.fromkeys(names):
        if not n.isidentifier() or n.startswith("_"):
            texts.append(f"the port name {n!r} must be an identifier without a leading underscore")
        elif names.count(n) > 1:
            texts.append(f"there are several ports called {n!r}")
    if printed and kind not in {str, File}:
        texts.append("stdout must be the name of an output, or a mapping of one name to str or tidemill.File")
    for n, path in outputs.items():
        if not path or path.startswith("/") or ".." in path.split("/"):
            texts.append(f"the path {path!r} of output {n!r} must be relative and stay inside the working directory")
        texts += _wrong_names(path, inputs)
    return texts


def _wrong_names(path: str, inputs: Mapping[str, object]) -> list[str]:
    """What is wrong with the fields of an output's path."""
    try:
        parts = list(string.Formatter().parse(path))
    except ValueError as error:
        return [f"the path {path!r} cannot be read ({error}); write {{{{ and }}}} for braces"]
    texts = []
    for _, field, form, conversion in parts:
        if field is None:
            continue
        if form or conversion or field not in inputs:
            named = ", ".join(inputs) or "none"
            texts.append(f"{{{field}}} in the path {path!r} is no input; there are {named}")
        elif check.is_file(inputs[field]) or check.inner(inputs[field]) is not None:
            texts.append(f"{{{field}}} in the path {path!r} must be a text or a number")
    return texts


def _wrong_fields(template: str, inputs: Mapping[str, object], outputs: Mapping[str, str]) -> list[str]:
    try:
        fields = [part[1:] for part in string.Formatter().parse(template) if part[1] is not None]
    except ValueError as error:
        return [f"the template {template!r} cannot be read ({error}); write {{{{ and }}}} for braces"]
    texts = []
    for field, form, conversion in dict.fromkeys(fields):
        if form or conversion:
            written = (field or "") + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "")
            texts.append(f"{{{written}}}: there are no formats; write {{{field}}}")
        if field not in inputs and field not in outputs:
            ports = ", ".join([*inputs, *outputs]) or "none"
            texts.append(f"{{{field}}} is no input or output; there are {ports}; write {{{{ and }}}} for braces")
    if not template.strip():
        texts.append("the template is empty")
    return texts
