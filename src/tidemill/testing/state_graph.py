"""Data and blocks of a state store: what belongs to them beside their rows, and what is asked of the graph."""

from itertools import product

from tidemill.model import delta
from tidemill.model.errors import StoreError
from tidemill.stores.state import blocks, data, edges, gathers, runs
from tidemill.stores.state.data import Forward
from tidemill.stores.state.database import Database
from tidemill.testing.state_base import StateSuite, refused, rows
from tidemill.testing.state_rows import (
    DIGEST,
    a_block,
    a_datum,
    a_run,
    add_blocks,
    add_data,
    add_gather,
    add_runs,
)


def names(n: int) -> bytes:
    """A digest of its own for each number."""
    return bytes([n]) * 32


class DataSuite(StateSuite):
    """Data: promises, lifetimes, objects, aliases, inputs."""

    def test_promises(self, db: Database) -> None:
        add_runs(db, [a_run(5, out=1), a_run(6, out=3), a_run(7, out=5)])
        data.forward(db, [1, 2, 3], [10, 11, 10], [5, 5, 6], [0, 1, 0])
        one, two, three = (Forward(1, 10, 5, 0), Forward(2, 11, 5, 1), Forward(3, 10, 6, 0))
        assert data.any_forward(db) == 3
        assert data.runs_with_promises(db, [5, 6, 7, 8]) == {5, 6}
        assert sorted(data.promises(db, [1, 2, 9])) == [one, two]
        assert sorted(data.forwards_into(db, 10, 11)) == [one, three]
        assert sorted(data.forwarded(db, [10, 12])) == [one, three]
        assert data.forwarded(db, [10]) == []  # they wait no longer, and are still on record
        assert data.promised_as(db, [11, 10]) == [one, two, three]
        assert data.any_forward(db) == 1
        assert data.runs_with_promises(db, [5, 6]) == {5}
        assert [data.promise_open(db, low, low + 1) for low in (1, 2, 3)] == [False, True, False]
        assert data.promise_open(db, 1, 3)
        data.set_open(db, [one], is_open=True)
        data.set_open(db, [two], is_open=False)
        assert [data.promise_open(db, low, low + 1) for low in (1, 2, 3)] == [True, False, False]

    def test_a_datum_is_promised_once(self, store: Database) -> None:
        with store.transaction():
            data.forward(store, [1], [10], [5], [0])
        with refused(store, StoreError):
            data.forward(store, [2, 1], [11, 11], [5, 5], [1, 0])
        assert data.promises(store, [1, 2]) == [Forward(1, 10, 5, 0)]

    def test_lifetimes(self, db: Database) -> None:
        use, block = data.AFTER_USE, data.AFTER_BLOCK
        assert data.set_lifetime(db, [1, 2, 3, 4], [use, block, block, use], [7, 7, 8, 8]) == 4
        assert data.set_lifetime(db, [1, 5], [block, use], [9, 9]) == 1
        assert data.any_lifetime(db) == 5
        assert data.short_lived(db, [5, 4, 2, 1, 4, 99]) == [1, 4, 5]
        assert sorted(data.lifetimes_of(db, [7, 9])) == [1, 2, 5]
        assert data.lifetimes_of(db, [7, 9]) == []
        assert data.forget_lifetimes(db, [3, 1]) == 1
        assert data.any_lifetime(db) == 1

    def test_objects_that_are_named(self, db: Database) -> None:
        add_data(db, [
            a_datum(1, value=None, size=9, digest=names(1)),  # the value is an object
            a_datum(2, value=b"v", size=1, digest=names(2)),
            a_datum(3, value=None, size=9, digest=names(3), state=3),
            a_datum(4, value=None, size=9, digest=names(4), kind=data.GATHER),
            a_datum(5, value=b"v", size=1, digest=names(5)),
            a_datum(6, value=b"v", size=1, digest=names(6)),
            a_datum(7, value=None, size=0, digest=names(7)),
            a_datum(8, value=None, size=9, digest=names(1), src=1),
        ])  # fmt: skip
        data.name_objects(db, [5, 5, 5, 3], [names(50), names(51), names(50), names(30)])
        data.name_literals(db, 1, [names(90), names(91)])
        data.name_literals(db, 1, [names(90)])
        live = {names(n) for n in (1, 50, 51, 90, 91)}
        assert data.live_objects(db) == live
        data.expire(db, [5])
        assert data.live_objects(db) == live - {names(50), names(51)}

    def test_aliases(self, db: Database) -> None:
        add_data(db, [a_datum(1, value=b"v"), a_datum(2, value=b"w")])
        aliases = [a_datum(n, src=src, value=None) for n, src in ((11, 1), (12, 1), (13, 2), (14, 1))]
        add_data(db, aliases)
        data.name_objects(db, [1], [names(50)])
        data.lose(db, [14])
        assert data.aliases(db, [1, 2, 3]) == [(11, 1), (12, 1), (13, 2)]
        data.inherit(db, 11, 1)
        data.inherit(db, 12, 2)  # it is an alias of another one
        data.point(db, [12, 13], [11, 11])
        assert [data.get(db, [n])[n][6:] for n in (11, 12, 13)] == [
            (None, None, DIGEST, b"v"),
            (11, None, DIGEST, None),
            (11, None, DIGEST, None),
        ]
        assert sorted(rows(db, "select datum, digest from content")) == [(1, names(50)), (11, names(50))]

    def test_inputs_of_runs(self, db: Database) -> None:
        add_data(db, [a_datum(1, digest=names(1)), a_datum(2, digest=names(2), state=5), a_datum(3, digest=names(3))])
        edges.add(db, [10, 10, 10, 10, 20, 20, 30], [-1, 0, 1, 2, 0, 1, 0], [3, 2, 9, 1, 1, 1, 9])
        found = data.inputs(db, [10, 20, 30, 40])
        assert [(r.run, r.port, r.datum, r.state, r.digest, r.value) for r in found] == [
            (10, 0, 2, 5, names(2), b"v"),
            (10, 2, 1, 2, names(1), b"v"),
            (20, 0, 1, 2, names(1), b"v"),
            (20, 1, 1, 2, names(1), b"v"),
        ]
        assert [tuple(r) for r in data.input_digests(db, [10, 20, 30])] == [(r.run, r.digest) for r in found]
        backwards = data.inputs(db, [20, 10])
        assert sorted(backwards) == found
        assert [[r.port for r in backwards if r.run == run] for run in (10, 20)] == [[0, 2], [0, 1]]

    def test_spans(self, db: Database) -> None:
        add_data(db, [a_datum(n, state=2 + n % 2 * 3, digest=names(n)) for n in (9, 3, 7, 4)])
        found = [(n, 2 + n % 2 * 3, 1, 1, None, names(n), b"v") for n in (3, 4, 7, 9)]
        assert data.span(db, 3, 9) == found
        assert data.span(db, 4, 8) == found[1:3]
        assert data.span(db, 5, 6) == []
        assert data.states(db, [9, 5, 4]) == {9: 5, 4: 2}

    def test_who_uses_data(self, db: Database) -> None:
        add_runs(db, [a_run(n, state=state) for n, state in ((1, 3), (2, 0), (3, 9), (4, 4), (5, 7))])
        add_runs(db, [a_run(6, state=4, flags=runs.SUPERSEDED)])
        add_data(db, [a_datum(20), a_datum(21, state=1)])
        edges.add(db, [1, 2, 2, 3, 4, 5, 6], [0, 0, -1, 0, 0, 0, 0], [20, 20, 21, 22, 23, 24, 25])
        assert sorted(edges.consumers(db, [20, 21, 99])) == [(20, 1, 0), (20, 2, 0), (21, 2, -1)]
        assert len(edges.consumers(db, [20, 21], 2)) == 2
        assert sorted(edges.of_runs(db, [2, 3, 9])) == [(2, -1, 21), (2, 0, 20), (3, 0, 22)]
        assert sorted(edges.data_between(db, 20, 23)) == [20, 21, 22]
        assert sorted(edges.inputs(db, [2, 3])) == [(2, -1, 21, 1), (2, 0, 20, 2), (3, 0, 22, None)]
        assert edges.pending(db, [1, 2, 3]) == {2: 1, 3: 1}
        assert [edges.live_consumer(db, [d]) for d in range(20, 26)] == [(20, 2), (21, 2), (22, 3), None, None, None]
        unfinished = [(20, 2), (21, 2), (22, 3), (23, 4), None, None]
        assert [edges.unfinished_consumer(db, [d]) for d in range(20, 26)] == unfinished


