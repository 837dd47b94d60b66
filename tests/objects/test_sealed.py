"""Sealed objects: what can be seen without the key, with another one, and after somebody has changed what is stored."""

import os
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tidemill.model.digest import digest
from tidemill.model.errors import ConfigError, IntegrityError, NotFoundError
from tidemill.stores.objects import LocalStore, SealedStore, open_objects, same_place, shown
from tidemill.stores.objects.sealed import HEAD, PIECE, TAG, key_of, plain_size, sealed_size
from tidemill.stores.objects.urls import local_path, scheme_of

KEY, OTHER = bytes(32), bytes([1]) * 32
TEXT = b"a secret of the laboratory "
LARGE = TEXT * 20_000


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "objects"


def sealed(place: Path, key: bytes = KEY, name: str = "lab") -> SealedStore:
    return SealedStore(LocalStore(place), name, key)


def files(place: Path) -> Iterator[bytes]:
    for found in place.rglob("*"):
        if found.is_file():
            yield found.read_bytes()


@pytest.mark.parametrize("data", [TEXT, LARGE], ids=["small", "large"])
def test_nothing_of_it_can_be_seen_without_the_key(place: Path, data: bytes) -> None:
    with closing(sealed(place)) as store:
        name = store.put(data)
    with closing(LocalStore(place)) as bare:
        assert bare.exists([name]) == set()
        (stored,) = bare.list()
        assert stored.digest != name
    for content in files(place):
        assert TEXT not in content
        assert name not in content
        assert name.hex().encode() not in content
    assert not any(name.hex()[2:] in str(p) for p in place.rglob("*"))


def test_equal_bytes_are_stored_once_a_key_and_look_different_under_two(tmp_path: Path) -> None:
    places = [(tmp_path / "a", KEY), (tmp_path / "b", OTHER)]
    names = []
    for place, key in places:
        with closing(sealed(place, key)) as store:
            assert store.put(LARGE) == store.put_many([LARGE])[0] == store.put_stream([LARGE])[0] == digest(LARGE)
            assert len(list(store.list())) == 1
        with closing(LocalStore(place)) as bare:
            names += [one.digest for one in bare.list()]
    assert len(set(names)) == 2


def test_another_key_is_told_of(place: Path) -> None:
    with closing(sealed(place)) as store:
        name = store.put(TEXT)
    with closing(sealed(place, OTHER, "office")) as wrong:
        for act in (
            lambda: wrong.get(name),
            lambda: wrong.put(b"x"),
            lambda: wrong.exists([name]),
            lambda: list(wrong.list()),
            lambda: wrong.delete([name]),
        ):
            with pytest.raises(ConfigError, match="sealed by another key than 'office'"):
                act()
    with closing(sealed(place)) as store:
        assert store.get(name) == TEXT
        assert store.users() == {}


def test_a_place_with_plain_objects_is_not_mixed(place: Path) -> None:
    with closing(LocalStore(place)) as bare:
        name = bare.put(TEXT)
    with closing(sealed(place)) as store:
        with pytest.raises(NotFoundError, match=name.hex()):
            store.get(name)
        with pytest.raises(ConfigError, match="not sealed"):
            store.put(TEXT)


