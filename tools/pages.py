"""Generated parts of hand-written pages.

A page says where they go: what stands between a line `<!-- begin NAME -->` and the line `<!-- end NAME -->` is replaced
by what the generator of that name gives; the rest is nobody's business but its author's.
"""

import argparse
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"

Parts = Mapping[str, Callable[[], str]]

_PART = re.compile(r"^(<!-- begin (?P<name>[\w-]+) -->\n).*?^(<!-- end (?P=name) -->)$", re.MULTILINE | re.DOTALL)


def filled(text: str, parts: Parts) -> str:
    """The text of a page with its generated parts as they should be.

    Raises:
        ValueError: if `parts` and the page do not name the same parts, each once.
    """
    found = [match["name"] for match in _PART.finditer(text)]
    if sorted(found) != sorted(parts):
        raise ValueError(f"the page has the parts {sorted(found)}, the generator {sorted(parts)}")
    return _PART.sub(lambda match: f"{match[1]}\n{parts[match['name']]().strip()}\n\n{match[3]}", text)


def stale(pages: Mapping[str, Parts]) -> dict[Path, str]:
    """Pages that are not as they should be, with what they should be.

    Args:
        pages: path below `docs` -> generators by name.

    Raises:
        ValueError: naming the page, as for `filled`.
    """
    found = {}
    for name, parts in pages.items():
        path = DOCS / name
        text = path.read_text(encoding="utf-8")
        try:
            wanted = filled(text, parts)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        if text != wanted:
            found[path] = wanted
    return found


def main(pages: Mapping[str, Parts], argv: Sequence[str] | None = None) -> int:
    """The command: write what is stale, or with `--check` say what is and return 1."""
    parser = argparse.ArgumentParser(description="Write the generated parts of documentation pages.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a page is stale")
    check = parser.parse_args(argv).check
    found = stale(pages)
    for path, text in found.items():
        if not check:
            path.write_text(text, encoding="utf-8")
        sys.stderr.write(f"{'stale' if check else 'written'}: {path}\n")
    return int(check and bool(found))
