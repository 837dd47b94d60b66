"""Python source in a form that changes only with its meaning.

The form is a list of words made from the syntax tree, written by us and not by `ast.dump`, so that it is the same under
every version of Python. Not in it: comments, formatting, docstrings and other statements without effect, positions, and
annotations of parameters, results and local variables (ports hold those). Annotations in a class body are in it, for
they make fields.
"""

import ast
import dis
import linecache
import os
import time
from collections.abc import Iterable, Iterator
from types import CodeType
from typing import NamedTuple

Chain = tuple[str, ...]
"""A dotted name that is read: ("np", "linalg", "norm")."""

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

_DROPPED = frozenset({"ctx", "kind", "type_comment", "type_ignores", "type_params", "returns", "simple"})
_NESTED_CODE = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_STARTED = time.time()


class Import(NamedTuple):
    """An import statement inside a function: `alias` is `attribute` of `module`, or the module itself."""

    alias: str
    module: str
    attribute: str | None
    level: int


class Form:
    """The normal form of a piece of source and the names that it reads.

    Attributes:
        words: the form.
        outer: names read while the piece is defined: decorators, class bodies, defaults of methods. (The defaults of
            a function are at hand as values.)
        inner: names read inside functions, among them local variables.
        imports: import statements inside functions.
    """

    __slots__ = ("_depth", "_drop", "_in_class", "imports", "inner", "outer", "words")

    def __init__(self, node: ast.AST, dropped_decorators: Iterable[ast.expr] = ()) -> None:
        self.words: list[object] = []
        self.outer: set[Chain] = set()
        self.inner: set[Chain] = set()
        self.imports: list[Import] = []
        self._depth = 0
        self._in_class = False
        self._drop = frozenset(map(id, dropped_decorators))
        self._node(node)

    def _node(self, node: ast.AST) -> None:
        if isinstance(node, (ast.Name, ast.Attribute)):
            self._dotted(node)
        elif isinstance(node, ast.Constant):
            self._constant(node.value)
        elif isinstance(node, _NESTED_CODE):
            self._function(node)
        elif isinstance(node, ast.AnnAssign):
            self._annotated(node)
        elif isinstance(node, ast.ClassDef):
            self._class(node)
        else:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                self._import(node)
            self._fields(node)

    def _fields(self, node: ast.AST, without: frozenset[str] = _DROPPED) -> None:
        words = self.words
        words.append(type(node).__name__)
        for name in node._fields:
            value = getattr(node, name, None)
            if value is None or value == [] or name in without:
                continue
            words.append(name)
            if isinstance(value, list):
                self._list(value)
            elif isinstance(value, ast.AST):
                self._node(value)
            else:
                words.append(value)
        words.append(")")

    def _list(self, values: list[object]) -> None:
        self.words.append("[")
        for value in values:
            if isinstance(value, ast.AST):
                if not _is_idle(value) and id(value) not in self._drop:
                    self._node(value)
            else:
                self.words.append(value)
        self.words.append("]")

    def _dotted(self, node: ast.Name | ast.Attribute) -> None:
        names = []
        root: ast.AST = node
        while isinstance(root, ast.Attribute):
            names.append(root.attr)
            root = root.value
        if not isinstance(root, ast.Name):
            self._fields(node)
            return
        chain = (root.id, *reversed(names))
        self.words += ("dotted", len(chain), *chain)
        if isinstance(root.ctx, ast.Load):
            (self.inner if self._depth else self.outer).add(chain)

    def _constant(self, value: object) -> None:
        self.words += ("constant", type(value).__name__)
        if isinstance(value, complex):
            self.words += (value.real, value.imag)
        elif value is not ...:
            self.words.append(value)

    def _function(self, node: FunctionNode) -> None:
        self.words.append(type(node).__name__)
        if not isinstance(node, ast.Lambda):
            self.words.append(node.name)
            self._list([*node.decorator_list])
        arguments = node.args
        for group in (arguments.posonlyargs, arguments.args, arguments.kwonlyargs):
            self.words += (len(group), *(argument.arg for argument in group))
        self.words += (arguments.vararg and arguments.vararg.arg, arguments.kwarg and arguments.kwarg.arg)
        kept = self.outer
        if not self._depth and not self._in_class:
            self.outer = set()
        self._list([*arguments.defaults])
        self._list([*arguments.kw_defaults])
        self.outer = kept
        outside, self._in_class = self._in_class, False
        self._depth += 1
        self._list([node.body] if isinstance(node, ast.Lambda) else [*node.body])
        self._depth -= 1
        self._in_class = outside

    def _class(self, node: ast.ClassDef) -> None:
        outside, self._in_class = self._in_class, True
        self._fields(node)
        self._in_class = outside

    def _annotated(self, node: ast.AnnAssign) -> None:
        if self._in_class:
            self._fields(node)
        elif node.value is not None:
            self._node(ast.Assign(targets=[node.target], value=node.value))

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        if isinstance(node, ast.ImportFrom):
            self.imports += [Import(n.asname or n.name, node.module or "", n.name, node.level) for n in node.names]
            return
        for name in node.names:
            target = name.name if name.asname else name.name.partition(".")[0]
            self.imports += [Import(name.asname or target, target, None, 0)]
            if target != name.name:
                self.imports += [Import("", name.name, None, 0)]


def _is_idle(node: ast.AST) -> bool:
    """Whether a statement does nothing: a docstring or another bare constant, or `pass`."""
    return isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))


