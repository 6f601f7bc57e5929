"""Flame graphs: where each worker's time goes while a backlog is drained.

Owns: running py-spy beside the workers.  Does not own: when (drain.py).
Law: it takes time of its own from the same cores: figures of such a run say so.
"""

import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pipeline.bench.probes import kind_of
from pipeline.core.errors import ServerFailed

_WATCHED = ("collector", "metering", "pricing", "publisher")
_RATE_HZ = 100
_WRITE_S = 60.0
PY_SPY = Path(sys.executable).with_name("py-spy")


@contextmanager
def flames(pids: Mapping[str, int], folder: Path, program: Path = PY_SPY) -> Iterator[None]:
    """Write `<worker>.svg` of each worker that does the work, for as long as this is entered.

    Raises:
        ServerFailed: py-spy is not there, or may not look at other processes.

    """
    if not program.exists():
        raise ServerFailed("flame graphs need py-spy: install talea with its dev extra")
    folder.mkdir(parents=True, exist_ok=True)
    labels = [label for label in pids if kind_of(label) in _WATCHED]
    watching = {label: _watch(program, pids[label], folder / f"{label}.svg") for label in labels}
    try:
        yield
    finally:
        for process in watching.values():
            process.send_signal(signal.SIGINT)
        for label, process in watching.items():
            _, said = process.communicate(timeout=_WRITE_S)
            if not (folder / f"{label}.svg").exists():
                why = said.decode(errors="replace").strip().splitlines()
                raise ServerFailed(f"py-spy draws no {label}: {why[-1] if why else 'silence'}")


def _watch(program: Path, pid: int, drawing: Path) -> subprocess.Popen[bytes]:
    drawing.unlink(missing_ok=True)
    options = f"record --pid {pid} --format flamegraph --rate {_RATE_HZ} --nonblocking"
    return subprocess.Popen(  # a drawing is headed by the command line: it names no folder
        ["py-spy", *options.split(), "--output", drawing.name],
        executable=program.absolute(),
        cwd=drawing.parent,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
