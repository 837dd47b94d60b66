"""Tasks: what `@task` makes of a function."""

import dataclasses
import functools
import inspect
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from types import MethodType
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, overload

import msgspec
from msgspec.structs import replace

from tidemill.graph import check, context, promised
from tidemill.graph.call import Call
from tidemill.graph.classes import body, check_class
from tidemill.graph.code import code_parts, combine
from tidemill.graph.index import Axis
from tidemill.graph.locate import attribute, importable, locate, pickled
from tidemill.graph.policies import Policies
from tidemill.graph.ports import BindError, Signature, port, signature
from tidemill.graph.problems import place
from tidemill.graph.roles import CHECKPOINT, as_role
from tidemill.model.digest import digest
from tidemill.model.errors import UsageError, WiringError
from tidemill.model.spec import Port, Python, TaskSpec

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)
R = TypeVar("R")


class Details(msgspec.Struct, frozen=True, kw_only=True):
    """What of a task is not in its function. Pickled with roles, by the names of the attributes."""

    name: str
    policies: Policies
    version: str
    outputs: tuple[str, ...]
    place: str


class Task(Generic[P, R_co]):
    """A step of a workflow. Calling it inside a workflow or a running task adds a run and returns its coming result.

    To a type checker a call returns what the function returns, because that is what the result may be used for: as an
    argument of another call, with an index or attribute, as the return value. A second signature admits any arguments,
    because a sweep or its results may stand wherever one value, or a list of them, is wanted; what really does not fit
    is reported when the workflow is built. The result of a task with named outputs is anything, for `result.name`.

    Attributes:
        fn: the function itself, or the class.
        name: shown everywhere.
        details: what else was given to the decorator.
        axis: the axis of repeats, or None.
        promises: steps that wait for options of it, by their names.
    """

    fn: Callable[P, R_co]
    __name__: str

    def __init__(self, fn: Callable[P, R_co], details: Details, axis: Axis | None = None) -> None:
        self.fn = fn
        self.name = details.name
        self.details = details
        self.axis = axis
        self._arity: int | None = None
        self._spec: tuple[int, TaskSpec] | None = None
        self._copies: dict[Policies, Task[P, R_co]] = {}
        self.promises: dict[tuple[str, ...], promised.Step] = {}
        if isinstance(fn, type):
            functools.update_wrapper(self, fn, updated=())  # what stands in the class is not the task's
        elif fn is not None:
            functools.update_wrapper(self, fn)

    # ------------------------------------------------------------------------------------------------------- calling

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...
    @overload
    def __call__(self, *args: Any, **kwargs: Any) -> R_co: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        graph = context.current()
        if graph is not None and not kwargs and len(args) == self._arity:
            return graph.call(self, args)
        self._arity = self.signature.arity
        try:
            values = self.signature.bind(args, kwargs)
        except BindError as error:
            if graph is None:
                raise WiringError([(place(), text) for text in error.texts]) from None
            for text in error.texts:
                graph.problem(text)
            return graph.broken()
        if graph is None:
            return Call(self, args, kwargs)
        return graph.call(self, values)

    def call(self, *args: Any, **kwargs: Any) -> Call[R_co]:
        """The same as calling the task, for type checkers: they then know `run`, `after` and the like of the result."""
        return self(*args, **kwargs)  # type: ignore[return-value]

    def options(self, **options: Any) -> "Task[P, R_co]":
        """A copy with other policies: `retries`, `timeout`, `cpus`, `memory`, `priority`, `cache`, ….

        `cpus`, `memory`, `disk`, `accelerators` and `timeout` may be the result of another step.

        Raises:
            UsageError: if one is unknown or has an impossible value.
        """
        fixed, coming = promised.split(options)
        policies = self.details.policies.changed(fixed)
        if policies not in self._copies:
            self._copies[policies] = self.with_details(replace(self.details, policies=policies), self.axis)
        found = self._copies[policies]
        return promised.Promised(found, coming) if coming else found  # type: ignore[return-value]

    def with_details(self, details: Details, axis: Axis | None = None) -> "Task[P, R_co]":
        """The same function or command with other details."""
        return self._copy(details, axis)

    def repeat(self, n: "int | Any", name: str | None = None) -> "Task[P, R_co]":
        """The task run `n` times with the same arguments, for different draws: see `tidemill.repeat`."""
        axis = n if isinstance(n, Axis) else Axis(checked_count(n), name)
        return self._copy(self.details, axis)

    def _copy(self, details: Details, axis: Axis | None) -> "Task[P, R_co]":
        return type(self)(self.fn, details, axis)

    # -------------------------------------------------------------------------------------------------- what it is

    @functools.cached_property
    def signature(self) -> Signature:
        """The inputs."""
        return self._signature()

    def _signature(self) -> Signature:
        return signature(self.fn, self.name)

    @property
    def output_names(self) -> tuple[str, ...]:
        """The names of the outputs if they were given, else ()."""
        return self.details.outputs

    @property
    def output_types(self) -> tuple[object, ...]:
        """Resolved annotations of the outputs, `check.UNKNOWN` where there is none."""
        returns = self.signature.returns
        names = self.details.outputs
        if len(names) < 2:
            return (returns,)
        if typing.is_typeddict(returns):
            fields = typing.get_type_hints(returns)
            return tuple(fields.get(name, check.UNKNOWN) for name in names)
        if check.tuple_length(returns) == len(names):
            return typing.get_args(check.plain(returns))
        return (check.UNKNOWN,) * len(names)

    @property
    def mapping(self) -> bool:
        """Whether the function's annotation says that it returns its outputs as a mapping."""
        returns = check.plain(self.signature.returns)
        origin = typing.get_origin(returns) or returns
        return typing.is_typeddict(returns) or (isinstance(origin, type) and issubclass(origin, Mapping))

    @property
    def spec(self) -> TaskSpec:
        """The specification. It is made when a graph first needs it, because that looks at the code; and again for the
        next graph, because functions it calls may have been defined anew at the prompt meanwhile.

        Raises:
            UsageError: if the function cannot be sent to a worker.
        """
        if self._spec is None or self._spec[0] != context.epoch:
            self._spec = (context.epoch, self._specify())
        return self._spec[1]

    def _specify(self) -> TaskSpec:
        outputs = self._outputs()
        parts = code_parts(self.fn) | common_parts(self.details.version, self.signature.ports, outputs)
        found = specification(self.details, self.signature.ports, outputs, parts, _doc(self.fn), python=self._python())
        if not self.details.policies.checkpoint:
            return found
        alone = found.python is not None and found.python.pickled
        details = replace(self.details, policies=replace(self.details.policies, checkpoint=False))
        return as_role(found, CHECKPOINT, details, pickled(self, self.name) if alone else b"")

    def _outputs(self) -> tuple[Port, ...]:
        names = self.details.outputs or ("result",)
        written = inspect.signature(body(self.fn)).return_annotation if len(names) == 1 else None
        found = []
        for name, kind in zip(names, self.output_types, strict=True):
            made = port(name, kind if written is None else written, kind)
            found.append(Port(name, made.type, file=made.file if not made.many else ""))
        return tuple(found)

    def _python(self) -> Python:
        return locate(self.fn, self, spread=len(self.details.outputs) > 1)

    def __mro_entries__(self, _bases: tuple[Any, ...]) -> tuple[Any, ...]:
        """A class that is a task can be a base of others."""
        if not isinstance(self.fn, type):
            raise TypeError(f"{self.name} is a task made of a function: it cannot be a base class")
        return (self.fn,)

    def __reduce__(self) -> Any:
        found = importable(self.fn, self)
        if found is not None and found.module and attribute(sys.modules[found.module], found.qualname) is self:
            return _imported, (found.module, found.qualname)
        return _empty, (type(self),), {"fn": self.fn, "details": self.details, "axis": self.axis}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["fn"], state["details"], state["axis"])  # type: ignore[misc]

    def __repr__(self) -> str:
        inputs = ", ".join(p.variadic + p.name + (f": {p.type}" if p.type else "") for p in self.signature.ports)
        repeats = "" if self.axis is None else f" repeated {self.axis.size} times"
        return f"<task {self.name}({inputs}){repeats}>"


