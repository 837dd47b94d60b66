"""`python -m tools.states`: the diagrams and tables of docs/explanation/states.md, from `tidemill.model.states`."""

import sys
from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

from tidemill.model import states
from tools import pages

S = TypeVar("S", bound=Enum)
Table = Mapping[tuple[S, str], S]

WHEN = {
    "run": {
        "activate": "the last of its inputs is there",
        "reuse": "a complete run of equal key exists: its results are taken over",
        "claim": "a worker gets a lease",
        "complete": "its outputs are in the store",
        "fail": "an attempt failed and no retry is left, or it lost its worker too often",
        "retry": "an attempt failed and a retry is left (it waits for its backoff first); or `tidemill retry`",
        "release": "the lease was given back before the run had started, or work was stopped: free of charge",
        "lose": "the worker was lost while the run was executing: a loss, not a try",
        "upstream_fail": 'an input ended without a value and the task says `"fail"`',
        "skip": 'an input ended without a value and the task says `"skip"`',
        "revive": "something it depends on was retried",
        "cancel": "`tidemill cancel`, or its workflow stops at the first failure",
        "hold": "`tidemill hold`",
        "unhold": "`tidemill unhold`; with nothing pending it goes on to ready at once",
        "invalidate": "`tidemill invalidate`: its results stay, and are never reused again",
        "delete": "deleted by hand",
    },
    "datum": {
        "open": "it is being written piece by piece",
        "publish": "a service is up, and this is its address",
        "complete": "its value is in the store",
        "fail": "the run that should have made it ended with an error",
        "skip": "the run that should have made it was skipped",
        "cancel": "the run that should have made it was cancelled",
        "reset": "that run starts again",
        "expire": "its lifetime is over, and its bytes may go",
        "lose": "its bytes are gone although they should not be",
        "restore": "its bytes are there again",
        "delete": "deleted by hand",
    },
    "block": {
        "close": "nothing in it is open any more, and nothing failed",
        "fail": "nothing in it is open any more, and something failed",
        "stop": "nothing new starts in it: its first failure, or `tidemill cancel`",
        "cancel": "nothing in it is open any more, and something was cancelled",
        "reopen": "something in it is retried",
    },
    "worker": {
        "drain": "it finishes what it has and gets nothing new",
        "expire": "nothing has been heard from its engine for too long",
        "leave": "its process has ended",
    },
}
"""When each event happens. Every event of a table is here, and nothing else: see `rows`."""

BY_HAND = frozenset({"hold", "unhold", "invalidate", "delete"})
"""What happens to runs only if somebody asks for it: a picture of its own."""


def diagram(table: Table[S]) -> str:
    """A Mermaid state diagram; states from which nothing leads on point to the end."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for (before, event), after in table.items():
        arrows.setdefault((_name(before), _name(after)), []).append(event)
    first = _name(next(iter(table))[0])
    last = dict.fromkeys(_name(after) for after in table.values() if not any(s is after for s, _ in table))
    lines = [f"    [*] --> {first}"]
    lines += [f"    {before} --> {after}: {', '.join(events)}" for (before, after), events in arrows.items()]
    lines += [f"    {name} --> [*]" for name in last]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```"])


def rows(noun: str, table: Table[S]) -> str:
    """A Markdown table: for each event its legal sources, where it leads, and when it happens.

    Raises:
        ValueError: if `WHEN` does not describe exactly the events of the table.
    """
    arrows: dict[str, dict[str, list[str]]] = {}
    for (before, event), after in table.items():
        arrows.setdefault(event, {}).setdefault(_name(after), []).append(_name(before))
    when = WHEN[noun]
    if arrows.keys() != when.keys():
        raise ValueError(
            f"the events of a {noun} without a description, or descriptions without event: "
            f"{sorted(arrows.keys() ^ when.keys())}"
        )
    lines = ["| event | from | to | when |", "|---|---|---|---|"]
    for event, targets in arrows.items():
        for target, sources in targets.items():
            lines.append(f"| {event} | {', '.join(sources)} | {target} | {when[event]} |")
    return "\n".join(lines)


def _only(table: Table[S], *, by_hand: bool) -> Table[S]:
    return {(before, event): after for (before, event), after in table.items() if (event in BY_HAND) == by_hand}


def _name(state: Enum) -> str:
    return str(state.value) if isinstance(state.value, str) else state.name.lower()


def section(noun: str, table: Table[S]) -> str:
    """Diagram and table of one noun."""
    return f"{diagram(table)}\n\n{rows(noun, table)}"


PAGES: dict[str, pages.Parts] = {
    "explanation/states.md": {
        "run": lambda: diagram(_only(states.RUN, by_hand=False)),
        "run-by-hand": lambda: diagram(_only(states.RUN, by_hand=True)),
        "run-table": lambda: rows("run", states.RUN),
        "datum": lambda: section("datum", states.DATUM),
        "block": lambda: section("block", states.BLOCK),
        "worker": lambda: section("worker", states.WORKER),
    }
}

if __name__ == "__main__":
    sys.exit(pages.main(PAGES))
