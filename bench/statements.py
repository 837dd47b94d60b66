"""Reads what an engine wrote under TIDEMILL_TRACE: `python bench/statements.py FILE [RUNS]` sums up per statement.

With the number of runs, times are microseconds per run.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

SHOWN = 25


class Transaction(NamedTuple):
    """One transaction: when it began (monotonic seconds), how long it took, how long after the one before.

    `spent` maps statements to [calls, rows, seconds].
    """

    at: float
    seconds: float
    after: float
    spent: dict[str, list[float]]


def transactions(path: Path) -> Iterator[Transaction]:
    """The transactions of a trace, in the order in which they ended."""
    texts: dict[tuple[int, int], str] = {}
    with path.open(encoding="utf-8") as file:
        for line in file:
            told = json.loads(line)
            if "statement" in told:
                texts[told["pid"], told["statement"]] = told["text"]
                continue
            spent = {texts[told["pid"], number]: values for number, *values in told["spent"]}
            yield Transaction(told["at"], told["transaction"], told["after"], spent)


def summary(found: Sequence[Transaction], runs: int = 0) -> str:
    """A table of statements, the dearest first, between totals."""
    totals: dict[str, list[float]] = defaultdict(lambda: [0, 0, 0.0])
    for one in found:
        for text, values in one.spent.items():
            totals[text] = [a + b for a, b in zip(totals[text], values, strict=True)]
    scale, unit = (1e6 / runs, "us/run") if runs else (1e3, "ms")
    inside, between = sum(t.seconds for t in found), sum(t.after for t in found[1:])
    statements = sum(values[2] for values in totals.values())
    lines = [f"{len(found)} transactions; times in {unit}", f"{'time':>9} {'calls':>8} {'rows':>9} {'us/row':>8}"]
    order = sorted(totals.items(), key=lambda item: -item[1][2])
    for text, (calls, rows, seconds) in order[:SHOWN]:
        each = seconds / rows * 1e6 if rows > 0 else 0.0
        lines.append(f"{seconds * scale:9.2f} {calls:8.0f} {rows:9.0f} {each:8.2f}  {' '.join(text.split())[:100]}")
    rest = sum(seconds for _, (_, _, seconds) in order[SHOWN:])
    lines += [
        f"{rest * scale:9.2f} other statements",
        f"{statements * scale:9.2f} all statements",
        f"{(inside - statements) * scale:9.2f} deciding: within transactions, outside statements",
        f"{between * scale:9.2f} between transactions: messages, and waiting",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(summary(list(transactions(Path(sys.argv[1]))), int(sys.argv[2]) if len(sys.argv) > 2 else 0))
