"""The host agent: what groups of real processes use, second by second.

Owns: CPU-seconds and memory GB-seconds from one sample to the next.
Does not own: reading processes (processes.py), sending (recorder.py), who is in which group.
Law: what is metered over any number of samples is the sum of the differences, to the last
microsecond and byte: remainders are carried, no float comes near a value.

- `cpu_seconds`: user and system time, in steps of the kernel's tick (10 ms on Linux).
- `memory_gb_seconds`: resident bytes x elapsed nanoseconds / 10^18: a GB is 10^9 bytes. Nine
  decimals go out, the rest is carried. Pages shared by processes count in each of them.

What is not seen: the CPU a process used between the last sample and its end, and all of one that
lived between two samples (below one interval each); what ran before the agent's first sample; a
group's use while no agent runs. A process born while the agent runs is metered from its birth; one
older than the agent from when it is first named. A process counts in one group, the first to name
it, and not while none does.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from threading import Event

from pipeline.agents.processes import Groups, LocalProcesses, Processes, Seen
from pipeline.agents.recorder import Recorder
from pipeline.collect.event import UsageEvent, checked_text
from pipeline.collect.limits import ID_CHARS_MAX
from pipeline.core.calendar import Instant
from pipeline.core.quantity import decimal_text

CPU_SECONDS = "cpu_seconds"
MEMORY_GB_SECONDS = "memory_gb_seconds"
_CPU_DECIMALS = 6
_MEMORY_DECIMALS = 9
_BYTE_NS_PER_UNIT = 10**9
"""Byte-nanoseconds in 10^-9 GB-seconds."""

_Identity = tuple[int, Instant]
"""Pid and birth: a pid used again is another process."""


@dataclass(frozen=True, slots=True)
class Moment:
    """When a sample is taken: by the calendar, and by a clock that never jumps."""

    time: Instant
    monotonic_ns: int

    @classmethod
    def now(cls) -> "Moment":
        """Return this moment."""
        return cls(time.time_ns() // 1000, time.monotonic_ns())


class HostAgent:
    """Meters groups of processes; `sample` is to be called by one thread."""

    def __init__(
        self,
        recorder: Recorder,
        groups: Groups,
        interval_s: float = 1.0,
        processes: Processes | None = None,
    ) -> None:
        """Meter what `groups` names at each sample, from now on."""
        self._recorder = recorder
        self._groups = groups
        self._interval_s = interval_s
        self._processes = processes or LocalProcesses()
        self._begun: Instant | None = None
        self._last_ns = 0
        self._cpu_us: dict[_Identity, int] = {}
        self._byte_ns: dict[str, int] = {}

    def sample(self, now: Moment) -> list[UsageEvent]:
        """Return what each group used since the last sample; the first one only looks.

        Raises:
            Refused: a group's name cannot be a customer.

        """
        elapsed_ns = 0 if self._begun is None else now.monotonic_ns - self._last_ns
        metered: dict[_Identity, int] = {}
        events = []
        for customer, pids in self._groups().items():
            checked_text(customer, "customer", ID_CHARS_MAX)
            cpu_us, rss_bytes = self._look(pids, metered)
            byte_ns = self._byte_ns.get(customer, 0) + rss_bytes * elapsed_ns
            units, self._byte_ns[customer] = divmod(byte_ns, _BYTE_NS_PER_UNIT)
            events += _events(customer, now.time, cpu_us, units)
        self._look([pid for pid, born in self._cpu_us if (pid, born) not in metered], metered)
        self._cpu_us = metered
        self._last_ns = now.monotonic_ns
        if self._begun is None:
            self._begun = now.time
        return events

    def run(self, stop_event: Event) -> None:
        """Sample and record at every interval until told to stop, and once more then.

        Raises:
            As Recorder.record, and Refused: the agent ends, loudly.

        """
        due_s = time.monotonic()
        stopped = False
        while not stopped:
            for event in self.sample(Moment.now()):
                self._recorder.put(event)
            due_s = max(due_s + self._interval_s, time.monotonic())
            stopped = stop_event.wait(max(0.0, due_s - time.monotonic()))
        for event in self.sample(Moment.now()):
            self._recorder.put(event)

    def _look(self, pids: Iterable[int], metered: dict[_Identity, int]) -> tuple[int, int]:
        """Return CPU since the last sample in us and memory now in bytes of what is new here."""
        cpu_us = rss_bytes = 0
        for pid in pids:
            seen = self._processes.look(pid)
            if seen is None or (pid, seen.born_us) in metered:
                continue
            rss_bytes += seen.rss_bytes
            before = self._cpu_us.get((pid, seen.born_us), self._first_us(seen))
            cpu_us += max(0, seen.cpu_us - before)
            metered[pid, seen.born_us] = max(seen.cpu_us, before)
        return cpu_us, rss_bytes

    def _first_us(self, seen: Seen) -> int:
        """Return from where a process new to a group is metered: birth, or now if it is older."""
        newborn = self._begun is not None and seen.born_us > self._begun
        return 0 if newborn else seen.cpu_us


def _events(customer: str, at: Instant, cpu_us: int, memory_units: int) -> list[UsageEvent]:
    amounts: Mapping[str, tuple[int, int]] = {
        CPU_SECONDS: (cpu_us, _CPU_DECIMALS),
        MEMORY_GB_SECONDS: (memory_units, _MEMORY_DECIMALS),
    }
    return [
        UsageEvent(customer, meter, at, Decimal(decimal_text(amount, decimals)))
        for meter, (amount, decimals) in amounts.items()
        if amount
    ]
