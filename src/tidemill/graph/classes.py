"""Classes as tasks: what a class with a method `run` takes, gives and is called by.

The parameters of the class are the inputs; to execute a run is to make an instance and to call its `run`.
"""

import inspect
import types
from collections.abc import Callable
from typing import Any

from tidemill.model.errors import UsageError

_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def body(fn: Callable[..., Any]) -> Callable[..., Any]:
    """The function whose annotation says what the task returns: `fn` itself, or the `run` (of a service the
    `start`) of a class.
    """
    return vars_of(fn, "run") or vars_of(fn, "start") if isinstance(fn, type) else fn


def maker(fn: Callable[..., Any]) -> Callable[..., Any]:
    """The function in whose module annotations of parameters are read: `fn` itself, or what makes instances."""
    if not isinstance(fn, type):
        return fn
    found = [vars_of(fn, name) for name in ("__init__", "__new__")]
    return next((one for one in found if isinstance(one, types.FunctionType)), body(fn))


def entry(fn: Callable[..., Any]) -> Callable[..., Any]:
    """What a worker calls with the inputs: `fn` itself, or for a class what makes an instance and calls its `run`."""
    if not isinstance(fn, type) or vars_of(fn, "run") is None:
        return fn

    def run(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs).run()

    return run


def keywords(kind: type) -> frozenset[str]:
    """Parameters of a class that are passed by name only."""
    try:
        found = inspect.signature(kind).parameters.values()
    except ValueError:  # one of the interpreter's own
        return frozenset()
    return frozenset(p.name for p in found if p.kind is inspect.Parameter.KEYWORD_ONLY)


def vars_of(kind: type, name: str) -> Any:
    """A class's attribute as it stands in its body or that of a base class, None if in none."""
    return inspect.getattr_static(kind, name, None)


def check_class(kind: type) -> None:
    """Raise UsageError unless a class can be a task: instances can be made, and have a plain `run(self)`."""
    name = kind.__qualname__
    run = vars_of(kind, "run")
    if run is None:
        raise UsageError(f"@task goes on a function or a class with a method run(self); {name} has none")
    if not isinstance(run, types.FunctionType):
        raise UsageError(f"{name}.run must be a plain method, not a {type(run).__name__}")
    if inspect.iscoroutinefunction(run) or inspect.isgeneratorfunction(run) or inspect.isasyncgenfunction(run):
        raise UsageError(f"{name}.run must return its result; it is a generator or async")
    extra = [
        p.name
        for p in list(inspect.signature(run).parameters.values())[1:]
        if p.default is p.empty and p.kind not in _VARIADIC
    ]
    if extra:
        raise UsageError(
            f"{name}.run is called without arguments, but wants {', '.join(extra)}",
            hint=f"make them parameters of {name}.__init__: these are the inputs",
        )
    if inspect.isabstract(kind):
        raise UsageError(f"{name} is abstract: no instance can be made", hint="put @task on a class that is complete")
