"""Random operations on the file store against a model of it."""

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.workers.test_filestore import blob, call
from tidemill.model.digest import digest
from tidemill.model.fileid import FileId
from tidemill.stores.objects.interface import SMALL
from tidemill.testing.workers import FakeEngine

contents = st.binary(max_size=20) | st.sampled_from([blob(n) for n in (4096, SMALL, SMALL + 1, 100_000)])
numbers = st.integers(0, 8)
steps = st.lists(
    st.tuples(st.just("write"), numbers, contents)
    | st.tuples(st.just("stream"), numbers, st.lists(contents, max_size=3))
    | st.tuples(st.just("read"), numbers, st.booleans())
    | st.tuples(st.just("open"), numbers, st.sampled_from([-1, 0, 1, 5000]))
    | st.tuples(st.sampled_from(["exists", "forget", "delete"]), numbers, st.none()),
    max_size=25,
)


class Model:
    """What the operations should do."""

    def __init__(self) -> None:
        self.contents: list[bytes] = []
        self.copies: list[int] = []
        self.deleted: set[int] = set()

    def step(self, what: str, number: int, value: Any) -> Any:
        if what in {"write", "stream"}:
            self.contents.append(value if what == "write" else b"".join(value))
            self.copies.append(1 if what == "write" else 0)
            return len(self.contents[-1])
        if not self.contents:
            return None
        one = number % len(self.contents)
        act: Callable[[int, Any], Any] = getattr(self, what)
        return act(one, value)

    def read(self, one: int, _: bool) -> Any:
        if one in self.deleted:
            return "NotFoundError"
        self.copies[one] += 1
        return self.contents[one]

    def open(self, one: int, size: int) -> Any:
        if one in self.deleted:
            return "NotFoundError"
        return self.contents[one] if size < 0 else self.contents[one][:size]

    def exists(self, one: int, _: None) -> Any:
        return one not in self.deleted

    def forget(self, one: int, _: None) -> Any:
        if not self.copies[one]:
            return "NoCopyError"
        self.copies[one] = 0
        return None

    def delete(self, one: int, _: None) -> Any:
        self.copies[one] = 0
        self.deleted.add(one)
        return None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_random_operations_do_what_the_model_does(engine: FakeEngine, steps: list[tuple[str, int, Any]]) -> None:
    model = Model()
    expected = [model.step(*step) for step in steps]
    outcome = call(engine, "operations", [list(step) for step in steps])
    assert engine.value(outcome) == expected
    left = [digest(data) for one, data in enumerate(model.contents) if one not in model.deleted]
    assert [written.digest for written in outcome.files] == left
    assert {FileId(one).digest for one in outcome.deleted} == {digest(model.contents[one]) for one in model.deleted}
    assert len(outcome.deleted) == len(model.deleted)
    assert engine.objects.exists(left) == set(left)
    read = {digest(model.contents[number % len(model.contents)]) for number in range(9)} if model.contents else set()
    assert {used for used, *_ in outcome.used} <= read
