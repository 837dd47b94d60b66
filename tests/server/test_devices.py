"""Which accelerators there are, and which a run gets."""

from pathlib import Path

import pytest

from tidemill.model.errors import ConfigError
from tidemill.server.devices import choose, detect, environment, show


def test_what_the_variable_says_is_what_there_is(tmp_path: Path) -> None:
    found = detect({"TIDEMILL_ACCELERATORS": "nvidia-a100:2 + rocm:1 + fpga:1"}, str(tmp_path))
    assert [(d.number, d.name) for d in found] == [(0, "0"), (1, "1"), (2, "0"), (3, "0")]
    assert show(found) == "fpga:1 + nvidia-a100:2 + rocm:1"
    assert detect({"TIDEMILL_ACCELERATORS": ""}, "/dev") == []
    with pytest.raises(ConfigError, match="TIDEMILL_ACCELERATORS='cuda:x'"):
        detect({"TIDEMILL_ACCELERATORS": "cuda:x"})


def test_without_it_the_devices_of_the_system_are_counted(tmp_path: Path) -> None:
    assert detect({}, str(tmp_path)) == detect({}, str(tmp_path / "nowhere")) == []
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    assert show(detect({}, str(tmp_path))) == "cuda:2"
    assert [d.name for d in detect({"CUDA_VISIBLE_DEVICES": "1"}, str(tmp_path))] == ["1"]
    assert detect({"CUDA_VISIBLE_DEVICES": ""}, str(tmp_path)) == []


def test_a_request_gets_devices_of_its_sort() -> None:
    found = detect({"TIDEMILL_ACCELERATORS": "nvidia-a100:2 + nvidia-t4:1 + rocm:1"})
    for text, numbers in {"gpu:4": 4, "cuda:3": 3, "nvidia-t4:1": 1, "rocm:1": 1, "nvidia-a100:1 + gpu:3": 4}.items():
        assert len(choose(text, found) or []) == numbers, text
    for text in ("gpu:5", "cuda:4", "nvidia-t4:2", "nvidia-a100:1 + cuda:3", "fpga:1"):
        assert choose(text, found) is None, text
    chosen = choose("nvidia-t4:1", found)
    assert chosen is not None
    assert environment(chosen) == {"TIDEMILL_ACCELERATORS": "nvidia-t4:1", "CUDA_VISIBLE_DEVICES": "2"}


def test_those_that_a_process_had_before_come_first() -> None:
    found = detect({"TIDEMILL_ACCELERATORS": "cuda:3"})
    assert choose("cuda:1", found, found[2:]) == found[2:]
    assert choose("cuda:2", found, found[2:]) == [found[0], found[2]]
