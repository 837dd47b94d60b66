"""Random histories and random graphs, tried on a state store and worked out in Python."""

from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test

from tidemill.stores.state import memo
from tidemill.stores.state.database import Database
from tidemill.testing.state_base import StateSuite, undone
from tidemill.testing.state_machines import (
    BlocksBesideCounters,
    GathersBesideMembers,
    InOneTransaction,
    QueuesBesideSets,
    RunsBesideRows,
)

MACHINES: tuple[type[InOneTransaction], ...] = (
    QueuesBesideSets,
    BlocksBesideCounters,
    GathersBesideMembers,
    RunsBesideRows,
)


class CountersSuite(StateSuite):
    """Counters are those of the rows, whatever happened before."""

    steps: ClassVar[int] = 25

    @pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.__name__)
    def test_against_a_model(self, shared: Database, machine: type[InOneTransaction]) -> None:
        own = type("Machine", (machine,), {"db": shared})
        run_state_machine_as_test(own, settings=self.limits(self.steps))

    def test_key_index_against_sets(self, shared: Database) -> None:
        shorts = st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(-3, 3)
        pairs = st.lists(st.tuples(shorts, st.integers(1, 9)), max_size=20)

        @self.limits()
        @given(slices=st.lists(pairs, max_size=4), asked=st.lists(shorts, max_size=9, unique=True))
        def check(slices: list[list[tuple[int, int]]], asked: list[int]) -> None:
            with undone(shared):
                there: set[tuple[int, int]] = set()
                for part in slices:
                    part.sort()
                    memo.add(shared, [short for short, _ in part], [run for _, run in part])
                    there |= set(part)
                    asked = [*asked, *{short for short, _ in part[:2]} - set(asked)]
                assert sorted(memo.find(shared, asked)) == sorted(pair for pair in there if pair[0] in asked)

        check()
