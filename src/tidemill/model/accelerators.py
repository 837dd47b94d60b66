"""Accelerators in words: what a run asks for and what a machine has, as one canonical text.

A text is a list of `what:count` joined by ` + `. `what` is "gpu" (any), an interface ("cuda", "rocm"), a brand and a
model ("nvidia-a100"), any other kind ("fpga"), or, where these do not suffice, all that is asked for:
"gpu(api=cuda,brand=nvidia,model=a100)".
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from tidemill.model.errors import UsageError

_BRANDS = ("nvidia", "amd", "intel")
_APIS = {"cuda": "nvidia", "rocm": "amd", "hip": "amd", "opencl": "", "sycl": "", "levelzero": "intel"}
"""Interface -> the brand that it implies."""
_OWN = {"nvidia": "cuda", "amd": "rocm", "intel": "levelzero"}
"""Brand -> the interface that all of its devices have."""
_WORD = re.compile(r"[a-z0-9][a-z0-9_.-]*")
_LONG = re.compile(r"([a-z0-9][a-z0-9_.-]*)\(([^()]*)\)")
_FIELDS = ("kind", "brand", "api", "model")
_ALLOWED = (
    'Write a number (1), "cuda:1", "nvidia-a100:2", "kind:count", a mapping with count, kind, brand, api and model, '
    "or a list of these."
)


class Accelerator(NamedTuple):
    """Some accelerators of one sort; a field that is "" does not matter.

    Attributes:
        kind: "gpu", "tpu", "fpga", ….
        brand: "nvidia", "amd", ….
        api: "cuda", "rocm", "opencl", ….
        model: without the brand: "a100".
        number: how many.
    """

    kind: str = "gpu"
    brand: str = ""
    api: str = ""
    model: str = ""
    number: int = 1

    def within(self, offer: "Accelerator") -> bool:
        """Whether a device of `offer` is what is asked for."""
        return all(
            not mine or mine == theirs or (name == "api" and mine == _OWN.get(offer.brand))
            for name, mine, theirs in zip(_FIELDS, self[:4], offer[:4], strict=True)
        )

    def __str__(self) -> str:
        for short in (self.kind, self.api, f"{self.brand}-{self.model}" if self.model else self.brand):
            if short and _sort(short) == self[:4]:
                return f"{short}:{self.number}"
        told = ",".join(f"{name}={text}" for name, text in zip(_FIELDS[1:], self[1:4], strict=True) if text)
        return f"{self.kind}({told}):{self.number}"


def canonical(value: Any) -> str:
    """The canonical text of what a user wrote; "" for none.

    Raises:
        UsageError: it is nothing of what is allowed.
    """
    counts: dict[Accelerator, int] = {}
    for one in _parts(value, value):
        sort = one._replace(number=0)
        counts[sort] = counts.get(sort, 0) + one.number
    return " + ".join(sorted(str(sort._replace(number=n)) for sort, n in counts.items() if n))


def parse(text: str) -> list[Accelerator]:
    """What a text says.

    Raises:
        UsageError: it cannot be read.
    """
    return list(_parts(text, text))


def _parts(value: Any, whole: Any) -> Iterable[Accelerator]:
    if isinstance(value, bool):
        raise _wrong(whole)
    if isinstance(value, int):
        yield Accelerator(number=_count(value, whole))
    elif isinstance(value, str):
        for part in filter(None, (p.strip() for p in value.split("+"))):
            yield _from_text(part.lower(), whole)
    elif isinstance(value, Mapping):
        yield _from_mapping(value, whole)
    elif isinstance(value, Iterable):
        for one in value:
            yield from _parts(one, whole)
    else:
        raise _wrong(whole)


def _from_text(text: str, whole: Any) -> Accelerator:
    what, colon, number = text.rpartition(":")
    if not colon:
        what, number = (text, "1") if not text.isdigit() else ("gpu", text)
    if not number.isdigit():
        raise _wrong(whole)
    if long := _LONG.fullmatch(what):
        pairs = [p.partition("=")[::2] for p in long[2].split(",") if p]
        return _from_mapping({"kind": long[1], "count": int(number), **dict(pairs)}, whole)
    if not _WORD.fullmatch(what):
        raise _wrong(whole)
    return Accelerator(*_sort(what), number=_count(int(number), whole))


def _sort(what: str) -> tuple[str, str, str, str]:
    """Kind, brand, api and model that a short name means."""
    if what in _APIS:
        return "gpu", _APIS[what], what, ""
    brand, dash, model = what.partition("-")
    if brand in _BRANDS:
        return "gpu", brand, "", model if dash else ""
    return what, "", "", ""


def _from_mapping(value: Mapping[str, Any], whole: Any) -> Accelerator:
    known = {name: value[name] for name in (*_FIELDS, "count") if value.get(name) is not None}
    if len(known) < sum(v is not None for v in value.values()) or not known:
        raise _wrong(whole)
    count = _count(known.pop("count", 1), whole)
    if not all(isinstance(v, str) and _WORD.fullmatch(v.lower()) for v in known.values()):
        raise _wrong(whole)
    found = {name: text.lower() for name, text in known.items()}
    brand = found.get("brand") or _APIS.get(found.get("api", ""), "")
    model = found.get("model", "")
    if not brand and (named := model.partition("-"))[0] in _BRANDS:
        brand = named[0]
    if brand:
        model = model.removeprefix(f"{brand}-")
    return Accelerator(found.get("kind", "gpu"), brand, found.get("api", ""), model, count)


def _count(value: Any, whole: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 20:
        raise _wrong(whole)
    return value


def _wrong(whole: Any) -> UsageError:
    return UsageError(f"accelerators={whole!r} does not say which accelerators and how many", hint=_ALLOWED)
