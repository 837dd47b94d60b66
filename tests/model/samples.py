"""Classes whose objects the tests of the value encoding store; their names are part of the test vectors."""

import dataclasses
import enum
import functools
from typing import Any, NamedTuple

import attrs
import msgspec
import pydantic


class Colour(enum.Enum):
    RED = "r"


class Level(enum.IntEnum):
    LOW = 1


class Bit(enum.Flag):
    A = 1
    B = 2


class Pair(NamedTuple):
    a: int
    b: tuple[int, ...]


@dataclasses.dataclass
class Point:
    x: int
    y: list[float]


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    x: int
    y: Any = None


@dataclasses.dataclass
class Derived:
    """Has state beside its fields: one attribute that counts and one that is only a cache."""

    x: float

    def __post_init__(self) -> None:
        self.half = self.x / 2

    @functools.cached_property
    def double(self) -> float:
        return self.x * 2


@dataclasses.dataclass
class Grown:
    """Stands for a class to which fields were added since its objects were stored."""

    x: int
    y: int = 7
    z: list[int] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Demanding:
    x: int
    y: int


@attrs.frozen
class Attrs:
    x: int
    y: tuple[int, ...] = ()


class Record(msgspec.Struct):
    x: int
    y: tuple[int, ...] = ()


class Model(pydantic.BaseModel):
    x: int
    y: tuple[int, ...] = ()
    inner: "Model | None" = None


def double(x: float) -> float:
    return 2 * x
