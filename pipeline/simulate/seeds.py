"""Many seeds, on every core: what they came to together, and the least that still fails.

Owns: sharing seeds out, stopping in time, shrinking what failed.
"""

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field, fields, replace
from itertools import islice
from multiprocessing import get_context, parent_process
from random import Random
from threading import Thread
from time import monotonic

import structlog

from pipeline.core.identity import Json
from pipeline.simulate.auditor import Violation
from pipeline.simulate.play import Outcome, Scale, play
from pipeline.simulate.roles import Parts

_SHOWN = 10
"""Violations of one seed that are told: the first says most."""
_SMALLER = 0.5
LEAST = 0.01
"""The least that can be asked for of anything."""
_LENGTHS = (*[0.25] * 9, *[0.375] * 7, *[0.5] * 3, 1.0)
"""How long worlds last: many short ones meet more faults in a second of CPU, and the long ones what
comes of documents."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A seed that broke a law, and the least of it that still breaks the same one."""

    outcome: Outcome
    scale: Scale

    @property
    def replay(self) -> str:
        """The command that plays it again."""
        told = [
            f" --{each.name} {getattr(self.scale, each.name)}"
            for each in fields(Scale)
            if each.name == "length" or getattr(self.scale, each.name) != 1
        ]
        return f"talea simulate --seeds 1 --seed {self.outcome.seed}{''.join(told)}"


@dataclass(slots=True)
class Report:
    """What the seeds came to."""

    seeds: int = 0
    events: int = 0
    duplicates: int = 0
    counted: Counter[str] = field(default_factory=Counter)
    failed: list[Failed] = field(default_factory=list)

    def add(self, outcome: Outcome, scale: Scale) -> None:
        """Take a seed in."""
        self.seeds += 1
        self.events += outcome.events
        self.duplicates += outcome.duplicates
        self.counted.update(outcome.counted)
        if outcome.violations:
            self.failed.append(Failed(outcome, scale))

    @property
    def violations(self) -> list[Violation]:
        """The first violations of every seed."""
        return [each for one in self.failed for each in one.outcome.violations[:_SHOWN]]

    def json(self) -> dict[str, Json]:
        """Return it as it is printed."""
        names = ("crashes", "failures", "stalls", "rebalances", "rewinds", "redis_losses")
        return {
            "seeds": self.seeds,
            "events": self.events,
            "duplicates": self.duplicates,
            **{name: self.counted[name] for name in names},
            "violations": [
                {"seed": each.seed, "law": each.law, "detail": each.detail}
                for each in self.violations
            ],
            "replay": [each.replay for each in self.failed],
        }


def play_seeds(
    first: int,
    count: int,
    scale_of: Callable[[int], Scale],
    seconds: float | None,
    tell: Callable[[int, int], None] = lambda _done, _of: None,
) -> Report:
    """Play consecutive seeds on every core until done or out of time; shrink those that fail."""
    report, deadline = Report(), None if seconds is None else monotonic() + seconds
    seeds = iter(range(first, first + count))
    workers = os.cpu_count() or 1
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_begin) as pool:
        running = _begun(pool, islice(seeds, workers), scale_of)
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                outcome = future.result()
                report.add(outcome, scale_of(outcome.seed))
            if deadline is None or monotonic() < deadline:
                running |= _begun(pool, islice(seeds, workers - len(running)), scale_of)
            tell(report.seeds, count)
        failed = sorted(report.failed, key=lambda each: each.outcome.seed)
        report.failed = list(pool.map(shrunk, failed))
    return report


def _begun(
    pool: ProcessPoolExecutor, seeds: Iterable[int], scale_of: Callable[[int], Scale]
) -> set[Future[Outcome]]:
    return {pool.submit(play, seed, scale_of(seed)) for seed in seeds}


def length_of(seed: int) -> float:
    """Return how long a seed lasts where nobody says so."""
    return Random(f"{seed} length").choice(_LENGTHS)


def _begin() -> None:
    """Begin a process that plays: it logs nothing, and goes when who started it is gone."""
    quiet()
    Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def quiet() -> None:
    """Let workers log nothing: they die thousands of times."""
    structlog.configure(processors=[_drop])
    # Of a process that was killed some coroutines never began; that is no mistake here.
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)


def _drop(_logger: object, _method: str, _event: object) -> str:
    raise structlog.DropEvent


def shrunk(failed: Failed, parts: Parts | None = None) -> Failed:
    """Return a failed seed with as little around it as still breaks the same law."""
    law = failed.outcome.violations[0].law
    for name in (each.name for each in fields(Scale)):
        for smaller in _halves(getattr(failed.scale, name)):
            scale = replace(failed.scale, **{name: smaller})
            outcome = play(failed.outcome.seed, scale, parts)
            if law not in {each.law for each in outcome.violations}:
                break
            failed = Failed(outcome, scale)
    return failed


def _halves(size: float) -> Iterator[float]:
    for _ in range(3):
        size *= _SMALLER
        if size < LEAST:
            return
        yield size
