"""The meaning of Python code as named digests, so that it is known what changed.

Comments, formatting and docstrings do not count, see `tidemill.graph.syntax`. What does:

* `code`: the function itself; `bytecode` instead, where its source cannot be had;
* `default:<parameter>`, `closure:<name>`: values it carries along;
* `helper:<module>.<name>`: each function, class or task of the project that it uses, directly or through others;
* `constant:<module>.<name>`: each value that one of these reads from a module of the project;
* `opaque:<module>.<name>`: the same for a value without canonical encoding: its type and the statements that make it;
* `package:<name>`: each installed package that is used, by its version.

What is reached only by `getattr` with a computed name, or through a value passed in as an argument, is not seen.
"""

import functools
import operator
import sys
from collections.abc import Callable, Iterable
from enum import Enum
from importlib import import_module
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from tidemill.graph.origin import binary_digest, label, module_file, origin, package_digest
from tidemill.graph.syntax import Chain, Form, Import, Source, names_read, source
from tidemill.model.digest import digest
from tidemill.model.errors import ValueCodecError
from tidemill.model.values import Ref, encode, pickled

_ATOMS = frozenset({int, float, str, bytes, bool, type(None), complex})
_SEQUENCES = (list, tuple, set, frozenset)
_BUILT = (Enum, dict, list, tuple, set, frozenset, str, bytes, bytearray, int, float, complex, BaseException)
_MISSING = object()


class Unit(NamedTuple):
    """What one function or class says by itself.

    Attributes:
        digest: of its normal form, or of its bytecode.
        chains: dotted names that it reads from outside.
        imports: what it imports while running.
        has_source: whether `digest` is that of a normal form.
        codes: the code objects it was made of; it is valid while these are in place.
    """

    digest: bytes
    chains: tuple[Chain, ...]
    imports: tuple[Import, ...]
    has_source: bool
    codes: tuple[CodeType, ...]


_units: "WeakKeyDictionary[Any, Unit]" = WeakKeyDictionary()


def code_parts(fn: Callable[..., Any]) -> dict[str, bytes]:
    """The named digests (32 bytes each) that make up the meaning of `fn`; the names are listed above.

    `fn` may be any callable. A function's own decorators count only if they are not Tidemill's.
    """
    walk = _Walk()
    walk.root(fn)
    return walk.result()


def combine(parts: dict[str, bytes]) -> bytes:
    """One digest over all parts and their names."""
    return digest(encode([[name, parts[name]] for name in sorted(parts)]))


# ---------------------------------------------------------------------------------------------------------------- units


def _function_unit(fn: FunctionType) -> Unit:
    known = _units.get(fn)
    if known is not None and known.codes[0] is fn.__code__:
        return known
    code = fn.__code__
    text = source(code.co_filename, fn.__globals__)
    node = text.function(code) if text is not None else None
    if node is None:
        unit = _bytecode_unit([code], fn.__globals__)
    else:
        decorators = getattr(node, "decorator_list", [])
        form = Form(node, [d for d in decorators if _is_ours(Form(d).outer, fn.__globals__)])
        unit = _unit(form, [code])
    _units[fn] = unit
    return unit


def _unit(form: Form, codes: Iterable[CodeType]) -> Unit:
    codes = tuple(codes)
    roots = {chain[0] for chain in form.inner}
    outside = set[str]().union(*(names_read(code, roots) for code in codes))
    chains = form.outer | {chain for chain in form.inner if chain[0] in outside}
    chains |= {chain for chain in form.inner for found in form.imports if chain[0] == found.alias}
    return Unit(digest(encode(form.words)), tuple(sorted(chains)), tuple(form.imports), True, codes)


def _is_ours(chains: set[Chain], scope: dict[str, Any]) -> bool:
    """Whether a decorator is Tidemill's: its settings are no part of the code. Local names are judged by their look."""
    for chain in chains:
        if chain[0] not in scope:
            if chain[-1] in {"task", "workflow"}:
                return True
            continue
        thing = scope[chain[0]]
        name = thing.__name__ if isinstance(thing, ModuleType) else getattr(thing, "__module__", None)
        if isinstance(name, str) and origin(name) == "tidemill":
            return True
    return False


def _bytecode_unit(codes: list[CodeType], scope: dict[str, Any], extra: object = None) -> Unit:
    """For code without source. The same code has other bytecode under another version of Python."""
    words = [sys.implementation.cache_tag, [_code_words(code) for code in codes], extra]
    names = set[str]().union(*map(names_read, codes))
    chains: set[Chain] = {(name,) for name in names}
    chains |= {(name, other) for name in names if isinstance(scope.get(name), ModuleType) for other in names}
    return Unit(digest(encode(words)), tuple(sorted(chains)), (), False, tuple(codes))


