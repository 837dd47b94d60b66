"""No user code can change a stored object: whatever a task does to what it was given, the digest stays equal."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.objects.servers import KEY, SECRET, moto_server
from tests.workers import filetasks
from tests.workers.conftest import HERE
from tests.workers.test_filestore import blob, call, told
from tidemill.stores.objects.interface import SMALL
from tidemill.testing.workers import FakeEngine

PROGRAM = Path(__file__).parent / "programs" / "hostile_user.py"
SIZES = [1000, SMALL + 1000]


@pytest.fixture(scope="module", params=["directory", "sealed", "bucket"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeEngine]:
    directory = tmp_path_factory.mktemp("hostile")
    if request.param == "directory":
        with FakeEngine(directory, path=[HERE]) as found:
            yield found
        return
    if request.param == "sealed":
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TIDEMILL_SEAL_LAB", "5e" * 32)
            with FakeEngine(directory, path=[HERE], objects=f"seal:lab:{directory / 'sealed'}") as found:
                yield found
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        with moto_server() as server, FakeEngine(directory, path=[HERE], objects=server.fresh_url()) as found:
            yield found


@pytest.mark.parametrize("attack", filetasks.ATTACKS)
@pytest.mark.parametrize("executable", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_what_was_given_is_no_way_to_the_store(engine: FakeEngine, attack: str, executable: bool, size: int) -> None:
    data = blob(size)
    file = told(engine, "put", data, "x", executable)
    for mutable in (False, True):
        for link in (False, True):
            outcome = call(engine, "hostile", file, mutable, link, attack)
            assert outcome.failure is None, outcome.failure
            assert engine.objects.get(file.digest, verify=True) == data
    assert told(engine, "get", file)[0] == data


@pytest.mark.parametrize("attack", filetasks.ATTACKS)
@pytest.mark.parametrize("size", SIZES)
def test_what_was_stored_is_no_way_to_the_store(engine: FakeEngine, attack: str, size: int) -> None:
    file = told(engine, "hostile_writer", attack, blob(size))
    assert engine.objects.get(file.digest, verify=True) == blob(size)


@pytest.mark.parametrize("size", [1000, 3 << 20])
def test_the_file_behind_a_stream_is_no_way_to_the_store(engine: FakeEngine, size: int) -> None:
    file = told(engine, "hostile_stream", blob(size))
    assert engine.objects.get(file.digest, verify=True) == blob(size)


@pytest.mark.parametrize("flags", [os.O_RDWR, os.O_RDONLY], ids=["write", "read"])
def test_whoever_comes_while_a_file_is_stored_has_no_way_to_it(engine: FakeEngine, flags: int) -> None:
    """A file that is open for reading can be opened for writing later, by way of /proc."""
    data = blob(SMALL + 1000)
    count, written = told(engine, "hostile_meanwhile", data, flags)
    assert count > 1
    for number, file in enumerate(written):
        assert engine.objects.get(file.digest, verify=True) == data + bytes([number])


def test_an_ordinary_user_has_no_way_to_the_store() -> None:
    """Root gets no links; who does must not be able to do more with them."""
    with tempfile.TemporaryDirectory() as base:
        public = Path(base) / "public"
        public.mkdir()
        Path(base).chmod(0o755)
        public.chmod(0o777)
        done = subprocess.run([sys.executable, PROGRAM, public], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_the_attacks_do_change_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An attack that does nothing would show nothing."""
    monkeypatch.chdir(tmp_path)
    for name, attack in filetasks.ATTACKS.items():
        place = tmp_path / name / "victim"
        place.parent.mkdir()
        place.write_bytes(blob(1000))
        monkeypatch.chdir(place.parent)
        attack(place)
        assert place.read_bytes() != blob(1000), name
