"""From a task's specification to something that can be called: import it, unpickle it, or run its script once.

What was imported is used only if it has the digest that was submitted. Modules are imported once per process, so when
the digest differs the project's own modules are imported afresh and looked at again before the run is failed.
"""

import functools
import gc
import importlib
import importlib.util
import math
import operator
import os
import pickle
import sys
import time
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from tidemill.graph import context, playing
from tidemill.graph.classes import entry, keywords
from tidemill.graph.origin import origin
from tidemill.graph.task import Task
from tidemill.model.spec import Python, TaskSpec, decode_spec
from tidemill.model.states import Reason
from tidemill.workers.failure import Fault, one_line, user_traceback

SCRIPT = "__tidemill_main__"
"""`__name__` of a user's script while a worker loads it, so that what stands under `if __name__ == "__main__"` does not
run. Afterwards the script and all that it defined are called `__main__` again, as in the user's own process."""

AGAIN = 1.0
"""Seconds before an import that failed is tried again."""

_VALUES = ("constant:", "default:", "closure:")
"""Parts of a task's digest that are values, not code."""

_ARGV = 'a worker imports a script without its command line: read sys.argv below `if __name__ == "__main__":`'

_SHOWN = 5
"""Parts named in a message."""

Call = Callable[[list[Any]], Any]


class Loaded:
    """A task that can be run.

    Attributes:
        spec: the task.
        call: takes the values of the input ports as a list; None for commands.
        main: what `__main__` means to this task, None if it does not matter.
        seconds: how long its last run took; infinite before the first.
    """

    __slots__ = ("call", "main", "seconds", "spec", "spread")

    def __init__(self, spec: TaskSpec, call: Call | None, main: types.ModuleType | None) -> None:
        self.spec = spec
        self.call = call
        self.main = main
        self.seconds = math.inf
        self.spread = len(spec.outputs) != 1 or (spec.python is not None and spec.python.spread)


