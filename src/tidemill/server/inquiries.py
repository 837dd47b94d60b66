"""What running tasks ask of the engine and tell their workflow: each in the transaction of the round it came in.

A question is answered only to an attempt that has the current lease of its run. What cannot be done is an answer, too.
"""

from collections.abc import Callable, Mapping

from tidemill.engine import files, messages, names, serve
from tidemill.engine.turn import Turn
from tidemill.model import session
from tidemill.model.errors import FencedError, StoreError, TidemillError, UsageError
from tidemill.model.fileid import FileId
from tidemill.model.ids import run_id
from tidemill.model.protocol import Ask, Note, Published, Told
from tidemill.server.filing import content, optional, shown, text
from tidemill.server.slots import Slot
from tidemill.stores.state import leases, runs
from tidemill.stores.state.database import ContentionError
from tidemill.stores.state.messages import Message

Arguments = Mapping[str, object]

LOUD = 30
"""Level from which on a line is shown to those who follow the workflow (that of `logging.WARNING`)."""
LINE = 2000
"""Characters of a line that are shown."""


class Inquiries:
    """What came in since the last round.

    Attributes:
        notes: messages of attempts.
        asks: questions, with who asks.
        published: services that are up.
    """

    def __init__(self) -> None:
        self.notes: list[Note] = []
        self.asks: list[tuple[Slot, Ask]] = []
        self.published: list[tuple[Slot, Published]] = []

    def __bool__(self) -> bool:
        return bool(self.notes or self.asks or self.published)

    def take(self, slot: Slot, message: Note | Ask | Published) -> None:
        """Keep a message for the next round."""
        if isinstance(message, Note):
            self.notes.append(message)
        elif isinstance(message, Published):
            self.published.append((slot, message))
        else:
            self.asks.append((slot, message))


class Dealt:
    """What came of them in one transaction.

    Attributes:
        told: answers, for whom.
        said: messages that were recorded.
    """

    def __init__(self) -> None:
        self.told: list[tuple[Slot, Told]] = []
        self.said: list[Message] = []


def deal(turn: Turn, found: Inquiries) -> Dealt:
    """Record the messages and answer the questions.

    Raises:
        StoreError: the store cannot do it; nothing of the transaction happens.
        ContentionError: another engine was at the same rows; nothing of the transaction happens.
    """
    dealt = Dealt()
    if found.notes:
        dealt.said = messages.take(turn, found.notes)
    dealt.told = [(slot, answer(turn, slot.id, ask)) for slot, ask in found.asks]
    for slot, up in found.published:
        slot.up |= serve.publish(turn, slot.id, up.run, up.fence, up.out)
    return dealt


def answer(turn: Turn, worker: int, ask: Ask) -> Told:
    """The answer to a question of a worker.

    Raises:
        StoreError, ContentionError: nothing of the transaction happens.
    """
    try:
        if leases.current(turn.db, [ask.run]).get(ask.run) != (ask.fence, worker):
            raise FencedError(f"attempt {ask.fence} of run {ask.run} is not the current one any more")
        act = _ANSWERS.get(ask.name)
        if act is None:
            raise UsageError(f"the engine does not know the question {ask.name!r}", hint="use the same version of both")
        return Told(ask.number, act(turn, ask))
    except (StoreError, ContentionError):
        raise
    except TidemillError as error:
        return Told(ask.number, None, error.code, str(Exception.__str__(error)), error.hint)


def loud(turn: Turn, said: list[Message]) -> list[session.Said]:
    """The lines that are shown at once to those who follow the workflow."""
    rows = runs.get(turn.db, sorted({m.run for m in said if m.level >= LOUD and not m.stream}))
    return [
        session.Said(m.root, m.run, rows[m.run].block, m.t, m.level, m.text[:LINE])
        for m in said
        if m.level >= LOUD and not m.stream
    ]


# ------------------------------------------------------------------------------------------------- the questions


def _writer(turn: Turn, ask: Ask) -> names.Writer:
    row = runs.get(turn.db, [ask.run])[ask.run]
    task = turn.engine.spec(turn.db, row.task).name
    scope = turn.engine.facts(turn.db, row.block).scope
    return names.Writer(ask.run, f"{task} (run {run_id(row.block, ask.run)})", scope)


def _name_get(turn: Turn, ask: Ask) -> object:
    return shown(names.get(turn, _writer(turn, ask).scope, text(ask.args, "name")))


def _name_put(turn: Turn, ask: Ask) -> object:
    by, found = _writer(turn, ask), content(ask.args)
    return names.put(turn, by, text(ask.args, "name"), found, optional(ask.args, "expect"))


def _file_exists(turn: Turn, ask: Ask) -> object:
    return files.exists(turn, FileId(text(ask.args, "id")))


_ANSWERS: dict[str, Callable[[Turn, Ask], object]] = {
    "file.exists": _file_exists,
    "name.get": _name_get,
    "name.put": _name_put,
}
