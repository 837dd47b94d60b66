"""Writes files, names some, deletes half of them, and works the journal off, until it is killed: one line a step."""

import random
import sys

from tests.engine.clocks import RunningClock
from tidemill.engine import files, names
from tidemill.model.fileid import FileId
from tidemill.server import deletions
from tidemill.stores.objects import LocalStore
from tidemill.stores.state import files as rows
from tidemill.testing.engine import EngineDriver


def main(url: str, directory: str, seed: int) -> None:
    driver = EngineDriver(url, [], clock=RunningClock())
    objects = LocalStore(directory)
    chance = random.Random(seed)
    written: list[FileId] = []
    step = 0
    while True:
        data = f"{seed} {step} {chance.random()}".encode() * chance.choice([1, 5000])
        digest = objects.put(data)
        if step % 5 == 4:
            content = names.Content(digest, len(data), 0o644, "x", "file")
            driver.control(names.put, names.Writer(0, "child"), "latest", content, None)
        else:
            written.append(driver.control(files.write, digest, len(data), 0o644, "x"))
        if step % 2:
            driver.control(files.delete, written.pop(chance.randrange(len(written))))
        if step % 3 == 0:
            found = driver.control(lambda turn: files.condemned(turn, b"", 100))
            done = deletions.execute(objects, found, rows.folders(driver.engine.db), 0.02, {})
            driver.control(files.gone, done)
        sys.stdout.write(f"{step}\n")
        sys.stdout.flush()
        step += 1


main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