def _code_words(code: CodeType) -> list[object]:
    consts = [_code_words(c) if isinstance(c, CodeType) else c for c in code.co_consts]
    return [code.co_code, code.co_names, code.co_varnames, code.co_freevars, consts]


def _methods(kind: type) -> list[FunctionType]:
    """The functions written in a class body, out of their static, class, property and caching wrappers."""
    found = []
    for value in vars(kind).values():
        inside: tuple[Any, ...] = (value,)
        if type(value) in _ATOMS:
            continue
        if not isinstance(value, FunctionType):
            inside = (value, *(getattr(value, name, None) for name in ("__func__", "fget", "fset", "fdel", "func")))
        for inner in inside:
            function = inner if isinstance(inner, FunctionType) else _wrapped(inner)
            if function is not None and function.__code__.co_qualname.startswith(kind.__qualname__ + "."):
                found.append(function)
    return found


def _class_unit(kind: type, methods: list[FunctionType]) -> Unit:
    codes = [method.__code__ for method in methods]
    known = _units.get(kind)
    if known is not None and len(known.codes) == len(codes) and all(map(operator.is_, known.codes, codes)):
        return known
    scope = getattr(sys.modules.get(kind.__module__), "__dict__", {})
    text = _class_source(kind, codes, scope)
    node = _class_node(kind, codes, text) if text is not None else None
    if node is not None:
        decorators = [d for d in node.decorator_list if _is_ours(Form(d).outer, scope)]
        unit = _unit(Form(node, decorators), codes)
    elif text is not None and (statements := text.mentions(kind.__name__)):
        unit = _statements_unit(statements, codes)
    else:
        data = {k: v for k, v in vars(kind).items() if type(v) in _ATOMS and k not in {"__doc__", "__module__"}}
        unit = _bytecode_unit(codes, scope, [kind.__qualname__, data])
    _units[kind] = unit
    return unit


def _class_source(kind: type, codes: list[CodeType], scope: dict[str, Any]) -> Source | None:
    for code in codes:
        if found := source(code.co_filename, scope):
            return found
    path = module_file(kind.__module__) if kind.__module__ in sys.modules else None
    return source(path, scope) if path else None


def _class_node(kind: type, codes: list[CodeType], text: Source) -> Any:
    """The class statement; of several with this name the one that holds the methods, else the last."""
    nodes = text.classes.get(kind.__qualname__, [])
    lines = [code.co_firstlineno for code in codes if code.co_filename == text.filename]
    around = [n for n in nodes if any(n.lineno <= line <= (n.end_lineno or 0) for line in lines)]
    best = around or nodes
    return best[-1] if best else None


def _statements_unit(statements: Iterable[Any], codes: Iterable[CodeType] = ()) -> Unit:
    forms = [Form(statement) for statement in statements]
    chains = sorted(set[Chain]().union(*(form.outer for form in forms)))
    return Unit(digest(encode([form.words for form in forms])), tuple(chains), (), True, tuple(codes))


# ----------------------------------------------------------------------------------------------------------------- walk


