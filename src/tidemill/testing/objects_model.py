"""A state machine that tries an object store against a dictionary."""

import time
from typing import ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tidemill.model.digest import Digest
from tidemill.model.errors import NotFoundError
from tidemill.stores.objects import SMALL, ObjectStore, collect
from tidemill.testing.objects_data import ABSENT, digests, some_bytes


class StoreBesideDictionary(RuleBasedStateMachine):
    """A store beside a dictionary that should hold the same."""

    store: ClassVar[ObjectStore]
    """Given by a subclass; emptied at the start of each example."""

    contents = st.one_of(st.binary(max_size=20), st.integers(SMALL - 1, SMALL + 2).map(some_bytes))

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[Digest, bytes] = {}
        self.store.delete(digests(self.store))

    @rule(data=contents)
    def put(self, data: bytes) -> None:
        self.model[self.store.put(data)] = data

    @rule(items=st.lists(contents, max_size=5))
    def put_many(self, items: list[bytes]) -> None:
        self.model.update(zip(self.store.put_many(items), items, strict=True))

    @rule(data=contents)
    def put_stream(self, data: bytes) -> None:
        self.model[self.store.put_stream([data[:5], data[5:]])[0]] = data

    @rule(draw=st.data())
    def delete(self, draw: st.DataObject) -> None:
        doomed = draw.draw(st.lists(st.sampled_from([*sorted(self.model), ABSENT]), max_size=3))
        removed = self.store.delete(doomed)
        assert {name for name in doomed if name in self.model} <= removed <= set(doomed)
        for name in doomed:
            self.model.pop(name, None)

    @rule(draw=st.data())
    def collect(self, draw: st.DataObject) -> None:
        live = draw.draw(st.sets(st.sampled_from([*sorted(self.model), ABSENT])))
        report = collect(self.store, live, grace_s=0, now=time.time() + 60)
        assert report.count == len(self.model.keys() - live)
        self.model = {name: data for name, data in self.model.items() if name in live}

    @rule(draw=st.data(), start=st.integers(0, SMALL + 5), length=st.integers(0, SMALL + 5))
    def read(self, draw: st.DataObject, start: int, length: int) -> None:
        name = draw.draw(st.sampled_from([*sorted(self.model), ABSENT]))
        if name not in self.model:
            with pytest.raises(NotFoundError):
                self.store.read_range(name, start, length)
        else:
            assert self.store.read_range(name, start, length) == self.model[name][start : start + length]

    @invariant()
    def holds_the_same(self) -> None:
        listed = sorted((one.digest, one.size) for one in self.store.list())
        assert listed == sorted((name, len(data)) for name, data in self.model.items())
        assert self.store.exists([*self.model, ABSENT]) == self.model.keys()
        assert self.store.get_many(list(self.model), verify=True) == list(self.model.values())
