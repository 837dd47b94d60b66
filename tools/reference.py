"""`python -m tools.reference`: the generated parts of docs/reference, from the package itself."""

import ast
import contextlib
import inspect
import re
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec

import tidemill
from tidemill import cli
from tidemill.client import (
    destroying,
    details,
    engines,
    failures,
    files,
    garbage,
    logs,
    names,
    planning,
    queries,
    serving,
    startup,
    stats,
)  # fmt: skip
from tidemill.client import messages as messages_
from tidemill.graph import files as running_files
from tidemill.model import errors, protocol, session, spec, states, values
from tidemill.provenance import picture, why
from tidemill.stores.state.open import FILE, open_database
from tools import pages
from tools.docstrings import call_of, fields_of, markdown, node_of, signature_as, signatures

SOURCE = Path(tidemill.__file__).parent

# ------------------------------------------------------------------------------------------------------ public names

GROUPS = {
    "authoring": "tidemill.graph",
    "running": "tidemill.client",
    "values": "tidemill.model.file",
}
"""Part of the page -> the package whose public names it describes."""


INTERNAL = {
    "Plan": {"chunks"},
    "Store": {"command", "connect", "db", "objects"},
    "Task": {"call", "mapping", "output_names", "output_types", "signature"},
    "Workflow": {"signature"},
}
"""Members of public classes that are there for other rooms."""


def public(package: str) -> list[str]:
    """The names of `tidemill.__all__` that come from a package, functions and classes only, in alphabetical order."""
    found = {name: getattr(tidemill, name) for name in tidemill.__all__}
    return sorted(
        (n for n, thing in found.items() if callable(thing) and _module(thing).startswith(package)),
        key=lambda name: (name.lower(), name),
    )


def _module(thing: Any) -> str:
    return str(getattr(thing, "__module__", ""))


def group(package: str) -> str:
    """Everything public of a package."""
    return "\n\n".join(_described(name, getattr(tidemill, name)) for name in public(package))


MODULES = ("operations", "arguments", "helpers")
"""Modules that are public as they are: part of the page -> `tidemill.<name>`."""


def module(name: str) -> str:
    """The functions and classes that a module defines, in its own order."""
    found = getattr(tidemill, name)
    own = [(n, v) for n, v in vars(found).items() if callable(v) and _module(v) == found.__name__ and n[0] != "_"]
    return "\n\n".join(_described(f"{name}.{n}", v, v.__name__) for n, v in own)


def namespace(name: str) -> str:
    """A public module: what it says of itself, and its functions."""
    thing = getattr(tidemill, name)
    described = [f"### tm.{name}", markdown(thing.__doc__ or "")]
    for member in sorted(thing.__all__):
        function = getattr(thing, member)
        head = _code([signature_as(f"tm.{name}.{member}", function)])
        described.append("\n\n".join([f"#### {name}.{member}", head, markdown(inspect.getdoc(function) or "")]))
    return "\n\n".join(described)


def task_files() -> str:
    """The functions of `tm.files`."""
    members = vars(running_files).values()
    found = [one for one in members if inspect.isfunction(one) and one.__module__ == running_files.__name__]
    return "\n\n".join(_described(f"files.{one.__name__}", one) for one in found if not one.__name__.startswith("_"))


def _described(name: str, thing: Any, own: str = "") -> str:
    if getattr(thing, "__name__", name) != (own or name.rpartition(".")[2]):
        return f"### tm.{name}\n\nThe same as `tm.{thing.__name__}`."
    doc = markdown(thing.__doc__ or "")
    if not inspect.isclass(thing):
        return "\n\n".join([f"### tm.{name}", _code(signatures(thing)), doc])
    made = [_code([call_of(name, thing.__init__)])] if "**Args**" in doc else []
    return "\n\n".join([f"### tm.{name}", *made, doc, *_members(name, thing)])


def beside() -> str:
    """What a store keeps beside workflows and their results."""
    found = []
    for name, kind in (("store.files", files.Files), ("store.names", names.Names), ("served", serving.Served)):
        found += [f"### {name}", markdown(kind.__doc__ or ""), *_members(name, kind)]
    return "\n\n".join(found)


def _code(lines: list[str]) -> str:
    return "\n".join(["```text", *lines, "```"])


