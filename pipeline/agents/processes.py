"""The processes of this machine, as the host agent sees them.

Owns: reading them by psutil, making its floats exact again, families of processes.
Does not own: what is metered of them (host.py).
Law: a `Seen` is of one process: a pid that was given to another has another `born_us`.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pipeline.core.calendar import Instant

_PROC = Path("/proc")
Groups = Callable[[], Mapping[str, Iterable[int]]]
"""Returns the pids of each customer, asked anew for each sample."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at one process: CPU time since its birth in us, resident memory in bytes."""

    born_us: Instant
    cpu_us: int
    rss_bytes: int


class Processes(Protocol):
    """Where looks at processes come from."""

    def look(self, pid: int) -> Seen | None:
        """Return what the process looks like now, None when it is gone or not ours to see."""
        ...

    def parents(self) -> Mapping[int, int]:
        """Return the parent of every process."""
        ...


class LocalProcesses:
    """The processes of this machine."""

    def __init__(self) -> None:
        """Learn the length of a clock tick, the kernel's unit of CPU time."""
        import psutil

        self._psutil = psutil
        self._ticks_per_s = os.sysconf("SC_CLK_TCK")
        # psutil derives a birth from the boot time, which the kernel gives anew, up to a second
        # off, at every read: so each process keeps the object that has read it once.
        self._known: dict[int, psutil.Process] = {}

    def look(self, pid: int) -> Seen | None:
        """Return what the process looks like now; user and system time, threads included."""
        try:
            process = self._known.get(pid)
            if process is None or not process.is_running():
                process = self._known[pid] = self._psutil.Process(pid)
            with process.oneshot():
                times, rss = process.cpu_times(), process.memory_info().rss
                return Seen(
                    born_us=round(process.create_time() * 1_000_000),
                    cpu_us=self._exact_us(times.user) + self._exact_us(times.system),
                    rss_bytes=rss,
                )
        except self._psutil.Error:
            self._known.pop(pid, None)
            return None

    def parents(self) -> Mapping[int, int]:
        """Return the parent of every process; from /proc, at a tenth of psutil's price."""
        if not (_PROC / "self" / "stat").exists():
            return {each.pid: each.info["ppid"] for each in self._psutil.process_iter(["ppid"])}
        found = {}
        for entry in os.scandir(_PROC):
            if entry.name.isdigit():
                with suppress(OSError), open(f"{entry.path}/stat", "rb") as stat:
                    # "pid (any name) state ppid ..."
                    found[int(entry.name)] = int(stat.read().rpartition(b")")[2].split(None, 2)[1])
        return found

    def _exact_us(self, seconds: float) -> int:
        """Return the whole ticks that psutil divided by their rate, in microseconds."""
        return round(seconds * self._ticks_per_s) * 1_000_000 // self._ticks_per_s


def with_descendants(groups: Groups, processes: Processes | None = None) -> Groups:
    """Return groups in which each pid brings all its descendants along.

    A process that is named in a group, and its descendants, count there alone.
    """
    source = processes or LocalProcesses()

    def expanded() -> Mapping[str, Iterable[int]]:
        named = {customer: list(pids) for customer, pids in groups().items()}
        return families(named, source.parents())

    return expanded


def families(
    roots: Mapping[str, Iterable[int]], parents: Mapping[int, int]
) -> dict[str, list[int]]:
    """Return the pids of each group: its roots and their descendants, save other groups' roots."""
    children: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        if pid != parent:
            children.setdefault(parent, []).append(pid)
    taken = {pid for pids in roots.values() for pid in pids}
    found = {}
    for customer, pids in roots.items():
        family = list(pids)
        for pid in family:  # grows while it is walked
            fresh = [child for child in children.get(pid, ()) if child not in taken]
            taken.update(fresh)
            family += fresh
        found[customer] = family
    return found
