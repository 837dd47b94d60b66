"""The messages between an engine and its workers: the same over a pipe, a Unix socket or HTTP.

Every message is a MessagePack array whose first element is its number (the tag); frames are length-prefixed by the
transport.
"""

from typing import NamedTuple

import msgspec


class Struct(msgspec.Struct, array_like=True, gc=False):
    """Base of all messages."""


# ---------------------------------------------------------------------------------------------- engine -> worker


class Setup(Struct, tag=1):
    """First message to a worker.

    Attributes:
        worker: the worker's id.
        objects: URL of the object store.
        scratch: directory under which the worker makes one private directory per attempt.
        index: path of the shared-memory file in which the worker writes what it has started, see `INDEX`.
        path: entries to put in front of `sys.path`.
        inline: largest value in bytes that travels and is stored inside rows; larger ones go to the object store.
        keep: keep the scratch directories of failed attempts.
        cache: directory for this node's caches of objects that are elsewhere, "" for none.
    """

    worker: int
    objects: str
    scratch: str
    index: str
    path: list[str] = []
    inline: int = 65536
    keep: bool = True
    cache: str = ""


class Input(Struct):
    """One resolved input of a run.

    Exactly one holds: `value` has the bytes; `gather` is the id of a collection to be read with `Read`; otherwise the
    bytes are in the object store under `digest`. An input that ended without a value and that the consumer tolerates
    has `digest == b""`, and its value is None.
    """

    value: bytes | None
    digest: bytes
    size: int = 0
    gather: int = 0


class Claimed(Struct):
    """A leased run. `inputs[i]` is what input number i of the argument template stands for; `environment` holds for
    it alone; `disk` is what it declared, in bytes.
    """

    run: int
    fence: int
    task: int
    args: bytes
    inputs: list[Input] = []
    environment: dict[str, str] | None = None
    disk: int = 0


class Work(Struct, tag=2):
    """Runs to execute in order, with the specifications of tasks that this worker has not been told about.

    `seconds` is the estimated time per run; a worker sends what it has finished before it starts something long.
    """

    runs: list[Claimed]
    tasks: list[tuple[int, bytes]] = []
    seconds: float = 0.0


class Forget(Struct, tag=3):
    """Drop these runs if they have not started; their leases are void already."""

    runs: list[int]


class Answer(Struct, tag=4):
    """Reply to a `Read`: the members' values in order, or an error text."""

    number: int
    inputs: list[Input]
    error: str = ""


class Stop(Struct, tag=5):
    """Finish the run that has started, send its outcome, drop the rest and exit."""


class Told(Struct, tag=6):
    """Reply to an `Ask`: its result, or a code, message and hint of the error that it is."""

    number: int
    result: object = None
    code: str = ""
    message: str = ""
    hint: str = ""


class Over(Struct, tag=7):
    """Services of which no user is left: (run, fence). They end by themselves and hand in their outcomes."""

    runs: list[tuple[int, int]]


# ---------------------------------------------------------------------------------------------- worker -> engine


class Hello(Struct, tag=11):
    """A worker is ready for work."""

    worker: int
    pid: int


class Out(Struct):
    """One output: inline bytes, or (value None) bytes already durable in the object store under `digest`.

    `digest` is always BLAKE3 of the encoded value. `objects` are the digests of stored files that the value names.
    """

    value: bytes | None
    digest: bytes
    size: int
    objects: list[bytes] = []


class Written(Struct):
    """A file that an attempt wrote to the store: its number in the attempt, and what a `FileId` says of it.

    Attributes:
        temporary: gone when the block that the run stands in has ended and no run follows from it any more.
    """

    n: int
    digest: bytes
    size: int
    mode: int
    name: str
    temporary: bool = False


class Failure(Struct):
    """Why an attempt failed, as data.

    Attributes:
        reason: a `Reason`.
        kind: exception class, "exit code 3", "signal 9 (SIGKILL)", …
        message: one line.
        traceback: full text, user frames only, or "".
        scratch: directory kept for inspection, or "".
        lost: digests of the objects that were not in the object store, if that is the reason.
    """

    reason: int
    kind: str
    message: str
    traceback: str = ""
    scratch: str = ""
    lost: list[bytes] = []


class Outcome(Struct):
    """How one attempt ended.

    Attributes:
        state: an `AttemptState` (COMPLETE or ERROR).
        outs: one `Out` per output port; empty on failure and when the run grew.
        t0, t1: wall-clock seconds since the epoch.
        cpu: seconds of CPU, children included.
        rss: peak memory in bytes, the largest of the worker and its children; an upper bound for very short runs.
        log: captured standard output and error, empty if nothing was printed.
        failure: set when the attempt failed.
        growth: encoded `Growth` when the run returned calls.
        disk: peak bytes in its directories.
        files: what it wrote to the store beside its results; if it failed, what of that is stored, to be deleted.
        deleted: texts of the `FileId`s of files that shall be deleted, if it is accepted; also of its own, which then
            are not among `files`.
        used: (digest, seconds since the epoch, path or "" where it was streamed, the run that wrote it or 0) of what it
            read beside its inputs.
    """

    run: int
    fence: int
    state: int
    outs: list[Out]
    t0: float
    t1: float
    cpu: float = 0.0
    rss: int = 0
    log: bytes = b""
    failure: Failure | None = None
    growth: bytes = b""
    disk: int = 0
    files: list[Written] = []
    deleted: list[str] = []
    used: list[tuple[bytes, float, str, int]] = []


class Done(Struct, tag=12):
    """Outcomes, in the order in which they happened."""

    outcomes: list[Outcome]


class Read(Struct, tag=13):
    """Ask for members `first … first+count-1` of a collection."""

    number: int
    gather: int
    first: int
    count: int


class Note(Struct, tag=14):
    """A message of a running task to its workflow, at once: a line (level as in `logging`) or a whole named stream."""

    run: int
    fence: int
    t: float
    level: int
    stream: str
    text: str


class Ask(Struct, tag=15):
    """A question or request of a running task, answered by `Told` with the same number. `args` are JSON-able or
    bytes.
    """

    number: int
    run: int
    fence: int
    name: str
    args: dict[str, object]


class Published(Struct, tag=16):
    """The value of a running service's output, for those who wait for it: it is up."""

    run: int
    fence: int
    out: Out


ToWorker = Setup | Work | Forget | Answer | Stop | Told | Over
ToEngine = Hello | Done | Read | Note | Ask | Published

encode = msgspec.msgpack.Encoder().encode
decode_to_worker = msgspec.msgpack.Decoder(ToWorker).decode
decode_to_engine = msgspec.msgpack.Decoder(ToEngine).decode

INDEX = "<qqddq"
"""Layout of the shared-memory index (struct format), see `Started`; run is 0 while nothing has started. The engine
reads it when a worker dies or overruns: only that run is charged."""


class Started(NamedTuple):
    """The run that a worker has started.

    Attributes:
        t0: wall-clock seconds since the epoch, for records.
        since: monotonic seconds of the machine, for limits: a clock that is set, or a laptop that slept, ends nothing.
        resident: bytes that the worker's process held then, mapped files aside: earlier runs have left them. 0 if
            that is unknown.
    """

    run: int
    fence: int
    t0: float
    since: float
    resident: int = 0
