"""Publisher: what was committed goes onto the billing topics.

Owns: load -> note -> send -> settle, leadership, taking stock of topics it does not know.
Does not own: records (invoice/published.py), marks and places (stores/postgres/publishing.py).
Law: nothing is published that was not committed, and under every key the last record is what
was committed last, wherever it is stopped: it always sends the present state, keys are noted
before they are sent, marks go when all is acked. Who leads has shut its predecessor out twice,
by a lock on the connection that settles and by the name under which it sends.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from threading import Event
from time import monotonic
from typing import Protocol

import structlog

from pipeline.agents.following import Follower, Found
from pipeline.core.errors import BrokenInvariant, ServerFailed
from pipeline.core.identity import partition_of
from pipeline.invoice.published import (
    Issued,
    Record,
    Shelf,
    draft_records,
    issued_value,
    read_draft,
    read_issued,
    read_line,
)
from pipeline.stores.kafka import topic_id
from pipeline.stores.postgres.connection import Unreachable
from pipeline.stores.postgres.publishing import DraftChange, Owed
from pipeline.stores.publishing import FencedProducer
from pipeline.topology import (
    BILLING_DRAFT_INVOICES,
    BILLING_DRAFT_LINES,
    BILLING_INVOICES,
    Stack,
    Topic,
)
from pipeline.workers.surroundings import Surroundings

_STANDBY_S = 0.5
_SILENCE_S_MIN = 15.0
"""Above what one answer of Kafka may take: waiting for it is no silence."""

BITE = 500
"""Documents and drafts published in one transaction."""

_REST_OF_STEP = 3
_REST_S_MAX = 1.0
"""However slow the servers are, a backlog goes out."""

_TOPICS = {
    Shelf.DRAFTS: BILLING_DRAFT_INVOICES,
    Shelf.LINES: BILLING_DRAFT_LINES,
    Shelf.ISSUED: BILLING_INVOICES,
}

_log = structlog.get_logger()

Sent = tuple[str, int, bytes, bytes | None]
"""(topic, partition, key, value)."""


class PublicationStore(Protocol):
    """What is owed and what stands: a session of its own, in autocommit."""

    def lead_publishing(self) -> bool: ...

    def cluster_identity(self) -> str: ...

    def publication_identity(self) -> str | None: ...

    def sealed_at(self, issuer: str, place: int) -> bytes | None: ...

    def begin_publication(
        self,
        identity: str,
        standing: Mapping[str, tuple[str, frozenset[str]]],
        chains: Mapping[str, int],
    ) -> None: ...

    def read_owed(self, count_max: int) -> Owed: ...

    def note_keys(self, changes: Iterable[DraftChange]) -> None: ...

    def settle(self, owed: Owed) -> None: ...


@dataclass(frozen=True, slots=True)
class Topics:
    """The billing topics as they stand: their ids, and everything that each holds now."""

    id_of: Callable[[str], str]
    whole: Callable[[str], Iterable[Found]]

    @classmethod
    def of(cls, kafka: str) -> "Topics":
        """Return those of a broker."""
        return cls(partial(topic_id, kafka), partial(_until_end, kafka))


def _until_end(kafka: str, name: str) -> Iterator[Found]:
    follower = Follower(kafka, name)
    try:
        yield from follower.until_end()
    finally:
        follower.close()


class Outlet(Protocol):
    """Where records go, as a whole or not at all (stores/publishing.py)."""

    def fence(self) -> None: ...
    def send(self, records: Iterable[Sent]) -> None: ...
    def commit(self) -> None: ...


def records_of(owed: Owed) -> list[Record]:
    """Return the records of everything owed; documents before the drafts they took over from."""
    issued = [Record(Shelf.ISSUED, one.issuer, one.id, issued_value(one)) for one in owed.documents]
    changed = [
        record
        for change in owed.changes
        if change.draft is not None or change.standing is not None
        for record in draft_records(change.id, change.payer, change.standing or (), change.draft)
    ]
    return issued + changed


def placed(record: Record, stack: Stack, partitions: int) -> Sent:
    """Return a record as it is sent: the partition is its owner's, so theirs stay in order."""
    topic = stack.topic(_TOPICS[record.shelf])
    return topic, partition_of(record.owner, partitions), record.key.encode(), record.value


