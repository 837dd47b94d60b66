"""Amounts as people write them: time, and accelerators."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.model import accelerators, amounts
from tidemill.model.accelerators import Accelerator
from tidemill.model.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (90, 90), (0.5, 0.5), ("90", 90), ("90s", 90), ("1.5 min", 90), ("2h", 7200), ("1h 30min", 5400),
        ("1:30:00", 5400), ("2:05", 125), ("2-12:00:00", 216_000), ("1d", 86_400), ("0", 0), (" 3 H ", 10_800),
    ],
)  # fmt: skip
def test_times(text: Any, seconds: float) -> None:
    assert amounts.seconds("timeout", text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "1 fortnight", "-3", -1, True, "1:2:3:4", "h", None, "5s5", float("nan")])
def test_what_is_no_time(text: Any) -> None:
    with pytest.raises(UsageError, match=r"timeout=.* is not a time") as caught:
        amounts.seconds("timeout", text)
    assert "1:30:00" in caught.value.hint


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "gpu:1"), ("8", "gpu:8"), (0, ""), ("", ""), ("cuda:1", "cuda:1"), ("cuda", "cuda:1"),
        ("Nvidia-A100:2", "nvidia-a100:2"), ("nvidia-tesla-k80", "nvidia-tesla-k80:1"), ("fpga:3", "fpga:3"),
        ({"count": 2, "kind": "gpu"}, "gpu:2"), ({"api": "cuda"}, "cuda:1"),
        ({"count": 1, "brand": "nvidia", "model": "nvidia-a100"}, "nvidia-a100:1"),
        ({"model": "nvidia-a100"}, "nvidia-a100:1"), ({"kind": "gpu", "brand": "amd"}, "amd:1"),
        ({"kind": "gpu", "api": "cuda", "model": "a100", "count": 4}, "gpu(brand=nvidia,api=cuda,model=a100):4"),
        (["cuda:1", {"kind": "fpga", "count": 1}, "cuda:2"], "cuda:3 + fpga:1"), ("fpga:1 + cuda:1", "cuda:1 + fpga:1"),
    ],
)  # fmt: skip
def test_accelerators(value: Any, text: str) -> None:
    assert accelerators.canonical(value) == text
    assert accelerators.canonical(text) == text


@pytest.mark.parametrize(
    "value",
    [-1, True, 1.5, "cuda:", "cuda:x", ":2", "a b:1", {}, {"count": 1.5}, {"colour": "red"}, [None], {"kind": ""}],
)
def test_what_is_no_accelerator(value: Any) -> None:
    with pytest.raises(UsageError, match="does not say which accelerators") as caught:
        accelerators.canonical(value)
    assert '"nvidia-a100:2"' in caught.value.hint


_word = st.sampled_from(["", "gpu", "nvidia", "amd", "cuda", "rocm", "a100", "x-y", "t4"])


@given(kind=_word.filter(bool), brand=_word, api=_word, model=_word, number=st.integers(1, 9))
def test_every_sort_has_a_text_of_its_own(kind: str, brand: str, api: str, model: str, number: int) -> None:
    fields = {"kind": kind, "brand": brand, "api": api, "model": model, "count": number}
    text = accelerators.canonical({name: value for name, value in fields.items() if value})
    (found,) = accelerators.parse(text)
    assert accelerators.canonical(text) == text
    assert (found.kind, found.number) == (kind, number)
    assert found.within(found)
    assert Accelerator().within(found) == (kind == "gpu")
