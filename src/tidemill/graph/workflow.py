"""Workflows: what `@workflow` makes of a function."""

import functools
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar, overload

from tidemill.graph import context
from tidemill.graph.call import Call
from tidemill.graph.ports import BindError, Signature, signature
from tidemill.graph.problems import place
from tidemill.graph.task import check_function
from tidemill.model.errors import WiringError

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)
R = TypeVar("R")


class Workflow(Generic[P, R_co]):
    """A function whose calls of tasks make up a graph.

    Calling it returns a `Call` to be run. Inside another workflow, or a task, its calls become a block of that graph
    and what it returned is returned: futures, or a structure of them.

    Attributes:
        fn: the function itself.
        name: shown everywhere.
    """

    fn: Callable[P, R_co]
    __name__: str

    def __init__(self, fn: Callable[P, R_co], name: str) -> None:
        self.fn = fn
        self.name = name
        functools.update_wrapper(self, fn)

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Call[R_co]: ...
    @overload
    def __call__(self, *args: Any, **kwargs: Any) -> Call[R_co]: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        graph = context.current()
        try:
            values = self.signature.bind(args, kwargs)
        except BindError as error:
            if graph is None:
                raise WiringError([(place(), text) for text in error.texts]) from None
            for text in error.texts:
                graph.problem(text)
            return graph.broken()
        return Call(self, args, kwargs) if graph is None else graph.inline(self, values)

    @functools.cached_property
    def signature(self) -> Signature:
        """The parameters."""
        return signature(self.fn, self.name)

    def __repr__(self) -> str:
        inputs = ", ".join(p.variadic + p.name + (f": {p.type}" if p.type else "") for p in self.signature.ports)
        return f"<workflow {self.name}({inputs})>"


@overload
def workflow(fn: Callable[P, R], /) -> Workflow[P, R]: ...
@overload
def workflow(*, name: str | None = None) -> Callable[[Callable[P, R]], Workflow[P, R]]: ...
def workflow(fn: Callable[..., Any] | None = None, /, *, name: str | None = None) -> Any:
    """Make a workflow of a function that calls tasks: `@workflow`, or `@workflow(name="…")`.

    Raises:
        UsageError: if `fn` is no plain function.
    """

    def decorate(fn: Callable[..., Any]) -> Workflow[..., Any]:
        check_function(fn, "workflow")
        return Workflow(fn, name or fn.__name__)

    return decorate if fn is None else decorate(fn)
