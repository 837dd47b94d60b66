"""Docstrings as Markdown. The house writes them in Google's style, with tables as reStructuredText has them."""

import ast
import inspect
import re
import textwrap
import typing
from collections.abc import Callable, Iterator
from typing import Any

SECTIONS = ("Args", "Attributes", "Returns", "Raises")
_SECTION = re.compile(rf"^({'|'.join(SECTIONS)}):$")
_ITEM = re.compile(r"^([\w*`][\w .,*`]*): (.*)$")
_RULE = re.compile(r"^=+( +=+)+$")
_BORDER = re.compile(r"=+")

WIDTH = 100
"""Columns of a signature."""


def markdown(doc: str) -> str:
    """A docstring as Markdown: its text, and a list for each section."""
    parts = []
    for title, lines in _sections(inspect.cleandoc(doc)):
        if not title:
            parts.append(_text(lines))
            continue
        body = textwrap.dedent("\n".join(lines)).strip()
        items = list(_items(body))
        shown = "\n".join(f"* `{name}`: {text}" for name, text in items) if items else body
        parts.append(f"**{title}**\n\n{shown}")
    return _escaped("\n\n".join(part for part in parts if part))


def _escaped(text: str) -> str:
    """The text with angle brackets as Markdown wants them; code between backticks stays as it is."""
    pieces = re.split(r"(`[^`\n]*`)", text)
    return "".join(p if p.startswith("`") else p.replace("<", "&lt;").replace(">", "&gt;") for p in pieces)


def _sections(doc: str) -> Iterator[tuple[str, list[str]]]:
    title, lines = "", list[str]()
    for line in doc.splitlines():
        match = _SECTION.match(line)
        if match:
            yield title, lines
            title, lines = match[1], []
        elif title and line and not line.startswith(" "):
            yield title, lines
            title, lines = "", [line]
        else:
            lines.append(line)
    yield title, lines


def _items(body: str) -> Iterator[tuple[str, str]]:
    """`name: text` with what is indented below; nothing if the section is plain text."""
    name, text = "", list[str]()
    for line in body.splitlines():
        match = _ITEM.match(line)
        if match:
            if name:
                yield name, " ".join(text)
            name, text = match[1].replace("`", ""), [match[2]]
        elif name:
            text.append(line.strip())
        else:
            return
    if name:
        yield name, " ".join(filter(None, text))


def _text(lines: list[str]) -> str:
    """Running text; a table between lines of `====` becomes one of Markdown."""
    made: list[str] = []
    rest = iter(lines)
    for line in rest:
        if not _RULE.match(line):
            made.append(line)
            continue
        table = [line]
        for inner in rest:
            table.append(inner)
            if _RULE.match(inner) and len(table) > 3:
                break
        made.append(_table(table))
    return "\n".join(made).strip()


def _table(lines: list[str]) -> str:
    """A simple table: a rule, the head, a rule, rows (lines with an empty first cell continue one), a rule."""
    starts = [match.start() for match in _BORDER.finditer(lines[0])]
    ends = [*starts[1:], None]
    rows: list[list[str]] = []
    for line in lines:
        if _RULE.match(line):
            continue
        cells = [line[a:b].strip() for a, b in zip(starts, ends, strict=True)]
        if cells[0] or not rows:
            rows.append(cells)
        else:
            rows[-1] = [f"{old} {new}".strip() for old, new in zip(rows[-1], cells, strict=True)]
    shown = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([shown[0], "|" + "---|" * len(starts), *shown[1:]])


# ------------------------------------------------------------------------------------------------------- signatures


def signatures(thing: Callable[..., Any]) -> list[str]:
    """How a function is called: its overloads where there are at most two, else itself, as written in the source."""
    overloads = typing.get_overloads(thing)
    return [_call(node_of(f)) for f in (overloads if 0 < len(overloads) <= 2 else [thing])]


def call_of(name: str, function: Callable[..., Any]) -> str:
    """How something called `name` is called, given the function that is executed then."""
    node = node_of(function)
    node.name, node.returns = name, None
    return _call(node)


def signature_as(name: str, function: Callable[..., Any]) -> str:
    """How a function is called that is public under another name."""
    node = node_of(function)
    node.name = name
    return _call(node)


def node_of(function: Callable[..., Any]) -> ast.FunctionDef:
    """The definition of a function."""
    node = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    assert isinstance(node, ast.FunctionDef)
    return node


def fields_of(kind: type) -> list[str]:
    """The annotated fields of a class, as written in the source."""
    node = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(node, ast.ClassDef)
    lines = []
    for field in node.body:
        if isinstance(field, ast.AnnAssign):
            default = "" if field.value is None else f" = {ast.unparse(field.value)}"
            lines.append(f"{ast.unparse(field.target)}: {_type(field.annotation)}{default}".replace("'", '"'))
    return lines


def _call(node: ast.FunctionDef) -> str:
    parameters = _parameters(node.args)
    if parameters and parameters[0] in {"self", "cls"}:
        del parameters[0]
    returns = f" -> {_type(node.returns)}" if node.returns is not None else ""
    line = f"{node.name}({', '.join(parameters)}){returns}".replace("'", '"')
    if len(line) <= WIDTH:
        return line
    lines = [""]
    for parameter in parameters:
        if lines[-1] and len(lines[-1]) + len(parameter) > WIDTH - 8:
            lines.append("")
        lines[-1] += f"{parameter}, "
    inner = "\n".join(f"    {text.rstrip()}" for text in lines).rstrip(",")
    return f"{node.name}(\n{inner}\n){returns}".replace("'", '"')


def _parameters(args: ast.arguments) -> list[str]:
    """Parameters as the house writes them."""
    plain = [*args.posonlyargs, *args.args]
    defaults: list[ast.expr | None] = [None] * (len(plain) - len(args.defaults)) + list(args.defaults)
    found = [_parameter(arg, default) for arg, default in zip(plain, defaults, strict=True)]
    if args.posonlyargs:
        found.insert(len(args.posonlyargs), "/")
    if args.vararg is not None:
        found.append(f"*{_parameter(args.vararg, None)}")
    elif args.kwonlyargs:
        found.append("*")
    found += [_parameter(arg, default) for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True)]
    if args.kwarg is not None:
        found.append(f"**{_parameter(args.kwarg, None)}")
    return found


def _parameter(arg: ast.arg, default: ast.expr | None) -> str:
    if arg.annotation is None:
        return arg.arg if default is None else f"{arg.arg}={ast.unparse(default)}"
    text = f"{arg.arg}: {_type(arg.annotation)}"
    return text if default is None else f"{text} = {ast.unparse(default)}"


def _type(annotation: ast.expr) -> str:
    """An annotation; one in quotes without them."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return annotation.value
    return ast.unparse(annotation)
