"""The page for those who come from Toil: its mapping is whole, and every snippet gives what it says."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.docs.snippets import Snippets
from tools import coming_from
from tools.coming_from import Entry, Group

GROUPS = coming_from.read_groups(coming_from.FOLDER)
NAMES = coming_from.read_names(coming_from.FOLDER / "names.txt")


def test_every_name_is_in_one_entry_with_an_expectation_or_a_reason() -> None:
    assert coming_from.problems(NAMES, GROUPS) == []


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
def test_snippets_give_what_the_page_says(group: Group, tmp_path: Path) -> None:
    with Snippets(tmp_path, group.setup) as snippets:
        found = [(entry.title, snippets.wrong(entry)) for entry in group.entries if entry.code or entry.shell]
    assert found
    wrong = [f"{title}\n{text}" for title, text in found if text]
    assert not wrong, "\n\n".join(wrong)


# ----------------------------------------------------------------------------------------- would they notice anything?

GOOD = Entry(names=("a",), here="`tm.task`", code="import tidemill as tm\ntm.task(abs).fn(-2)", expect="2")


@pytest.mark.parametrize(
    ("names", "entries", "said"),
    [
        (["a", "b"], [GOOD], "b is in no entry"),
        (["a"], [GOOD, GOOD], "a is in 2 entries"),
        (["a", "a"], [GOOD], "a stands 2 times"),
        ([], [GOOD], "a is no name of the list"),
        (["a"], [replace(GOOD, code="", expect="")], "maps to nothing, and gives no reason"),
        (["a"], [replace(GOOD, here="")], "does not say what does the job"),
        (["a"], [replace(GOOD, expect="")], "no expectation"),
        (["a"], [replace(GOOD, expect="True\n")], "to expect 'True' is to expect that it ran"),
        (["a"], [replace(GOOD, expect="(True, [True])")], "is to expect that it ran"),
        (["a"], [replace(GOOD, expect="True False")], "is to expect that it ran"),
        (["a"], [replace(GOOD, expect="(True, 1)\nNone 0")], "is to expect that it ran"),
        (["a"], [replace(GOOD, expect="done ok")], "is to expect that it ran"),
        (["a"], [replace(GOOD, expect="[] ()")], "is to expect that it ran"),
        (["a"], [replace(GOOD, raises="TypeError")], "what the error's message tells"),
        (["a"], [replace(GOOD, code="1 + 1")], "uses nothing of ours"),
        (["a"], [replace(GOOD, shell="tidemill --version")], "both code and shell"),
        (["a"], [replace(GOOD, code="", reason="there is none")], "expects something of no snippet"),
        (["a"], [GOOD, replace(GOOD, names=())], "it has no names"),
    ],
)
def test_a_mapping_that_is_not_whole_is_refused(names: list[str], entries: list[Entry], said: str) -> None:
    (problem,) = coming_from.problems(names, [Group("g", "G", "", "", tuple(entries))])
    assert said in problem


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (replace(GOOD, expect="3"), "expected:\n3\nprinted:\n2"),
        (replace(GOOD, expect=""), "expects nothing"),
        (replace(GOOD, expect="", raises="TypeError: bad operand"), "raised: nothing"),
        (replace(GOOD, code="print(2)\n1 / 0"), "ZeroDivisionError"),
        (replace(GOOD, code="1 / 0", expect="", raises="ZeroDivisionError: by two"), "by two"),
        (replace(GOOD, code="", shell="echo 3"), "printed:\n3"),
        (replace(GOOD, code="", shell="echo 2; exit 5"), "exit code 5"),
        (replace(GOOD, code="import os\nos._exit(0)"), "the interpreter ended"),
    ],
)
def test_what_is_not_as_expected_is_told(entry: Entry, said: str, tmp_path: Path) -> None:
    with Snippets(tmp_path) as snippets:
        assert said in snippets.wrong(entry)
        assert snippets.wrong(GOOD) == ""


def test_a_prompt_shows_values_and_prints_but_not_none(tmp_path: Path) -> None:
    with Snippets(tmp_path, "x = 'set up'") as snippets:
        assert snippets.wrong(replace(GOOD, code="print('tm.')\nx", expect="tm.\n'set up'")) == ""
        assert snippets.wrong(replace(GOOD, code="print(2)", expect="2")) == ""
        assert snippets.wrong(replace(GOOD, code="1 / 0", expect="", raises="ZeroDivisionError")) == ""


def test_an_entry_with_a_key_that_means_nothing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "g.toml"
    path.write_text('title = "G"\n[[entry]]\nnames = ["a"]\nexpects = "2"\n')
    with pytest.raises(ValueError, match="expects"):
        coming_from.read_group(path)
