"""Small helpers: a copy that is whole or not there, trying again, deleting whatever is there, space, directories."""

import io
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import tidemill as tm


@pytest.mark.parametrize("executable", [None, True, False])
@pytest.mark.parametrize("mode", [0o444, 0o755])
def test_a_copy_keeps_what_it_says(tmp_path: Path, mode: int, executable: bool | None) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"new" * 1_000_000)
    source.chmod(mode)
    target.write_text("old")
    tm.helpers.atomic_copy(source, target, executable=executable)
    assert target.read_bytes() == source.read_bytes()
    assert os.access(target, os.X_OK) == (mode == 0o755 if executable is None else executable)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["source", "target"]


def test_a_copy_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"x" * 200_000)
    target.write_text("old")
    code = (
        "import resource, signal, sys, tidemill as tm\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "tm.helpers.atomic_copy(sys.argv[1], sys.argv[2])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(source), str(target)], capture_output=True, check=False)
    assert b"File too large" in done.stderr
    assert target.read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["source", "target"]
    with pytest.raises(FileNotFoundError):
        tm.helpers.atomic_copy(tmp_path / "none", target)


@pytest.mark.parametrize("executable", [True, False])
def test_a_stream_is_written_whole(tmp_path: Path, executable: bool) -> None:
    target = tmp_path / "target"
    target.write_text("old")
    umask = os.umask(0o027)
    try:
        tm.helpers.atomic_write(io.BytesIO(b"new" * 1_000_000), target, executable=executable)
    finally:
        os.umask(umask)
    assert target.read_bytes() == b"new" * 1_000_000
    assert stat.S_IMODE(target.stat().st_mode) == (0o750 if executable else 0o640)


def test_a_stream_that_breaks_off_leaves_what_was_there(tmp_path: Path) -> None:
    class Breaks(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if not (part := super().read(1000)):
                raise ConnectionError("gone")
            return part

    target = tmp_path / "target"
    target.write_text("old")
    with pytest.raises(ConnectionError):
        tm.helpers.atomic_write(Breaks(b"x" * 5000), target)
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["target"]


class Unreliable:
    """Raises one error after the other, then answers."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self, x: int) -> int:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return x


def test_what_may_be_over_soon_is_tried_again() -> None:
    told: list[str] = []
    function = Unreliable(OSError("one"), ConnectionError("two"))
    tried = tm.helpers.retry(OSError, waits=(0, 0), between=lambda error: told.append(str(error)))(function)
    assert tried(3) == 3
    assert (function.calls, told) == (3, ["one", "two"])


def test_the_last_error_is_raised_and_another_kind_at_once() -> None:
    function = Unreliable(OSError("one"), OSError("two"), OSError("three"))
    with pytest.raises(OSError, match="two"):
        tm.helpers.retry(waits=(0,))(function)(3)
    function = Unreliable(KeyError("one"))
    with pytest.raises(KeyError):
        tm.helpers.retry(OSError, ValueError, waits=(0, 0))(function)(3)
    assert function.calls == 1
    with pytest.raises(OSError, match="never"):
        tm.helpers.retry(waits=())(Unreliable(OSError("never again")))(3)


def test_a_function_may_say_which_errors_and_it_may_go_on_for_ever() -> None:
    function = Unreliable(*[OSError(503, "busy")] * 50, OSError(404, "not here"))
    tried = tm.helpers.retry(KeyError, lambda e: getattr(e, "errno", 0) == 503, waits=(0, 0), forever=True)(function)
    with pytest.raises(OSError, match="not here"):
        tried(3)
    assert function.calls == 51


def test_a_tree_is_deleted_whatever_its_modes_and_links(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("kept")
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "b" / "file").write_text("x")
    (tree / "link").symlink_to(kept)
    (tree / "a" / "dangling").symlink_to("nowhere")
    (tree / "a" / "b").chmod(0o000)
    (tree / "a").chmod(0o555)
    tm.helpers.remove_tree(tree)
    assert not tree.exists()
    assert (kept / "file").read_text() == "kept"
    tm.helpers.remove_tree(tree)
    (tmp_path / "way").symlink_to(kept)
    tm.helpers.remove_tree(tmp_path / "way")
    tm.helpers.remove_tree(kept / "file")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["kept"]


def test_space_is_that_of_the_file_system(tmp_path: Path) -> None:
    found = tm.helpers.free_space(tmp_path / "not" / "yet")
    there = os.statvfs(tmp_path)
    assert found.total == there.f_blocks * there.f_frsize
    assert 0 < found.free <= found.total


def test_a_public_directory_can_be_passed_through(tmp_path: Path) -> None:
    made = tm.helpers.public_directory(tmp_path)
    assert stat.S_IMODE(os.stat(made).st_mode) == 0o711
    assert Path(made).parent == tmp_path
