"""What is to be reached: per measure the gate, which must hold, and the goal, which we are after.

Times depend on the machine, so nothing is held against an absolute time: gate and goal were stated for a machine whose
limit (`reference`) is known, and hold as the ratio to the limit that is measured in the same run. Where `reference` is
0 they are ratios, or sizes, as they stand. The references are medians of the limits on the quiet machine of the README.
"""

from typing import NamedTuple


class Goal(NamedTuple):
    """One measure.

    Attributes:
        text: what is measured.
        unit: of figure, limit, gate, goal and reference.
        more: whether more is better.
        gate, goal: as stated.
        reference: the limit on the machine for which they were stated.
    """

    text: str
    unit: str
    more: bool
    gate: float
    goal: float
    reference: float = 0.0

    @property
    def sign(self) -> str:
        return "≥" if self.more else "≤"

    @property
    def gate_ratio(self) -> float:
        return self.gate / (self.reference or 1)

    @property
    def goal_ratio(self) -> float:
        return self.goal / (self.reference or 1)

    def verdict(self, ratio: float) -> str:
        """Which of the two a ratio reaches."""
        reached = [b for b in (self.gate_ratio, self.goal_ratio) if (ratio >= b if self.more else ratio <= b)]
        return ("MISSED", "gate", "goal")[len(reached)]


GOALS = {
    "independent": Goal("independent runs, 100,000", "/s", True, 20_000, 40_000, 110_000),
    "dag": Goal("two-parent DAG of 100,000", "/s", True, 15_000, 30_000, 70_000),
    "chain": Goal("chain of 1,000, median step", "ms", False, 1.8, 1.2),
    "diamond": Goal("diamond 1 + 1,000 + 1", "ms", False, 100, 40, 12),
    "scale": Goal("CPU per run, 1,000,000 over 10,000", "", False, 1.5, 1.2),
    "submit_sweep": Goal("submit 1,000,000, one sweep", "s", False, 10, 6, 3),
    "submit_calls": Goal("submit 1,000,000, calls with two inputs", "s", False, 25, 12, 4),
    "driver": Goal("engine CPU per run", "us", False, 40, 20, 6.3),
    "children": Goal("500 children of one root, from nothing served, over Toil", "/s", True, 500, 1_000, 1),
    "children_served": Goal("the same, what starts anyway left out on both sides", "/s", True, 500, 1_000, 1),
    "recursion": Goal("recursion that grows 131,000 runs", "/s", True, 10_000, 25_000, 110_000),
    "memory_engine": Goal("peak memory at 1,000,000, engine", "MB", False, 500, 150),
    "memory_worker": Goal("peak memory at 1,000,000, each worker", "MB", False, 500, 150),
    "reuse": Goal("reuse, 100,000 independent", "/s", True, 40_000, 100_000, 225_000),
    "reuse_dag": Goal("reuse, DAG of 100,000", "/s", True, 20_000, 50_000, 225_000),
    "restart_killed": Goal("one of 100,000 runs left by kill -9, `resume`", "s", False, 1, 0.5, 0.13),
    "restart_failed": Goal("one of 100,000 runs failed, `retry`", "s", False, 1, 0.5, 0.02),
    "shell": Goal("shell jobs, output and exit captured", "/s", True, 600, 1_000, 1_330),
    "postgres": Goal("PostgreSQL, two engines", "/s", True, 8_000, 20_000, 55_000),
    "reopen": Goal("reopen 1,000,000 after kill -9, first dispatch", "s", False, 3, 0.5, 0.23),
    "put": Goal("1 kB objects, durable, put", "/s", True, 20_000, 60_000, 98_000),
    "get": Goal("1 kB objects, get", "/s", True, 50_000, 100_000, 160_000),
    "import_dir": Goal("import of a directory of 10,000 files of 4 KiB", "s", False, 2, 1.2, 1),
    "files": Goal("1,000 files of 4 KiB written and read by tasks", "/s", True, 0.5, 1, 1),
    "files_toil": Goal("the same, Toil with caching on over ours", "s", True, 5, 20, 1),
    "file_large": Goal("1 GiB written and read by a task", "MB/s", True, 0.8, 1, 1),
    "ancestry_short": Goal("ancestry of 10 to 20 runs", "ms", False, 0.5, 0.1, 0.02),
    "ancestry_long": Goal("ancestry of 392,000 runs", "s", False, 2, 0.8, 0.66),
    "tail": Goal("transaction p99 while 100,000 are submitted", "ms", False, 20, 10, 1.4),
    "start": Goal("process start to first durable result", "s", False, 0.6, 0.2, 0.06),
    "contended": Goal("four readers of one 2-second download, the last", "s", False, 2.3, 2.3, 2.0),
    "cached_small": Goal("4 KiB file that is cached, given as a file", "ms", False, 3, 1.5, 1.0),
    "import": Goal("import tidemill", "s", False, 0.2, 0.08, 0.009),
}
