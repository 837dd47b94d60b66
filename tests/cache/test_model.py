"""Random readers, writers, jobs, limits and kills, in processes of their own, against a model of what is owed to them.

The bound on the time of it all is the test's own timeout: nothing may hang, whoever is killed.
"""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from tests.cache.lab import Member, Place
from tests.cache.test_processes import on_disk
from tidemill.model.digest import Digest
from tidemill.testing.objects_data import some_bytes

SIZES = [1000 * n for n in range(1, 9)]
UNMEASURED = 2500
"""So that there are shorter and longer downloads: for these, room is made before they are there."""
WIDTH = 2


class Job:
    """What the model knows of a job."""

    def __init__(self, member: int, disk: int) -> None:
        self.member = member
        self.disk = disk
        self.links: dict[Path, Digest] = {}


class CacheBesideModel(RuleBasedStateMachine):
    members_ = st.integers(0, WIDTH - 1)
    objects = st.integers(0, len(SIZES) - 1)
    limits = st.integers(4, 30).map(lambda n: n * 1000)

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.place = Place(self.directory)
        self.names = [self.place.remote.put(some_bytes(size)) for size in SIZES]
        self.size = dict(zip(self.names, SIZES, strict=True))
        self.limit = 20_000
        self.cache = self.place.cache(self.limit, UNMEASURED)
        self.members = [Member(self.place, ordinary=True, unmeasured=UNMEASURED) for _ in range(WIDTH)]
        self.jobs: dict[str, Job] = {}
        self.count = 0
        # So that there is something to hold from the beginning.
        for member in range(WIDTH):
            self.begin_job(member, 3000)
            self.give_file(f"job {self.count}", self.names[2 + member])

    def teardown(self) -> None:
        for member in self.members:
            member.kill()
        assert self.cache.shutdown()
        shutil.rmtree(self.directory)

    # --------------------------------------------------------------------------------------------------- the model

    def reserved(self) -> int:
        return sum(max(0, job.disk - self.sizes_of(set(job.links.values()))) for job in self.jobs.values())

    def sizes_of(self, names: set[Digest]) -> int:
        return sum(self.size[name] for name in names)

    def held(self) -> int:
        return self.sizes_of({name for job in self.jobs.values() for name in job.links.values()})

    def fits(self, needed: int) -> bool:
        return self.held() + self.reserved() + needed <= self.limit

    def can_read(self, name: Digest) -> bool:
        return self.is_here(name) or self.fits(self.size[name])

    def is_here(self, name: Digest) -> bool:
        return Path(self.cache._stock.path(name)).exists()

    # --------------------------------------------------------------------------------------------------- what happens

    @rule(member=members_, n=objects)
    def read(self, member: int, n: int) -> None:
        name = self.names[n]
        expected = name.hex() if self.can_read(name) else "CacheFullError"
        assert self.members[member].ask("read", name) == expected

    @rule(n=objects, limit=limits)
    def all_read_while_the_limit_changes(self, n: int, limit: int) -> None:
        for member in self.members:
            member.tell("read", self.names[n])
        self.cache.adjust(limit)
        self.limit = limit
        assert {member.hear() for member in self.members} <= {self.names[n].hex(), "CacheFullError"}

    @rule(member=members_, seed=st.integers(1, 3), size=st.sampled_from(SIZES))
    def put(self, member: int, seed: int, size: int) -> None:
        path = self.directory / "file"
        path.write_bytes(some_bytes(size, seed))
        answer = self.members[member].ask("put", path)
        if answer == "CacheFullError":
            assert not self.fits(size)
            return
        self.size[bytes.fromhex(answer)] = size
        assert self.members[member].ask("flush") is None
        assert self.place.remote.get(bytes.fromhex(answer), verify=True) == some_bytes(size, seed)

    @rule(limit=limits)
    def adjust(self, limit: int) -> None:
        self.cache.adjust(limit)
        self.limit = limit

    @rule(member=members_, disk=st.integers(0, 12).map(lambda n: n * 1000))
    def begin(self, member: int, disk: int) -> None:
        self.begin_job(member, disk)

    def begin_job(self, member: int, disk: int) -> None:
        self.count += 1
        name = f"job {self.count}"
        expected = None if disk == 0 or self.fits(disk) else "CacheFullError"
        assert self.members[member].ask("begin", name, disk) == expected
        if expected is None:
            self.jobs[name] = Job(member, disk)

    @precondition(lambda self: self.jobs)
    @rule(draw=st.data(), n=objects)
    def give(self, draw: st.DataObject, n: int) -> None:
        self.give_file(draw.draw(st.sampled_from(sorted(self.jobs))), self.names[n])

    def give_file(self, key: str, name: Digest) -> None:
        job = self.jobs[key]
        self.count += 1
        path = self.directory / f"given {self.count}"
        possible = self.can_read(name)
        answer = self.members[job.member].ask("give", key, name, path, False)
        assert answer == ("link" if possible else "CacheFullError")
        if possible:
            job.links[path] = name

    @precondition(lambda self: any(job.links for job in self.jobs.values()))
    @rule(draw=st.data())
    def forget(self, draw: st.DataObject) -> None:
        key = draw.draw(st.sampled_from(sorted(key for key, job in self.jobs.items() if job.links)))
        job = self.jobs[key]
        path = draw.draw(st.sampled_from(sorted(job.links)))
        assert self.members[job.member].ask("forget", key, job.links.pop(path), path) is None
        assert not path.is_symlink()

    @precondition(lambda self: self.jobs)
    @rule(draw=st.data())
    def end(self, draw: st.DataObject) -> None:
        key = draw.draw(st.sampled_from(sorted(self.jobs)))
        job = self.jobs.pop(key)
        assert self.members[job.member].ask("end", key) is None
        assert not any(path.is_symlink() for path in job.links)

    @rule(member=members_, n=objects, put=st.booleans())
    def kill(self, member: int, n: int, put: bool) -> None:
        """Kill a process, within a download or an upload where it comes to one."""
        name = self.names[n]
        doomed, amid = self.members[member], False
        (self.directory / "doomed").write_bytes(some_bytes(5000, 9))
        if put and self.fits(5000):
            with self.place.held_up("put") as gate:
                if doomed.ask("put", self.directory / "doomed") != "CacheFullError":
                    gate.wait()
                    amid = True
                doomed.kill()
        elif not self.is_here(name):
            with self.place.held_up(f"get-{name.hex()}") as gate:
                doomed.tell("read", name)
                gate.wait()
                amid = True
                doomed.kill()
        else:
            doomed.kill()
        held = amid or any(job.member == member for job in self.jobs.values())
        self.jobs = {key: job for key, job in self.jobs.items() if job.member != member}
        self.members[member] = Member(self.place, ordinary=True, unmeasured=UNMEASURED)
        assert self.cache.reap() or not held
        assert not self.cache.reap()

    # --------------------------------------------------------------------------------------------------- what holds

    @invariant()
    def the_accounts_are_right(self) -> None:
        figures = self.cache.figures()
        assert figures.limit == self.limit
        assert figures.used == on_disk(self.cache)
        assert figures.reserved == self.reserved()
        assert figures.available == self.limit - figures.used - figures.reserved

    @invariant()
    def what_was_given_is_still_there(self) -> None:
        for job in self.jobs.values():
            for path, name in job.links.items():
                assert path.read_bytes() == some_bytes(self.size[name])


@pytest.mark.timeout(300)
def test_the_cache_against_a_model() -> None:
    # What fails is not made smaller: each try starts processes.
    phases = [Phase.generate]
    limits = settings(
        phases=phases, max_examples=15, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(CacheBesideModel, settings=limits)