class BlocksSuite(StateSuite):
    """Blocks, what they were submitted as, and collections."""

    def test_blocks_and_their_parts(self, db: Database) -> None:
        found = [
            a_block(1, root=1, run_lo=1, run_n=10, out_lo=1, out_n=20, block_lo=2, block_n=2, name="root"),
            a_block(2, root=1, parent=1),
            a_block(3, root=1, parent=2, state=1),
            a_block(4, root=1, parent=3, owner=7, run_lo=11, run_n=5, out_lo=21, out_n=5, previous=9, generation=3),
            a_block(5, root=1, parent=1, owner=7, generation=2, previous=4),
            a_block(6, root=6, state=2, t_open=0.1),
            a_block(7, root=1, parent=3, state=2),
        ]
        add_blocks(db, found)
        by_id = {b.id: b for b in found}
        assert [blocks.get(db, n) for n in range(9)] == [by_id.get(n) for n in range(9)]
        assert blocks.get_many(db, [6, 9, 1]) == {6: by_id[6], 1: by_id[1]}
        assert blocks.roots(db) == [by_id[6], by_id[1]]
        assert blocks.roots(db, 1) == [by_id[6]]
        assert blocks.children(db, 1) == [by_id[2], by_id[5]]
        assert blocks.subtree(db, 2) == [by_id[n] for n in (2, 3, 4, 7)]
        assert blocks.subtree(db, 9) == []
        assert blocks.all_owned_by(db, 7) == [5, 4]
        assert blocks.owned_by(db, 7) == by_id[5]
        assert blocks.owned_by(db, 8) is None
        assert (blocks.last_generation(db, 1), blocks.last_generation(db, 3)) == (0, 0)
        assert blocks.stopping(db) == [3]
        assert blocks.strays(db) == [by_id[4]]
        assert [blocks.delta_of(db, b).id for b in found] == [1, 1, 1, 4, 5, 6, 7]
        assert blocks.span(db, by_id[3]) == (1, 10)
        assert [getattr(blocks.with_datum(db, d), "id", None) for d in (0, 1, 20, 21, 25, 26)] == [
            None,
            1,
            1,
            4,
            4,
            None,
        ]

    def test_generations_of_a_block(self, db: Database) -> None:
        add_blocks(db, [a_block(1), a_block(2, parent=1, previous=1, generation=4), a_block(3, parent=1, previous=2)])
        assert blocks.last_generation(db, 1) == 4
        assert blocks.last_generation(db, 2) == 0

    def test_submissions(self, db: Database) -> None:
        add_blocks(db, [a_block(n) for n in (1, 2, 3)] + [a_block(4, state=2), a_block(5, parent=1), a_block(6)])
        for n in (1, 2, 4, 5):
            blocks.add_delta(db, n, b"key", b"h%d" % n, None, sealed=n == 2, result=None)
        blocks.add_delta(db, 6, None, b"growth", b"body", sealed=False, result=b"r")
        assert blocks.open_by_key(db, b"key") == (2, 0, 1)
        assert blocks.open_by_key(db, b"other") is None
        blocks.abandon(db, 2)
        blocks.set_cursor(db, 1, 7)
        assert blocks.open_by_key(db, b"key") == (1, 7, 0)
        assert sorted(blocks.unsealed_of(db, [1, 2, 3, 5, 6])) == [1, 5, 6]
        assert blocks.unexpanded(db) == (6, 0)
        assert [blocks.seal(db, n) for n in (6, 6, 2, 9)] == [True, False, False, False]
        assert blocks.unexpanded(db) is None
        assert blocks.delta(db, 6) == (6, None, b"growth", b"body", 0, 1, b"r")
        assert blocks.delta(db, 3) is None

    def test_a_growth_goes_on_where_it_was_stopped(self, db: Database) -> None:
        for n in (1, 2, 3):
            blocks.add_delta(db, n, b"key" if n == 3 else None, b"h", None, sealed=True, result=None)
            for seq in (1, 0):
                blocks.add_chunk(db, n, seq, names(10 * n + seq), b"body" if n != 2 else None)
        assert [blocks.chunk_digests(db, 1, limit) for limit in (0, 1, 9)] == [[], [names(10)], [names(10), names(11)]]
        assert blocks.chunk(db, 1, 1) == (names(11), b"body")
        assert blocks.chunk(db, 2, 1) == (names(21), None)
        assert blocks.chunk(db, 1, 2) is None
        assert [blocks.unseal(db, n) for n in (1, 1, 2, 3, 4)] == [True, False, False, False, False]
        blocks.seal(db, 1)
        blocks.set_cursor(db, 1, 2)
        assert not blocks.unseal(db, 1)

    def test_what_a_workflow_returns(self, db: Database) -> None:
        header = delta.Header([], [], 0, 5, result=b"template", result_refs=[3, delta.local(0), delta.local(4)])
        blocks.add_delta(db, 1, None, delta.encode(header), None, sealed=True, result=None)
        found = blocks.delta(db, 1)
        assert found is not None
        assert blocks.result_of(found, 100) == (b"template", [3, 100, 104])

    def test_members_are_found_from_end_to_end(self, db: Database) -> None:
        """Every member of stretches of every length, and none of their neighbours."""
        members: dict[int, list[int]] = {}
        for gather, (n, step) in enumerate(product((1, 2, 3, 4, 5, 8, 9, 16, 17), (1, 2, 3, 7)), 10_000):
            members[gather] = list(range(500, 500 + n * step, step))
            add_gather(db, gather, [(500, n, step)])
        around = list(range(490, 640))
        expected = sorted((gather, 0, datum) for gather, own in members.items() for datum in own)
        assert sorted(gathers.hits(db, around, gathers.levels(db))) == expected
        assert sorted(gathers.containing(db, around)) == expected

    def test_collections(self, db: Database) -> None:
        one = add_gather(db, 50, [(1, 4, 1), (10, 3, 5)], tolerate=1)
        add_gather(db, 60, [], block=2, one=1)
        assert gathers.get(db, 50) == (one, gathers.OPEN)
        assert gathers.get(db, 51) is None
        assert gathers.states(db, [50, 51, 60]) == {50: 0, 60: 0}
        assert sorted(data.collections_of(db, [1, 2, 3])) == [50, 60]
        assert gathers.stretches(db, 50) == [(0, 1, 4, 1, 4, None), (1, 10, 3, 5, 3, None)]
        gathers.lock(db, [60, 50, 70])
        assert gathers.count(db, 50, 1, 2) == (1, 10, 3, 5)
        assert gathers.tell(db, 50, 0, 1, 1) == one._replace(complete=1, failed=1)
        gathers.close_stretch(db, 50, 1, DIGEST)
        gathers.close_stretch(db, 50, 0, DIGEST)
        gathers.doubt(db, [(50, 0), (60, 0)])
        assert gathers.stretches(db, 50) == [(0, 1, 4, 1, 4, None), (1, 10, 3, 5, 1, DIGEST)]
        assert [gathers.end(db, 50, state) for state in (gathers.COMPLETE, gathers.DEAD)] == [True, False]
        assert gathers.tell(db, 50, 1, 1, 1) is None
        assert gathers.get(db, 50) == (one._replace(complete=1, failed=1), gathers.COMPLETE)
        gathers.recount(db, 50, gathers.OPEN, 1, 2, 3)
        gathers.recount_stretch(db, 50, 1, 0, None)
        assert gathers.get(db, 50) == (one._replace(pending=1, complete=2, failed=3), gathers.OPEN)
        assert gathers.stretches(db, 50)[1] == (1, 10, 3, 5, 0, None)
