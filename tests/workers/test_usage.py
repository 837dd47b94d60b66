import os
from pathlib import Path

from tidemill.workers.usage import SHORT, Meter, OutOfMemory


def test_the_peak_is_that_since_the_last_look() -> None:
    meter = Meter()
    before = meter.measure()[1]
    large = bytearray(100_000_000)
    del large
    assert meter.measure()[1] - before > 90_000_000
    assert meter.measure()[1] - before < 50_000_000


def test_cpu_is_counted_from_one_take_to_the_next() -> None:
    meter = Meter()
    sum(range(1_000_000))
    used, _ = meter.take(1.0)
    again, _ = meter.take(0.0)
    assert used > again > 0


def test_a_kill_for_want_of_memory_is_noticed_once(tmp_path: Path) -> None:
    counts = tmp_path / "vmstat"
    counts.write_text("pgfault 100\noom_kill 3\n")
    watch = OutOfMemory(str(counts))
    assert not watch.struck()
    counts.write_text("pgfault 200\noom_kill 4\n")
    assert watch.struck()
    assert not watch.struck()
    assert not OutOfMemory(str(tmp_path / "missing")).struck()


def test_what_is_left_from_earlier_runs_is_told_when_the_next_begins() -> None:
    meter = Meter()
    before = meter.resident()
    kept = bytearray(os.urandom(1 << 20)) * 64
    meter.take(SHORT / 2)
    assert meter.resident() == before, "short runs are not worth a look"
    meter.take(1.0)
    assert meter.resident() - before > len(kept) / 2
