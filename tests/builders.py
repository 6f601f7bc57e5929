"""Words the tests share: instants, usage, batches, facts, and one partition's line in memory.

`Line` is metering and booking by the pure rooms alone: what the workers do, without servers.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from pipeline.book.booking import Booked, Cursor, Cut, Partition
from pipeline.book.series import SeriesKey
from pipeline.catalog.catalog import Catalog, FactLog
from pipeline.catalog.facts import Fact, FactKind, NewFact
from pipeline.collect.batch import Mode, UsageBatch, pack_events
from pipeline.collect.columns import Columns, read_columns
from pipeline.collect.event import UsageEvent
from pipeline.collect.gate import Gate, GatePass
from pipeline.collect.keyed import KeyedEvent, events_at
from pipeline.collect.letters import Refusal
from pipeline.core.calendar import SECOND, Instant, instant_text, parse_instant
from pipeline.core.identity import Json, batch_digest, canonical, pass_digest
from pipeline.dedupe.claims import Behind, ClaimBook
from pipeline.invoice.published import DraftInvoice, DraftText
from pipeline.invoice.usage import Usage, UsagePart, UsageRequest
from pipeline.meter.meters import Aggregation, Grain, Meter
from pipeline.meter.place import NeedsTick, Opened, Place, Told, look
from pipeline.meter.sift import Arrival, Ground, contribution, delivery
from pipeline.meter.slices import Slice
from pipeline.meter.ticks import Tick
from pipeline.replay.points import FoldedPoints
from pipeline.stores.codec import encode_batch

T0: Instant = parse_instant("2026-03-01T00:00:00Z")
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
TICK_1 = Tick(1, T0, 1)
GATE = Gate(horizon=3 * 24 * HOUR, tolerance=5 * MINUTE)

Decision = tuple[FactKind, str, dict[str, Json]]

instant = parse_instant


def usage(
    customer: str = "acme",
    value: str = "1",
    *,
    meter: str = "calls",
    time: Instant = T0,
    id: str = "",
    source: str = "shop",
    **dimensions: str,
) -> UsageEvent:
    """One usage event."""
    return UsageEvent(customer, meter, time, Decimal(value), id, source, dimensions)


def keyed(*events: UsageEvent) -> UsageBatch:
    """A batch whose events have ids."""
    return pack_events(events, Mode.KEYED, "", "", 0)


def named(event: UsageEvent) -> KeyedEvent:
    """An event under its own key."""
    batch = keyed(event)
    columns = read_columns(batch)
    assert isinstance(columns, Columns)
    return next(events_at(batch, columns, [0], 0))


def sequenced(
    first: int, *events: UsageEvent, producer: str = "host-1", epoch: str = "e1"
) -> UsageBatch:
    """A batch at a place of a sequence."""
    return pack_events(events, Mode.SEQUENCED, producer, epoch, first)


def pass_for(*batches: UsageBatch, until: Instant = T0 + GATE.generation_width) -> GatePass:
    """The right of batches to come late."""
    return GatePass(until, frozenset(pass_digest(b.key, b.fingerprint) for b in batches))


def count_meter(name: str = "calls", window_us: int = 15 * MINUTE, *dimensions: str) -> Meter:
    """A meter that adds."""
    return Meter(name, Aggregation.SUM, "call", window_us, dimensions)


def ground(*meters: Meter, partition: int = 0, partitions: int = 1, gate: Gate = GATE) -> Ground:
    """What messages are judged by; one meter `calls` unless told."""
    known = meters or (count_meter(),)
    return Ground(partition, partitions, gate, {meter.id: meter for meter in known})


def arrival(
    header_count: int | None,
    *,
    offset: int = 7,
    tick: Tick = TICK_1,
    log_time: Instant | None = None,
    digest: bytes = bytes(16),
) -> Arrival:
    """A message behind tick 1."""
    return Arrival(offset, tick, tick.time if log_time is None else log_time, header_count, digest)


def log_of(partitions: int = 1, horizon_s: int = 259_200, tolerance_s: int = 300) -> Decision:
    """The first fact of a log."""
    body: dict[str, Json] = {
        "partitions": partitions,
        "horizon_s": horizon_s,
        "tolerance_s": tolerance_s,
    }
    return FactKind.LOG, "log", body


def rules_of(grace_s: int = 0) -> Decision:
    """Grace and versions."""
    return (
        FactKind.RULES,
        "rules",
        {"grace_s": grace_s, "rule_version": 1, "tzdata_version": "2026.6"},
    )


def issuer_of(name: str = "talea") -> Decision:
    """A legal entity."""
    return FactKind.ISSUER, name, {"id": name, "name": name.title(), "number_prefix": "T-"}


def taxed_in(decision: Decision, country: str, **told: Json) -> Decision:
    """An issuer or a customer with its tax; told is what differs from saying the country alone."""
    kind, subject, body = decision
    blank: dict[str, Json] = (
        {
            "vat_id": None,
            "registrations": {},
            "oss": False,
            "requires": [],
            "engine": "own",
            "fallback": "hold",
        }
        if kind is FactKind.ISSUER
        else {"region": None, "vat": None, "business": "vat" in told, "exempt": None}
    )
    return kind, subject, {**body, "tax": {"country": country, **blank, **told}}


def tax_terms_of(
    code: str = "standard", *, inclusive: bool = False, **more: str
) -> dict[str, Json]:
    """What a price says of tax; more is `reason`."""
    return {"code": code, "inclusive": inclusive, **more}


def meter_of(
    name: str,
    aggregation: str = "sum",
    *,
    unit: str = "unit",
    window_s: int = 900,
    dimensions: Sequence[str] = (),
    **parameters: Json,
) -> Decision:
    """A meter in force; parameters are `of`, `percent`, `per_s`."""
    body: dict[str, Json] = {
        "id": name,
        "aggregation": aggregation,
        "unit": unit,
        "window_s": window_s,
        "dimensions": list(dimensions),
        **parameters,
    }
    return FactKind.METER, name, body


def price_of(
    name: str, price: dict[str, Json], meter: str | None = None, **scope: Json
) -> dict[str, Json]:
    """A rate card of a plan; scope is `filter`, `group_by`."""
    label = name.replace("-", " ").capitalize()
    return {"id": name, "name": label, "meter": meter, "price": price, **scope}


def flat(amount: str) -> dict[str, Json]:
    """A flat price."""
    return {"type": "flat", "amount": amount}


def per_unit(amount: str) -> dict[str, Json]:
    """A unit price."""
    return {"type": "unit", "unit_amount": amount}


def graduated(*tiers: tuple[str | None, str, str]) -> dict[str, Json]:
    """A graduated price: tiers of (up to, unit amount, flat amount)."""
    return {
        "type": "graduated",
        "tiers": [
            {"up_to": up_to, "unit_amount": unit, "flat_amount": fee} for up_to, unit, fee in tiers
        ],
    }


def plan_of(
    name: str,
    *prices: dict[str, Json],
    currency: str = "EUR",
    cycle: str = "P1M",
    issuer: str = "talea",
    effective: str | None = None,
    **more: Json,
) -> Decision:
    """A plan with its prices, from a date on if there is one; more are `trial`, `phases`."""
    body: dict[str, Json] = {
        "id": name,
        "name": name.title(),
        "issuer": issuer,
        "currency": currency,
        "cycle": cycle,
        "payment_days": 14,
        "prices": list(prices),
        **({} if effective is None else {"effective": effective}),
        **more,
    }
    return FactKind.PLAN, name, body


def customer_of(name: str, time_zone: str = "UTC", /, **profile: str) -> Decision:
    """A customer."""
    return FactKind.CUSTOMER, name, {"id": name, "time_zone": time_zone, "profile": dict(profile)}


def sub_account_of(name: str, parent: str, payer: str = "parent") -> Decision:
    """A sub-account of a customer; `payer` is parent or own."""
    kind, subject, body = customer_of(name)
    return kind, subject, {**body, "parent": parent, "payer": payer}


def subscription_of(
    name: str, customer: str, plan: str, start: str, end: str | None = None, **agreed: Json
) -> Decision:
    """A customer on a plan, and what was agreed beside it: `changes`, `pauses` and the like."""
    body: dict[str, Json] = {
        "id": name,
        "customer": customer,
        "plan": plan,
        "start": start,
        "end": end,
        **agreed,
    }
    return FactKind.SUBSCRIPTION, name, body


def book_of(name: str, **cards: list[dict[str, Json]]) -> Decision:
    """A price book: rate cards by plan."""
    plans: list[Json] = [{"id": plan, "prices": [*own]} for plan, own in cards.items()]
    return FactKind.BOOK, name, {"id": name, "name": name.title(), "plans": plans}


def switch_of(book: str, share: str = "0", *customers: str, on: bool = True) -> Decision:
    """A price book, on for a share of the customers and some others; or off."""
    body: dict[str, Json] = {
        "book": book,
        "on": on,
        "share": share,
        "customers": [*customers],
    }
    return FactKind.BOOK_SWITCH, book, body


def redemption_of(
    code: str, subscription: str, at: str, discount: dict[str, Json], **terms: Json
) -> Decision:
    """A promotion code that a subscription has; terms are `plans`, `prices`."""
    body: dict[str, Json] = {
        "promotion": code,
        "customer": "acme",
        "subscription": subscription,
        "at": at,
        "discount": discount,
        "plans": [],
        "prices": [],
        **terms,
    }
    return FactKind.REDEMPTION, f"{code}/{subscription}", body


def billed_in(decision: Decision, currency: str) -> Decision:
    """A customer or subscription that is billed in a currency of its own."""
    kind, subject, body = decision
    return kind, subject, {**body, "currency": currency}


def rate_of(base: str, quote: str, date: str, rate: str) -> Decision:
    """What one of `base` is worth in `quote` from a date on."""
    body: dict[str, Json] = {"from": base, "to": quote, "date": date, "rate": rate}
    return FactKind.FX_RATE, f"{base}/{quote}/{date}", {**body, "source": "ECB"}


def credit_of(
    name: str, customer: str, amount: str, currency: str = "EUR", **terms: Json
) -> Decision:
    """A prepaid credit with issuer talea, from 2026 on; terms are those of its fact."""
    body: dict[str, Json] = {
        "id": name,
        "customer": customer,
        "issuer": "talea",
        "currency": currency,
        "amount": amount,
        "starts": "2026-01-01T00:00:00Z",
        "expires": None,
        "priority": 0,
        "meters": [],
        "plans": [],
        **terms,
    }
    return FactKind.CREDIT, name, body


def void_of(name: str, customer: str) -> Decision:
    """The end of a prepaid credit."""
    return FactKind.CREDIT_VOID, name, {"id": name, "customer": customer}


def hand_line_of(
    name: str,
    customer: str,
    at: str,
    price: dict[str, Json],
    *,
    quantity: str = "1",
    type: str = "charge",
    plan: str | None = None,
    meter: str | None = None,
    document: str | None = None,
) -> Decision:
    """A line by hand in euros: of its own price, or one of a plan."""
    terms: dict[str, Json] = {} if meter else {"quantity": quantity}
    body: dict[str, Json] = {
        "id": name,
        "customer": customer,
        "issuer": "talea",
        "currency": "EUR",
        "at": at,
        "type": type,
        "card": price_of(name, price, meter, **terms),
        "quantity": quantity,
        "plan": plan,
        "document": document,
        "external_reference": None,
    }
    return FactKind.HAND_LINE, name, body


def line_edit_of(document: str, customer: str, line: str, **said: Json) -> Decision:
    """What a line of a document says instead."""
    body: dict[str, Json] = {
        "document": document,
        "customer": customer,
        "line": line,
        "name": None,
        "description": None,
        "quantity": None,
        "unit_amount": None,
        "amount_minor": None,
        "external_reference": None,
        **said,
    }
    return FactKind.LINE_EDIT, line, body


def document_edit_of(document: str, customer: str, profile: Json = None, **own: Json) -> Decision:
    """What a document says of its customer, and of itself, instead."""
    body: dict[str, Json] = {
        "document": document,
        "customer": customer,
        "profile": profile or {},
        "purchase_order": None,
        "memo": None,
        "payment_days": None,
        **own,
    }
    return FactKind.DOCUMENT_EDIT, document, body


def gate_pass_of(*batches: UsageBatch, until: Instant) -> Decision:
    """A pass through the gate."""
    named: list[Json] = [*sorted(pass_for(*batches).batches)]
    return FactKind.GATE_PASS, "late", {"until": instant_text(until), "batches": named}


def facts(*decisions: Decision) -> list[Fact]:
    """The decisions as facts, serial by serial."""
    found = []
    for serial, (kind, subject, body) in enumerate(decisions, start=1):
        fact_id = NewFact(kind, subject, body).id_after(serial - 1)
        found.append(Fact(serial, fact_id, kind, subject, body, "ada", "test", T0))
    return found


def fact_log(*decisions: Decision) -> FactLog:
    """A fact log with these decisions."""
    log = FactLog()
    log.append(facts(*decisions))
    return log


def catalog_of(*decisions: Decision) -> Catalog:
    """The catalog after these decisions."""
    log = fact_log(*decisions)
    return log.at(log.head)


UsageRow = tuple[SeriesKey, Instant, int]
"""Series, window, cut: the key of a usage row."""


def add_rows(store: dict[UsageRow, UsagePart], booked: Iterable[Booked]) -> None:
    """Merge booked rows as the usage table does."""
    for flush in booked:
        for rows in flush.rows:
            for i, number in enumerate(rows.series.tolist()):
                series = rows.index[number]
                key = (series, int(rows.window_start[i]), int(rows.cut[i]))
                values = (int(rows.sum[i]), int(rows.minimum[i]), int(rows.maximum[i]))
                total, low, high = rows.wide.get(i, values)
                new = UsagePart(series.scale, int(rows.count[i]), total, low, high)
                store[key] = merged(store[key], new) if key in store else new


def merged(one: UsagePart, other: UsagePart) -> UsagePart:
    """Two rows of one key as one."""
    return UsagePart(
        one.scale,
        one.count + other.count,
        one.sum + other.sum,
        min(one.minimum, other.minimum),
        max(one.maximum, other.maximum),
    )


@dataclass
class Line:
    """One partition from message to usage row. `rows` are the ticks whose rows are committed."""

    facts: FactLog
    rows: dict[int, Tick | None] = field(default_factory=dict)
    partition: int = 0
    place: Place = field(default_factory=lambda: Place(0, 0))
    claims: ClaimBook = field(default_factory=ClaimBook)
    slices: list[Slice] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)

    def commit(self, *ticks: Tick) -> None:
        """Write the rows of ticks."""
        self.rows.update({tick.serial: tick for tick in ticks})

    def tick(self, tick: Tick) -> Slice:
        """Commit a tick and read it."""
        self.commit(tick)
        return self.read(tick, 0)

    def send(self, batch: UsageBatch) -> Slice:
        """Read a batch that its agent sent."""
        return self.read(batch, batch.event_count, batch_digest(encode_batch(batch)))

    def read(self, opened: Opened, header_count: int | None, digest: bytes = bytes(16)) -> Slice:
        """Look, claim, fold: the slice of the next message."""
        here = self.place.arrival(header_count, digest)
        by = self.facts.at(max(here.tick.fact_position, 1)).ground(self.partition)
        looked = look(opened, here, by, self.rows)
        if isinstance(looked, NeedsTick):
            assert isinstance(opened, Tick), f"tick {looked.serial} has no row yet"
            looked = look(opened, here, by, {**self.rows, looked.serial: None})
        assert not isinstance(looked, NeedsTick)
        claim = None
        if isinstance(looked, Told):
            piece, refusals = looked.piece, looked.refusals
        else:
            claim = delivery(looked, here, self.place.after, by.gate)
            judged = None if claim is None else self.claims.claim(claim)
            assert not isinstance(judged, Behind)
            piece, refusals = contribution(looked, here, judged)
        self.place.pass_message(looked, claimed=claim is not None)
        self.slices.append(piece)
        self.refusals += refusals
        return piece


@dataclass
class Books:
    """The books of one partition: what was booked, and the usage rows it makes."""

    facts: FactLog
    number: int = 0
    booked: list[Booked] = field(default_factory=list)
    store: dict[UsageRow, UsagePart] = field(default_factory=dict)
    points: FoldedPoints = field(default_factory=FoldedPoints)

    def __post_init__(self) -> None:
        """Open the partition."""
        self.partition = Partition(Cursor(self.number), Catalog(), {}, ())

    def book(self, pieces: Iterable[Slice]) -> Booked:
        """Book slices in one flush."""
        into = Booked()
        for piece in pieces:
            tick = piece.tick or self.partition.cursor.tick
            catalog = self.facts.at(tick.fact_position)
            self.partition.book(piece, self.partition.cursor.metered_offset + 1, catalog, into)
        self.booked.append(into)
        add_rows(self.store, [into])
        for rows in into.rows:
            self.points.add(rows)
        return into

    def restart(self) -> None:
        """Open the partition anew from what was saved, as a new worker does."""
        cursor = self.partition.cursor
        sequences = {key: state for flush in self.booked for key, state in flush.sequences.items()}
        catalog, before = self.facts.at(cursor.tick.fact_position), self.partition.reversals
        waiting = dict(before.waiting)
        self.partition = Partition(cursor, catalog, sequences, self.cuts, waiting)
        self.partition.reversals.known |= before.known  # the books are asked for every key

    @property
    def cuts(self) -> list[Cut]:
        """Every cut booked."""
        return [cut for flush in self.booked for cut in flush.cuts]

    def used(self, requests: Iterable[UsageRequest], before_cut: int) -> Usage:
        """The rows and points that a document cut at `before_cut` folds."""
        found: dict[tuple[SeriesKey, Instant], UsagePart] = {}
        for (series, window, cut), part in self.store.items():
            if cut < before_cut:  # under several cuts a window stands once
                before = found.get((series, window))
                found[series, window] = part if before is None else merged(before, part)
        return {
            request: [
                *(
                    replace(part, window=window, dimensions=series.dimensions)
                    for (series, window), part in found.items()
                    if (series.customer, series.meter) == (request.customer, request.meter)
                    and request.start <= window < request.end
                    and part.count
                    and request.grain in (Grain.TOTALS, Grain.WINDOWS)
                ),
                *(point for _, point in self.points.asked(request, before_cut)),
            ]
            for request in requests
        }


def kept(draft: DraftInvoice) -> DraftText:
    """A draft as the database keeps it."""
    content, issues = dict(draft.content), [dict(issue) for issue in draft.issues]
    texts = (canonical(content).decode(), canonical([*issues]).decode())
    return DraftText.kept(draft.position, *texts)
