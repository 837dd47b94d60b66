"""What a state store gives back is what it was given: numbers, texts, bytes, and lists of ids of any length."""

import math
import random
import unicodedata
from contextlib import suppress
from typing import Any

import pytest

from tidemill.model.errors import StoreError
from tidemill.stores.state import attempts, blocks, classes, data, edges, events, memo, meta, queues, runs, tasks
from tidemill.stores.state.database import Database
from tidemill.testing.state_base import StateSuite, refused, rows
from tidemill.testing.state_rows import a_block, a_datum, a_run, a_worker, add_blocks, add_data, add_runs, add_worker

INTEGERS = [-(1 << 63), -(1 << 62), -(1 << 31) - 1, -1, 0, 1, 1 << 31, (1 << 53) + 1, 1 << 62, (1 << 63) - 1]
FLOATS = [0.0, 5e-324, 2.2250738585072014e-308, 0.1, 1 / 3, -1.5, math.pi, 2.0**53 + 2, 1e22, 1.7976931348623157e308]
FLOATS += [math.inf, -math.inf, 1763636400.123456]
TEXTS = [
    "",
    " ",
    "a",
    "a ",
    "A",
    "1",
    "01",
    "null",
    'it\'s "quoted"; -- not SQL /* */ ? %s %% {ids} :a $1 \\',
    "line\nline\r\n\ttab\x01\x7f",
    "é",
    unicodedata.normalize("NFD", "é"),
    "ﬁ ß ẞ İ ı",
    "\ufeff\u200b\u202e\ufffd\uffff",
    "\U0001f30a\U0010ffff",
    "x" * 65_536,
    "\U0001f30a" * 20_000,
]
BYTES = [b"", b"\0", b"a\0b", bytes(range(256)), b"\\x00", bytes(range(256)) * 256, b"\xff" * 65_537, bytes(3_000_000)]
NUMBER = 120_000


def _shown(value: Any) -> str:
    return ascii(value)[:20].replace("\\", "_") + (f"...{len(value)}" if len(value) > 20 else "")


