"""What a run asks for, in words, and what of it was raised after failed attempts."""

from tidemill.model.preview import duration, size_text
from tidemill.model.spec import AUTO, Resources, TaskSpec
from tidemill.stores.state import classes
from tidemill.stores.state.database import Database


def request(db: Database, cls: int, spec: TaskSpec) -> list[str]:
    """What a run of this class asks for where that is not the default: "cpus 4", "memory 2 GB (raised from 1 GB)",
    ….
    """
    found = classes.get(db, cls)
    asked = found.spec.resources if found is not None else spec.resources
    told = _amounts(asked, spec)
    parts = [f"cpus {asked.cpus:g}"] if asked.cpus != 1 else []
    parts += [text for text in told if text]
    parts += [f"accelerators {asked.accelerators}"] if asked.accelerators else []
    parts += ["preemptible"] * asked.preemptible + ["local"] * asked.local
    return parts


def raised(db: Database, cls: int, spec: TaskSpec) -> list[str]:
    """Those of the same that are more than what the task declares."""
    return [text for text in request(db, cls, spec) if "raised from" in text]


def _amounts(asked: Resources, spec: TaskSpec) -> list[str]:
    declared = spec.resources
    return [
        _amount("memory", asked.memory, declared.memory),
        _amount("disk", asked.disk, declared.disk),
        _time(asked.walltime or spec.timeout, spec.timeout),
    ]


def _amount(name: str, asked: int, declared: int) -> str:
    if declared == AUTO:
        return f"{name} {size_text(asked)} (by what was used before)" if asked > 0 else f"{name} auto"
    if asked <= 0:
        return ""
    return f"{name} {size_text(asked)}" + f" (raised from {size_text(declared)})" * (asked > declared)


def _time(asked: float, declared: float) -> str:
    return f"timeout {duration(asked)}" + f" (raised from {duration(declared)})" * (asked > declared) if asked else ""
