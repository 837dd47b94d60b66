"""Names of files as they are kept."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.model.errors import UsageError
from tidemill.model.filename import LONGEST, base_name, file_name, given_name

ANY = st.text(st.characters(codec=None)) | st.binary(max_size=LONGEST).map(os.fsdecode)


@given(ANY)
def test_a_name_that_is_kept_can_be_that_of_a_file(name: str) -> None:
    try:
        kept = file_name(name)
    except UsageError as error:
        str(error).encode()
        assert name in ("", ".", "..") or "/" in name or "\0" in name or len(name) > LONGEST // 4
        return
    assert file_name(kept) == kept
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / kept).touch()
        assert os.listdir(os.fsencode(directory)) == [kept.encode()]


@given(st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=LONGEST // 4))
def test_a_text_is_kept_as_it_is(name: str) -> None:
    if name not in (".", ".."):
        assert file_name(name) == name


@given(ANY)
def test_what_somebody_says_is_a_name_or_is_not_used(name: str) -> None:
    found = given_name(name, "other")
    assert file_name(found) == found


def test_dots_and_slashes_at_the_end_stand_for_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "link").symlink_to("a")
    monkeypatch.chdir(tmp_path / "a" / "b")
    found = {path: base_name(path) for path in (".", "..", "../", "../b/", "../../link", "../../link/..", "/")}
    assert found == {
        ".": "b",
        "..": "a",
        "../": "a",
        "../b/": "b",
        "../../link": "link",
        "../../link/..": tmp_path.name,
        "/": "root",
    }