def _members(name: str, kind: type) -> Iterator[str]:
    """Methods and properties of a class, and what it inherits from another class of ours."""
    seen = set(INTERNAL.get(name, ()))
    for owner in kind.__mro__:
        if not owner.__module__.startswith("tidemill"):
            continue
        for member, value in vars(owner).items():
            function = _function(value)
            doc = inspect.getdoc(function) if function is not None else None
            if member in seen or member.startswith("_") or member.endswith("_") or function is None or not doc:
                continue
            seen.add(member)
            plain = inspect.isfunction(value) or isinstance(value, (classmethod, staticmethod))
            head = [_code(signatures(function))] if plain else []
            yield "\n\n".join([f"#### {name}.{member}", *head, markdown(doc)])


def _function(value: Any) -> Any:
    """The function of a method or property."""
    for attribute in ("__func__", "fget", "func"):
        value = getattr(value, attribute, None) or value
    return value if inspect.isfunction(value) else None


# ----------------------------------------------------------------------------------------------------------- records

ANSWERS: dict[str, type[msgspec.Struct]] = {
    "status": queries.Status,
    "list": queries.RunList,
    "show-run": details.RunInfo,
    "show-block": details.BlockInfo,
    "show-datum": details.DatumInfo,
    "logs": logs.Log,
    "why": why.Why,
    "lineage": picture.Lineage,
    "plan": planning.PlanReport,
    "failures": failures.FailureReport,
    "gc": garbage.Collected,
    "stats": stats.Stats,
    "engine": engines.EngineInfo,
    "kill": engines.Halted,
    "started": startup.Started,
    "clean": destroying.Cleaned,
    "destroy": destroying.Destroyed,
    "messages": messages_.Message,
    "names": names.NameList,
    "files": files.FileInfo,
}
"""Part of the page -> the record with which a question is answered."""


def record(kind: type[msgspec.Struct]) -> str:
    """A record and those that it is made of."""
    found = [kind]
    for one in found:
        for field in msgspec.structs.fields(one):
            found += [inner for inner in _structs(field.type) if inner not in found and inner not in ANSWERS.values()]
    return "\n\n".join(_message(one) for one in found)


def _structs(kind: Any) -> Iterator[type[msgspec.Struct]]:
    if inspect.isclass(kind) and issubclass(kind, msgspec.Struct):
        yield kind
    for inner in get_args(kind):
        yield from _structs(inner)


# ------------------------------------------------------------------------------------------------------ command line


_USAGE = re.compile(r"^### tidemill (?P<name>\S+)\n\n```console\n(?P<usage>.*)\n```\n\n.*\n", re.MULTILINE)


def command_line() -> str:
    """Every command, as the program describes itself, with the docstring of its function."""
    app = cli.app()
    text = str(app.generate_docs(output_format="markdown", heading_level=2))

    def describe(found: re.Match[str]) -> str:
        doc = markdown(inspect.getdoc(app[found["name"]].default_command) or "")
        return f"### tidemill {found['name']}\n\n{_code([found['usage']])}\n\n{doc}\n"

    return _USAGE.sub(describe, text[text.index("**Run**") :])


# ------------------------------------------------------------------------------------------------------------ errors


def error_tree() -> str:
    """The tree of errors from the docstring of its module."""
    text = inspect.cleandoc(errors.__doc__ or "")
    return _code(text[text.index("TidemillError") :].splitlines())


def error_classes() -> str:
    """Code, class, what else it is, and the attributes that it has for itself."""
    lines = ["| code | class | caught as well by | has also |", "|---|---|---|---|"]
    found = vars(errors).values()
    kinds = [kind for kind in found if inspect.isclass(kind) and issubclass(kind, errors.TidemillError)]
    for kind in sorted(kinds, key=lambda k: k.code):
        bases = [base.__name__ for base in kind.__mro__[1:] if base not in (object, BaseException, Exception)]
        own = sorted(_attributes(kind) - _attributes(errors.TidemillError)) if kind is not errors.TidemillError else []
        shown = ", ".join(f"`{base}`" for base in bases)
        lines.append(f"| {kind.code} | `{kind.__name__}` | {shown} | {', '.join(f'`{a}`' for a in own)} |")
    return "\n".join(lines)


def _attributes(kind: type) -> set[str]:
    """Names that a class's own `__init__` assigns to self."""
    if "__init__" not in vars(kind):
        return set()
    tree = node_of(vars(kind)["__init__"])
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}


