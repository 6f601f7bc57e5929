"""The host agent: what processes used, exactly, however they come and go."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from threading import Event, Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.agents import Recorder
from pipeline.agents.host import CPU_SECONDS, MEMORY_GB_SECONDS, HostAgent, Moment
from pipeline.agents.processes import LocalProcesses, Seen, families, with_descendants
from pipeline.collect.event import Refused, UsageEvent

BEGIN = 1_800_000_000_000_000
SECOND_NS = 10**9
MB = 10**6


class Machine:
    """Processes that do what the test says."""

    def __init__(self) -> None:
        self.processes: dict[int, Seen] = {}
        self.groups: dict[str, list[int]] = {}
        self.now = Moment(BEGIN, 5 * SECOND_NS)

    def look(self, pid: int) -> Seen | None:
        return self.processes.get(pid)

    def parents(self) -> Mapping[int, int]:
        return {}

    def run(self, pid: int, cpu_us: int, rss: int = 0, born: int = BEGIN - 10**9) -> None:
        self.processes[pid] = Seen(born, cpu_us, rss)

    def wait(self, elapsed_ns: int = SECOND_NS) -> Moment:
        at = self.now
        self.now = Moment(at.time + elapsed_ns // 1000, at.monotonic_ns + elapsed_ns)
        return self.now


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def agent(machine: Machine) -> HostAgent:
    return agent_of(machine)


def agent_of(machine: Machine) -> HostAgent:
    nobody: Recorder = None  # type: ignore[assignment]  # sample alone records nothing
    return HostAgent(nobody, lambda: machine.groups, processes=machine)


def used(events: list[UsageEvent], meter: str) -> dict[str, Decimal]:
    return {event.customer: event.value for event in events if event.meter == meter}


def test_the_first_sample_only_looks(machine: Machine, agent: HostAgent) -> None:
    machine.groups = {"kafka": [1]}
    machine.run(1, 90_000_000, 500 * MB)
    assert agent.sample(machine.now) == []


def test_cpu_is_the_difference_of_a_groups_processes(machine: Machine, agent: HostAgent) -> None:
    machine.groups = {"kafka": [1], "postgres": [2, 3]}
    for pid in (1, 2, 3):
        machine.run(pid, 1_000_000)
    agent.sample(machine.now)
    machine.run(1, 1_010_000)
    machine.run(2, 1_000_001)
    machine.run(3, 3_500_000)
    events = agent.sample(machine.wait())
    assert used(events, CPU_SECONDS) == {"kafka": Decimal("0.01"), "postgres": Decimal("2.500001")}
    assert {(event.time, event.id, event.reversed_at) for event in events} == {
        (BEGIN + 1_000_000, "", None)
    }
    assert agent.sample(machine.wait()) == []  # nothing used, nothing said


def test_memory_is_bytes_times_elapsed_time(machine: Machine, agent: HostAgent) -> None:
    machine.groups = {"kafka": [1, 2]}
    machine.run(1, 0, 1_500 * MB)
    machine.run(2, 0, 500 * MB)
    agent.sample(machine.now)
    events = agent.sample(machine.wait(2_500_000_000))
    assert used(events, MEMORY_GB_SECONDS) == {"kafka": Decimal("5")}


@given(st.lists(st.tuples(st.integers(0, 10**12), st.integers(1, 10**11)), min_size=1, max_size=20))
def test_no_byte_nanosecond_is_lost(looks: list[tuple[int, int]]) -> None:
    machine = Machine()
    agent = agent_of(machine)
    machine.groups = {"kafka": [1]}
    machine.run(1, 0)
    agent.sample(machine.now)
    metered = exact = 0
    for rss, elapsed_ns in looks:
        machine.run(1, 0, rss)
        exact += rss * elapsed_ns
        for value in used(agent.sample(machine.wait(elapsed_ns)), MEMORY_GB_SECONDS).values():
            assert value.as_tuple().exponent in range(-9, 1)
            metered += int(value.scaleb(18))
    assert 0 <= exact - metered < 10**9  # what is carried is below the last decimal


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=20))
def test_cpu_over_any_samples_is_what_the_process_used(steps: list[int]) -> None:
    machine = Machine()
    agent = agent_of(machine)
    machine.groups = {"kafka": [1]}
    machine.run(1, 77)
    agent.sample(machine.now)
    total, metered = 77, Decimal(0)
    for step in steps:
        total += step
        machine.run(1, total)
        metered += sum(used(agent.sample(machine.wait()), CPU_SECONDS).values())
    assert metered == Decimal(total - 77) / 10**6


def test_a_process_that_is_gone_is_no_error_and_takes_nothing_back(
    machine: Machine, agent: HostAgent
) -> None:
    machine.groups = {"workers": [1, 2]}
    machine.run(1, 1_000_000)
    machine.run(2, 1_000_000)
    agent.sample(machine.now)
    del machine.processes[1]
    machine.run(2, 1_200_000)
    events = agent.sample(machine.wait())
    assert used(events, CPU_SECONDS) == {"workers": Decimal("0.2")}


def test_a_restarted_process_is_metered_from_its_birth(machine: Machine, agent: HostAgent) -> None:
    machine.groups = {"worker": [1]}
    machine.run(1, 9_000_000)
    agent.sample(machine.now)
    del machine.processes[1]
    machine.groups = {"worker": [7]}
    machine.run(7, 300_000, born=BEGIN + 400_000)
    assert used(agent.sample(machine.wait()), CPU_SECONDS) == {"worker": Decimal("0.3")}


@pytest.mark.parametrize("cpu_us", [50_000, 9_500_000])
def test_a_pid_used_again_is_another_process(
    machine: Machine, agent: HostAgent, cpu_us: int
) -> None:
    machine.groups = {"worker": [1]}
    machine.run(1, 9_000_000)
    agent.sample(machine.now)
    machine.run(1, cpu_us, born=BEGIN + 10)
    events = agent.sample(machine.wait())
    assert used(events, CPU_SECONDS) == {"worker": Decimal(cpu_us) / 10**6}


def test_an_old_process_named_late_is_metered_from_then(machine: Machine, agent: HostAgent) -> None:
    agent.sample(machine.now)
    machine.groups = {"late": [1]}
    machine.run(1, 9_000_000, MB)
    assert used(agent.sample(machine.wait()), CPU_SECONDS) == {}
    machine.run(1, 9_000_100, MB)
    assert used(agent.sample(machine.wait()), CPU_SECONDS) == {"late": Decimal("0.0001")}


def test_a_process_named_twice_counts_in_the_first_group(
    machine: Machine, agent: HostAgent
) -> None:
    machine.groups = {"a": [1, 1], "b": [1]}
    machine.run(1, 0, 1000 * MB)
    agent.sample(machine.now)
    machine.run(1, 500_000, 1000 * MB)
    events = agent.sample(machine.wait())
    assert used(events, CPU_SECONDS) == {"a": Decimal("0.5")}
    assert used(events, MEMORY_GB_SECONDS) == {"a": Decimal(1)}


def test_a_process_that_changes_groups_or_pauses_in_none_is_never_metered_twice(
    machine: Machine, agent: HostAgent
) -> None:
    agent.sample(machine.now)
    machine.run(1, 100_000, born=BEGIN + 1)
    machine.groups = {"a": [1]}
    assert used(agent.sample(machine.wait()), CPU_SECONDS) == {"a": Decimal("0.1")}
    machine.run(1, 300_000, born=BEGIN + 1)
    machine.groups = {"b": [1]}
    assert used(agent.sample(machine.wait()), CPU_SECONDS) == {"b": Decimal("0.2")}
    machine.run(1, 350_000, born=BEGIN + 1)
    machine.groups = {}
    assert agent.sample(machine.wait()) == []
    machine.run(1, 360_000, born=BEGIN + 1)
    machine.groups = {"b": [1]}
    assert used(agent.sample(machine.wait()), CPU_SECONDS) == {"b": Decimal("0.01")}


def test_a_group_whose_name_cannot_be_a_customer_is_refused(
    machine: Machine, agent: HostAgent
) -> None:
    machine.groups = {"a\nb": [1]}
    with pytest.raises(Refused):
        agent.sample(machine.now)


def test_families_are_roots_and_descendants_each_process_once() -> None:
    parents = {1: 0, 10: 1, 11: 10, 12: 11, 20: 10, 21: 20, 30: 1, 0: 0}
    assert families({"a": [10], "b": [20], "gone": [99]}, parents) == {
        "a": [10, 11, 12],
        "b": [20, 21],
        "gone": [99],
    }


class TestRealProcesses:
    BURN = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', sys.argv[1]])\n"
        "exec(sys.argv[1])\n"
    )
    LOOP = "import time\nheld = bytearray(50_000_000)\nwhile True: sum(range(10_000))"

    def test_a_process_is_the_same_at_every_look(self) -> None:
        processes = LocalProcesses()
        looks = [processes.look(os.getpid()) for _ in range(3)]
        assert all(looks)
        assert len({seen.born_us for seen in looks if seen}) == 1
        assert all(seen.cpu_us % 10_000 == 0 for seen in looks if seen)
        assert processes.parents()[os.getpid()] == os.getppid()

    def test_one_that_ended_is_gone(self) -> None:
        processes = LocalProcesses()
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
            assert processes.look(child.pid)
        assert processes.look(child.pid) is None

    def test_a_family_is_metered_and_recorded(self, tmp_path: Path) -> None:
        processes = LocalProcesses()
        with (
            Recorder.open(kafka="127.0.0.1:1", spool=tmp_path / "s", producer="host") as recorder,
            subprocess.Popen([sys.executable, "-c", self.BURN, self.LOOP]) as burner,
        ):
            try:
                groups = with_descendants(lambda: {"burner": [burner.pid]}, processes)
                agent = HostAgent(recorder, groups, interval_s=0.05, processes=processes)
                stop = Event()
                thread = Thread(target=agent.run, args=(stop,))
                thread.start()
                time.sleep(1.5)
                stop.set()
                thread.join()
                events = agent.sample(Moment.now())
                recorder.sync()
                assert recorder._spool.standing().events > 10
                assert used(events, MEMORY_GB_SECONDS)["burner"] > 0
                members = groups()["burner"]
                assert len(list(members)) == 2
                for pid in members:
                    os.kill(pid, 9)
            finally:
                burner.kill()
                recorder._close_quietly(0)
