"""The documentation as a whole: its generated parts are fresh, its links lead somewhere, every page can be found."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools import coming_from, pages, reference, states

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FOLDERS = sorted(path.parent for path in PAGES if path.name == "index.md")

_LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_FENCED = re.compile(r"^(`{3,}).*?^\1`*$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)


def links(page: Path) -> Iterator[str]:
    """Targets of the links of a page, outside of its code."""
    text = _FENCED.sub("", page.read_text(encoding="utf-8"))
    return (match["target"] for match in _LINK.finditer(text))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings."""
    text = _FENCED.sub("", page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in _HEADING.findall(text)}


def dead(page: Path) -> Iterator[str]:
    """Links of a page to places of this project that do not exist."""
    for target in links(page):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        found = (page.parent / name).resolve() if name else page
        if not found.exists() or (anchor and anchor not in anchors(found)):
            yield target


@pytest.mark.parametrize("generator", [reference, states, coming_from], ids=["reference", "states", "coming-from"])
def test_generated_parts_are_what_the_program_says(generator: object) -> None:
    found = pages.stale(generator.PAGES)  # type: ignore[attr-defined]
    assert not found, f"run `make docs`: {[str(path.relative_to(ROOT)) for path in found]}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert list(dead(page)) == []


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_an_index_names_every_page_beside_it(folder: Path) -> None:
    named = {target.partition("#")[0] for target in links(folder / "index.md")}
    assert {page.name for page in folder.glob("*.md")} - {"index.md"} <= named


def test_a_generated_part_is_replaced_and_the_rest_is_kept() -> None:
    page = "before\n\n<!-- begin a -->\nold\n<!-- end a -->\n\nafter\n"
    assert (
        pages.filled(page, {"a": lambda: "new\n"}) == "before\n\n<!-- begin a -->\n\nnew\n\n<!-- end a -->\n\nafter\n"
    )


@pytest.mark.parametrize("page", ["", "<!-- begin b -->\n<!-- end b -->\n", "<!-- begin a -->\n"])
def test_a_page_without_its_part_is_an_error(page: str) -> None:
    with pytest.raises(ValueError, match="parts"):
        pages.filled(page, {"a": lambda: ""})


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A b\n[x](gone.md) [y](#a-b) [z](#a-c) ![p](gone.png) [w](https://example.org/)\n```text\n[c](d)\n```\n"
    )
    assert list(dead(page)) == ["gone.md", "#a-c"]
