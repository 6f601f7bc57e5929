"""Collected: an independent reader counts raw usage, the collector's rows say the rest.

Owns: reading both sides, the topic only once: a later look reads what is new.
Does not own: the equation (replay/audit.py), the usage log's own (auditing.py).
"""

from collections import deque
from dataclasses import dataclass, field

from pipeline.collect.rounds import Stand
from pipeline.replay.audit import Collection, collection_of
from pipeline.stores.postgres.collecting import load_stands
from pipeline.stores.raw import raw_ends, raw_offsets
from pipeline.topology import USAGE_RAW
from pipeline.workers.auditing import Progress
from pipeline.workers.surroundings import Surroundings


def collection(around: Surroundings, progress: Progress) -> dict[int, Collection]:
    """Return the four counts of every partition of raw usage.

    Raises:
        ServerFailed: a server does not answer.

    """
    return RawAudit(around).look(progress)


@dataclass(slots=True)
class _Seen:
    """The messages from offset `first` on, below `following`; those ahead of a stand as runs."""

    first: int
    following: int
    below: int = 0
    ahead: deque[tuple[int, int]] = field(default_factory=deque)
    """[start, end) of neighbouring messages, in order."""

    def take(self, offset: int) -> None:
        start = offset
        if self.ahead and self.ahead[-1][1] == offset:
            start, _ = self.ahead.pop()
        self.ahead.append((start, offset + 1))
        self.following = offset + 1

    def beyond(self, stand: int) -> int:
        """Forget what the collector passed; return how many messages it did not."""
        while self.ahead and self.ahead[0][0] <= stand:
            start, end = self.ahead.popleft()
            passed = min(end, stand + 1)
            self.below += passed - start
            if passed < end:
                self.ahead.appendleft((passed, end))
        return sum(end - start for start, end in self.ahead)


class RawAudit:
    """Looks at the collector's equation, as often as asked."""

    def __init__(self, around: Surroundings) -> None:
        """Begin with what the topic keeps at the first look."""
        self._around = around
        self._seen: dict[int, _Seen] = {}

    def look(self, progress: Progress) -> dict[int, Collection]:
        """Return the four counts of every partition of raw usage.

        Raises:
            ServerFailed: a server does not answer.

        """
        around = self._around
        name = around.stack.topic(USAGE_RAW)
        with around.database.session("audit") as connection:
            stands = {stand.partition: stand for stand in load_stands(connection)}
        ends = raw_ends(around.kafka, name, around.partitions)
        for partition, (first, _) in enumerate(ends):
            self._seen.setdefault(partition, _Seen(first, first))
        left = [end - self._seen[partition].following for partition, (_, end) in enumerate(ends)]
        read, found = 0, {}
        for partition, (_, end) in enumerate(ends):
            seen, stand = self._seen[partition], stands.get(partition, Stand(partition))
            for offset in raw_offsets(around.kafka, name, partition, seen.following, end):
                seen.take(offset)
            seen.following = max(seen.following, end)
            read += left[partition]
            progress(read, sum(left))
            beyond = seen.beyond(stand.offset)
            found[partition] = collection_of(stand, seen.first, seen.below, beyond)
        return found
