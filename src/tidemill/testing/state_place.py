"""What a store knows of itself: a name that no other has, and where its objects are."""

from contextlib import closing
from functools import partial

from tidemill.stores.state import meta, place, schema
from tidemill.stores.state.database import Database
from tidemill.testing.first_version import FIRST
from tidemill.testing.state_base import MakeStore, Opener, StateSuite, together
from tidemill.testing.state_transactions import contents, write_everything

_PLACES = ["", "s3://bucket/prefix", "/srv/objects"]


class PlaceSuite(StateSuite):
    """The name of the store and the place of its objects."""

    def test_a_store_has_a_name_of_its_own(self, store: Database, opener: Opener, make_store: MakeStore) -> None:
        name = place.read(store).store
        assert len(name) == 32
        assert set(name) <= set("0123456789abcdef")
        with closing(opener(read_only=True)) as reader, closing(make_store()()) as other:
            assert place.read(reader).store == name
            assert place.read(other).store != name

    def test_the_place_is_settled_once(self, db: Database) -> None:
        assert place.read(db).objects is None
        assert place.settle(db, "s3://bucket/ä") == "s3://bucket/ä"
        assert place.settle(db, "/elsewhere") == "s3://bucket/ä"
        assert place.read(db).objects == "s3://bucket/ä"
        place.change(db, "s3://bucket/ä?timeout=9")
        assert place.read(db).objects == "s3://bucket/ä?timeout=9"

    def test_the_default_place_is_settled_too(self, db: Database) -> None:
        assert place.settle(db, "") == ""
        assert place.settle(db, "/elsewhere") == ""

    def test_there_is_nothing_to_change_before(self, db: Database) -> None:
        place.change(db, "/elsewhere")
        assert place.read(db).objects is None

    def test_those_who_settle_it_at_once_agree(self, store: Database, opener: Opener) -> None:
        def settle(wanted: str) -> str:
            with closing(opener()) as db, db.transaction():
                return place.settle(db, wanted)

        found = together(*[partial(settle, wanted) for wanted in _PLACES])
        assert len(set(found)) == 1
        assert place.read(store).objects == found[0]

    def test_a_store_of_the_first_version_is_brought_to_this_one(self, store: Database, opener: Opener) -> None:
        """It is read as it is, and gets a name when somebody opens it to write."""
        with store.transaction():
            write_everything(store)
            store.script(FIRST)
            meta.put(store, "schema", 1)
        before = contents(store)
        with closing(opener(read_only=True)) as reader:
            assert place.read(reader) == ("", None)
            assert schema.version(reader) == 1
            with closing(opener()) as writer:
                assert schema.version(writer) == schema.VERSION
                name, objects = place.read(writer)
                assert (len(name), objects) == (32, None)
                assert {**contents(writer), "meta": None} == {**before, "meta": None}
            assert place.read(reader).store == name
