"""A call outside any workflow: kept as it is until it is run or passed on."""

from typing import Any, Generic, TypeVar

from tidemill.graph.future import Loose, Pending
from tidemill.graph.plan import Plan, build
from tidemill.graph.problems import problem
from tidemill.graph.runner import runner
from tidemill.model.errors import ValueCodecError, without_our_frames
from tidemill.model.values import Step, apply_path

R_co = TypeVar("R_co", covariant=True)


class Call(Loose, Generic[R_co]):
    """A workflow or task with its arguments, ready to be run.

    Nothing happens before `run`, `submit` or `plan` is called. It can also be an argument of other calls, be indexed
    and have attributes like any future.
    """

    __slots__ = ()

    @without_our_frames
    def run(self, **options: Any) -> R_co:
        """Execute it durably and return the result; what is known already is reused.

        Args:
            options: `store` (a directory or `postgresql://…`) and `objects` as for `tidemill.open`; `workers`,
                `progress` and `stop` as for `Store.run`.

        Raises:
            WiringError: if the workflow does not fit together; nothing has been stored then.
            RunFailedError: if user code failed.
        """
        return runner("run").run(self, **options)  # type: ignore[no-any-return]

    @without_our_frames
    def submit(self, **options: Any) -> Any:
        """Start executing it and return a handle to wait on."""
        return runner("submit").submit(self, **options)

    @without_our_frames
    def plan(self, **options: Any) -> Any:
        """Say what would run and what would be reused, and why."""
        return runner("plan").plan(self, **options)

    def plan_graph(self) -> Plan:
        """Compile it, without a store.

        Raises:
            WiringError: with every problem found.
        """
        return build(self)

    def select_(self, step: Step) -> Any:
        return Call(_select, (self, step), {})

    def after(self, *others: object) -> Any:
        return Call(_after, (self, *others), {})

    def __iter__(self) -> Any:
        names = getattr(self.fn_, "output_names", ())
        return iter([self.select_(i) for i in range(len(names))]) if len(names) > 1 else super().__iter__()

    def __repr__(self) -> str:
        name = getattr(self.fn_, "name", getattr(self.fn_, "__name__", "call"))
        shown = [repr(a) for a in self.args_] + [f"{k}={v!r}" for k, v in self.kwargs_.items()]
        return f"<call {name}({', '.join(shown)}); .run() executes it>"


def _select(value: Any, step: Step) -> Any:
    if isinstance(value, Pending):
        return value.select_(step)
    try:
        return apply_path(value, (step,))
    except ValueCodecError as error:
        raise problem(str(error)) from None


def _after(value: Any, *others: object) -> Any:
    return value.after(*others)