def reasons() -> str:
    """The reasons of failed attempts."""
    return ", ".join(f"`{reason.name.lower().replace('_', ' ')}`" for reason in states.Reason if reason)


# ----------------------------------------------------------------------------------------------- environment variables

VARIABLES = {
    "TIDEMILL_ACCELERATORS": "what this machine, or this part of it, has for runs to share: `cuda:2`, "
    "`nvidia-a100:4 + fpga:1`; without it, the NVIDIA devices that the system shows. A run with accelerators finds "
    "there what it was given",
    "TIDEMILL_CACHE": "where the objects of a store are on S3: the directory in which the workers of this machine "
    "cache them, `off` for no cache; without it, `cache` in the store's directory",
    "TIDEMILL_CACHE_LIMIT": "how much of the disk such a cache may take: `50G`, `500GiB`, or bytes; without it, what "
    "is free, less a twentieth of the disk",
    "TIDEMILL_LEASE_SECONDS": "where several engines serve a store (PostgreSQL): seconds after which an engine that is "
    "not heard of is given up, and another one takes over what it had; 60",
    "TIDEMILL_RUN": "set in the shell that `tidemill debug --shell` opens: the run whose directory it is",
    "TIDEMILL_SEAL_": "with the name of a key behind it, in capitals: the key of sealed objects, 64 hexadecimal digits",
    "TIDEMILL_STORE": "the store used where none is named: a directory, or `postgresql://…`; without it, `.tidemill`",
    "TIDEMILL_TRACE": "a file into which the engine writes how long every transaction and statement took, as JSON",
}
"""What each variable means. Exactly those that the source reads: see `environment`."""


def environment() -> str:
    """The environment variables of Tidemill's own.

    Raises:
        ValueError: if the source reads one that is not described, or one described is not read.
    """
    found = set()
    for path in SOURCE.rglob("*.py"):
        if SOURCE / "testing" in path.parents:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("TIDEMILL_"):
                found.add(node.value)
    if found != VARIABLES.keys():
        raise ValueError(f"variables without description, or not read any more: {sorted(found ^ VARIABLES.keys())}")
    rows = [f"| `{name}` | {VARIABLES[name]} |" for name in sorted(found)]
    return "\n".join(["| variable | meaning |", "|---|---|", *rows])


# ------------------------------------------------------------------------------------------------------------ formats


def encoding() -> str:
    """The specification of the value encoding."""
    return markdown(values.__doc__ or "")


def messages(module: Any, union: str) -> str:
    """The messages of one direction, each with its fields."""
    kinds = get_args(getattr(module, union))
    return "\n\n".join(_message(kind) for kind in sorted(kinds, key=lambda kind: int(kind.__struct_config__.tag)))


def parts(module: Any) -> str:
    """What messages are made of: structures that are no messages themselves."""
    found = [
        kind
        for kind in vars(module).values()
        if inspect.isclass(kind)
        and issubclass(kind, msgspec.Struct)
        and kind.__module__ == module.__name__
        and kind.__struct_config__.tag is None
        and kind.__struct_fields__
    ]
    return "\n\n".join(_message(kind) for kind in found)


def _message(kind: type[msgspec.Struct]) -> str:
    tag = kind.__struct_config__.tag
    title = f"### {kind.__name__}" + (f" ({tag})" if tag is not None else "")
    rows = fields_of(kind)
    shown = _code(rows) if rows else ""
    return "\n\n".join(part for part in (title, markdown(kind.__doc__ or ""), shown) if part)


def specification() -> str:
    """What a task is made of."""
    kinds: list[type[msgspec.Struct]] = [spec.TaskSpec, spec.Port, spec.Resources, spec.Python, spec.Command]
    return "\n\n".join(_message(kind) for kind in kinds)


# ------------------------------------------------------------------------------------------------------------- schema

