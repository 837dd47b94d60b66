"""The conformance suite of state stores: what `stores.state` promises, tried on any implementation of `Database`.

    class TestMyDatabase(StateStoreSuite):
        @pytest.fixture(scope="class")
        @classmethod
        def make_store(cls, tmp_path_factory: pytest.TempPathFactory) -> MakeStore:
            return lambda: partial(open_mine, str(tmp_path_factory.mktemp("store")))

`make_store` finds a place for an empty store and returns what opens it: a function that can be pickled, takes
`read_only` and gives a connection of its own at each call. The suite closes connections; what else there is to clear
away, the fixture does after a `yield`. A database to which several engines write at the same time passes
`SeveralWritersSuite` as well. `examples` says how many random histories and graphs are tried.
"""

from tidemill.testing.state_base import MakeStore, Opener
from tidemill.testing.state_changes import ChangesSuite
from tidemill.testing.state_files import FilesSuite, MessagesSuite, NamesSuite, SettingsSuite
from tidemill.testing.state_graph import BlocksSuite, DataSuite
from tidemill.testing.state_nouns import ClassesSuite, LeasesSuite, MemoSuite, QueuesSuite, RecordsSuite
from tidemill.testing.state_place import PlaceSuite
from tidemill.testing.state_questions import QuestionsSuite
from tidemill.testing.state_random import CountersSuite
from tidemill.testing.state_schema import ReadOnlySuite, SchemaSuite
from tidemill.testing.state_several import EnginesSuite, SeveralWritersSuite
from tidemill.testing.state_transactions import DurabilitySuite, SeveralConnectionsSuite, TransactionsSuite
from tidemill.testing.state_transitions import TransitionsSuite
from tidemill.testing.state_values import ListsSuite, ValuesSuite

__all__ = ["MakeStore", "Opener", "RandomSuite", "SeveralWritersSuite", "StateStoreSuite"]


class RandomSuite(CountersSuite, QuestionsSuite):
    """What is tried on random examples; `examples` says on how many."""


class StateStoreSuite(
    TransactionsSuite,
    SeveralConnectionsSuite,
    DurabilitySuite,
    SchemaSuite,
    ReadOnlySuite,
    PlaceSuite,
    ValuesSuite,
    ListsSuite,
    TransitionsSuite,
    ChangesSuite,
    ClassesSuite,
    LeasesSuite,
    MemoSuite,
    QueuesSuite,
    RecordsSuite,
    DataSuite,
    BlocksSuite,
    FilesSuite,
    NamesSuite,
    MessagesSuite,
    SettingsSuite,
    EnginesSuite,
    RandomSuite,
):
    """Everything: inherit from this and give the fixture `make_store`."""