def _doc(fn: Any) -> str:
    """The docstring that somebody wrote: a dataclass without one says what its parameters are."""
    found = inspect.getdoc(fn) or ""
    made = isinstance(fn, type) and found.startswith(f"{fn.__name__}(") and dataclasses.is_dataclass(fn)
    return (inspect.getdoc(body(fn)) or "") if made else found


def _imported(module: str, qualname: str) -> Any:
    __import__(module)
    return attribute(sys.modules[module], qualname)


def _empty(cls: type[Task[Any, Any]]) -> Any:
    return cls.__new__(cls)


def checked_count(n: object) -> int:
    """`n` as a number of repeats.

    Raises:
        UsageError: if it is none.
    """
    if not isinstance(n, int) or isinstance(n, bool) or n < 0:
        raise UsageError(f"repeat({n!r}): the number of repeats must be an integer, 0 or more")
    return n


# ---------------------------------------------------------------------------------------------------- specifications


def common_parts(version: str, inputs: Sequence[Port], outputs: Sequence[Port]) -> dict[str, bytes]:
    """The parts of a task's digest that tasks of every kind have."""
    names = [[p.name + p.variadic for p in inputs], [p.name for p in outputs]]
    found = {"ports": digest(msgspec.msgpack.encode(names))}
    if version:
        found["version"] = digest(version.encode())
    return found


