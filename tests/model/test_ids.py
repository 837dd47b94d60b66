"""Public ids: what can be written, what it means, what is refused."""

import pytest

from tidemill.model.errors import UsageError
from tidemill.model.ids import Id, datum_id, parse, parse_as, run_id


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("3.117", Id("run", 117, 3)),
        ("3", Id("block", 3)),
        (3, Id("block", 3)),
        (" 3 ", Id("block", 3)),
        ("run:117", Id("run", 117)),
        ("block:3", Id("block", 3)),
        ("datum:45", Id("datum", 45)),
    ],
)
def test_what_ids_mean(text: str | int, found: Id) -> None:
    assert parse(text) == found


def test_an_integer_alone_is_never_a_run() -> None:
    with pytest.raises(UsageError, match="117 is a block, but a run is wanted here"):
        parse_as("117", "run")


@pytest.mark.parametrize(
    "text", ["", "x", "3.", ".3", "3.4.5", "-3", "3.-1", "thing:3", "run:", "run:x", "٣", "1" * 30, "3 4"]
)
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not an id"):
        parse(text)


def test_the_wrong_kind_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="datum:4 is a datum, but a run is wanted"):
        parse_as("datum:4", "run")


def test_what_is_printed_can_be_read() -> None:
    assert parse(run_id(3, 117)) == Id("run", 117, 3)
    assert parse(datum_id(45)) == Id("datum", 45)
    for one in (Id("run", 117, 3), Id("run", 117), Id("block", 3), Id("datum", 45)):
        assert parse(str(one)) == one