@pytest.mark.parametrize("where", [0, HEAD, HEAD + PIECE + TAG, -1])
def test_what_was_changed_is_not_given_out(place: Path, where: int, tmp_path: Path) -> None:
    with closing(sealed(place)) as store:
        name = store.put(LARGE)
        (stored,) = LocalStore(place).list()
        path = Path(LocalStore(place)._large.path(stored.digest))
        path.chmod(0o644)
        data = bytearray(path.read_bytes())
        data[where] ^= 1
        path.write_bytes(data)
        if where == 0:  # the head is for listings
            with pytest.raises(IntegrityError):
                list(store.list())
            return
        for act in (
            lambda: store.get(name),
            lambda: list(store.open(name)),
            lambda: store.read_range(name, where - HEAD if where > 0 else len(LARGE) - 1, 1),
            lambda: store.get_file(name, tmp_path / "out"),
        ):
            with pytest.raises(IntegrityError):
                act()
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("change", ["cut", "swapped", "longer"])
def test_pieces_that_were_moved_or_cut_off_are_noticed(place: Path, change: str) -> None:
    with closing(sealed(place)) as store:
        name = store.put(LARGE)
        (stored,) = LocalStore(place).list()
        path = Path(LocalStore(place)._large.path(stored.digest))
        path.chmod(0o644)
        data = path.read_bytes()
        whole = PIECE + TAG
        first, second, rest = data[HEAD : HEAD + whole], data[HEAD + whole : HEAD + 2 * whole], data[HEAD + 2 * whole :]
        head = data[:HEAD]
        changed = {"cut": head + first + second, "swapped": head + second + first + rest, "longer": data + first}
        path.write_bytes(changed[change])
        with pytest.raises(IntegrityError):
            list(store.open(name))
        with pytest.raises(IntegrityError):
            store.get(name)


def test_sizes() -> None:
    for size in (0, 1, PIECE - 1, PIECE, PIECE + 1, 5 * PIECE, 5 * PIECE + 3):
        assert plain_size(sealed_size(size)) == size


def test_a_key_comes_from_the_environment_or_a_private_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    keys = tmp_path / ".config" / "tidemill" / "keys"
    keys.mkdir(parents=True)
    with pytest.raises(ConfigError, match="there is no key 'lab'"):
        key_of("lab")
    (keys / "lab").write_text("01" * 32 + "\n")
    (keys / "lab").chmod(0o644)
    with pytest.raises(ConfigError, match="others may read"):
        key_of("lab")
    (keys / "lab").chmod(stat.S_IRUSR | stat.S_IWUSR)
    assert key_of("lab") == OTHER
    monkeypatch.setenv("TIDEMILL_SEAL_LAB", "00" * 32)
    assert key_of("lab") == KEY
    monkeypatch.setenv("TIDEMILL_SEAL_LAB", "00" * 31)
    with pytest.raises(ConfigError, match="64 hexadecimal digits"):
        key_of("lab")
    with pytest.raises(ConfigError, match="cannot be the name of a key"):
        key_of("../lab")


def test_addresses(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMILL_SEAL_LAB", "00" * 32)
    url = f"seal:lab:{place}"
    assert (scheme_of(url), local_path(url), shown(url)) == ("", str(place), url)
    assert shown("seal:lab:s3://bucket/prefix?endpoint=x") == "seal:lab:s3://bucket/prefix"
    assert same_place(url, f"seal:lab:{os.path.dirname(place)}/./objects")
    assert not same_place(url, str(place))
    with closing(open_objects(url)) as store:
        name = store.put(TEXT)
        with closing(open_objects(store.url)) as again:
            assert again.get(name) == TEXT
    with pytest.raises(ConfigError, match="no key 'nobody'"):
        open_objects(f"seal:nobody:{place}")


class Late(LocalStore):
    """A place at which nobody had been when it was looked at first."""

    looked = False

    def users(self) -> dict[str, str]:
        found = super().users()
        self.looked, before = True, self.looked
        return found if before else {}


def test_who_comes_while_the_first_object_is_put_is_not_refused(place: Path) -> None:
    with closing(sealed(place)) as first, closing(SealedStore(Late(place), "lab", KEY)) as second:
        first.put(TEXT)
        assert first.get(second.put(TEXT * 2)) == TEXT * 2


def test_who_comes_then_with_another_key_is_refused(place: Path) -> None:
    with closing(sealed(place)) as first, closing(SealedStore(Late(place), "lab", OTHER)) as second:
        first.put(TEXT)
        with pytest.raises(ConfigError, match="sealed by another key"):
            second.put(TEXT * 2)
