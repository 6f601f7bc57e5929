"""L5, corrected exactly: an invoice and its notes are the invoice that all usage would have made.

Usage of several days and customers reaches the log in any order: on time, days late, taken back,
taken back and sent again with another value. Each day is cut while the rest is still to come. In
the end every invoice, with its notes added line by line, is the one of a second world in which
everything that stands came in time and nothing was ever taken back: in all seven totals, line by
line and tier by tier.

EXAMPLES=10000 tries as many worlds.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import (
    GATE,
    HOUR,
    T0,
    Books,
    customer_of,
    fact_log,
    flat,
    graduated,
    issuer_of,
    keyed,
    log_of,
    meter_of,
    per_unit,
    plan_of,
    price_of,
    rules_of,
    sub_account_of,
    subscription_of,
    usage,
)
from builders import Decision as Decided
from laws.test_reversals import Told
from pipeline.book.booking import Cut
from pipeline.catalog.catalog import Catalog, FactLog
from pipeline.catalog.corrections import Decision
from pipeline.catalog.facts import Fact, FactKind, NewFact
from pipeline.catalog.matches import match_facts
from pipeline.collect.event import UsageEvent
from pipeline.core.calendar import DAY, Instant
from pipeline.core.identity import Json
from pipeline.invoice.compose import Composed, compose
from pipeline.invoice.notes import booked, is_note
from pipeline.invoice.planned import Carried, planned_lines, requests_of, with_lines
from pipeline.invoice.totals import Totals
from pipeline.invoice.usage import UsageRequest, Used
from pipeline.ledger.seal import content_bytes
from pipeline.meter.ticks import Tick
from pipeline.replay.matching import Search, Sequences
from pipeline.stores.postgres.documents import Document
from pipeline.stores.postgres.preparing import Prepared
from pipeline.workers.correcting import Corrector

EXAMPLES = int(os.environ.get("EXAMPLES", "200"))
STEP = 6 * HOUR
DAYS = 3
STEPS = (DAYS + 2) * 4
CUSTOMERS = ("acme", "globex")

DECISIONS = (
    log_of(horizon_s=30 * 86_400),
    rules_of(grace_s=12 * 3600),
    issuer_of(),
    meter_of("calls", window_s=3600, dimensions=["region"]),
    meter_of("load", "time_weighted", window_s=3600, per_s=3600),
    meter_of("peak", "max", window_s=3600, points=True),
    plan_of(
        "daily",
        price_of(
            "calls",
            graduated(("5", "0.37", "1"), ("9", "0.111", "0"), (None, "0.05", "0.40")),
            "calls",
            minimum="3.33",
            discounts=[
                {"type": "percentage", "percent": "15", "reason": "partner"},
                {"type": "fixed", "amount": "0.50", "reason": "slow"},
            ],
        ),
        price_of("regions", per_unit("0.013"), "calls", group_by=["region"], maximum="0.09"),
        price_of("load", per_unit("0.0007"), "load"),
        price_of("peak", {"type": "volume", "tiers": [
            {"up_to": "4", "unit_amount": "1.10", "flat_amount": "0"},
            {"up_to": None, "unit_amount": "0.99", "flat_amount": "0"},
        ]}, "peak"),
        price_of("seat", flat("5")),
        cycle="P1D",
    ),
    *(customer_of(name) for name in CUSTOMERS),
    subscription_of("s-acme", "acme", "daily", "2026-03-01T00:00:00Z"),
    subscription_of("s-globex", "globex", "daily", "2026-03-01T00:00:00Z", "2026-03-03T12:00:00Z"),
)  # fmt: skip
COMMITMENTS = (
    price_of("spend", flat("17.77"), covers="all"),
    price_of("reserved", flat("2.50"), covers=["regions", "load"]),
)
COMMITTED = tuple(
    (kind, name, {**body, "prices": [*cast(list[Json], body["prices"]), *COMMITMENTS]})
    if kind is FactKind.PLAN
    else (kind, name, body)
    for kind, name, body in DECISIONS
)
"""The same, committed to spending so much a day, on all and on some of it."""
ONE_PAYER = tuple(
    sub_account_of("globex", "acme") if decision[:2] == (FactKind.CUSTOMER, "globex") else decision
    for decision in COMMITTED
)
"""The same, but acme pays for globex, whose periods end with its own and in the middle of one."""
LAW_GATE = replace(GATE, horizon=30 * DAY)


@dataclass
class Ledger:
    """What the finalizer does, over books in memory: documents and notes of every cut."""

    facts: FactLog
    books: Books
    ticks: Mapping[int, Tick]
    prepared: list[Prepared] = field(default_factory=list)
    carried: dict[str, Carried] = field(default_factory=dict)
    looked_at: int = 0

    def read_documents(self, payer: str | None = None) -> list[Document]:
        return []

    def read_prepared(self, payer: str) -> list[Prepared]:
        return [each for each in self.prepared if each.payer == payer]

    def late_usage(
        self, payer: str, currency: str, below: int, *, carried: bool = False
    ) -> list[tuple[int, Instant]]:
        serials = [cut.serial for cut in self.books.cuts if cut.payer == payer]
        since = max((serial for serial in serials if serial < below), default=0)
        return [
            (cut, late.window_start)
            for flush in self.books.booked
            for (who, cut), late in flush.late.items()
            if who == payer and (carried or since <= cut) and cut < below
        ]

    def fact_position(self, tick_serial: int) -> int:
        return self.ticks[tick_serial].fact_position

    def read_usage(
        self, requests: Iterable[UsageRequest], below_cut: int = 1 << 62
    ) -> Mapping[UsageRequest, Sequence[Used]]:
        found = self.books.used(requests, below_cut)
        return {request: [*used] for request, used in found.items()}

    def moved_since(self, asked: Sequence[tuple[UsageRequest, int]], below_cut: int) -> list[bool]:
        """By every row: what came and was taken back may stand on a note."""
        return [
            any(
                since <= cut < below_cut and of.may_rest_on(series.customer, series.meter, start)
                for series, start, cut in self.books.store
            )
            for of, since in asked
        ]

    def finalize(self) -> None:
        """Make the documents of every cut that was booked since."""
        new = self.books.cuts[self.looked_at :]
        self.looked_at += len(new)
        for cut in sorted(new, key=lambda cut: (cut.serial, cut.instant)):
            catalog = self.facts.at(self.fact_position(cut.serial))
            ordinary = [] if cut.fact else [*self._ordinary(cut, catalog)]
            notes = Corrector(self, self.facts.at).at(cut, catalog)
            for document in (*ordinary, *(each.document for each in notes)):
                assert not document.issues
                content = content_bytes(document.content)
                self.prepared.append(
                    Prepared(
                        cut.payer, cut.currency, cut.instant, document.kind, document.ordinal,
                        document.issuer, cut.serial, content, {},
                    )
                )  # fmt: skip

    def _ordinary(self, cut: Cut, catalog: Catalog) -> Iterator[Composed]:
        before = self.carried.get(cut.payer, {})
        lines = planned_lines(catalog, cut.payer, cut.currency, cut.instant, before)
        used = self.read_usage(requests_of(lines), cut.serial)
        yield from compose(catalog, cut.payer, cut.currency, cut.instant, lines, used)
        self.carried[cut.payer] = with_lines(before, lines)


@dataclass
class World:
    """A log with its books and documents."""

    log: FactLog = field(default_factory=lambda: fact_log(*DECISIONS))
    ticks: dict[int, Tick] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.line = Told(self.log)
        self.books = Books(self.log)
        self.ledger = Ledger(self.log, self.books, self.ticks)

    def tick(self, time: Instant) -> None:
        """The next tick; what came before it is booked, what it cuts is issued."""
        serial = len(self.ticks) + 1
        self.ticks[serial] = tick = Tick(serial, time, self.log.head)
        self.line.tick(tick)
        self.book()
        self.ledger.finalize()

    def book(self) -> None:
        self.books.book(self.line.slices[self.books.partition.cursor.offset + 1 :])

    def decide(self, new: NewFact) -> None:
        serial = self.log.head + 1
        body = dict(new.body)
        self.log.append(
            [Fact(serial, f"fact-{serial}", new.kind, new.subject, body, "ada", "test", T0)]
        )

    def match(self) -> None:
        """Tell which originals reversals have."""
        self.book()
        search = Search(0, dict(self.books.partition.reversals.waiting))
        for arrival, sifted in self.line.sifted:
            search.feed(sifted, arrival, LAW_GATE.generation(sifted.log_time))
        sequences = Sequences(search.epochs)
        for new in match_facts(0, search.matches(sequences.taken)):
            self.decide(new)

    def correct(self) -> None:
        """Ask for the notes of whoever has no next cut."""
        now = max(self.ticks.values()).time + 1
        for customer in CUSTOMERS:
            self.decide(Decision(FactKind.CORRECTION, customer, "EUR", now).told())
        self.tick(now + HOUR)

    def stands(self) -> dict[str, dict[str, Totals]]:
        """Every invoice with its notes: the totals of each line and tier that says anything."""
        contents = [document_of(each) for each in self.ledger.prepared]
        notes = [each for each in contents if is_note(each)]
        found = {}
        for content in contents:
            if not is_note(content):
                own = [note for note in notes if note["corrects"] == content["id"]]
                found[str(content["id"])] = totals_of(booked(content, own))
        return found


def document_of(prepared: Prepared) -> dict[str, Json]:
    """The content of a document."""
    return cast(dict[str, Json], json.loads(prepared.content))


def totals_of(content: Mapping[str, Json]) -> dict[str, Totals]:
    """The totals of a document, of its lines and of theirs, by id; they add up."""
    found = {"": Totals.of_json(content["totals"])}
    lines = cast(list[dict[str, Any]], content["lines"])
    assert Totals.sum(Totals.of_json(line["totals"]) for line in lines) == found[""]
    for line in lines:
        found[line["id"]] = Totals.of_json(line["totals"])
        own = [Totals.of_json(child["totals"]) for child in line["children"]]
        assert not own or Totals.sum(own) == found[line["id"]]
        found |= {child["id"]: Totals.of_json(child["totals"]) for child in line["children"]}
    return {key: totals for key, totals in found.items() if totals != Totals() or not key}


@dataclass(frozen=True)
class Sent:
    """Usage: when it was, how many steps later it came, and whether it was taken back since."""

    event: UsageEvent
    late: int
    back: int | None
    instead: str | None

    @property
    def replaced(self) -> list[UsageEvent]:
        """What was sent in its place."""
        event = self.event
        if self.instead is None:
            return []
        return [replace(event, id=f"{event.id}b", value=Decimal(self.instead))]

    @property
    def first(self) -> int:
        """The first step that it can come in."""
        return (self.event.time - T0) // STEP + 1


def events() -> st.SearchStrategy[list[Sent]]:
    """Usage of some days; most comes late."""
    one = st.builds(
        Sent,
        st.builds(
            lambda who, meter, hour, value, region: usage(
                who, value, meter=meter, time=T0 + hour * HOUR + 7,
                **({"region": region} if region and meter == "calls" else {}),
            ),
            st.sampled_from(CUSTOMERS),
            st.sampled_from(["calls", "calls", "load", "peak"]),
            st.integers(0, 24 * DAYS - 1),
            st.sampled_from(["1", "2.5", "4", "7", "0.125"]),
            st.sampled_from(["", "eu", "us"]),
        ),
        st.sampled_from([0, 0, 1, 4, 9, STEPS]),
        st.sampled_from([None, None, None, 1, 5, STEPS]),
        st.sampled_from([None, "3"]),
    )  # fmt: skip
    return st.lists(one, min_size=1, max_size=7).map(_named)


def _named(sent: Sequence[Sent]) -> list[Sent]:
    """Give each event an id."""
    return [replace(s, event=replace(s.event, id=f"e{n}")) for n, s in enumerate(sent)]


def live(sent: Sequence[Sent], decisions: Sequence[Decided] = DECISIONS) -> World:
    """The world in which it came when it came."""
    world = World(fact_log(*decisions))
    world.tick(T0)
    arrivals: dict[int, list[UsageEvent]] = {}
    for each in sent:
        came = min(each.first + each.late, STEPS)
        arrivals.setdefault(came, []).append(each.event)
        if each.back is not None:
            gone = arrivals.setdefault(min(came + each.back, STEPS + 1), [])
            gone.append(replace(each.event, reversed_at=each.event.time + 1))
            gone += each.replaced
    for step in range(1, STEPS + 2):
        world.tick(T0 + step * STEP)
        for event in arrivals.get(step, ()):
            world.line.send(keyed(event))
        if any(event.reversed_at is not None for event in arrivals.get(step, ())):
            world.match()
    world.correct()
    return world


def in_time(sent: Sequence[Sent], decisions: Sequence[Decided] = DECISIONS) -> World:
    """The world in which what stands came as it happened, and nothing else."""
    kept = [[each.event] if each.back is None else each.replaced for each in sent]
    return live([Sent(event, 0, None, None) for events in kept for event in events], decisions)


@pytest.mark.timeout(3 * EXAMPLES)  # worlds are work, not waiting
@settings(max_examples=EXAMPLES, deadline=None)
@given(events())
def test_an_invoice_and_its_notes_are_what_all_usage_in_time_had_made(sent: list[Sent]) -> None:
    assert live(sent, COMMITTED).stands() == in_time(sent, COMMITTED).stands()


@pytest.mark.timeout(3 * EXAMPLES)
@settings(max_examples=EXAMPLES // 10, deadline=None)
@given(events())
def test_so_it_is_on_the_documents_of_a_parent_that_pays(sent: list[Sent]) -> None:
    corrected, whole = live(sent, ONE_PAYER), in_time(sent, ONE_PAYER)

    assert corrected.stands() == whole.stands()
    assert {each.payer for each in corrected.ledger.prepared} == {"acme"}
    apart = in_time(sent, COMMITTED).stands().values()
    together = Totals.sum(document[""] for document in whole.stands().values())
    assert together == Totals.sum(document[""] for document in apart)