class _Walk:
    """Follows everything that one function uses, each thing once."""

    def __init__(self) -> None:
        self.found: dict[str, set[bytes]] = {}
        self.seen: set[tuple[int, str]] = set()
        self.kept: list[object] = []

    def result(self) -> dict[str, bytes]:
        """Several things of one name (wrappers made by one decorator) become one part."""
        return {
            name: next(iter(digests)) if len(digests) == 1 else digest(b"".join(sorted(digests)))
            for name, digests in sorted(self.found.items())
        }

    def add(self, name: str, value: bytes) -> None:
        self.found.setdefault(name, set()).add(value)

    def new(self, thing: object, name: str = "") -> bool:
        """Whether `thing` is met for the first time (by this name); kept alive so that its id stays its own."""
        if (id(thing), name) in self.seen:
            return False
        self.seen.add((id(thing), name))
        self.kept.append(thing)
        return True

    def root(self, fn: Any) -> None:
        wrapped = _wrapped(fn)
        if isinstance(fn, functools.partial):
            self.root(fn.func)
            self.constant([list(fn.args), fn.keywords], "default:(partial)", None)
        elif isinstance(fn, MethodType):
            self.root(fn.__func__)
            self.constant(fn.__self__, "closure:self", None)
        elif isinstance(fn, FunctionType):
            self.new(fn)
            unit = _function_unit(fn)
            self.add("code" if unit.has_source else "bytecode", unit.digest)
            self.carried(fn, "")
            self.follow(unit, fn.__globals__, _cells(fn))
        elif wrapped is not None:
            self.kind(type(fn))
            self.root(wrapped)
        elif isinstance(fn, type):
            self.new(fn)
            self.body(fn, "")
        else:
            name = getattr(fn, "__qualname__", type(fn).__qualname__)
            self.add("code", digest(f"{_module_of(fn)}:{name}".encode()))
            self.value(fn, "closure:self")

    def carried(self, fn: FunctionType, owner: str) -> None:
        """Default arguments and closure cells."""
        code = fn.__code__
        if fn.__defaults__:
            positional = code.co_varnames[: code.co_argcount][-len(fn.__defaults__) :]
            for name, value in zip(positional, fn.__defaults__, strict=True):
                self.value(value, f"default:{owner}{name}")
        for name, value in (fn.__kwdefaults__ or {}).items():
            self.value(value, f"default:{owner}{name}")
        for name, value in _cells(fn).items():
            if not isinstance(value, ModuleType):
                self.value(value, f"closure:{owner}{name}")

    def follow(self, unit: Unit, scope: dict[str, Any], cells: dict[str, Any] | None = None) -> None:
        local = {found.alias: found for found in unit.imports}
        for found in unit.imports:
            if not found.alias:
                _load(found.module)
        for chain in unit.chains:
            root = chain[0]
            if root in local:
                self.imported(local[root], chain, scope)
            elif cells and root in cells:
                if isinstance(cells[root], ModuleType):
                    self.chain(cells[root], chain, scope)
            elif root in scope:
                self.chain(scope[root], chain, scope)

    def imported(self, found: Import, chain: Chain, scope: dict[str, Any]) -> None:
        """A name that a function imports when it runs. Only modules of the project are imported here."""
        name = found.module
        if found.level:
            package = str(scope.get("__package__") or "").split(".")
            name = ".".join([*package[: len(package) - found.level + 1], *([name] if name else [])])
        where = origin(name)
        if where == "package":
            self.add(*package_digest(name))
        if where != "project" or (module := _load(name)) is None:
            return
        if found.attribute is None:
            self.chain(module, chain, scope)
            return
        value = getattr(module, found.attribute, _MISSING)
        if value is _MISSING:
            value = _load(f"{name}.{found.attribute}")
        self.chain(value, (found.attribute, *chain[1:]), vars(module))

    def chain(self, value: Any, chain: Chain, scope: dict[str, Any]) -> None:
        """Walk a dotted name through modules to the thing it names."""
        owner = str(scope.get("__name__", ""))
        for number, step in enumerate(chain):
            if not isinstance(value, ModuleType):
                self.value(value, f"constant:{label(owner)}.{step}", owner)
                return
            owner = value.__name__
            where = origin(owner)
            if where == "package":
                self.add(*package_digest(owner))
            if where != "project":
                return
            if number + 1 == len(chain):
                self.module(value)
                return
            value = getattr(value, chain[number + 1], _MISSING)
            if value is _MISSING:
                return

    def module(self, module: ModuleType) -> None:
        """A module of the project that is used as a whole: all of its source counts, but not what it imports."""
        if not self.new(module):
            return
        path = module_file(module.__name__)
        text = source(path, vars(module)) if path else None
        value = digest(encode(Form(text.tree).words)) if text is not None else binary_digest(module)
        self.add(f"helper:{label(module.__name__)}", value)

    def value(self, value: Any, name: str, owner: str | None = None) -> None:
        """Something that is used: code is followed, all else is a constant called `name`."""
        if value is None or type(value) in _ATOMS:
            self.add(name, digest(encode(value)))
        elif isinstance(value, FunctionType):
            self.function(value)
        elif isinstance(value, type):
            self.kind(value)
        elif isinstance(value, MethodType):
            self.value(value.__func__, name, owner)
            self.value(value.__self__, f"{name}.__self__", owner)
        elif isinstance(value, functools.partial):
            self.value(value.func, name, owner)
            self.constant([list(value.args), value.keywords], name, owner)
        elif (wrapped := _wrapped(value, type)) is not None:
            self.kind(type(value))
            self.value(wrapped, name, owner)
        elif isinstance(value, ModuleType):
            self.chain(value, (value.__name__,), {})
        elif callable(value) and isinstance(getattr(value, "__name__", None), str):
            self.compiled(value, name, owner)
        else:
            self.constant(value, name, owner)

    def compiled(self, value: Any, name: str, owner: str | None) -> None:
        """A function or method written in C."""
        module, holder = _module_of(value), getattr(value, "__self__", None)
        if origin(module) == "package":
            self.add(*package_digest(module))
        elif origin(module) == "project" and module in sys.modules:
            self.add(f"helper:{label(module)}", binary_digest(sys.modules[module]))
        if holder is not None and not isinstance(holder, (ModuleType, type)):
            self.constant(holder, name, owner)

    def function(self, fn: FunctionType) -> None:
        module = str(fn.__globals__.get("__name__", ""))
        where = origin(module)
        if where == "package":
            self.add(*package_digest(module))
        if where != "project" or not self.new(fn):
            return
        unit = _function_unit(fn)
        name = f"{label(module)}.{fn.__code__.co_qualname}"
        self.add(f"helper:{name}", unit.digest)
        self.carried(fn, f"{name}.")
        self.follow(unit, fn.__globals__, _cells(fn))

    def kind(self, kind: type) -> None:
        where = origin(kind.__module__)
        if where == "package":
            self.add(*package_digest(kind.__module__))
        if where == "project" and self.new(kind):
            self.body(kind, f"helper:{label(kind.__module__)}.{kind.__qualname__}")

    def body(self, kind: type, name: str) -> None:
        """What a class says and uses, and its base classes; under "" it is the task itself."""
        methods = _methods(kind)
        unit = _class_unit(kind, methods)
        self.add(name or ("code" if unit.has_source else "bytecode"), unit.digest)
        cells: dict[str, Any] = {}
        for method in methods:
            self.new(method)
            cells |= _cells(method)
            self.carried(method, f"{label(kind.__module__)}.{method.__code__.co_qualname}.")
        self.follow(unit, getattr(sys.modules.get(kind.__module__), "__dict__", {}), cells)
        for base in kind.__bases__:
            self.kind(base)

    # ------------------------------------------------------------------------------------------------------- constants

    def constant(self, value: Any, name: str, owner: str | None) -> None:
        """A value. Code inside it is followed; a value without canonical encoding counts by the statements about it."""
        if not self.new(value, name):
            return
        if (ready := _own_digest(value)) is not None:
            self.add(name, ready)
            return
        self.kind(type(value))
        try:
            data = encode(self.skeleton(value, name), _by_path)
        except (ValueCodecError, RecursionError):
            data = None
        if data is not None and not pickled(data):
            self.add(name, digest(data))
        else:
            self.opaque(value, name, owner)

    def skeleton(self, value: Any, name: str) -> Any:
        """The value with code replaced by its name, which is followed instead."""
        kind = type(value)
        if kind in _ATOMS:
            return value
        if kind is dict:
            return {self.skeleton(k, name): self.skeleton(v, name) for k, v in value.items()}
        if kind in _SEQUENCES:
            return value if _ATOMS.issuperset(map(type, value)) else kind([self.skeleton(item, name) for item in value])
        if isinstance(value, (FunctionType, type, MethodType, functools.partial)) or _wrapped(value, type) is not None:
            self.value(value, name)
            return ["code", getattr(value, "__qualname__", "")]
        if _is_plain_object(value):
            self.kind(kind)
            return ["object", kind.__qualname__, self.skeleton(vars(value), name)]
        return value

    def opaque(self, value: Any, name: str, owner: str | None) -> None:
        kind = type(value)
        words: list[object] = [kind.__module__, kind.__qualname__]
        module = sys.modules.get(owner) if owner else None
        path = module_file(module.__name__) if module is not None else None
        text = source(path, vars(module)) if module is not None and path else None
        if text is not None and module is not None:
            unit = _statements_unit(text.mentions(name.rpartition(".")[2]))
            words.append(unit.digest)
            self.follow(unit, vars(module))
        self.add("opaque:" + name.removeprefix("constant:"), digest(encode(words)))


