"""Where a worker finds the function or class of a task: in a module, in a script, or in the specification itself."""

import functools
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from tidemill.graph import context
from tidemill.model.errors import UsageError
from tidemill.model.spec import Python


def locate(fn: Callable[..., Any], task: object, *, spread: bool = False) -> Python:
    """Where a worker finds the function: in a module, in the script that was started, or in the specification itself.

    Raises:
        UsageError: if it must travel in the specification and cannot be pickled.
    """
    found = importable(fn, task)
    if found is None:
        found = Python(fn.__qualname__, pickled=pickled(fn, fn.__qualname__), classes=_classes(fn))
    return msgspec.structs.replace(found, spread=spread, cwd=_directory())


def _classes(fn: Callable[..., Any]) -> tuple[bytes, ...]:
    """Pickles of the classes that stand beside a function typed at a prompt; one that cannot be pickled is left out."""
    import cloudpickle

    found = []
    for thing in list(vars(sys.modules["__main__"]).values()) if fn.__module__ == "__main__" else ():
        if isinstance(thing, type) and thing.__module__ == "__main__":
            with suppress(Exception):
                found.append(bytes(cloudpickle.dumps(thing)))
    return tuple(found)


def _directory() -> str:
    try:
        return context.directory or os.getcwd()
    except OSError:  # it has been removed
        return ""


def importable(fn: Callable[..., Any], task: object) -> Python | None:
    """Where the function, or a task of it, can be imported from; None if nowhere."""
    module, qualname = fn.__module__, fn.__qualname__
    if not _stands_at(sys.modules.get(module), qualname, fn, task):
        return None
    if module != "__main__":
        return Python(qualname, module=module, root=_root(sys.modules[module]))
    main = sys.modules[module]
    spec = getattr(main, "__spec__", None)
    file = getattr(main, "__file__", None)
    if spec is not None and spec.name != "__main__":
        return Python(qualname, module=spec.name, root=_root(main, spec.name))
    return Python(qualname, file=os.path.abspath(file)) if file is not None and os.path.isfile(file) else None


def _root(module: ModuleType, name: str = "") -> str:
    """The directory from which a module can be imported under its name; "" if it does not come from a file."""
    file = getattr(module, "__file__", None)
    if file is None:
        return ""
    path = Path(file).absolute()
    depth = (name or module.__name__).count(".") + (path.stem == "__init__")
    return str(path.parents[depth]) if depth < len(path.parents) else ""


def _stands_at(module: object, qualname: str, fn: object, task: object) -> bool:
    """Whether the module still has this function, or a task of it, under its name."""
    try:
        found = attribute(module, qualname)
    except AttributeError:
        return False
    return found is fn or found is task or getattr(found, "fn", None) is fn


def attribute(start: Any, path: str) -> Any:
    """An attribute path such as `Class.method`.

    Raises:
        AttributeError: if there is nothing at it.
    """
    return functools.reduce(getattr, path.split("."), start)


def pickled(fn: object, qualname: str) -> bytes:
    """A pickle of a function, or of a task.

    Raises:
        UsageError: if it cannot be pickled.
    """
    import cloudpickle

    try:
        return bytes(cloudpickle.dumps(fn))
    except Exception as error:
        raise UsageError(
            f"the function {qualname} cannot be sent to a worker: {error}",
            hint="Define it at the top level of a module or script, or do not refer to such objects in it.",
        ) from error
