"""Shadowing: the surroundings of a replay, and how it tells of its pace.

Owns: what a replay's stack is called and where its log is.
Does not own: names themselves (topology), what is done there (replaying.py, copying.py).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum

from pipeline.core.errors import BadInput
from pipeline.stores.postgres.database import Database
from pipeline.stores.postgres.shadows import LogCopy
from pipeline.workers.surroundings import Surroundings

_NAME = re.compile(r"[a-z][a-z0-9_]{0,29}")
_SCHEMA_CHARS_MAX = 63


class Stage(StrEnum):
    """What a replay is at: its own copy of the log, the fold of it, or documents."""

    COPYING = "copying the log"
    FOLDING = "folding"
    BILLING = "making documents"


@dataclass(frozen=True, slots=True)
class Pace:
    """How far a replay is: records of the log, events in them, seconds of this run.

    While it makes documents, periods stand for both, and count from its beginning with that.
    """

    done: int
    records: int
    events: int
    begun_at: int
    seconds: float
    stage: Stage = Stage.FOLDING

    @property
    def events_per_s(self) -> float:
        """Events, or periods, a second in this run."""
        return (self.events - self.begun_at) / self.seconds if self.seconds else 0.0


Tell = Callable[[Pace], None]


def check_name(name: str) -> None:
    """Raise where a replay cannot be called so.

    Raises:
        BadInput: it is no name.

    """
    if not _NAME.fullmatch(name):
        raise BadInput(f"{name!r} is no name of a replay: a-z first, then up to 29 of a-z 0-9 _")


def shadow_of(around: Surroundings, name: str) -> Surroundings:
    """Return the surroundings of a replay.

    Raises:
        BadInput: it cannot be called so.

    """
    check_name(name)
    ours = around.settings
    # How much was rejected is known: whoever saw it live let it go on.
    tuning = {"replay": name, "home": ours.home / "replays" / name, "reject_share_max": Decimal(1)}
    settings = ours.model_copy(update=tuning)
    stack = settings.stack
    if len(stack.schema) > _SCHEMA_CHARS_MAX:
        raise BadInput(f"schema {stack.schema} is longer than {_SCHEMA_CHARS_MAX} characters")
    database = Database(around.database.dsn, stack.schema)
    return replace(around, stack=stack, database=database, settings=settings)


def with_copy(shadow: Surroundings, copy: LogCopy | None) -> Surroundings:
    """Return the surroundings of a replay whose log is a copy of its own, if it is."""
    if copy is None:
        return shadow
    settings = shadow.settings.model_copy(update={"replay_copies": True})
    return replace(shadow, stack=settings.stack, partitions=copy.partitions, settings=settings)
