"""GraphDelta: a piece of graph in columns, the one thing every front end compiles to.

A delta has a header and chunks. Inside it, runs, outputs and blocks have local numbers from 0; the engine reserves
contiguous ids for the whole delta, so a local number plus a base is an id. A *reference* to a datum is one integer:

* `ref >= 0` is the id of a datum that exists already in the store;
* `ref < 0` is the delta's own output number `-1 - ref`.

A column is either a list with one entry per run or a single value that holds for all of them.
"""

import msgspec

from tidemill.model.spec import Resources


def local(output: int) -> int:
    """The reference to the delta's own output number `output`."""
    return -1 - output


class RunFlag:
    """Bits of a run's `flags` column."""

    NO_CACHE = 1
    EXTERNAL = 2
    SERVICE = 8
    """Goes on while others use what it published."""
    PARTIAL = 4
    """Needs only the first `pending` of its inputs (n of m)."""


class ClassSpec(msgspec.Struct, array_like=True, frozen=True):
    """The class a ready run stands in: what the claim looks at instead of the run."""

    priority: int = 0
    weight: float = 1.0
    resources: Resources = Resources()


class BlockFlag:
    """Bits of a block's `flags`."""

    CONTAINED = 1
    """Its failures are nobody else's: it counts in its parent as if what ended badly in it had been left out."""


class BlockSpec(msgspec.Struct, array_like=True, frozen=True):
    """A block of this delta: its local number (1…; 0 is the delta's own block), its parent's and its name.

    Attributes:
        out: the local output number reserved for its end, -1 for none: that datum ends when the block does, complete
            if it ended well.
        flags: `BlockFlag` bits.
        served: the local number of the run, a service, that ends when the block does; -1 for none.
    """

    number: int
    parent: int
    name: str
    out: int = -1
    flags: int = 0
    served: int = -1


class Members(msgspec.Struct, array_like=True, frozen=True):
    """`count` data `ref, ref + step, …` (for local references the output number grows by `step`)."""

    ref: int
    count: int = 1
    step: int = 1


class GatherSpec(msgspec.Struct, array_like=True, frozen=True):
    """A collection as one datum.

    Attributes:
        output: the local output number reserved for the collection.
        members: its members in order.
        block: the local number of the block it belongs to.
        tolerate: how many members may end without a value (they are then missing: None in the list).
        need: complete as soon as this many members are; 0 for all.
        one: the value is that of the first complete member, not a list (branch legs, several producers).
    """

    output: int
    members: tuple[Members, ...]
    block: int = 0
    tolerate: int = 0
    need: int = 0
    one: bool = False


class Chunk(msgspec.Struct, array_like=True):
    """Consecutive runs of a delta, in columns.

    Attributes:
        first: local number of the first run; `len(args)` runs follow.
        first_output: local number of the first run's first output. Outputs are numbered in run order, so a run's first
            output is this plus the outputs of the runs before it in the chunk.
        task: index into the header's `tasks`.
        block: local block number.
        cls: index into the header's `classes`.
        flags: `RunFlag` bits.
        args: argument template of each run, see `tidemill.model.values`.
        keys: base keys, 32 bytes each, concatenated.
        pending: inputs to wait for (counting every edge, also to data that are complete already).
        edge_run: local run number (not offset by `first`), ascending.
        edge_port: 0… for data edges, negative for order-only edges.
        edge_ref: reference to the datum.
        gathers: collections whose members are all in this chunk or earlier ones, or in the store.
        blocks: blocks that this chunk or later ones use.
        objects: digests of stored objects that the argument templates name.
    """

    first: int
    first_output: int
    task: int | list[int]
    args: list[bytes]
    keys: bytes
    pending: int | list[int] = 0
    block: int | list[int] = 0
    cls: int | list[int] = 0
    flags: int | list[int] = 0
    edge_run: list[int] = []
    edge_port: list[int] = []
    edge_ref: list[int] = []
    gathers: list[GatherSpec] = []
    blocks: list[BlockSpec] = []
    objects: list[bytes] = []


class Header(msgspec.Struct, array_like=True):
    """What holds for a whole delta.

    Attributes:
        tasks: encoded `TaskSpec`s.
        classes: the classes its runs stand in.
        runs, outputs, blocks: how many ids to reserve (`blocks` without the delta's own).
        result: argument template over `result_refs` (input number i stands for `result_refs[i]`): what a workflow
            returns.
    """

    tasks: list[bytes]
    classes: list[ClassSpec]
    runs: int
    outputs: int
    blocks: int = 0
    result: bytes = b""
    result_refs: list[int] = []


class Growth(msgspec.Struct, array_like=True):
    """A delta handed in with the completion of the run that built it.

    `outputs[p]` is the reference that output port p of the growing run forwards to.
    """

    header: Header
    chunks: list[Chunk]
    outputs: list[int]


_encoder = msgspec.msgpack.Encoder()
_chunk = msgspec.msgpack.Decoder(Chunk)
_header = msgspec.msgpack.Decoder(Header)
_growth = msgspec.msgpack.Decoder(Growth)


def encode(part: Chunk | Header | Growth) -> bytes:
    """MessagePack of a part of a delta; equal parts give equal bytes."""
    return _encoder.encode(part)


def decode_chunk(data: bytes) -> Chunk:
    return _chunk.decode(data)


def decode_header(data: bytes) -> Header:
    return _header.decode(data)


def decode_growth(data: bytes) -> Growth:
    return _growth.decode(data)
