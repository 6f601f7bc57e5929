"""Diff: how documents of a replay differ from those that were issued, line by line, and of what.

Owns: which lines differ, by how much, the cause of each difference, the id of a diff.
Does not own: making documents anew (workers/replaying.py), booking a difference (invoice/notes.py).
Law: the differences of lines sum to that of their document, and by cause to the total of the diff:
every minor unit has one cause. The same documents make the same diff, under the same id.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, cast

from pipeline.core.calendar import Instant, parse_instant
from pipeline.core.identity import Json, canonical, derived_id
from pipeline.core.money import sums_by_currency
from pipeline.invoice.lines import COMMITMENT, Line
from pipeline.invoice.notes import Record, lines_of
from pipeline.invoice.totals import Totals
from pipeline.replay.bounds import Bound, LogPlace, bound_text, parse_bound, reached


class Cause(StrEnum):
    """Why a line comes to another amount."""

    LATE_USAGE = "late_usage"
    """Events count that did not."""
    DUPLICATE_REMOVED = "duplicate_removed"
    """Events do not count that did."""
    REVERSAL = "reversal"
    """Events were taken back, or are no more."""
    USAGE_CHANGED = "usage_changed"
    """As many events come to another quantity."""
    PRICE_REVISION = "price_revision"
    """The price is configured otherwise."""
    USAGE_AND_PRICE = "usage_and_price"
    """Both at once: what each of them alone had done is not told apart."""
    COVERED = "covered"
    """Of a commitment: the prices that it covers come to another amount."""
    RULE_VERSION = "rule_version"
    """Same usage, same price: it was worked out otherwise."""
    TAX = "tax"
    """The tax is another, or is shared out otherwise."""


class Moved(NamedTuple):
    """What else counts on one side: so many events more, and so many that were taken back."""

    events: int
    reversed: int


class UsedIn(NamedTuple):
    """Usage that a line may rest on: booked under cuts below `below_cut`."""

    customer: str
    meter: str
    start: Instant
    end: Instant
    below_cut: int


MovedUsage = Callable[[UsedIn], Moved]


@dataclass(frozen=True, slots=True)
class Pair:
    """A document as it was issued, and as it is in the replay; None: not at all.

    Content is left out where it is the same, byte for byte.
    """

    number: str | None
    customer: str
    instant: Instant
    cut_serial: int
    same: bool
    before: Record | None = None
    after: Record | None = None
    place: LogPlace | None = None
    """Of its cut in the live log; None where nobody asks."""
    below: int | None = None
    """Usage under cuts below it is in `after`; None: below its own."""

    @property
    def order(self) -> tuple[int, Instant]:
        """Where its cut stands among the cuts of a payer."""
        return self.cut_serial, self.instant


@dataclass(frozen=True, slots=True)
class Selection:
    """Which documents, and which of their lines, are looked at; None: all."""

    customers: frozenset[str] | None = None
    meters: frozenset[str] | None = None
    start: Bound | None = None
    end: Bound | None = None

    @classmethod
    def of_json(cls, told: Mapping[str, Json]) -> "Selection":
        """Return what was asked of a replay."""
        customers, meters = (cast("list[str] | None", told.get(e)) for e in ("customers", "meters"))
        start, end = (cast("str | None", told.get(each)) for each in ("from", "to"))
        return cls(
            None if customers is None else frozenset(customers),
            None if meters is None else frozenset(meters),
            None if start is None else parse_bound(start),
            None if end is None else parse_bound(end),
        )

    def json(self) -> dict[str, Json]:
        """Return it as a replay keeps it: what is not asked is left out."""
        told: dict[str, Json] = {}
        for key, names in (("customers", self.customers), ("meters", self.meters)):
            if names is not None:
                told[key] = [*sorted(names)]
        for key, bound in (("from", self.start), ("to", self.end)):
            if bound is not None:
                told[key] = bound_text(bound)
        return told

    def holds(self, pair: Pair) -> bool:
        """Return whether a document is looked at: its cut lies in [start, end)."""
        return (
            (self.customers is None or pair.customer in self.customers)
            and reached(self.start, pair.instant, pair.place) is not False
            and reached(self.end, pair.instant, pair.place) is not True
        )

    def lines(self, content: Record | None) -> dict[str, Line]:
        """Return the lines of a document that are looked at, by id."""
        found = lines_of(content) if content is not None else ()
        return {str(e["id"]): e for e in found if self.meters is None or e["meter"] in self.meters}


@dataclass(frozen=True, slots=True)
class LineDifference:
    """A line on both sides, or on one, and what its difference is of; no part is zero."""

    line: Line
    before_minor: int
    after_minor: int
    causes: Mapping[Cause, int]

    @property
    def difference_minor(self) -> int:
        """After less before."""
        return self.after_minor - self.before_minor


@dataclass(frozen=True, slots=True)
class Difference:
    """A document that differs, in what is looked at; `lines` are those that do."""

    pair: Pair
    before_minor: int
    after_minor: int
    lines: Sequence[LineDifference]

    @property
    def told(self) -> Record:
        """The document, as it was or else as it is."""
        found = self.pair.before if self.pair.before is not None else self.pair.after
        return cast(Record, found)

    @property
    def currency(self) -> str:
        """The currency of both."""
        return str(self.told["currency"])

    @property
    def difference_minor(self) -> int:
        """After less before."""
        return self.after_minor - self.before_minor

    @property
    def causes(self) -> Mapping[Cause, int]:
        """What its difference is of; what comes to nothing is left out."""
        found = Counter[Cause]()
        for line in self.lines:
            found.update(line.causes)
        return {cause: found[cause] for cause in sorted(found) if found[cause]}


@dataclass(frozen=True, slots=True)
class Diff:
    """All documents that differ, in order of number; those without one come last.

    `waiting`: so many issued documents wait in the replay, and so are not compared.
    """

    documents: Sequence[Difference]
    waiting: int = 0

    @property
    def totals(self) -> Mapping[str, int]:
        """The difference by currency; none that is zero."""
        return sums_by_currency((each.currency, each.difference_minor) for each in self.documents)

    @property
    def by_cause(self) -> Mapping[Cause, Mapping[str, int]]:
        """The difference by cause and currency; none that is zero."""
        found: dict[Cause, Counter[str]] = {}
        for each in self.documents:
            for cause, minor in each.causes.items():
                found.setdefault(cause, Counter())[each.currency] += minor
        return {
            cause: {currency: minor for currency, minor in sorted(of.items()) if minor}
            for cause, of in sorted(found.items())
            if any(of.values())
        }

    @property
    def id(self) -> str:
        """The digest of all that it tells."""
        return str(self.json()["diff_id"])

    def json(self) -> dict[str, Json]:
        """Return it as it is printed; its id is the digest of what differs."""
        invoices: list[Json] = [_document_json(each) for each in self.documents]
        body: dict[str, Json] = {
            "invoices": invoices,
            "total_difference_minor": dict(self.totals),
            "by_cause": {cause.value: dict(of) for cause, of in self.by_cause.items()},
            "customers_touched": len({each.pair.customer for each in self.documents}),
        }
        diff_id = derived_id("diff", canonical(body).decode())
        return {"diff_id": diff_id, "waiting": self.waiting, **body}


def diff(pairs: Iterable[Pair], selection: Selection, moved: MovedUsage) -> Diff:
    """Return how documents differ in what is selected."""
    found = []
    for pair in pairs:
        if pair.same or not selection.holds(pair):
            continue
        before, after = selection.lines(pair.before), selection.lines(pair.after)
        lines = [
            _difference(pair, before.get(each), after.get(each), moved)
            for each in {**before, **after}
            if before.get(each) != after.get(each)
        ]
        if lines or selection.meters is None:
            totals = (_total(before.values()), _total(after.values()))
            found.append(Difference(pair, *totals, lines))
    return Diff(sorted(found, key=lambda e: (e.pair.number is None, e.pair.number, e.told["id"])))


def _total(lines: Iterable[Line]) -> int:
    return sum(Totals.of_json(line["totals"]).total for line in lines)


def _difference(
    pair: Pair, before: Line | None, after: Line | None, moved: MovedUsage
) -> LineDifference:
    line = cast(Line, after if after is not None else before)
    was, now = (Totals() if e is None else Totals.of_json(e["totals"]) for e in (before, after))
    causes = Counter[Cause]()
    tax = now.taxes_exclusive_total - was.taxes_exclusive_total
    net = now.total - was.total - tax
    if net:
        causes[_cause(pair, before, after, moved)] += net
    terms = [_tax_terms(pair.before, before), _tax_terms(pair.after, after)]
    by_net = net and (None in (before, after) or terms[0] == terms[1])
    causes[next(iter(causes)) if by_net else Cause.TAX] += tax
    parts = {cause: minor for cause, minor in causes.items() if minor}
    return LineDifference(line, was.total, now.total, parts)


def _cause(pair: Pair, before: Line | None, after: Line | None, moved: MovedUsage) -> Cause:
    """Return what the difference of a line is of, tax aside."""
    line = cast(Line, after if after is not None else before)
    if before is not None and after is not None:
        priced = _configured(before) != _configured(after)
        used = before["metered_quantity"] != after["metered_quantity"]
        if used and priced:
            return Cause.USAGE_AND_PRICE
        if line["category"] == COMMITMENT and not priced:
            return Cause.COVERED
        if not used:
            return Cause.PRICE_REVISION if priced else Cause.RULE_VERSION
    elif line["meter"] is None:
        return Cause.PRICE_REVISION
    start, end = parse_instant(line["period_start"]), parse_instant(line["period_end"])
    who = str(line.get("sub_account") or pair.customer)
    found = moved(UsedIn(who, str(line["meter"]), start, end, pair.cut_serial))
    if found.reversed:
        return Cause.REVERSAL
    if found.events:
        return Cause.LATE_USAGE if found.events > 0 else Cause.DUPLICATE_REMOVED
    both = before is not None and after is not None
    return Cause.USAGE_CHANGED if both else Cause.PRICE_REVISION


def _configured(line: Line) -> object:
    """Return what a line is priced by, without any amount that follows from usage."""
    fx = cast("Record | None", line["fx"]) or {}
    discounts = [_without_amounts(each) for each in cast(list[Record], line["discounts"])]
    return line["rate_card"], _without_amounts(fx), discounts


def _tax_terms(content: Record | None, line: Line | None) -> object:
    """Return what a line is taxed by, without what it comes to."""
    if content is None or line is None:
        return None
    category = line["tax_code"], line["tax_jurisdiction"]
    taxes = cast(list[Record], content.get("taxes", []))
    own = [e for e in taxes if (e.get("tax_code"), e.get("jurisdiction")) == category]
    return category, [_without_amounts(each) for each in own]


def _without_amounts(told: Record) -> Record:
    return {key: value for key, value in told.items() if not key.endswith("_minor")}


def _document_json(each: Difference) -> Json:
    lines: list[Json] = [_line_json(line) for line in each.lines]
    return {
        "number": each.pair.number,
        "id": each.told["id"],
        "kind": each.told["kind"],
        "customer": each.pair.customer,
        "currency": each.currency,
        "before_minor": each.before_minor,
        "after_minor": each.after_minor,
        "difference_minor": each.difference_minor,
        "causes": _causes_json(each.causes),
        "lines": lines,
    }


def _line_json(each: LineDifference) -> Json:
    told = {name: each.line[name] for name in ("id", "name", "description", "source_id", "meter")}
    return {
        **told,
        "before_minor": each.before_minor,
        "after_minor": each.after_minor,
        "difference_minor": each.difference_minor,
        "causes": _causes_json(each.causes),
    }


def _causes_json(causes: Mapping[Cause, int]) -> list[Json]:
    return [{"cause": cause.value, "difference_minor": causes[cause]} for cause in sorted(causes)]
