"""What a worker is given: addresses and names, once, from bootstrap."""

from dataclasses import dataclass

from pipeline.settings import Settings
from pipeline.stores.postgres.database import Database
from pipeline.topology import Stack


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The servers and names of one stack, and the tuning of its workers."""

    kafka: str
    redis: str
    database: Database
    stack: Stack
    partitions: int
    settings: Settings

    @property
    def is_shadow(self) -> bool:
        """Whether this is the shadow of a stack: nothing is decided here, nor published."""
        return bool(self.settings.replay)


def partitions_of(worker: int, workers: int, partitions: int) -> list[int]:
    """Return the partitions of one of several workers that share them for good."""
    return list(range(worker, partitions, workers))
