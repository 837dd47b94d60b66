"""How tables and durations look."""

import io

import pytest

from tidemill.client.views import Table, fields, moment, span
from tidemill.model.preview import duration


def test_a_table_is_aligned() -> None:
    table = Table(["name", "n"], [("a", 1), ("long name", 12_345), ("b", None)], numbers=[1])
    assert str(table).splitlines() == ["name            n", "a               1", "long name  12,345", "b"]


def test_a_table_without_rows_has_its_heads() -> None:
    assert str(Table(["name", "n"], [])) == "name  n"


def test_html_is_escaped() -> None:
    found = Table(["<x>"], [("<b>",)]).html("a & b")
    assert "&lt;x&gt;" in found
    assert "&lt;b&gt;" in found
    assert "a &amp; b" in found


def test_plain_text_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    Table(["name"], [("a",)]).print(stream)
    assert stream.getvalue() == "name\na\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colours_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    Table(["state"], [("error",)]).print(stream)
    assert "\x1b[" in stream.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    plain = Terminal()
    Table(["state"], [("error",)]).print(plain)
    assert plain.getvalue() == "state\nerror\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0003, "0.3 ms"), (0.25, "250 ms"), (2.14, "2.14 s"), (59.9, "59.9 s"), (185, "3:05"), (7449, "2:04:09")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_what_is_not_known_is_empty() -> None:
    assert span(None) == ""
    assert moment(None) == ""
    assert fields([("a", 1), ("b", ""), ("long", "x")]) == "a     1\nlong  x"
