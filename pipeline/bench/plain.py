"""The third phase: the plain Faust agent on a sample, on the same servers.

Owns: its sample, its totals.  Does not own: the agent (workers/baseline.py).
Law: its totals are checked too: a fast agent that counts wrong is no measure.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from pipeline.bench.shop import METER
from pipeline.bench.stand import Stand, Tell
from pipeline.core.errors import CheckFailed, ServerFailed
from pipeline.workers.baseline import NAME, fill_baseline
from pipeline.workers.supervisor import worker_environment

SAMPLE = 50_000
_RESENT = 100
_VALUE_MAX = 1_000_000
_PATIENCE_S = 600.0


@dataclass(frozen=True, slots=True)
class Plain:
    """What the baseline did."""

    name: str
    events_per_s: float


def measure_baseline(stand: Stand, customers: Sequence[str], tell: Tell) -> Plain:
    """Return the rate of the plain agent."""
    tell(f"filling the baseline's topic with {SAMPLE:,} events", None)
    events = list(_events(customers))
    fill_baseline(stand.around, events)
    unique = {str(event["id"]): int(event["value"]) for event in events}
    tell(f"counting {SAMPLE:,} events with a plain Faust agent", None)
    found = _run(stand)
    expected = (len(unique), sum(unique.values()))
    if (found["unique"], found["total"]) != expected:
        raise CheckFailed(f"the baseline counted {found}, {expected} was sent")
    return Plain(NAME, SAMPLE / found["seconds"])


def _events(customers: Sequence[str]) -> Iterator[Mapping[str, str | int]]:
    """Yield events of anybody; one of a hundred is an earlier one."""
    random = np.random.default_rng(0)
    who = random.integers(0, len(customers), SAMPLE).tolist()
    values = random.integers(1, _VALUE_MAX, SAMPLE).tolist()
    for number in range(SAMPLE):
        one = number - _RESENT // 2 if number % _RESENT == _RESENT - 1 else number
        yield {
            "id": f"event-{one}",
            "source": "bench",
            "customer": customers[who[one]],
            "meter": METER,
            "time": "2026-01-01T00:00:00Z",
            "value": values[one],
        }


def _run(stand: Stand) -> dict[str, float]:
    log = stand.logs / "baseline.log"
    with ExitStack() as held:
        process = held.enter_context(
            subprocess.Popen(
                [sys.executable, "-m", "pipeline.workers.baseline", str(SAMPLE)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=held.enter_context(log.open("wb")),
                env=worker_environment(stand.around),
            )
        )
        held.callback(process.kill)
        try:
            process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise ServerFailed(f"the baseline took more than {_PATIENCE_S:.0f} s") from None
        told = process.stdout.read() if process.stdout else b""
        if process.returncode:
            words = log.read_text("utf-8", errors="replace").splitlines()[-5:]
            raise ServerFailed(f"the baseline failed: {' | '.join(words)}")
        return dict(json.loads(told.splitlines()[-1]))  # Faust greets on stdout before
