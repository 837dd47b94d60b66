"""Finding the workflow in a user's file, and its arguments on the command line."""

import ast
import importlib.machinery
import json
import os
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from tidemill.graph import Call, File, Workflow, check, context
from tidemill.graph.ports import Signature
from tidemill.model.errors import NotFoundError, UsageError
from tidemill.model.file import is_url
from tidemill.workers.failure import one_line, user_traceback

MAIN = "__main__"


def load_call(file: Path, workflow: str | None, settings: Sequence[str]) -> Call[Any]:
    """The call that a command line asks for.

    Args:
        file: a Python file.
        workflow: the name of the workflow in it; needed if there are several.
        settings: `name=value` for its parameters.

    Raises:
        NotFoundError: there is no such file.
        UsageError: it cannot be loaded, has no such workflow, or the settings do not fit.
    """
    found = choose(load(file), file, workflow)
    values = parse_settings(found.signature, settings)
    missing = [p.name for p in found.signature.ports if not (p.optional or p.variadic or p.name in values)]
    if missing:
        names = ", ".join(map(repr, missing))
        hint = " ".join(f"--set {name}=…" for name in missing)
        raise UsageError(f"{found.name} needs a value of {names}", hint=hint)
    call: Call[Any] = found(**values)
    return call


# ---------------------------------------------------------------------------------------------------------- the script


def load(file: Path) -> types.ModuleType:
    """The script as the module `__main__`, without what stands under `if __name__ == "__main__"`, and executed no
    further than to where it starts a workflow itself.

    Raises:
        NotFoundError: there is no such file.
        UsageError: it is no Python file, or raises an error.
    """
    path = os.path.abspath(file)
    if not os.path.isfile(path):
        raise NotFoundError(f"there is no file {file}")
    module = types.ModuleType(MAIN)
    module.__file__ = path
    try:
        with open(path, "rb") as source:
            tree = ast.parse(source.read(), path)
        code = compile(_without_main_part(tree), path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        raise UsageError(f"{file} is not a Python file: {one_line(error)}") from error
    sys.modules[MAIN] = module
    sys.argv = [path]
    sys.path.insert(0, os.path.dirname(path))
    _place_in_package(module, path)
    try:
        with context.import_only():
            exec(code, module.__dict__)  # noqa: S102 — this is what it is for
    except (context.ImportOnly, SystemExit):
        pass
    except Exception as error:
        text = user_traceback(error).rstrip()
        raise UsageError(f"{file} cannot be loaded: {type(error).__name__}: {one_line(error)}\n{text}") from error
    return module


def _place_in_package(module: types.ModuleType, path: str) -> None:
    """A file of a package is the module that `python -m` would execute, so that it may import its neighbours."""
    root, names = os.path.split(os.path.splitext(path)[0])
    while os.path.isfile(os.path.join(root, "__init__.py")):
        root, name = os.path.split(root)
        names = f"{name}.{names}"
    if "." in names:
        sys.path.insert(1, root)
        module.__package__ = names.rpartition(".")[0]
        module.__spec__ = importlib.machinery.ModuleSpec(names, None, origin=path)


def _without_main_part(tree: ast.Module) -> ast.Module:
    tree.body = [node for node in tree.body if not (isinstance(node, ast.If) and _asks_for_main(node.test))]
    return tree


def _asks_for_main(test: ast.expr) -> bool:
    """Whether a condition is `__name__ == "__main__"`, either way round."""
    if not isinstance(test, ast.Compare) or not isinstance(test.ops[0], ast.Eq):
        return False
    sides = [test.left, *test.comparators]
    names = [s.id for s in sides if isinstance(s, ast.Name)]
    return names == ["__name__"] and any(isinstance(s, ast.Constant) and s.value == MAIN for s in sides)


def choose(module: types.ModuleType, file: Path, name: str | None) -> Workflow[..., Any]:
    """The workflow of this name, or the only one.

    Raises:
        UsageError: there is none, or there are several.
    """
    found: dict[str, Workflow[..., Any]] = {}
    for key, value in vars(module).items():
        if isinstance(value, Workflow):
            found.setdefault(key, value)
    if name is not None:
        chosen = found.get(name) or next((w for w in found.values() if w.name == name), None)
        if chosen is None:
            raise UsageError(f"{file} has no workflow {name!r}", hint=_listed(found))
        return chosen
    own = {k: w for k, w in found.items() if getattr(w.fn, "__module__", MAIN) == MAIN} or found
    distinct = {id(w): w for w in own.values()}
    if len(distinct) == 1:
        return next(iter(distinct.values()))
    if not distinct:
        raise UsageError(f"{file} has no workflow", hint="decorate a function with @tidemill.workflow")
    raise UsageError(f"{file} has {len(distinct)} workflows", hint=f"choose one with --workflow; {_listed(own)}")


def _listed(found: dict[str, Workflow[..., Any]]) -> str:
    return f"it has {', '.join(found)}" if found else "it has no workflow at all"


# ------------------------------------------------------------------------------------------------------- the arguments


def parse_settings(signature: Signature, settings: Sequence[str]) -> dict[str, Any]:
    """Values of `name=value` texts, read as the parameters' annotations say.

    Raises:
        UsageError: no `=`, no such parameter, or a value that does not fit; all of these at once.
    """
    types_of = {p.name: t for p, t in zip(signature.ports, signature.types, strict=True) if not p.variadic}
    open_ended = any(p.variadic == "**" for p in signature.ports)
    values: dict[str, Any] = {}
    problems = []
    for text in settings:
        name, equals, written = text.partition("=")
        if not equals:
            problems.append(f"--set {text}: write it as name=value")
        elif name not in types_of and not open_ended:
            problems.append(f"--set {text}: {signature.name} has no parameter {name!r}; it has {_names(types_of)}")
        else:
            try:
                values[name] = parse_value(written, types_of.get(name, check.UNKNOWN))
            except ValueError as error:
                problems.append(f"--set {text}: {error}")
    if problems:
        raise UsageError("\n".join(problems))
    return values


def _names(known: dict[str, object]) -> str:
    return ", ".join(known) or "none"


def parse_value(text: str, kind: object) -> Any:
    """A text as a value of a type: JSON where the type is more than a text, a path for files.

    Raises:
        ValueError: it does not fit.
    """
    wanted = check.plain(kind)
    if wanted is str or (text in {"None", "null"} and type(None) in check.members(kind)):
        return text if wanted is str and type(None) not in check.members(kind) else _optional(text)
    if isinstance(wanted, type) and issubclass(wanted, (Path, File)):
        return File(text) if is_url(text) else wanted(text)
    value = _json(text)
    if kind is check.UNKNOWN:
        return value
    if check.inner(wanted) is not None and not isinstance(value, list):
        value = [_json(part.strip()) for part in text.split(",")] if isinstance(value, str) else [value]
    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as error:
        raise ValueError(f"{text!r} does not fit {check.show(kind)}: {error}") from error
    except TypeError:
        return value  # a type that only its own module understands


def _optional(text: str) -> str | None:
    return None if text in {"None", "null"} else text


def _json(text: str) -> Any:
    """The JSON value, or the text itself where it is none; True, False and None as in Python."""
    spelled = {"True": True, "False": False, "None": None}
    if text in spelled:
        return spelled[text]
    try:
        return json.loads(text)
    except ValueError:
        return text
