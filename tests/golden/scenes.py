"""The fixed scenes behind the golden formats: one of everything, small enough to read."""

from dataclasses import replace

from builders import (
    HOUR,
    MINUTE,
    T0,
    Books,
    Line,
    customer_of,
    fact_log,
    flat,
    issuer_of,
    keyed,
    log_of,
    meter_of,
    per_unit,
    plan_of,
    price_of,
    rules_of,
    sequenced,
    subscription_of,
    usage,
)
from pipeline.catalog.catalog import FactLog
from pipeline.collect.batch import UsageBatch, heartbeat
from pipeline.collect.event import UsageEvent
from pipeline.collect.letters import DeadLetter, Refusal
from pipeline.core.calendar import DAY
from pipeline.core.errors import Code, Rejection
from pipeline.core.identity import Json
from pipeline.invoice.compose import compose
from pipeline.invoice.planned import planned_lines
from pipeline.ledger.seal import FIRST_SEAL, Issue, PartitionEvidence, evidence_json
from pipeline.meter.slices import Slice
from pipeline.meter.ticks import Tick

WIDE = "12345678901234567890.123456789012345678"

FIRST = usage("acme", "1.50", id="evt-1", time=T0 + 1, region="eu")
SECOND = usage("café", "-3", meter="bytes", id="evt-2", time=T0 + MINUTE)
THIRD = usage("acme", WIDE, meter="bytes", id="evt-3", time=T0 + 2, region="us", tier="gold")


def undone(event: UsageEvent) -> UsageEvent:
    """The reversal of an event, a minute later."""
    return replace(event, reversed_at=event.time + MINUTE)


def keyed_batch() -> UsageBatch:
    """Two customers, two meters, dimensions, a wide value, a reversal."""
    return keyed(FIRST, SECOND, THIRD, undone(FIRST))


def sequenced_batch() -> UsageBatch:
    """Two events at places 41 and 42 of a sequence."""
    return sequenced(41, usage(value="0.001", time=T0 + 3), usage(value="7", time=T0 + 4))


def last_word() -> UsageBatch:
    """A heartbeat that ends its epoch."""
    return heartbeat("host-1", "e1", 43, end=True)


def pointed_slices() -> list[Slice]:
    """A sequence of levels, one of them wide, and users that are counted once each."""
    line = Line(
        fact_log(
            log_of(),
            meter_of("level", "time_weighted", dimensions=["disk"]),
            meter_of("users", "unique_count", of="user"),
        )
    )
    line.tick(Tick(1, T0 + MINUTE, 3))
    line.send(
        sequenced(
            41,
            usage(value="2.5", meter="level", time=T0 + 1, disk="a"),
            usage(value=WIDE, meter="level", time=T0 + 2, disk="a"),
            usage(meter="users", time=T0 + 3, user="ann"),
            usage(meter="users", time=T0 + 4, user="ben"),
            usage(meter="users", time=T0 + 5, user="ann"),
            usage(meter="users", time=T0 + 6),
        )
    )
    line.send(keyed(usage("café", "7", meter="level", id="evt-1", time=T0)))
    return line.slices


def reversed_slices() -> list[Slice]:
    """A reversal of a wide value with dimensions, one of a level, one of a user counted."""
    line = Line(
        fact_log(
            log_of(),
            meter_of("bytes", dimensions=["region"]),
            meter_of("level", "time_weighted"),
            meter_of("users", "unique_count", of="user"),
        )
    )
    line.tick(Tick(1, T0 + MINUTE, 4))
    level = usage("café", "2.5", meter="level", id="evt-1", time=T0)
    user = usage(meter="users", id="evt-2", time=T0 + 3, user="ann")
    line.send(keyed(undone(THIRD), level, undone(level), undone(user)))
    return line.slices


def many_slices() -> list[Slice]:
    """A tick, and a batch of so many customers that names and figures travel in another form."""
    line = Line(fact_log(log_of(), meter_of("bytes", dimensions=["region"])))
    line.tick(Tick(1, T0 + HOUR, 2))
    rest = [
        usage(f"c{number}", str(-(7**number)), meter="bytes", time=T0 + number * MINUTE)
        for number in range(18)
    ]
    few = [usage(f"d{number}", meter="bytes", time=T0, region="eu") for number in range(50)]
    line.send(sequenced(0, usage("café", WIDE, meter="bytes", time=T0), *rest, *few))
    return line.slices


def decisions() -> FactLog:
    """One customer on one plan with a day's cycle, another without a plan."""
    return fact_log(
        log_of(),
        rules_of(grace_s=60),
        issuer_of(),
        meter_of("calls", unit="call", dimensions=["region"]),
        meter_of("bytes", "max", unit="B", window_s=3600),
        plan_of(
            "basic",
            price_of("per-call", per_unit("0.01"), "calls"),
            price_of("seat", flat("5")),
            cycle="P1D",
        ),
        customer_of("acme", name="c0ffee"),
        subscription_of("sub-1", "acme", "basic", "2026-03-01T00:00:00Z"),
    )


def line() -> Line:
    """A tick, a keyed batch, its resend, a sequenced batch, a day's end, a late hour, rubbish."""
    facts = decisions()
    story = Line(facts)
    story.tick(Tick(1, T0 + 5 * MINUTE, facts.head))
    story.send(keyed(FIRST, SECOND, THIRD))
    story.send(keyed(FIRST, replace(SECOND, value=FIRST.value)))
    story.send(sequenced_batch())
    story.tick(Tick(2, T0 + DAY + MINUTE, facts.head))
    story.send(keyed(usage(value="2", id="evt-4", time=T0 + DAY + 1)))
    story.send(keyed(usage(value="4", id="evt-5", time=T0 + 6, region="eu")))
    story.read(Rejection(Code.UNREADABLE, "", "not Avro"), None)
    story.send(last_word())
    return story


def books() -> Books:
    """The line's slices, booked; one of them came twice."""
    story = line()
    kept = Books(story.facts)
    kept.book([*story.slices[:3], *story.slices[2:]])
    return kept


REFUSALS = (
    Refusal(Rejection(Code.LATE, "time", "event time is behind the horizon of the log"), 2, [0, 3]),
    Refusal(Rejection(Code.UNREADABLE, "", "not Avro"), 1),
)

LETTER = DeadLetter(
    "usage.raw.v1",
    3,
    1,
    T0 + 5 * MINUTE,
    REFUSALS,
    b"\0rubbish\xff",
    (("ce_id", b"evt-9"), ("ce_source", None)),
    "acme",
)
"""The letter of a message that came with record headers."""


def content() -> dict[str, Json]:
    """The document that tick 2 cuts: the first day of sub-1."""
    kept = books()
    (cut,) = kept.cuts
    catalog = kept.facts.at(kept.facts.head)
    lines = planned_lines(catalog, cut.payer, cut.currency, cut.instant)
    requests = [line.request for line in lines if line.request]
    used = kept.used(requests, cut.serial)
    (document,) = compose(catalog, cut.payer, cut.currency, cut.instant, lines, used)
    return document.content


def issue() -> Issue:
    """What registering that document adds."""
    stretch = PartitionEvidence(0, -1, 4, 2, {"offered": 7, "fresh": 5})
    return Issue(
        number="T-000001",
        issuer="talea",
        issued_at=T0 + DAY + 2 * MINUTE,
        payment_days=14,
        fact_position_cut=8,
        fact_position_last=8,
        rule_version=1,
        tzdata_version="2026.6",
        evidence=evidence_json([stretch], "ab" * 32),
        previous_seal=FIRST_SEAL,
    )
