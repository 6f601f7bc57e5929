"""What processes take: CPU seconds by kind, peak memory by process, bytes on the broker's disk.

Owns: reading them. A family is a process and its descendants; what ended counts on in its parent.
Does not own: the window they are read over (drain.py).
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

_KB_A_MB = 1024
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
