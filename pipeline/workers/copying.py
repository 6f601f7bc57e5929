"""Copying: the usage log of a stack told once more, as the log of a replay of its own.

Owns: walk the log -> copy -> write.  Does not own: what stands in the copy (replay/copying.py).
Law: a copy that was broken off is gone on with: the same log makes the same copy, so what stands
there already is passed over.
"""

from collections.abc import Iterator, Sequence
from time import monotonic

from pipeline.catalog.facts import Fact
from pipeline.core.errors import BrokenInvariant, CheckFailed
from pipeline.meter.place import Place, Told
from pipeline.meter.sift import Arrival, Sifted
from pipeline.meter.ticks import Tick
from pipeline.replay.copying import Copied, Copier, moved_bodies, named_places
from pipeline.stores.codec import encode_batch
from pipeline.stores.kafka import SureProducer, log_ends, usage_log
from pipeline.stores.postgres.session import Session
from pipeline.stores.postgres.shadows import LogCopy, finish_copy
from pipeline.stores.records import encode_tick
from pipeline.stores.registry import COMMAND_TRIES, message_decoder
from pipeline.topology import COPIER
from pipeline.workers.catchup import Catchup
from pipeline.workers.seams import Log
from pipeline.workers.shadowing import Pace, Stage, Tell
from pipeline.workers.surroundings import Surroundings

_LOOK_EVERY = 500
"""Records between two looks at whether to stop."""

Walk = Iterator[tuple[Arrival, Told | Sifted]]


def check_stop(shadow: Surroundings, session: Session) -> None:
    """End a replay that is asked to stop.

    Raises:
        CheckFailed: it is.

    """
    if session.is_asked_to_stop():
        raise CheckFailed(f"replay {shadow.settings.replay} was stopped: run it again to go on")


def copy_log(
    around: Surroundings,
    log: Log,
    shadow: Surroundings,
    session: Session,
    copy: LogCopy,
    tell: Tell,
) -> None:
    """Copy the log of a stack up to where it was booked, or go on with that.

    Raises:
        CheckFailed: it was asked to stop.
        ServerFailed: a server does not answer.

    """
    (head, _) = session.fact_head()
    with around.database.session("replay copy") as live:
        facts = live.read_facts(0, head)
        decode = message_decoder(around.settings.registry, COMMAND_TRIES)
        catchup = Catchup(around, log, live, live, decode=decode)
        ticks = [Tick(0, 0, 0), *live.ticks_from(1, copy.serial)]
        writing = _Writing(shadow, session, copy, facts, tell)
        walks = [catchup.walk(p, Place(0, 0), end) for p, end in enumerate(copy.ends)]
        for tick in ticks:  # what stands before the first one is refused: it is not copied
            if tick.serial:
                writing.write(writing.copier.pass_tick(tick))
            for walk in walks:
                writing.copy_until_tick(walk)
    writing.finish()


class _Writing:
    """Writes a copy to its topic, and tells how far it is."""

    def __init__(
        self,
        shadow: Surroundings,
        session: Session,
        copy: LogCopy,
        facts: Sequence[Fact],
        tell: Tell,
    ) -> None:
        self._shadow, self._session, self._facts, self._tell = shadow, session, facts, tell
        self._copy, self._topic = copy, usage_log(shadow.stack)
        name = shadow.settings.replay
        named = named_places(facts)
        self.copier = Copier(COPIER, name, copy.partitions, copy.batch_events, named)
        self._there = [end for _, end in self._ends()]
        self._producer = SureProducer(shadow.kafka, compression="lz4", linger_ms=20)
        self._read = self._events = 0
        self._began = monotonic()

    def _ends(self) -> list[tuple[int, int]]:
        return log_ends(self._shadow.kafka, self._topic, self._copy.partitions)

    def copy_until_tick(self, walk: Walk) -> None:
        """Copy what stands before the next tick of a partition of the source, and pass that."""
        for arrival, looked in walk:
            self._note_read(looked)
            if isinstance(looked, Sifted):
                self.write(self.copier.feed(looked, arrival))
            elif looked.piece.tick is not None:
                return

    def _note_read(self, looked: Told | Sifted) -> None:
        self._read += 1
        self._events += looked.batch.event_count if isinstance(looked, Sifted) else 0
        if self._read % _LOOK_EVERY == 0:
            check_stop(self._shadow, self._session)
            seconds = monotonic() - self._began
            records = sum(self._copy.ends)
            self._tell(Pace(self._read, records, self._events, 0, seconds, Stage.COPYING))

    def write(self, copied: Iterator[Copied]) -> None:
        """Write messages; those that stand there already are passed over."""
        for partition, offset, message in copied:
            if offset < self._there[partition]:
                continue
            if isinstance(message, Tick):
                value, count = encode_tick(message, self._copy.partitions), 0
            else:
                value, count = encode_batch(message), message.event_count
            self._producer.send(self._topic, partition, value, event_count=count)
        self._producer.poll()

    def finish(self) -> None:
        """Wait for the broker, and note that the copy is whole."""
        self._producer.flush()
        stands = [end for _, end in self._ends()]
        if stands != self.copier.ends:
            raise BrokenInvariant(f"{self._topic} ends at {stands}, its copy at {self.copier.ends}")
        bodies = moved_bodies(self._facts, self.copier)
        finish_copy(self._session, self._copy, bodies, stands)