class Loader:
    """The tasks of one process.

    Args:
        path: entries to put in front of `sys.path`: where the user's project is.
    """

    def __init__(self, path: Sequence[str] = ()) -> None:
        self._path: list[str] = []
        self._specs: dict[int, bytes] = {}
        self._loaded: dict[int, Loaded] = {}
        self._failed: dict[int, tuple[float, Fault]] = {}
        self._scripts: dict[str, types.ModuleType] = {}
        self._main: types.ModuleType | None = None
        self.look_in(path)

    def look_in(self, path: Sequence[str]) -> None:
        """Put those entries in front of `sys.path` that are not in it yet."""
        fresh = [entry for entry in path if entry not in sys.path]
        sys.path[:0] = fresh
        self._path += [os.path.join(os.path.realpath(entry), "") for entry in path]
        importlib.invalidate_caches()
        self._failed.clear()

    def learn(self, tasks: Iterable[tuple[int, bytes]]) -> None:
        """Remember encoded specifications by task id."""
        self._specs.update(tasks)

    def known(self, task: int) -> Loaded | None:
        """A task that has been loaded, with its `__main__` in place."""
        found = self._loaded.get(task)
        if found is not None and found.main is not self._main and found.main is not None:
            self._enter(found.main)
        return found

    def load(self, task: int) -> Loaded:
        """Load a task by id.

        Raises:
            Fault: BAD_INPUT if its code cannot be imported, CODE_CHANGED if it is not what was submitted.
        """
        when, fault = self._failed.get(task, (-math.inf, None))
        if fault is not None and time.monotonic() - when < AGAIN:
            raise fault
        try:
            found = self.prepare(decode_spec(self._specs[task]))
        except Fault as error:
            self._failed[task] = (time.monotonic(), error)
            raise
        self._loaded[task] = found
        return found

    def prepare(self, spec: TaskSpec) -> Loaded:
        """Make a task callable.

        Raises:
            Fault: as for `load`.
        """
        if spec.kind == "command":
            return Loaded(spec, None, None)
        if spec.kind == "builtin":
            return Loaded(spec, _builtin(spec.name), None)
        python = spec.python
        if python is None:
            raise Fault(Reason.BAD_INPUT, f"task {spec.name!r} says neither what to call nor what to execute")
        context.directory = python.cwd
        with context.import_only(), _standing_in(python.cwd):
            function, main = self._find(spec, python)
            if not _same(function, spec):
                self._forget_project()
                function, main = self._find(spec, python)
        if not _same(function, spec):
            raise _changed(function.spec, spec, python)
        if python.role:
            return Loaded(spec, _role(function, spec), main)
        return Loaded(spec, caller(plain(function), spec), main)

    # ---------------------------------------------------------------------------------------------------------- finding

    def _find(self, spec: TaskSpec, python: Python) -> tuple[Any, types.ModuleType | None]:
        try:
            if python.pickled:
                found = pickle.loads(python.pickled)
                main = _stage_for(found, python.classes)
                self._enter(main)
                return found, main
            if python.file:
                main = self._script(python.file)
                return _lookup(main, python, spec), main
            if python.root and python.root not in sys.path:
                # last, so that it hides nothing: for work that another program than the one that is attached had begun
                sys.path.append(python.root)
                self._path.append(os.path.join(os.path.realpath(python.root), ""))
            return _lookup(importlib.import_module(python.module), python, spec), None
        except Fault:
            raise
        except BaseException as error:
            if isinstance(error, context.ImportOnly):
                message = f"{_name(python)} cannot be imported: its module starts a workflow while it is imported"
            else:
                message = f"{_name(python)} cannot be imported: {type(error).__qualname__}: {one_line(error)}"
            text = user_traceback(error)
            hint = _ARGV if python.file and "sys.argv" in text else ""
            raise Fault(Reason.BAD_INPUT, message, kind=type(error).__qualname__, traceback=text, hint=hint) from error

    def _script(self, file: str) -> types.ModuleType:
        """The user's script as a module, executed up to the point where it starts a workflow or ends the process."""
        found = self._scripts.get(file)
        if found is not None:
            self._enter(found)
            return found
        module = types.ModuleType(SCRIPT)
        module.__file__ = file
        with open(file, "rb") as source:
            code = compile(source.read(), file, "exec", dont_inherit=True)
        folder = os.path.dirname(os.path.abspath(file))
        self.look_in([folder])
        before, argv = self._main, sys.argv
        self._enter(module)
        sys.argv = [file]
        try:
            exec(code, module.__dict__)  # noqa: S102 (this is what a worker is for)
        except (context.ImportOnly, SystemExit):
            pass
        except BaseException:
            if before is not None:
                self._enter(before)
            raise
        finally:
            sys.argv = argv
        _rename(module)
        self._scripts[file] = module
        return module

    def _enter(self, main: types.ModuleType) -> None:
        """Let `__main__` mean this module: stored values name the script's classes so."""
        self._main = sys.modules["__main__"] = sys.modules[SCRIPT] = main

    def _forget_project(self) -> None:
        """Drop the modules of the user's project, so that their next import reads the files again.

        Tasks that are loaded already go with them: what they are given would be made of the new modules' classes.
        """
        self._scripts.clear()
        self._loaded.clear()
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            if not isinstance(file, str) or not file.endswith(".py") or not self._of_project(name, file):
                continue
            del sys.modules[name]
            try:
                os.unlink(importlib.util.cache_from_source(file))
            except (OSError, NotImplementedError):
                continue  # no byte code, which cannot be stale then
        importlib.invalidate_caches()

    def _of_project(self, name: str, file: str) -> bool:
        """Whether a module is the user's. Tidemill itself is not, wherever it lies: two copies of it know nothing of
        each other."""
        real = os.path.realpath(file)
        return origin(name) == "project" and any(real.startswith(entry) for entry in self._path)


@contextmanager
def _standing_in(directory: str) -> Iterator[None]:
    """Make this the working directory for a while, if it is there: modules are imported where the user did it."""
    try:
        back = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        yield
        return
    try:
        if directory:
            with suppress(OSError):
                os.chdir(directory)
        yield
    finally:
        os.fchdir(back)
        os.close(back)


def _rename(script: types.ModuleType) -> None:
    """Let what a script defined say `__main__` where it says `SCRIPT`, for those who store or pickle it by name."""
    script.__name__ = "__main__"
    for thing in gc.get_objects():
        if isinstance(thing, (types.FunctionType, type)) and thing.__module__ == SCRIPT:
            thing.__module__ = "__main__"


def _lookup(module: types.ModuleType, python: Python, spec: TaskSpec) -> Any:
    try:
        found = operator.attrgetter(python.qualname)(module)
    except AttributeError as error:
        where = python.file or python.module
        raise Fault(
            Reason.BAD_INPUT,
            f"{where} has no {python.qualname!r} when a worker imports it",
            hint="define tasks at the top of the file, before the line that runs the workflow"
            if python.file
            else "define tasks at the top level of their module",
        ) from error
    if not isinstance(getattr(found, "spec", None), TaskSpec):
        for other in list(vars(module).values()):
            if getattr(other, "fn", None) is found and _same(other, spec):
                return other
    return found


