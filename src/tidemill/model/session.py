"""The messages between a client (a user's program or a command) and the process that serves the store.

Like `protocol`: MessagePack arrays, the tag first.
"""

import msgspec


class Struct(msgspec.Struct, array_like=True, gc=False):
    """Base of all messages."""


VERSION = 3


# ------------------------------------------------------------------------------------------------ client -> server


class Attach(Struct, tag=31):
    """First message of a client.

    Attributes:
        version: of these messages.
        workers: how many local workers it would like; 0 for none of its own.
        path: entries of `sys.path` that its tasks need.
        cwd: its working directory, for messages.
        objects: where it thinks that the objects of the store are, or "".
        usual: nobody asked for that number of workers: the store's own setting comes before it.
    """

    version: int
    workers: int
    path: list[str] = []
    cwd: str = ""
    objects: str = ""
    usual: bool = False


class Begin(Struct, tag=32):
    """Open (or resume) a root block; answered by `Begun` with the same number.

    Attributes:
        key: 32 bytes that identify the submission.
        header: encoded `Header`.
        options: flags of the block: stop at the first failure, detached.
        started: how the workflow was started, in JSON, to be kept; "" to keep nothing.
    """

    number: int
    key: bytes
    name: str
    header: bytes
    options: int = 0
    started: str = ""


class Part(Struct, tag=33):
    """Chunk `seq` of a block's delta."""

    block: int
    seq: int
    digest: bytes
    body: bytes


class Seal(Struct, tag=34):
    """All chunks have been sent."""

    block: int


class Watch(Struct, tag=35):
    """Tell me about this block, and work on it while I am attached."""

    block: int


class Command(Struct, tag=36):
    """A control command; answered by `Reply` with the same number. `args` are JSON-able."""

    number: int
    name: str
    args: dict[str, object]


class Detach(Struct, tag=37):
    """The client goes. `now` stops at once: leases are released and nothing is marked; else what runs is finished
    first.
    """

    now: bool = False


class Halt(Struct, tag=38):
    """Stop all work of the store, or that of some root blocks, whoever is attached to it: `now` at once, else when what
    runs has ended. Nothing is marked. Answered by `Reply` with the same number when nothing of it runs any more.

    Attributes:
        who: what those who were attached are told.
    """

    number: int
    blocks: list[int]
    now: bool
    who: str


# ------------------------------------------------------------------------------------------------ server -> client


class Welcome(Struct, tag=41):
    """The store is served."""

    engine: int
    workers: int


class Busy(Struct, tag=42):
    """Another process serves the store: connect to its socket."""

    socket: str


class Begun(Struct, tag=43):
    """The block of a submission; the first `chunks` chunks are stored already. `sealed`: all of it is."""

    number: int
    block: int
    chunks: int
    sealed: bool
    resumed: bool
    digests: list[bytes] = []


class TaskProgress(Struct):
    """How far the runs of one task in a root block are."""

    task: int
    name: str
    total: int = 0
    done: int = 0
    reused: int = 0
    running: int = 0
    failed: int = 0
    skipped: int = 0
    cancelled: int = 0


class Progress(Struct, tag=44):
    """How far a block is; `stored` chunks of its delta are in the store."""

    block: int
    stored: int
    tasks: list[TaskProgress]


class Stored(Struct, tag=49):
    """So many chunks of a block's delta are durable; a client keeps only a few unanswered ones under way."""

    block: int
    chunks: int


class Failed(Struct, tag=45):
    """A run of a watched block ended with an error; `home` is the block it stands in itself."""

    block: int
    run: int
    task: str
    kind: str
    message: str
    home: int


class Closed(Struct, tag=46):
    """A watched block ended; `state` is a `BlockState`."""

    block: int
    state: int


class Said(Struct, tag=50):
    """A task of a watched block said something that should be seen at once; `home` is the block its run stands in."""

    block: int
    run: int
    home: int
    t: float
    level: int
    text: str


class Reply(Struct, tag=47):
    """The answer to a command, or (number 0) what went wrong with the session. `code` is that of an error, or ""."""

    number: int
    result: object = None
    code: str = ""
    message: str = ""
    hint: str = ""


class Gone(Struct, tag=48):
    """The server has let go of this client's work. `who` asked for it, if it was not the client."""

    suspended: int = 0
    who: str = ""


ToServer = Attach | Begin | Part | Seal | Watch | Command | Detach | Halt
ToClient = Welcome | Busy | Begun | Progress | Stored | Failed | Said | Closed | Reply | Gone

encode = msgspec.msgpack.Encoder().encode
decode_to_server = msgspec.msgpack.Decoder(ToServer).decode
decode_to_client = msgspec.msgpack.Decoder(ToClient).decode
