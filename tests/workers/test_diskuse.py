"""How much is in a directory."""

import os
from pathlib import Path

from tidemill.workers.diskuse import DiskUse, disk_use

KIB = 1024


def fill(directory: Path, *names: str, size: int = 64 * KIB) -> None:
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)


def test_files_in_all_depths_count(tmp_path: Path) -> None:
    assert disk_use(tmp_path) == 0
    assert disk_use(tmp_path / "absent") == 0
    fill(tmp_path, "a", "b/c", "b/d/e")
    assert 192 * KIB <= disk_use(tmp_path) < 256 * KIB


def test_what_is_allocated_counts_and_not_the_length(tmp_path: Path) -> None:
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(1 << 40)
    assert disk_use(tmp_path) < KIB * KIB


def test_links_to_elsewhere_do_not_count(tmp_path: Path) -> None:
    work, store = tmp_path / "work", tmp_path / "store"
    work.mkdir()
    fill(store, "hard", "soft", "deep/er")
    os.link(store / "hard", work / "hard")
    (work / "soft").symlink_to(store / "soft")
    (work / "deep").symlink_to(store / "deep")
    (work / "circle").symlink_to(work)
    assert disk_use(work) < 32 * KIB


def test_links_among_its_own_count_once(tmp_path: Path) -> None:
    fill(tmp_path, "one")
    (tmp_path / "sub").mkdir()
    os.link(tmp_path / "one", tmp_path / "sub" / "two")
    assert 64 * KIB <= disk_use(tmp_path) < 96 * KIB


def test_a_large_directory_is_looked_at_in_slices(tmp_path: Path) -> None:
    fill(tmp_path, *(f"{i % 7}/{i}" for i in range(500)), size=4 * KIB)
    walk = DiskUse(tmp_path)
    slices = 1
    seen = []
    while not walk.step(0.0):
        seen.append(walk.total)
        slices += 1
    assert slices > 5
    assert seen == sorted(seen)
    assert walk.total == disk_use(tmp_path)


def test_what_goes_away_meanwhile_is_no_error(tmp_path: Path) -> None:
    fill(tmp_path, *(f"{i % 7}/{i}" for i in range(500)), size=KIB)
    walk = DiskUse(tmp_path)
    assert not walk.step(0.0)
    for path in tmp_path.glob("*/*"):
        path.unlink()
    for path in tmp_path.iterdir():
        path.rmdir()
    assert walk.step(60.0)
