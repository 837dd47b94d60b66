"""Services: steps that go on while others use them, such as a database for the analyses that read it."""

import inspect
import typing
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, overload

import msgspec

from tidemill.graph import check, context
from tidemill.graph.policies import Policies
from tidemill.graph.ports import BindError, resolve
from tidemill.graph.problems import place, problem
from tidemill.graph.task import Details, Task, details_of
from tidemill.model.errors import UsageError, WiringError
from tidemill.model.spec import Port, Python, TaskSpec

A = TypeVar("A")
P = ParamSpec("P")

_GENERATORS = {"Generator", "Iterable", "Iterator"}


class Serves(Protocol):
    """What instances of a class that is a service can do. They may have `check(self)`, called now and then: True while
    it is up, False if it has ended as it should, and what is raised fails it; and `stop(self)`, which brings it down.
    """

    def start(self) -> Any:
        """Bring the service up; what users get: its address, say."""


class Service(Task[..., Any]):
    """A step that goes on while others use it: `with database(100) as address:` in a workflow or task.

    What is called in the `with` block starts when the service is up, and the service is stopped when all of that, and
    all that it grew, has ended, however it ended. The value of the block is what the service published; results of what
    uses it are never reused.

    Attributes:
        interval: seconds between two checks.
    """

    def __init__(self, fn: Callable[..., Any], details: Details, interval: float) -> None:
        super().__init__(fn, details)
        self.interval = interval

    def _copy(self, details: Details, axis: Any) -> "Service":
        if axis is not None:
            raise UsageError(f"the service {self.name} cannot be repeated")
        return Service(self.fn, details, self.interval)

    def __reduce__(self) -> Any:
        found = super().__reduce__()
        return found if len(found) == 2 else (Service, (self.fn, self.details, self.interval))

    def __call__(self, *args: Any, **kwargs: Any) -> "Serving[Any]":
        """For a `with` statement: the service is up for the block."""
        graph = context.current()
        try:
            values = self.signature.bind(args, kwargs)
        except BindError as error:
            raise WiringError([(place(), text) for text in error.texts]) from None
        if graph is None:
            raise problem(f"the service {self.name} is for a workflow or a task: with {self.name}(…) as address:")
        return Serving(self, values)

    @property
    def output_types(self) -> tuple[object, ...]:
        """The annotation of what is published."""
        if isinstance(self.fn, type):
            start = inspect.getattr_static(self.fn, "start")
            return (resolve(inspect.signature(start).return_annotation, start),)
        returns = self.signature.returns
        name = getattr(typing.get_origin(returns) or returns, "__name__", "")
        found = typing.get_args(returns)
        return (found[0],) if name in _GENERATORS and found else (check.UNKNOWN,)

    def _outputs(self) -> tuple[Port, ...]:
        (kind,) = self.output_types
        return (Port("address", "" if kind is check.UNKNOWN else check.show(kind)),)

    def _specify(self) -> TaskSpec:
        return msgspec.structs.replace(super()._specify(), service=self.interval, cache=False)

    def _python(self) -> Python:
        return msgspec.structs.replace(super()._python(), spread=False)

    def __repr__(self) -> str:
        return super().__repr__().replace("<task", "<service", 1)


class Serving(Generic[A]):
    """A service with its arguments, for a `with` statement."""

    def __init__(self, service: Service, values: Sequence[Any]) -> None:
        self._service = service
        self._values = values
        self._graph: Any = None

    def __reduce_ex__(self, protocol: object) -> Any:
        import pickle

        name = self._service.name
        raise pickle.PicklingError(f"{name}() is no value: it is up in `with {name}(…) as address:`")

    def __repr__(self) -> str:
        return f"<{self._service.name}(…), a service for a with statement>"

    def __enter__(self) -> A:
        if self._graph is not None:
            raise problem(f"this service {self._service.name} has been used already; call it again for another one")
        self._graph = context.current()
        if self._graph is None:
            raise problem(f"the service {self._service.name} is for a workflow or a task")
        return self._graph.serve(self._service, self._values)  # type: ignore[no-any-return]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._graph.leave_service()


class _Decorate(Protocol):
    """What `@service(…)` gives. Of classes, type checkers see what they were."""

    @overload
    def __call__(self, fn: type[Serves], /) -> Any: ...
    @overload
    def __call__(self, fn: Callable[P, Iterator[A]], /) -> Callable[P, Serving[A]]: ...


@overload
def service(fn: type[Serves], /) -> Any: ...
@overload
def service(fn: Callable[P, Iterator[A]], /) -> Callable[P, Serving[A]]: ...
@overload
def service(*, name: str | None = None, interval: float = 1.0, **options: Any) -> _Decorate: ...
def service(fn: Any = None, /, *, name: str | None = None, interval: float = 1.0, **options: Any) -> Any:
    """Make a service of a generator function or of a class: `@service`, or `@service(cpus=0.1, interval=5)`.

    A generator function brings the service up, yields once what its users get, and takes it down after the `yield`,
    best in a `finally`. A class has `start(self)`, which returns what users get, and may have `check(self)` and
    `stop(self)`.

    Args:
        fn: the function or class; its parameters are the inputs.
        name: shown everywhere.
        interval: seconds between two checks whether it is still up.
        options: as for `task`: `retries`, `backoff`, `cpus`, `memory`, `priority`, …; `timeout` is the time it has for
            coming up.

    Raises:
        UsageError: if an option is wrong, or `fn` is neither.
    """
    if type(interval) not in (int, float) or not 0 < interval < 1e9:
        raise UsageError(f"interval={interval!r} must be a number of seconds above 0")
    policies = Policies().changed(options)
    if policies.checkpoint:
        raise UsageError("a service cannot be a checkpoint: it grows nothing")
    where = place()

    def decorate(fn: Any) -> Service:
        _check(fn)
        found = details_of(fn, name, msgspec.structs.replace(policies, cache=False), where, "", ())
        return Service(fn, found, float(interval))

    return decorate if fn is None else decorate(fn)


def _check(fn: Any) -> None:
    """Raise UsageError unless `fn` is a generator function or a class with a method `start`."""
    if inspect.isgeneratorfunction(fn):
        return
    if isinstance(fn, type):
        if not inspect.isfunction(inspect.getattr_static(fn, "start", None)):
            raise UsageError(f"@service goes on a class with a method start(self); {fn.__qualname__} has none")
        return
    raise UsageError(
        f"@service goes on a generator function or a class, not on {fn!r}",
        hint="bring it up, yield its address, take it down after that; or write a class with start, check and stop",
    )