class Publisher:
    """Publishes while it leads."""

    def __init__(
        self,
        around: Surroundings,
        store: PublicationStore,
        outlet: Outlet,
        topics: Topics | None = None,
    ) -> None:
        """Use a store and an outlet that nobody else uses."""
        self._around, self._store, self._outlet = around, store, outlet
        self._topics = topics or Topics.of(around.kafka)

    def try_lead(self) -> bool:
        """Return whether this publisher leads from now on.

        Raises:
            BrokenInvariant: the topic of invoices holds what the database does not.

        """
        if not self._store.lead_publishing():
            return False
        self._outlet.fence()
        names = [self._around.stack.topic(topic) for topic in _TOPICS.values()]
        identity = " ".join(
            [
                self._store.cluster_identity(),
                *map(self._topics.id_of, names),
            ]
        )
        if self._store.publication_identity() != identity:
            self._take_stock(identity)
        return True

    def step(self) -> int:
        """Publish what is owed, up to a bite; return how many documents and drafts it was."""
        owed = self._store.read_owed(BITE)
        if not owed:
            return 0
        self._store.note_keys(owed.changes)
        around = self._around
        self._outlet.send(
            placed(record, around.stack, around.partitions) for record in records_of(owed)
        )
        self._outlet.commit()
        self._store.settle(owed)
        return len(owed.documents) + len(owed.changes)

    def _take_stock(self, identity: str) -> None:
        """Read what stands on the topics, and owe everything anew.

        After a restore, of the database or of the topics, what was noted speaks of others.
        """
        standing: dict[str, tuple[str, frozenset[str]]] = {}
        for found in self._whole(BILLING_DRAFT_INVOICES):
            draft = read_draft(found)
            standing[draft.id] = (draft.customer, frozenset())
        for found in self._whole(BILLING_DRAFT_LINES):
            line = read_line(found)
            _, lines = standing.get(line.document, ("", frozenset()))
            standing[line.document] = (line.customer, lines | {line.id})
        chains: dict[str, int] = {}
        for found in self._whole(BILLING_INVOICES):
            issued = read_issued(found)
            self._hold(issued)
            chains[issued.issuer] = max(issued.place, chains.get(issued.issuer, 0))
        _log.info("publishing everything anew", drafts=len(standing), chains=chains)
        self._store.begin_publication(identity, standing, chains)

    def _hold(self, issued: Issued) -> None:
        """Hold what was published against what is issued: the topic shows a tail that is lost."""
        seal = self._store.sealed_at(issued.issuer, issued.place)
        if seal != issued.seal:
            raise BrokenInvariant(
                f"{BILLING_INVOICES.name} holds {issued.number} at place {issued.place} of"
                f" {issued.issuer}, the database {'another' if seal else 'none'}: restore the"
                " issued documents from the topic before anything is issued again"
            )

    def _whole(self, topic: Topic) -> Iterable[bytes]:
        """Return the last value of every key that has one."""
        last: dict[bytes, Found] = {}
        for count, found in enumerate(self._topics.whole(self._around.stack.topic(topic))):
            last[found.key] = found
            if count % 1000 == 0:
                self._store.cluster_identity()  # who falls silent loses the lead
        return [found.value for found in last.values() if found.value is not None]


def rest_s(published: int, took_s: float, publish_s: float) -> float:
    """Return how long to rest after a step: after a whole bite three times as long as it took.

    So drafts that are rated all the time are published less often, each as it then stands: what
    is passed on can be seen already, and a publisher has no more than a quarter of a core.
    """
    return publish_s if published < BITE else min(_REST_S_MAX, _REST_OF_STEP * took_s)


def run_publisher(around: Surroundings, stop: Event) -> None:
    """Publish until stopped; wait while another one leads.

    Raises:
        ServerFailed: a server does not answer, or this publisher was silent so long that it does
            not lead any more.

    """
    settings = around.settings
    idle_s = max(settings.session_s, _SILENCE_S_MIN)
    try:
        with around.database.session("publisher", idle_s=idle_s) as session:
            outlet = FencedProducer(around.kafka, around.stack.publisher_id)
            publisher = Publisher(around, session, outlet)
            while not publisher.try_lead():
                if stop.wait(_STANDBY_S):
                    return
            while not stop.is_set():
                began = monotonic()
                published = publisher.step()
                stop.wait(rest_s(published, monotonic() - began, settings.publish_s))
    except Unreachable as error:
        raise ServerFailed(
            f"the publisher lost its session, and the lead with it: {error}"
        ) from None
