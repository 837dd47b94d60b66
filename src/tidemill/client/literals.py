"""Files and large values among the arguments of a plan: in the object store before anything names them."""

from collections.abc import Callable

from tidemill.graph.plan import Plan
from tidemill.model.errors import UsageError
from tidemill.stores.objects import ObjectStore


class Literals:
    """Stores what the chunks of a plan name, each thing once.

    Args:
        plan: being generated; what a chunk names is in its `files` and `blobs` when the chunk has been generated.
        objects: opens the object store; called when there is something to store.
    """

    def __init__(self, plan: Plan, objects: Callable[[], ObjectStore]) -> None:
        self._plan = plan
        self._objects = objects
        self._stored: set[bytes] = set()

    def store(self, digests: list[bytes]) -> None:
        """Store the objects with these digests.

        Raises:
            UsageError: a file changed while the workflow was being built.
        """
        fresh = [d for d in dict.fromkeys(digests) if d not in self._stored]
        if not fresh:
            return
        objects = self._objects()
        blobs = [self._plan.blobs[d] for d in fresh if d in self._plan.blobs]
        if blobs:
            objects.put_many(blobs)
        for wanted in fresh:
            path = self._plan.files.get(wanted)
            if path is None:
                continue
            found, _ = objects.put_dir(path) if path.is_dir() else objects.put_file(path)
            if found != wanted:
                raise UsageError(f"the file {path} changed while the workflow was being built", hint="run it again")
        self._stored.update(fresh)