def _same(found: Any, spec: TaskSpec) -> bool:
    """Whether a task has the submitted digest. What was pickled is what was submitted; no other function can tell."""
    known = getattr(found, "spec", None)
    alone = spec.python is not None and spec.python.pickled
    return bool(alone) or not isinstance(known, TaskSpec) or _meant(known) == _meant(spec)


def _meant(spec: TaskSpec) -> bytes:
    """The digest of the user's task, also of what stands in for it."""
    if spec.python is None:
        return spec.digest
    return spec.python.base or spec.digest


def _changed(found: TaskSpec, spec: TaskSpec, python: Python) -> Fault:
    """The failure of a task that means something else where it is executed, with the parts in which it differs."""
    names = sorted(n for n in found.parts.keys() | spec.parts.keys() if found.parts.get(n) != spec.parts.get(n))
    hint = "it was edited meanwhile, or the worker finds another copy first: submit the workflow again"
    if names and all(name.startswith(_VALUES) for name in names):
        hint = (
            "a worker imports the module afresh, and such a value must then be the same: set it where the module is "
            "imported, the same each time, or pass it to the task as an argument"
        )
    shown = ", ".join(name.replace(":", " ", 1) for name in names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    differs = f": it differs in {shown}" if names else ""
    return Fault(
        Reason.CODE_CHANGED,
        f"the code of {_name(python)} that the worker imports is not the code that was submitted{differs}",
        hint=hint,
    )


def _name(python: Python) -> str:
    where = python.file or python.module
    return f"{python.qualname} of {where}" if where else python.qualname


def _stage_for(function: Any, classes: Iterable[bytes]) -> types.ModuleType:
    """A `__main__` for a pickled function: values name the classes of its notebook by that module."""
    main = types.ModuleType(SCRIPT)
    for data in classes:
        with suppress(Exception):  # a class that cannot be made here will be missed by name if a value needs it
            kind = pickle.loads(data)
            setattr(main, kind.__qualname__, kind)
    raw = plain(function)
    bodies = list(vars(raw).values()) if isinstance(raw, type) else [raw]
    pending = [value for one in bodies for value in getattr(one, "__globals__", {}).values()]
    pending += getattr(raw, "__annotations__", {}).values()
    while pending:
        thing = pending.pop()
        pending += getattr(thing, "__args__", ())
        if isinstance(thing, type) and thing.__module__ in {"__main__", SCRIPT} and thing.__qualname__.isidentifier():
            setattr(main, thing.__qualname__, thing)
    return main


# ------------------------------------------------------------------------------------------------------------- calling


def _builtin(name: str) -> Call:
    if name != "assemble":
        raise Fault(Reason.BAD_INPUT, f"this version of Tidemill has no built-in task {name!r}")
    return operator.itemgetter(0)


def _role(task: Task[..., Any], spec: TaskSpec) -> Call:
    """What plays a role for a task."""
    count = len(spec.inputs)
    return lambda args: playing.play(task, spec, args[:count])


def plain(found: Any) -> Any:
    """The function or class of a task; anything else is one itself."""
    return found if isinstance(found, type) else getattr(found, "fn", found)


def caller(function: Callable[..., Any], spec: TaskSpec) -> Call:
    """What calls `function` with the values of the input ports.

    The list has one value per port, a "*" port a list, a "**" port a dict; what follows (the replica) is dropped.
    """
    ports = spec.inputs
    count = len(ports)
    named_only = _keyword_only(function)
    function = entry(function)
    if not any(port.variadic or port.name in named_only for port in ports):

        def by_position(args: list[Any]) -> Any:
            return function(*args) if len(args) == count else function(*args[:count])

        return by_position

    def general(args: list[Any]) -> Any:
        positional: list[Any] = []
        named: dict[str, Any] = {}
        for port, value in zip(ports, args, strict=False):
            if port.variadic == "*":
                positional += value
            elif port.variadic == "**":
                named.update(value)
            elif port.name in named_only:
                named[port.name] = value
            else:
                positional.append(value)
        return function(*positional, **named)

    return general


def _keyword_only(function: Any) -> frozenset[str]:
    if isinstance(function, type):
        return keywords(function)
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    if isinstance(function, functools.partial):
        return _keyword_only(function.func)
    code = getattr(function, "__code__", None)
    if code is None:
        return frozenset()
    return frozenset(code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount])