# -------------------------------------------------------------------------------------------------------------- sources


class Source:
    """A file's syntax tree and where its functions and classes are.

    Attributes:
        classes: class statements by qualified name, in order.
    """

    def __init__(self, filename: str, lines: list[str]) -> None:
        self.lines = lines
        self.text = "".join(lines)
        self.filename = filename
        self.tree = ast.parse(self.text, filename)
        self.classes: dict[str, list[ast.ClassDef]] = {}
        self._functions: dict[tuple[int, str], ast.FunctionDef | ast.AsyncFunctionDef] = {}
        self._lambdas: dict[int, list[ast.Lambda]] | None = None
        self._compiled: dict[tuple[int, str], list[CodeType]] | None = None
        self._index(self.tree.body, "")

    def _index(self, body: Iterable[ast.AST], prefix: str) -> None:
        for node in body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                self._functions[first, node.name] = node
                self._index(node.body, f"{prefix}{node.name}.<locals>.")
            elif isinstance(node, ast.ClassDef):
                self.classes.setdefault(prefix + node.name, []).append(node)
                self._index(node.body, f"{prefix}{node.name}.")
            else:
                self._index(_blocks(node), prefix)

    def function(self, code: CodeType) -> FunctionNode | None:
        """The node from which `code` was compiled, or None if the file says something else by now."""
        if self._changed() and not any(_alike(code, other) for other in self._codes(code)):
            return None
        if code.co_name == "<lambda>":
            return self._lambda(code)
        return self._functions.get((code.co_firstlineno, code.co_name))

    def _changed(self) -> bool:
        """Whether the file was written after this process started, so that it may differ from what was imported."""
        try:
            return os.stat(self.filename).st_mtime > _STARTED
        except OSError:
            return False

    def _codes(self, code: CodeType) -> list[CodeType]:
        if self._compiled is None:
            self._compiled = {}
            for found in _all_codes(compile(self.text, self.filename, "exec", dont_inherit=True)):
                self._compiled.setdefault((found.co_firstlineno, found.co_name), []).append(found)
        return self._compiled.get((code.co_firstlineno, code.co_name), [])

    def _lambda(self, code: CodeType) -> ast.Lambda | None:
        if self._lambdas is None:
            self._lambdas = {}
            for node in ast.walk(self.tree):
                if isinstance(node, ast.Lambda):
                    self._lambdas.setdefault(node.lineno, []).append(node)
        found = self._lambdas.get(code.co_firstlineno, [])
        if len(found) > 1:
            places = set(code.co_positions())
            found = [node for node in found if _place(node.body) in places]
        return found[0] if len(found) == 1 else None

    def mentions(self, name: str) -> list[ast.stmt]:
        """The statements of the module itself, but for definitions, in which `name` occurs."""
        return [
            statement
            for statement in _plain_statements(self.tree.body)
            if any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(statement))
        ]


def _blocks(node: ast.AST) -> Iterator[ast.AST]:
    """The statements inside a compound statement."""
    for name in ("body", "orelse", "finalbody"):
        inside = getattr(node, name, None)
        if isinstance(inside, list):
            yield from inside
    for name in ("handlers", "cases"):
        for part in getattr(node, name, ()):
            yield from part.body


def _plain_statements(body: Iterable[ast.AST]) -> Iterator[ast.stmt]:
    for node in body:
        if isinstance(node, ast.stmt) and not isinstance(node, (*_NESTED_CODE, ast.ClassDef)):
            inside = list(_blocks(node))
            if inside:
                yield from _plain_statements(inside)
            else:
                yield node


def _place(node: ast.expr) -> tuple[int, int | None, int, int | None]:
    return node.lineno, node.end_lineno, node.col_offset, node.end_col_offset


def _all_codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _all_codes(const)


def _alike(code: CodeType, other: CodeType) -> bool:
    same = code.co_code == other.co_code and code.co_names == other.co_names and code.co_varnames == other.co_varnames
    return same and code.co_consts == other.co_consts


def names_read(code: CodeType, roots: set[str] | None = None) -> set[str]:
    """Every name that `code` and the functions inside it read from outside, and some that are attributes only.

    None of `roots` is in the answer for being an attribute and a local variable: where that may be, the instructions
    themselves are read, which takes a hundred times as long.
    """
    parts = list(_all_codes(code))
    found = {name for part in parts for name in part.co_names}
    if roots is not None and any(name in roots and name in found for part in parts for name in _bound(part)):
        found = {step.argval for part in parts for step in dis.get_instructions(part) if step.opname in _GLOBAL_READS}
    return found | set(code.co_freevars)


_GLOBAL_READS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})


def _bound(code: CodeType) -> tuple[str, ...]:
    return code.co_varnames + code.co_cellvars


_sources: dict[str, tuple[list[str], Source | None]] = {}


def source(filename: str, scope: dict[str, object]) -> Source | None:
    """The source in a file, a notebook cell or an archive; None if there is none. Read again when it has changed.

    `scope` holds the module's globals, through which its loader is asked.
    """
    linecache.checkcache(filename)
    lines = linecache.getlines(filename, scope)
    known = _sources.get(filename)
    if known is not None and (known[0] is lines or known[0] == lines):
        return known[1]
    found = None
    if lines:
        try:
            found = Source(filename, lines)
        except (SyntaxError, ValueError):
            found = None
    _sources[filename] = (lines, found)
    return found