class ValuesSuite(StateSuite):
    """One value at a time."""

    def test_integers(self, db: Database) -> None:
        for n, value in enumerate(INTEGERS):
            meta.put(db, f"n{n}", value)
        found = meta.read(db)
        assert [found[f"n{n}"] for n in range(len(INTEGERS))] == INTEGERS
        memo.add(db, INTEGERS, list(range(len(INTEGERS))))
        asked = [0, *INTEGERS[::-1], 17]
        assert sorted(set(memo.find(db, asked))) == [(value, n) for n, value in enumerate(INTEGERS)]

    @pytest.mark.parametrize("value", [1 << 63, -(1 << 63) - 1, 1 << 80])
    def test_integers_beyond_64_bits_are_refused(self, store: Database, value: int) -> None:
        with refused(store, StoreError):
            meta.put(store, "large", value)
        with refused(store, StoreError):
            memo.add(store, [1, value], [1, 1])
        assert "large" not in meta.read(store)
        assert rows(store, "select * from memo") == []

    def test_floats(self, db: Database) -> None:
        n = len(FLOATS)
        ids = list(range(1, n + 1))
        attempts.add(db, ids, [1] * n, [1] * n, [3] * n, FLOATS, FLOATS[::-1], [None] * n, [None] * n)
        found = attempts.of(db, ids)
        assert [(a.t0, a.t1) for a in found] == list(zip(FLOATS, FLOATS[::-1], strict=True))
        assert {type(a.t0) for a in found} == {float}
        for value in FLOATS:
            events.add(db, value, 1, 1, b"")
        assert [t for _, t, *_ in events.after(db, 0)] == FLOATS

    def test_numbers_among_floats_become_floats(self, db: Database) -> None:
        attempts.add(db, [1, 2, 3], [1] * 3, [1] * 3, [3] * 3, [0, 1.5, None], [2, 3, 4], [None] * 3, [None] * 3)
        assert [(a.t0, a.t1, a.cpu) for a in attempts.of(db, [1, 2, 3])] == [
            (0, 2, None),
            (1.5, 3, None),
            (None, 4, None),
        ]
        queues.wake_at(db, [0, 0.25], [1, 1], [1, 2])
        assert queues.due(db, 1, 10) == [(0.0, 1, 1), (0.25, 1, 2)]

    @pytest.mark.parametrize("text", TEXTS, ids=_shown)
    def test_texts(self, db: Database, text: str) -> None:
        number = tasks.put(db, b"t" * 32, text, b"")
        assert tasks.every(db) == [(number, text, b"t" * 32, b"")]
        add_blocks(db, [a_block(1, name=text), a_block(2, name="b")])
        add_worker(db, a_worker(1, name=text, host=text))
        found, worker = blocks.get_many(db, [1, 2]), rows(db, "select name, host from worker")
        assert (found[1].name, found[2].name, worker) == (text, "b", [(text, text)])

    def test_texts_that_differ_are_different_keys(self, db: Database) -> None:
        short = [text[:500] for text in TEXTS]
        for n, text in enumerate(short):
            events.tell(db, text, 0.0, f"{n}".encode())
        assert [events.told(db, text) for text in short] == [f"{n}".encode() for n in range(len(short))]
        assert [events.told(db, text) for text in ("b", "É", "  ", "0", "NULL")] == [None] * 5

    def test_a_text_with_nul_is_kept_or_refused(self, store: Database) -> None:
        with suppress(StoreError), store.transaction():
            tasks.put(store, b"t" * 32, "a\0b", b"")
        assert tasks.every(store) in ([], [(1, "a\0b", b"t" * 32, b"")])
        with store.transaction():
            tasks.put(store, b"u" * 32, "name", b"")

    def test_half_a_character_is_refused(self, store: Database) -> None:
        with refused(store, StoreError, match="cannot hold"):
            tasks.put(store, b"t" * 32, "a\udcffb", b"")
        with refused(store, StoreError, match="cannot hold"):
            add_blocks(store, [a_block(1, name="a\ud800")])
        assert tasks.every(store) == []
        assert blocks.roots(store) == []

    def test_bytes(self, db: Database) -> None:
        for seq, value in enumerate(BYTES):
            blocks.add_chunk(db, 1, seq, value[:32], value)
            assert blocks.chunk(db, 1, seq) == (value[:32], value)
            assert data.fill(db, 100 + seq, len(value), value[:32], value)
        add_data(db, [a_datum(n, value=value, digest=value[:32]) for n, value in enumerate(BYTES)])
        for first in (0, 100):
            found = data.get(db, list(range(first, first + len(BYTES))))
            assert [found[first + n].value for n in range(len(BYTES))] == BYTES
            assert {type(d.value) for d in found.values()} == {type(d.digest) for d in found.values()} == {bytes}

    def test_nothing_is_not_empty(self, db: Database) -> None:
        add_data(db, [a_datum(1, value=None), a_datum(2, value=b""), a_datum(3, run=None, digest=None)])
        found = data.get(db, [1, 2, 3])
        assert [found[n].value for n in (1, 2)] == [None, b""]
        assert (found[3].run, found[3].digest) == (None, None)
        blocks.add_delta(db, 1, None, b"", None, True, None)
        blocks.add_delta(db, 2, b"", b"", b"", True, b"")
        assert blocks.delta(db, 1) == (1, None, b"", None, 0, 1, None)
        assert blocks.delta(db, 2) == (2, b"", b"", b"", 0, 1, b"")

    def test_random_values_of_64_kilobytes(self, db: Database) -> None:
        draw = random.Random(1)
        values = [draw.randbytes(65_536) for _ in range(40)]
        add_data(db, [a_datum(n, value=value) for n, value in enumerate(values)])
        found = data.get(db, list(range(40)))
        assert [found[n].value for n in range(40)] == values
        assert [row[6] for row in data.span(db, 0, 39)] == values
        assert all(d.value is None and d.digest is not None for d in data.get(db, [1, 2], values=False).values())


