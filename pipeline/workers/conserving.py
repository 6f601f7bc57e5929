"""Conserving: the equation as a line in the log, once a minute, beside the finalizer.

Owns: how often, at what cost.
Does not own: counting (auditing.py), the equation (replay/audit.py).
Law: it starts where the books stand, reads what is new, and takes a twentieth of the time at most.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from threading import Event
from time import monotonic

import structlog

from pipeline.core.errors import BrokenInvariant, TaleaError
from pipeline.replay.audit import Conservation, total
from pipeline.stores.postgres.connection import Unreachable
from pipeline.workers.auditing import Audit
from pipeline.workers.knowledge import Knowledge
from pipeline.workers.surroundings import Surroundings

_log = structlog.get_logger()

_COST = 20


@dataclass(slots=True)
class Unclosed:
    """How many events of each partition had no outcome at the last look; none where it closed."""

    events: Mapping[int, int]

    def of(self, partition: int) -> int:
        """Return how many of a partition have none."""
        return self.events.get(partition, 0)


def watch_conservation(
    around: Surroundings, known: Knowledge, unclosed: Unclosed, stop: Event
) -> None:
    """Log the seven totals and whether they close, until stopped; 0 seconds: never."""
    every_s = around.settings.audit_s
    audit: Audit | None = None
    rest_s = every_s
    while every_s and not stop.wait(rest_s):
        started = monotonic()
        try:
            audit = audit or Audit(around, known, whole=False)
            found = audit.look(lambda _read, _of: None)
            unclosed.events = {each.partition: each.missing for each in found.values()}
            say(found)
        except (TaleaError, BrokenInvariant, *Unreachable) as error:
            _log.error("conservation is not known", why=str(error))
            if audit is not None:
                audit.close()
            audit = None
        rest_s = max(every_s, _COST * (monotonic() - started))
    if audit is not None:
        audit.close()


def say(partitions: dict[int, Conservation]) -> None:
    """Log one look: an error where it does not close, with the partitions."""
    open_ones = [number for number, one in partitions.items() if one.missing]
    counts = total(partitions)
    if open_ones:
        _log.error("conservation", closed=False, partitions=open_ones, **counts)
    else:
        _log.info("conservation", closed=True, **counts)
