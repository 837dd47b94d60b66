"""A workflow whose objects are on S3: files of one task are read by two others. Arguments: the store, the objects."""

import sys
from pathlib import Path
from typing import Any

import tidemill as tm


@tm.task
def write(seed: int) -> Path:
    file = Path("file.bin")
    file.write_bytes(bytes([seed]) * 300_000)
    return file


@tm.task
def size(file: Path, extra: int) -> int:
    return len(file.read_bytes()) + extra


@tm.workflow
def flow() -> object:
    return size(write(1), 1), size(write(1), 2), size(write(2), 3)


if __name__ == "__main__":
    found: Any = flow().run(store=sys.argv[1], objects=sys.argv[2], workers=2)
    assert list(found) == [300_001, 300_002, 300_003]
