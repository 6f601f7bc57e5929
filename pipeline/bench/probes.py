"""What processes take: CPU seconds by kind, memory by process, bytes on the broker's disk.

Owns: reading them. A family is a process and its descendants; what ended counts on in its parent.
Does not own: the window they are read over (drain.py).
"""

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Self

import psutil

_KB_A_MB = 1024
_SAMPLE_S = 0.2
_SHARED = "postgres"
"""Its processes share their buffers, which count once."""


def kind_of(label: str) -> str:
    """Return the kind of a process: `metering` of `metering-0`."""
    return label.partition("-")[0]


def cpu_seconds(pids: Mapping[str, int]) -> dict[str, float]:
    """Return the CPU seconds that each kind of process has taken since its birth."""
    found: dict[str, float] = {}
    for label, pid in pids.items():
        spent = 0.0
        for process in _family(pid):
            with suppress(psutil.Error):
                times = process.cpu_times()
                spent += times.user + times.system + times.children_user + times.children_system
        found[kind_of(label)] = found.get(kind_of(label), 0.0) + spent
    return found


def peak_rss_mb(pids: Mapping[str, int]) -> dict[str, int]:
    """Return the most memory that each process has had so far; of Postgres what it has now."""
    found = {}
    for label, pid in pids.items():
        if label == _SHARED:
            figures = [_memory_kb(process.pid) for process in _family(pid)]
            shared = max((kb.get("RssShmem", 0) for kb in figures), default=0)
            found[label] = (sum(kb.get("RssAnon", 0) for kb in figures) + shared) // _KB_A_MB
        else:
            found[label] = _memory_kb(pid).get("VmHWM", 0) // _KB_A_MB
    return found


def _family(pid: int) -> list[psutil.Process]:
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


def _memory_kb(pid: int) -> dict[str, int]:
    """Return the figures in kB that the kernel gives of a process."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return {}
    rows = (line.split() for line in lines.splitlines() if line.endswith(" kB"))
    return {row[0].rstrip(":"): int(row[1]) for row in rows}


def log_bytes(home: Path, topic: str) -> int:
    """Return the bytes of a topic's segments on the embedded broker's disk."""
    folders = (home / "servers" / "kafka" / "data").glob(f"{topic}-*")
    return sum(file.stat().st_size for folder in folders for file in folder.glob("*.log"))


@dataclass
class MemoryWatch:
    """Samples what processes hold, from a thread of its own, for as long as it is entered."""

    pids: Callable[[], Mapping[str, int]]
    _samples_kb: dict[str, list[int]] = field(default_factory=dict)
    _done: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._watch, name="memory watch", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join()

    def thirds_mb(self) -> dict[str, tuple[int, int]]:
        """Return the median of the first third of each process's samples, and of the last."""
        return {label: thirds_mb(samples) for label, samples in self._samples_kb.items()}

    def _watch(self) -> None:
        while True:
            for label, pid in self.pids().items():
                held = _memory_kb(pid).get("VmRSS")
                if held is not None:
                    self._samples_kb.setdefault(label, []).append(held)
            if self._done.wait(_SAMPLE_S):
                return


def thirds_mb(samples_kb: list[int]) -> tuple[int, int]:
    """Return the median of the first third and of the last, in MB."""
    third = -(-len(samples_kb) // 3)
    first, last = median(samples_kb[:third]), median(samples_kb[-third:])
    return round(first / _KB_A_MB), round(last / _KB_A_MB)