def _own_digest(value: Any) -> bytes | None:
    """The digest of one of Tidemill's things that has one, such as a command task."""
    if origin(type(value).__module__) != "tidemill":
        return None
    found = getattr(getattr(value, "spec", value), "digest", None)
    return found if isinstance(found, bytes) else None


def _is_plain_object(value: Any) -> bool:
    """Whether a value is an object of the project's own class and nothing but its attributes."""
    kind = type(value)
    return (
        origin(kind.__module__) == "project"
        and bool(getattr(value, "__dict__", None))
        and not isinstance(value, _BUILT)
    )


def _cells(fn: FunctionType) -> dict[str, Any]:
    found = {}
    for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:
            continue
    return found


def _wrapped(value: Any, kind: type = FunctionType) -> Any:
    """The plain function inside a task, a cache or another wrapper that is no function itself; with `type` as `kind`
    also a class in one."""
    try:
        found = getattr(value, "__wrapped__", None)
    except Exception:  # noqa: BLE001 — any object may answer as it likes
        return None
    return found if isinstance(found, (FunctionType, kind)) else None


def _module_of(value: Any) -> str:
    found = getattr(value, "__module__", None) or type(value).__module__
    return found if isinstance(found, str) else ""


def _load(name: str) -> ModuleType | None:
    """A module of the project; None if it cannot be imported here."""
    if origin(name) != "project":
        return None
    try:
        return sys.modules.get(name) or import_module(name)
    except Exception:  # noqa: BLE001 — the task itself will say so when it runs
        return None


def _by_path(path: object) -> Ref:
    """A path in a constant counts by its text; what it leads to is not looked at."""
    return Ref(digest(str(path).encode()), 0, "file", str(path))
