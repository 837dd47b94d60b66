from pathlib import Path

import pytest

from tidemill.testing.docs import run_page
from tools import coming_from, pages

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_example_of_the_page_runs(page: Path, tmp_path: Path) -> None:
    run_page(by_hand(page, tmp_path), tmp_path)


def by_hand(page: Path, place: Path) -> Path:
    """The page, without snippets that `test_coming_from` executes."""
    parts = coming_from.PAGES.get(str(page.relative_to(ROOT / "docs"))) if page.is_relative_to(ROOT / "docs") else None
    if parts is None:
        return page
    copy = place / page.name
    copy.write_text(pages.filled(page.read_text(encoding="utf-8"), dict.fromkeys(parts, str)), encoding="utf-8")
    return copy