TABLES = {
    "meta": "the schema version, and the next free number of each kind",
    "task": "what is to be done: a specification for each digest",
    "scope": "who a workflow belongs to; there is one scope in a store of one's own",
    "hub": "a share of the workers' attention: one for each workflow; inactive while nobody asks for its work",
    "class": "runs that look alike to a claim: hub, priority, weight, resources",
    "block": "sets of runs that end as one, with their counters",
    "delta": "what was submitted as one: its key, header and result; and how far it is stored",
    "chunk": "which parts of a submission are stored",
    "run": "one task applied to one combination of data",
    "datum": "one value or collection; written when it ends",
    "edge": "which run needs which datum at which port",
    "forward": "an output that will be what another run gives (growth)",
    "gather": "a collection: how many members it waits for",
    "member": "stretches of data that belong to a collection",
    "ready": "runs with nothing pending, in the order in which they will be taken",
    "action": "runs that stand in several classes",
    "lease": "runs that a worker has, with the fence",
    "attempt": "one try at a run: worker, times, CPU, memory",
    "failure": "why an attempt failed",
    "log": "what an attempt printed",
    "memo": "run key → run: what reuse looks in",
    "follow": "runs that wait for another one of equal key",
    "doom": "data that ended without a value and whose consumers have not been told yet",
    "timer": "what is to happen at a time: the end of a backoff",
    "lifetime": "data that may expire",
    "content": "objects that a datum names",
    "literal": "objects that the arguments of a block name",
    "worker": "engines and their workers",
    "link": "links between data that people assert",
    "told": "what was reported from outside, by idempotency key",
    "place": "what the store is called, and where its objects are",
    "file": "files that attempts wrote to the store beside their results",
    "serves": "blocks at whose end a service ends",
    "folder": "objects that may be directories, whose members nothing else names",
    "journal": "bytes that may be deleted as soon as nothing else names them",
    "used": "what attempts read from the store beside their inputs",
    "name": "named files, version by version",
    "message": "what attempts told their workflow: lines, and whole streams",
    "reader": "up to which message somebody has been told",
    "setting": "the store's own configuration",
    "supersede": "which datum took the place of another",
    "event": "what happened, one row for each transaction",
}
"""What each table holds. Exactly those of the schema: see `tables`."""


def _made() -> list[tuple[str, str, str]]:
    """(type, table, SQL) of everything in a new SQLite store."""
    with tempfile.TemporaryDirectory() as place:
        open_database(place).close()
        with contextlib.closing(sqlite3.connect(Path(place) / FILE)) as found:
            query = "select type, tbl_name, sql from sqlite_master where sql is not null order by rowid"
            return [row for row in found.execute(query) if not row[1].startswith("sqlite_")]


def tables() -> str:
    """The tables with what they hold.

    Raises:
        ValueError: if `TABLES` does not describe exactly the tables of the schema.
    """
    names = [name for kind, name, _ in _made() if kind == "table"]
    if set(names) != TABLES.keys():
        raise ValueError(f"tables without description, or gone: {sorted(set(names) ^ TABLES.keys())}")
    return "\n".join(["| table | holds |", "|---|---|", *[f"| `{name}` | {TABLES[name]} |" for name in names]])


def definitions() -> str:
    """The schema as SQLite has it."""
    return "\n".join(["```sql", *[f"{sql};" for _, _, sql in _made()], "```"])


PAGES: dict[str, pages.Parts] = {
    "reference/api.md": {
        **{name: (lambda package=package: group(package)) for name, package in GROUPS.items()},  # type: ignore[misc]
        **{name: (lambda name=name: module(name)) for name in MODULES},  # type: ignore[misc]
        "urls": lambda: namespace("urls"),
        "files": task_files,
        "beside": beside,
    },
    "reference/records.md": {name: (lambda kind=kind: record(kind)) for name, kind in ANSWERS.items()},  # type: ignore[misc]
    "reference/command-line.md": {"commands": command_line},
    "reference/errors.md": {"tree": error_tree, "classes": error_classes, "reasons": reasons},
    "reference/environment.md": {"variables": environment},
    "reference/values.md": {"encoding": encoding},
    "reference/protocols.md": {
        "to-worker": lambda: messages(protocol, "ToWorker"),
        "to-engine": lambda: messages(protocol, "ToEngine"),
        "worker-parts": lambda: parts(protocol),
        "to-server": lambda: messages(session, "ToServer"),
        "to-client": lambda: messages(session, "ToClient"),
        "session-parts": lambda: parts(session),
        "task": specification,
    },
    "reference/store.md": {"tables": tables, "definitions": definitions},
}

if __name__ == "__main__":
    sys.exit(pages.main(PAGES))
