"""The billing topics in memory, and the outlet that fills them: as a whole or not at all.

Owns: records by key in their order, who may still write.
Does not own: what is published (workers/publisher.py), what must stand (publication.py).
Law: as the real one: what another began under the name is never written once it was taken over.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pipeline.agents.following import Found
from pipeline.core.errors import ServerFailed
from pipeline.simulate.world import Runner, World
from pipeline.workers.publisher import Sent

_STALLS = 20
"""How many times likelier than elsewhere a publisher stands still where another overtakes it."""


@dataclass(slots=True)
class Shelves:
    """Every billing topic's committed records; `holder` is who took the name over last."""

    records: dict[tuple[str, int], list[Found]] = field(default_factory=lambda: defaultdict(list))
    holder: object = None

    def whole(self, name: str) -> Iterator[Found]:
        """Yield everything that a topic holds now."""
        for (topic, _), found in sorted(self.records.items(), key=lambda entry: entry[0]):
            if topic == name:
                yield from found


@dataclass(slots=True, eq=False)
class MemoryOutlet:
    """The outlet of one process."""

    world: World
    process: Runner
    shelves: Shelves
    _begun: list[Sent] = field(default_factory=list)

    def fence(self) -> None:
        """Take the name over."""
        self.world.effect(self.process, "fence", stalls=True)
        self.shelves.holder = self

    def send(self, records: Iterable[Sent]) -> None:
        """Send records in a transaction that stays open."""
        self.world.effect(self.process, "publish", stalls=True)
        self._begun = list(records)

    def commit(self) -> None:
        """Return once everything sent is written.

        Raises:
            ServerFailed: it is not, another one writes by now, or nobody said that it is.

        """
        self.world.effect(self.process, "commit", stalls=_STALLS)
        self.written()
        if self.process.chance(self.world.chances.lost_ack):
            raise ServerFailed("Kafka did not say that it took the records")

    def written(self) -> None:
        """Write what was begun, unless another took the name over.

        Raises:
            ServerFailed: another one did.

        """
        if self.shelves.holder is not self:
            raise ServerFailed("another publisher writes by now")
        for topic, partition, key, value in self._begun:
            into = self.shelves.records[topic, partition]
            into.append(Found(partition, len(into), key, value))
        self._begun = []