def specification(
    details: Details,
    inputs: tuple[Port, ...],
    outputs: tuple[Port, ...],
    parts: dict[str, bytes],
    doc: str,
    **kind: Any,
) -> TaskSpec:
    """A task's specification."""
    policies = details.policies
    return TaskSpec(
        name=details.name,
        digest=combine(parts),
        inputs=inputs,
        outputs=outputs,
        resources=policies.resources,
        priority=policies.priority,
        retries=policies.retries,
        backoff=policies.backoff,
        timeout=policies.timeout,
        escalate=None if policies.escalate is None else dict(policies.escalate),
        cache=policies.cache,
        version=details.version,
        doc=doc,
        place=details.place,
        parts=parts,
        on_error=policies.on_error,
        on_skipped=policies.on_skipped,
        on_cancelled=policies.on_cancelled,
        **kind,
    )


# --------------------------------------------------------------------------------------------------------- decorating


class Runs(Protocol[R_co]):
    """What instances of a class that is a task can do."""

    def run(self) -> R_co:
        """The work; the result."""


@overload
def task(fn: type[Runs[R]], /) -> Task[..., R]: ...
@overload
def task(fn: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(
    *,
    name: str | None = None,
    version: str | int = "",
    retries: int = 0,
    backoff: float = 1.0,
    timeout: float | str = 0.0,
    cpus: float = 1.0,
    memory: int | str = 0,
    disk: int | str = 0,
    accelerators: Any = "",
    preemptible: bool = False,
    local: bool = False,
    escalate: Any = None,
    cache: bool = True,
    checkpoint: bool = False,
    priority: int = 0,
    on_error: str = "skip",
    on_skipped: str = "skip",
    on_cancelled: str = "skip",
) -> Callable[[Callable[P, R]], Task[P, R]]: ...
@overload
def task(
    *,
    outputs: Sequence[str],
    name: str | None = None,
    version: str | int = "",
    retries: int = 0,
    backoff: float = 1.0,
    timeout: float | str = 0.0,
    cpus: float = 1.0,
    memory: int | str = 0,
    disk: int | str = 0,
    accelerators: Any = "",
    preemptible: bool = False,
    local: bool = False,
    escalate: Any = None,
    cache: bool = True,
    checkpoint: bool = False,
    priority: int = 0,
    on_error: str = "skip",
    on_skipped: str = "skip",
    on_cancelled: str = "skip",
) -> Callable[[Callable[P, Any]], Task[P, Any]]: ...
def task(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    outputs: Sequence[str] = (),
    version: str | int = "",
    **options: Any,
) -> Any:
    """Make a task of a function, or of a class: `@task`, or `@task(retries=2, …)`.

    Args:
        fn: a function, whose parameters are the input ports; or a class whose instances have `run(self)`: the
            parameters of the class are the ports, and a run makes an instance and calls that.
        name: shown everywhere; the function's own name by default.
        outputs: names of several results, which the function returns as a tuple in this order, or as a mapping. Each
            can be used on its own: `f.x`, `f["x"]`, `x, y = f`.
        version: part of the task's identity; change it to have everything computed again.
        retries: how often a failed run is tried again.
        backoff: seconds before the first retry; doubles with each.
        timeout: time after which a run is stopped, with its whole process tree: seconds, or text such as "90s", "2h" or
            "1:30:00"; 0 for never.
        cpus: processors that a run occupies; may be fractional.
        memory: memory that a run needs, in bytes or as text such as "2 GiB"; 0 if that is unknown, "auto" for what
            earlier attempts of the task used, and some more.
        disk: space that a run needs in its directory; as `memory`.
        accelerators: what a run occupies of them: a number of GPUs, "cuda:1", "nvidia-a100:2", a mapping with count,
            kind, brand, api and model, or a list of these.
        preemptible: a run may be executed where it can be interrupted at any time.
        local: runs stay with the engine and occupy no processors, but need a worker as all do: for small steps between
            others.
        escalate: how much more a retry gets of what the last attempt had too little of, memory, disk or time: a factor,
            or a mapping of "memory", "disk" and "timeout" to a factor or to (factor, ceiling). By default twice as
            much of what was declared; False for never.
        cache: whether results are reused.
        checkpoint: whether the step is done again, with all that it grew, when any of that fails: `retries` times, and
            each time as another draw, so that nothing of what failed is reused.
        priority: higher ones are started first.
        on_error, on_skipped, on_cancelled: what happens to this task when an input ended so: "fail", "skip", or "run"
            with None for that input.

    Raises:
        UsageError: if an option is wrong, or `fn` is neither a plain function nor such a class.
    """
    policies = Policies().changed(options)
    where = place()

    def decorate(fn: Callable[..., Any]) -> Task[..., Any]:
        if isinstance(fn, type):
            check_class(fn)
        else:
            check_function(fn, "task")
        return Task(fn, details_of(fn, name, policies, where, str(version), _names(outputs)))

    return decorate if fn is None else decorate(fn)


def details_of(
    fn: Callable[..., Any], name: str | None, policies: Policies, where: str, version: str, outputs: tuple[str, ...]
) -> Details:
    """The details of a task whose decorator stands at `where`, in case the function has no place of its own."""
    code = getattr(inspect.unwrap(fn), "__code__", None)
    return Details(
        name=name or fn.__qualname__.rpartition(".")[2],
        policies=policies,
        version=version,
        outputs=outputs,
        place=where if code is None else f"{code.co_filename}:{code.co_firstlineno}",
    )


def check_function(fn: Any, what: str) -> None:
    """Raise UsageError unless `fn` is a plain function."""
    if isinstance(fn, Task):
        raise UsageError(f"{fn.name} is a task already; @{what} goes on the plain function")
    if isinstance(fn, (staticmethod, classmethod, MethodType)):
        raise UsageError(
            f"@{what} goes on a function, not on the method {getattr(fn, '__name__', fn)}",
            hint="define the function outside of the class, or decorate a class with a method run(self)",
        )
    if not callable(fn) or not hasattr(fn, "__qualname__") or isinstance(fn, type):
        raise UsageError(f"@{what} goes on a function, not on {fn!r}")
    if inspect.iscoroutinefunction(fn) or inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise UsageError(f"@{what} goes on a function that returns its result; {fn.__name__} is a generator or async")


def _names(outputs: Sequence[str]) -> tuple[str, ...]:
    """Checked names of outputs."""
    names = (outputs,) if isinstance(outputs, str) else tuple(outputs)
    wrong = [n for n in names if not str(n).isidentifier() or n.startswith("_") or names.count(n) > 1]
    if wrong:
        raise UsageError(f"outputs={outputs!r}: names must be different identifiers without a leading underscore")
    return names
