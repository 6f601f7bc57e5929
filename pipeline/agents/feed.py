"""Feeds: drafts, their lines and issued invoices, as they happen, for whoever wants to know.

    with DraftFeed.open(kafka="127.0.0.1:9092") as feed:
        feed.catch_up()
        print(feed.latest)           # every draft that stands, by document id
        for change in feed:          # and from now on whatever becomes of them
            print(change.what, change.id, change.now)

Owns: the latest of every key, telling news from repeats.  Does not own: reading Kafka
(following.py), the records' fields (invoice/published.py).
Law: topics are written at least once. A repeat, or a value older than what is known, changes
nothing; a tombstone removes. So `latest` is what was committed last, wherever reading began.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Generic, Protocol, Self, TypeVar

from pipeline.agents.following import Follower, Found
from pipeline.agents.link import Client
from pipeline.core.errors import CheckFailed, ServerFailed
from pipeline.invoice.published import (
    DraftInvoice,
    DraftLine,
    DraftPosition,
    Issued,
    read_draft,
    read_issued,
    read_line,
)
from pipeline.ledger.seal import FIRST_SEAL, Sealed, link_fault
from pipeline.topology import (
    BILLING_DRAFT_INVOICES,
    BILLING_DRAFT_LINES,
    BILLING_INVOICES,
    Stack,
    Topic,
)

_POLL_S = 0.5


class What(StrEnum):
    """What a record tells."""

    NEWS = "news"
    """A key that is new, or stands at a later position."""
    GONE = "gone"
    """The key stands no longer: the draft was issued or dropped, the line vanished."""
    REPEAT = "repeat"
    """Known already."""
    OLDER = "older"
    """Older than what is known; ignored."""


class Positioned(Protocol):
    """What a position tells the age of."""

    @property
    def position(self) -> DraftPosition: ...


P = TypeVar("P", bound=Positioned)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """One record: what it tells of a key, and what stands under the key now (None: nothing)."""

    what: What
    id: str
    now: T | None


class Latest(Generic[P]):
    """The latest of every key, out of records in their order."""

    def __init__(self, read: Callable[[bytes], P]) -> None:
        """Start empty; `read` opens a value or raises ValueError."""
        self._read = read
        self.standing: dict[str, P] = {}

    def take(self, key: str, value: bytes | None) -> Change[P]:
        """Take a record in and say what it told.

        Raises:
            ValueError: its value is no record of ours.

        """
        known = self.standing.get(key)
        if value is None:
            self.standing.pop(key, None)
            return Change(What.GONE if known else What.REPEAT, key, None)
        found = self._read(value)
        if known is not None and found.position.offset < known.position.offset:
            return Change(What.OLDER, key, known)
        self.standing[key] = found
        return Change(What.REPEAT if found == known else What.NEWS, key, found)


class Chains:
    """The chains of issued documents, each document held against the one before it."""

    def __init__(self) -> None:
        """Start before the first document of every issuer."""
        self.heads: dict[str, Issued] = {}

    def take(self, value: bytes) -> Change[Issued]:
        """Take a record in and say what it told.

        Raises:
            CheckFailed: a seal does not hold, or a document is missing before this one.
            ValueError: the value is no record of ours.

        """
        found = read_issued(value)
        head = self.heads.get(found.issuer)
        if head is not None and found.place <= head.place:
            return Change(What.REPEAT, found.id, found)
        place, previous = (head.place, head.seal.hex()) if head else (0, FIRST_SEAL)
        sealed = Sealed(found.place, found.number, found.content, found.record, found.seal)
        fault = link_fault(sealed, place + 1, previous)
        if fault is not None:
            raise CheckFailed(f"invoice {found.number} of {found.issuer}: {fault}")
        self.heads[found.issuer] = found
        return Change(What.NEWS, found.id, found)


class _Feed(ABC, Generic[T]):
    """Records of one topic as changes; iterate it, or read it step by step."""

    topic: ClassVar[Topic]

    @classmethod
    def open(cls, kafka: str, *, prefix: str = "", client: Client | None = None) -> Self:
        """Open a feed at its beginning; `client` are more settings of librdkafka.

        Raises:
            BadInput: a setting that librdkafka does not know.
            BrokerAway: the broker does not answer, or has no such topic.

        """
        name = Stack(prefix).topic(cls.topic)
        return cls(Follower(kafka, name, client), name)

    def __init__(self, follower: Follower, name: str) -> None:
        """Use a follower that nobody else uses."""
        self._follower, self._name = follower, name

    @abstractmethod
    def _take(self, key: str, value: bytes | None) -> Change[T]: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the broker."""
        self._follower.close()

    def read(self, wait_s: float = _POLL_S) -> list[Change[T]]:
        """Return what comes within `wait_s`.

        Raises:
            BrokerAway: the broker has ended this feed; open another one.
            CheckFailed: a seal does not hold (invoices alone).
            ServerFailed: somebody else wrote into the topic.

        """
        return [self._change(found) for found in self._follower.read(wait_s)]

    def catch_up(self) -> list[Change[T]]:
        """Return everything up to the end of the topic; raises as `read` does."""
        return [self._change(found) for found in self._follower.until_end()]

    def __iter__(self) -> Iterator[Change[T]]:
        """Yield changes for ever; raises as `read` does."""
        while True:
            yield from self.read()

    def _change(self, found: Found) -> Change[T]:
        try:
            return self._take(found.key.decode(), found.value)
        except ValueError as error:
            raise ServerFailed(
                f"{self._name}[{found.partition}]: the record at offset {found.offset} is none of"
                f" ours ({error}): who writes there?"
            ) from None


class DraftFeed(_Feed[DraftInvoice]):
    """Draft invoices by document id."""

    topic = BILLING_DRAFT_INVOICES

    def __init__(self, follower: Follower, name: str) -> None:
        """Know nothing yet."""
        super().__init__(follower, name)
        self._drafts = Latest(read_draft)

    @property
    def latest(self) -> Mapping[str, DraftInvoice]:
        """Every draft that stands, by document id."""
        return self._drafts.standing

    def _take(self, key: str, value: bytes | None) -> Change[DraftInvoice]:
        return self._drafts.take(key, value)


class LineFeed(_Feed[DraftLine]):
    """Line items of drafts by line id."""

    topic = BILLING_DRAFT_LINES

    def __init__(self, follower: Follower, name: str) -> None:
        """Know nothing yet."""
        super().__init__(follower, name)
        self._lines = Latest(read_line)

    @property
    def latest(self) -> Mapping[str, DraftLine]:
        """Every line that stands, by line id."""
        return self._lines.standing

    def _take(self, key: str, value: bytes | None) -> Change[DraftLine]:
        return self._lines.take(key, value)


class InvoiceFeed(_Feed[Issued]):
    """Issued documents in the order of each issuer's chain, every seal checked."""

    topic = BILLING_INVOICES

    def __init__(self, follower: Follower, name: str) -> None:
        """Know nothing yet."""
        super().__init__(follower, name)
        self._chains = Chains()

    @property
    def heads(self) -> Mapping[str, Issued]:
        """The last document of every issuer."""
        return self._chains.heads

    def _take(self, _key: str, value: bytes | None) -> Change[Issued]:
        return self._chains.take(value or b"")