class ListsSuite(StateSuite):
    """Lists of ids, and columns, from nothing to very long."""

    def test_no_ids(self, db: Database) -> None:
        add_runs(db, [a_run(1)])
        asked: list[Any] = [
            *(runs.get(db, []), runs.views(db, []), runs.for_claim(db, []), runs.release(db, []), runs.hold(db, [])),
            *(data.get(db, []), data.states(db, []), data.inputs(db, []), data.reset(db, []), data.expire(db, [])),
            *(edges.consumers(db, []), edges.inputs(db, []), memo.find(db, []), memo.followers(db, [])),
            *(queues.undoom(db, []), attempts.of(db, []), blocks.get_many(db, []), classes.actions(db, [])),
        ]
        assert not any(asked)
        assert edges.live_consumer(db, []) is None

    def test_no_rows(self, db: Database) -> None:
        empty: list[Any] = []
        for add, width in ((runs.add, 13), (data.add, 8), (edges.add, 3), (memo.add, 2), (attempts.add, 8)):
            add(db, *[empty] * width)
        attempts.fail(db, [])
        attempts.log(db, [])
        data.set_open(db, [], is_open=True)
        assert runs.complete(db, [], [], [], []) == runs.end(db, [], [], [], []) == data.bury(db, *[[]] * 7) == 0
        assert rows(db, "select * from run") == rows(db, "select * from datum") == []

    def test_ids_in_any_order_and_several_times(self, db: Database) -> None:
        add_runs(db, [a_run(n, args=b"%d" % n) for n in range(1, 60)])
        asked = [5, 3, 3, 59, 1000, 1, 5, 0, 3]
        assert {n: r.args for n, r in runs.get(db, asked).items()} == {5: b"5", 3: b"3", 59: b"59", 1: b"1"}
        assert sorted(runs.hold(db, asked)) == [1, 3, 5, 59]
        assert sorted(r.id for r in runs.unhold(db, asked)) == [1, 3, 5, 59]
        assert runs.counts(db, 0, 100) == [(1, 0, 59)]

    @pytest.mark.parametrize("n", [5, 40, 300])
    def test_runs_are_claimed_in_the_order_asked_for(self, db: Database, n: int) -> None:
        """Also by a planner that knows how few there are."""
        add_runs(db, [a_run(run) for run in range(1, n + 1)])
        rows(db, "analyze run")
        order = list(range(1, n + 1))
        random.Random(n).shuffle(order)
        for asked in (order, order[:3], list(range(n, 0, -1)), [n, n - 1]):
            assert [r.id for r in runs.for_claim(db, [*asked, 9999])] == asked

    def test_very_many(self, store: Database) -> None:
        """In a store of its own, so that a planner without statistics is tried as well."""
        ids = list(range(1, NUMBER + 1))
        shorts = [(n * 0x9E3779B97F4A7C15 + (1 << 63)) % (1 << 64) - (1 << 63) for n in ids]
        pairs = sorted(zip(shorts, ids, strict=True))
        with store.transaction():
            memo.add(store, *zip(*pairs, strict=True))
            classes.stand(store, [7] * NUMBER, ids)
        asked = shorts[:]
        random.Random(3).shuffle(asked)
        with store.transaction(write=False):
            assert sorted(memo.find(store, asked)) == pairs
        with store.transaction():
            assert classes.counts(store) == {7: NUMBER}
            assert len(classes.stand_in(store, 7, ids[::-1])) == NUMBER
            assert classes.take(store, 7, 100_001) == ids[:100_001]
            assert classes.drop(store, [7] * NUMBER, ids) == NUMBER - 100_001
            assert classes.counts(store) == {}
