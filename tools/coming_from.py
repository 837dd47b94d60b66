"""Pages for those who come from another system: what does the job of each of its names here.

The mapping is data. A folder below `docs/coming-from` has `names.txt`, the names of the other system line by line, and
TOML files of entries: names, what does their job, a snippet and what it gives. `tests/docs/test_coming_from.py`
executes every snippet; this module reads and judges the data, and writes them into the page of the same name.

A file of entries::

    title = "Files of a job"
    text = "What is there to know about the group."
    setup = "import tidemill as tm"     # runs before each snippet

    [[entry]]
    names = ["Class.method", "Class.alias"]
    here = "`tm.other`: what is different."
    code = "tm.other(1)"                # or shell = "tidemill status"
    expect = "2"                        # what a prompt would show; or raises = "UsageError: part of the message"

    [[entry]]
    names = ["Class.internal"]
    reason = "Why there is nothing of this kind; code, if there is some, shows what happens instead."
"""

import ast
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from tools import pages

FOLDER = pages.DOCS / "coming-from" / "toil"

NOTHING = frozenset({"True", "False", "None", "ok", "done", "0", "1"})
"""Words that say no more than that something ran, however they are put together: what is printed is to be a value that
would be another one if the feature did not work."""


@dataclass(frozen=True)
class Entry:
    """What does the job of some names: see the module."""

    names: tuple[str, ...] = ()
    here: str = ""
    code: str = ""
    shell: str = ""
    expect: str = ""
    raises: str = ""
    reason: str = ""

    @property
    def title(self) -> str:
        """The names, those of one class together."""
        return ", ".join(f"`{name}`" for name in self.names)


@dataclass(frozen=True)
class Group:
    """The entries of one file."""

    name: str
    title: str
    text: str
    setup: str
    entries: tuple[Entry, ...]


def read_names(path: Path) -> list[str]:
    """The names of the other system: one on a line; blank lines and those that begin with `#` are for readers."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def read_group(path: Path) -> Group:
    """One file of entries.

    Raises:
        ValueError: if something in it has no meaning.
    """
    with path.open("rb") as file:
        data = tomllib.load(file)
    entries = tuple(_entry(path, one) for one in data.pop("entry", ()))
    title, text, setup = (str(data.pop(key, "")) for key in ("title", "text", "setup"))
    if data or not title:
        raise ValueError(f"{path}: a file has title, text, setup and entries; found {sorted(data) or 'no title'}")
    return Group(path.stem, title, text, setup, entries)


def _entry(path: Path, data: dict[str, Any]) -> Entry:
    known = {field.name for field in fields(Entry)}
    if not data.keys() <= known:
        raise ValueError(f"{path}: {data.get('names')} has {sorted(data.keys() - known)}")
    return Entry(**{**data, "names": tuple(data.get("names", ()))})


def read_groups(folder: Path) -> list[Group]:
    """All files of entries of a folder, by name."""
    return [read_group(path) for path in sorted(folder.glob("*.toml"))]


def problems(names: Sequence[str], groups: Sequence[Group]) -> list[str]:
    """What is wrong with a mapping of `names`, as sentences; nothing if it is whole."""
    entries = [entry for group in groups for entry in group.entries]
    mapped = Counter(name for entry in entries for name in entry.names)
    found = [f"{name} stands {count} times in the list of names" for name, count in Counter(names).items() if count > 1]
    found += [f"{name} is in no entry" for name in names if name not in mapped]
    found += [f"{name} is in {count} entries" for name, count in mapped.items() if count > 1]
    found += [f"{name} is no name of the list" for name in mapped if name not in names]
    return found + [
        f"{entry.title or 'an entry'}: {text}"
        for group in groups
        for entry in group.entries
        for text in faults(entry, group.setup)
    ]


def faults(entry: Entry, setup: str = "") -> list[str]:
    """What is wrong with an entry by itself; `setup` is that of its group."""
    snippet = entry.code or entry.shell
    said = entry.expect.strip()
    return [
        text
        for wrong, text in (
            (not entry.names, "it has no names"),
            (not snippet and not entry.reason, "it maps to nothing, and gives no reason"),
            (bool(snippet) and not (entry.here or entry.reason), "it does not say what does the job"),
            (bool(entry.code and entry.shell), "it has both code and shell"),
            (bool(snippet) and not said and not entry.raises, "its snippet has no expectation"),
            (_says_nothing(said), f"to expect {said!r} is to expect that it ran"),
            (bool(entry.raises) and ": " not in entry.raises, "it does not say what the error's message tells"),
            (bool(said or entry.raises) and not snippet, "it expects something of no snippet"),
            (bool(snippet) and not _uses_ours(entry, setup), "its snippet uses nothing of ours"),
        )
        if wrong
    ]


def _says_nothing(said: str) -> bool:
    return bool(said) and set(re.findall(r"\w+", said)) <= NOTHING


def _uses_ours(entry: Entry, setup: str) -> bool:
    """Whether a snippet uses the package, or what the setup has made."""
    if entry.shell:
        return "tidemill" in entry.shell
    used = {node.id for node in ast.walk(ast.parse(entry.code)) if isinstance(node, ast.Name)}
    return not used.isdisjoint(_bound(setup) | _bound(entry.code, imports=True))


def _bound(code: str, *, imports: bool = False) -> set[str]:
    """Names that code makes itself, or imports from the package."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found |= {alias.asname or alias.name for alias in node.names if alias.name.startswith("tidemill")}
        elif isinstance(node, ast.ImportFrom) and str(node.module).startswith("tidemill"):
            found |= {alias.asname or alias.name for alias in node.names}
        elif not imports and isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif not imports and isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found


# ------------------------------------------------------------------------------------------------------------ the page


def mapping(folder: Path) -> str:
    """All groups as Markdown."""
    return "\n\n".join(part for group in read_groups(folder) for part in _group(group))


def _group(group: Group) -> list[str]:
    parts = [f"### {group.title}", group.text.strip()]
    if group.setup:
        parts += ["Each snippet here begins with", _fenced("python", group.setup)]
    return [part for part in (*parts, *(text for entry in group.entries for text in _shown(entry))) if part]


def _shown(entry: Entry) -> list[str]:
    """An entry as Markdown."""
    parts = [f"#### {entry.title}", entry.here.strip()]
    if entry.reason:
        parts.append(f"*Not here:* {entry.reason.strip()}")
    if entry.code or entry.shell:
        parts.append(_fenced("python", entry.code) if entry.code else _fenced("bash", entry.shell))
    if entry.expect:
        parts += ["gives", _fenced("text", entry.expect)]
    if entry.raises:
        kind, _, message = entry.raises.partition(": ")
        parts.append(f"raises `{kind}`" + (f": “… {message} …”." if message else "."))
    return parts


def _fenced(language: str, text: str) -> str:
    return f"```{language}\n{text.strip()}\n```"


def counts(folder: Path) -> str:
    """How many names there are, and what becomes of them."""
    names = read_names(folder / "names.txt")
    entries = [entry for group in read_groups(folder) for entry in group.entries]
    without = sum(len(entry.names) for entry in entries if entry.reason)
    snippets = sum(bool(entry.code or entry.shell) for entry in entries)
    return (
        f"{len(names)} names in {len(entries)} entries, with {snippets} snippets. {without} of the names have no "
        "counterpart, and their entries say why not."
    )


PAGES: dict[str, pages.Parts] = {
    "coming-from/toil.md": {"counts": lambda: counts(FOLDER), "mapping": lambda: mapping(FOLDER)},
}

if __name__ == "__main__":
    sys.exit(pages.main(PAGES))
