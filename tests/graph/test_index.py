from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from tidemill.graph.index import Axis, Term, at, compress, flatten, indices, row_major, stretches, total

sizes = st.lists(st.integers(1, 4), min_size=1, max_size=4)


@st.composite
def maps(draw: st.DrawFn) -> tuple[list[Axis], list[Term]]:
    """Axes, and terms such as products and selections make: each divides its axis evenly."""
    axes = [Axis(n) for n in draw(sizes)]
    terms = []
    for axis in axes:
        divisors = [d for d in range(1, axis.size + 1) if axis.size % d == 0]
        div = draw(st.sampled_from(divisors))
        mod = draw(st.sampled_from([d for d in divisors if axis.size % (div * d) == 0]))
        if draw(st.booleans()):
            terms.append(Term(axis, div, mod, draw(st.sampled_from([1, 2, 3, 4, 6, 8, 12]))))
    return axes, terms


def by_definition(axes: list[Axis], terms: list[Term]) -> list[int]:
    found = []
    for place in product(*[range(axis.size) for axis in axes]):
        position = dict(zip(axes, place, strict=True))
        found.append(sum(position[t.axis] // t.div % t.mod * t.stride for t in terms))
    return found


@given(maps(), st.data())
def test_indices_are_what_the_definition_says(made: tuple[list[Axis], list[Term]], data: st.DataObject) -> None:
    axes, terms = made
    expected = by_definition(axes, terms)
    size = total(axes)
    flat = flatten(terms, axes)
    low = data.draw(st.integers(0, size))
    high = data.draw(st.integers(low, size))
    assert list(indices(flat, low, high, size)) == expected[low:high]
    assert [at(flat, n) for n in range(size)] == expected


@given(maps())
def test_stretches_list_the_same_indices(made: tuple[list[Axis], list[Term]]) -> None:
    axes, terms = made
    found = stretches(flatten(terms, axes), total(axes))
    assert [first + i * step for first, count, step in found for i in range(count)] == by_definition(axes, terms)
    assert all(step > 0 for _, _, step in found)


@given(st.lists(st.integers(0, 20)))
def test_compress_keeps_the_order(slots: list[int]) -> None:
    found = compress(slots)
    assert [first + i * step for first, count, step in found for i in range(count)] == slots
    assert all(count > 0 and step > 0 for _, count, step in found)


def test_what_lies_in_order_is_one_stretch() -> None:
    axes = [Axis(1000), Axis(1000)]
    assert stretches(flatten(row_major(axes, 3), axes), 1_000_000) == [(0, 1_000_000, 3)]
    assert stretches(flatten(row_major(axes), axes[:1]), 1000) == [(0, 1000, 1000)]
    assert compress(range(7, 5007, 5)) == [(7, 1000, 5)]


def test_terms_that_do_not_follow_on_are_kept_apart() -> None:
    a, b, c = Axis(2), Axis(3), Axis(2)
    assert flatten([Term(a, 1, 2, 2), Term(c, 1, 2, 1)], [a, b, c]) == ((1, 2, 1), (6, 2, 2))
    assert flatten([Term(b, 1, 3, 2), Term(c, 1, 2, 1)], [a, b, c]) == ((1, 6, 1),)


def test_no_elements_no_stretches() -> None:
    axes = [Axis(3), Axis(0)]
    assert stretches(flatten(row_major(axes), axes), 0) == []
