"""THE PAGE: every topic, group and key prefix, who writes it and who reads it.

A name that reaches a broker, a table or a group is written here and nowhere else.

    any Kafka client ──one event──> usage.raw ── collector: read, pack ──UsageBatch──.
                                                 │ bad ──> usage.rejected            v
    agents, gateways ──UsageBatch──────.          ticker ──Tick──> every partition <─'
                                       v              v
                                  usage.events ───────┘
                                       │  metering worker (Faust): decode, gate, claim, fold
                                       v
       usage.rejected <── bad, late ───┼──> usage.metered
                                              │  pricing worker: book, then draft
                                              v
                                          Postgres ── finalizer: prepare, register ──> sealed
                                              │  publisher: what was committed, in order
                                              v
       billing.draft-invoices, billing.draft-line-items, billing.invoices
    fact log (Postgres) ── ticker ──> billing.facts
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

EVENT_COUNT_HEADER = "talea-events"
"""Record header on `usage.events`: how many events the producer offers, in ASCII digits."""

READER_GROUP = "talea-reader"
"""What readers without a group call themselves: librdkafka wants a name. Never joined."""

COPIER = "talea-copy"
"""The producer whose sequences stand in the copy of a log."""

EMBEDDED_PARTITIONS = 8
PRODUCTION_PARTITIONS = 64

MESSAGE_BYTES_MAX = 4 << 20
"""The largest record the broker takes, save in the usage log."""
USAGE_BYTES_MAX = 1 << 20
"""The largest batch of records that usage topics take; agents stay below (collect/limits)."""

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS

_COMPACTION = {
    "segment.ms": str(_HOUR_MS),
    "delete.retention.ms": str(7 * _DAY_MS),
}
"""A segment is compacted once it is closed; a reader that was away for a week starts anew."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as we create it. `per_log`: as many partitions as the usage log, else one."""

    name: str
    retention_ms: int
    per_log: bool = True
    compacted: bool = False
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def config(self) -> dict[str, str]:
        """The topic's settings for the broker."""
        return {
            "cleanup.policy": "compact" if self.compacted else "delete",
            **(_COMPACTION if self.compacted else {}),
            "retention.ms": str(self.retention_ms),
            "max.message.bytes": str(MESSAGE_BYTES_MAX),
            **self.extra,
        }


USAGE_RAW = Topic(
    "usage.raw.v1",
    retention_ms=7 * _DAY_MS,
    extra={
        "max.message.bytes": str(USAGE_BYTES_MAX),
        # A stranger's time of last year must not have its event deleted before it is read.
        "message.timestamp.type": "LogAppendTime",
    },
)
"""One usage event a message, by any Kafka client, under any key, in any partition."""
USAGE_EVENTS = Topic(
    "usage.events.v1",
    retention_ms=400 * _DAY_MS,
    extra={
        "max.message.bytes": str(USAGE_BYTES_MAX),
        "message.timestamp.type": "LogAppendTime",
    },
)
"""The usage log: UsageBatch and Tick, offsets contiguous (no compaction, no transactions).

Record timestamps are the broker's: by a producer's clock that runs ahead the broker would refuse
its usage, by one that lost its years it would delete segments before their time.
"""
USAGE_METERED = Topic("usage.metered.v1", retention_ms=7 * _DAY_MS)
"""MeteredSlices, same partition number as their source."""
USAGE_REJECTED = Topic("usage.rejected.v1", retention_ms=120 * _DAY_MS)
"""RejectedUsage: what was refused, with its bytes."""
BILLING_FACTS = Topic("billing.facts.v1", retention_ms=-1, per_log=False)
"""Mirror of the fact log, for ever."""
BILLING_DRAFT_INVOICES = Topic("billing.draft-invoices.v1", retention_ms=-1, compacted=True)
"""Drafts by document id, null once gone; partition of the customer."""
BILLING_DRAFT_LINES = Topic("billing.draft-line-items.v1", retention_ms=-1, compacted=True)
"""Line items of drafts by line id, null once gone; partition of the customer."""
BILLING_INVOICES = Topic("billing.invoices.v1", retention_ms=-1)
"""Issued documents by document id, for ever; partition of the issuer, in chain order."""

TOPICS = (
    USAGE_RAW,
    USAGE_EVENTS,
    USAGE_METERED,
    USAGE_REJECTED,
    BILLING_FACTS,
    BILLING_DRAFT_INVOICES,
    BILLING_DRAFT_LINES,
    BILLING_INVOICES,
)

SHADOW_TOPICS = (USAGE_METERED, USAGE_REJECTED)
"""What every replay writes; it reads the usage log of whom it shadows, or a copy of its own."""

_SHADOW = "_replay_"


@dataclass(frozen=True, slots=True)
class Stack:
    """One tenant's names: a prefix for topics, groups and Redis keys, a Postgres schema.

    `log_prefix`: the prefix of the usage log, where it is another's.
    """

    prefix: str = ""
    schema: str = "talea"
    log_prefix: str | None = None

    def topic(self, topic: Topic) -> str:
        """Return the topic's name on the broker."""
        if topic is USAGE_EVENTS and self.log_prefix is not None:
            return f"{self.log_prefix}{topic.name}"
        return f"{self.prefix}{topic.name}"

    def shadow(self, name: str, *, copies: bool = False) -> "Stack":
        """Return the names of a replay: the usage log is ours unless copied, all else its own."""
        log_prefix = None if copies else self.prefix
        return Stack(f"{self.prefix}replay.{name}.", f"{self.shadows}{name}", log_prefix)

    @property
    def shadow_topics(self) -> Sequence[Topic]:
        """What a replay of these names has on the broker."""
        return (*SHADOW_TOPICS, USAGE_EVENTS) if self.log_prefix is None else SHADOW_TOPICS

    @property
    def shadows(self) -> str:
        """What the schemas of all replays begin with."""
        return f"{self.schema}{_SHADOW}"

    @property
    def metering_group(self) -> str:
        """The Faust application id, which is its consumer group."""
        return f"{self.prefix}talea-metering"

    @property
    def publisher_id(self) -> str:
        """The publisher's transactional id: the broker lets the latest one write, no other."""
        return f"{self.prefix}talea-publisher"

    def claims_key(self, partition: int, generation: int) -> str:
        """Return the Redis hash of one partition's claims; {..} keeps a partition in a slot."""
        return f"{self.prefix}{{usage-{partition}}}:claims:{generation}"

    def claims_pattern(self, partition: int) -> str:
        """Return the pattern of every claims hash of a partition, for SCAN."""
        prefix = "".join(f"\\{c}" if c in "*?[]\\" else c for c in self.prefix)
        return f"{prefix}{{usage-{partition}}}:claims:*"

    def watermark_key(self, partition: int) -> str:
        """Return the Redis key of the offset up to which a partition's claims are complete."""
        return f"{self.prefix}{{usage-{partition}}}:watermark"
