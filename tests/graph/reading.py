"""Plans as tests look at them."""

from typing import Any, NamedTuple

import tidemill.graph as tm
from tidemill.model import delta
from tidemill.model.delta import Chunk, GatherSpec
from tidemill.model.spec import TaskSpec, decode_spec
from tidemill.model.values import decode
from tidemill.testing.interpreter import Interpreter


class Run(NamedTuple):
    """One run of a plan. `inputs` and `waits` are output numbers, by port."""

    task: str
    args: Any
    inputs: list[int]
    waits: list[int]
    block: int
    key: bytes


def chunks(plan: tm.Plan) -> list[Chunk]:
    return list(plan.chunks())


def encoded(plan: tm.Plan) -> list[bytes]:
    return [delta.encode(plan.header), *(delta.encode(chunk) for chunk in plan.chunks())]


def specs(plan: tm.Plan) -> list[TaskSpec]:
    return [decode_spec(data) for data in plan.header.tasks]


def at(column: int | list[int], row: int) -> int:
    return column if isinstance(column, int) else column[row]


def runs_of(plan: tm.Plan) -> list[Run]:
    names = [spec.name for spec in specs(plan)]
    found = []
    for chunk in plan.chunks():
        for row, args in enumerate(chunk.args):
            edges = [i for i, run in enumerate(chunk.edge_run) if run == row]
            found.append(
                Run(
                    names[at(chunk.task, row)],
                    decode(args),
                    [-1 - chunk.edge_ref[i] for i in edges if chunk.edge_port[i] >= 0],
                    [-1 - chunk.edge_ref[i] for i in edges if chunk.edge_port[i] < 0],
                    at(chunk.block, row),
                    chunk.keys[32 * row : 32 * row + 32],
                )
            )
    return found


def gathers_of(plan: tm.Plan) -> list[GatherSpec]:
    return [gather for chunk in plan.chunks() for gather in chunk.gathers]


def members(gather: GatherSpec) -> list[int]:
    return [-1 - m.ref + i * m.step for m in gather.members for i in range(m.count)]


def result(call: Any) -> Any:
    return Interpreter().run(tm.build(call))
