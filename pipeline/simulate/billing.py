"""The billing of the auditor: what each document must say, from facts and counted events.

Owns: periods, cuts, lines and amounts, in fractions, from the bodies of facts.
Does not own: which events count (witness.py), quantities (quantities.py), comparing (auditor.py).
Law: it shares no step with the pipeline.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import cast

from pipeline.catalog.facts import Fact, FactKind
from pipeline.core.calendar import SECOND, Instant, instant_text, parse_instant
from pipeline.simulate.agreements import Body
from pipeline.simulate.committed import Committed
from pipeline.simulate.dues import (
    Carried,
    Closing,
    Due,
    Early,
    ExpectedLine,
    billed_periods,
    due,
    left_of,
    without_early,
)
from pipeline.simulate.edited import LAST, Again, Edits
from pipeline.simulate.quantities import quantity
from pipeline.simulate.returns import Taken
from pipeline.simulate.sold import (
    DIGITS,
    Book,
    Revision,
    Spans,
    fee_total,
    payer_of,
    printed,
    revised,
    usage_totals,
)
from pipeline.simulate.stays import ends, over
from pipeline.simulate.witness import Counted, Witness

_EARLY = (FactKind.BILL_NOW, FactKind.THRESHOLD_REACHED)
_NOTED = (FactKind.VOID, FactKind.CREDIT_NOTE, FactKind.DEBIT_NOTE, FactKind.REPRICING)

Cut = tuple[str, str, Instant]
"""(payer, currency, instant)."""
Source = tuple[str, str]
"""(subscription or order, item)."""


@dataclass(frozen=True, slots=True)
class Issued:
    """The lines of a payer's documents in one currency, by instant, and what they carry."""

    lines: dict[Instant, list[ExpectedLine]]
    carried: Carried


@dataclass(frozen=True, slots=True)
class Fallen:
    """What fell due at one cut of a payer in a currency, whatever usage came since.

    `early`: it was cut by a fact, and its lines are never corrected: its period's last document is.
    """

    serial: int
    instant: Instant
    dues: Sequence[Due | ExpectedLine]
    early: bool
    carried: Carried
    """Once it is billed."""


@dataclass(slots=True)
class Billing:
    """Facts, ticks and counted events of one finished world."""

    facts: Sequence[Fact]
    witness: Witness
    taken: Sequence[Taken]
    edits: Edits = field(default_factory=Edits)
    _books: dict[int, Book] = field(default_factory=dict)
    _used: dict[tuple[str, str], list[Counted]] = field(default_factory=dict)
    _gone: dict[tuple[str, str], list[Taken]] = field(default_factory=dict)
    _issued: dict[tuple[str, str, int, int | None], Issued] = field(default_factory=dict)
    _fallen: dict[tuple[str, str], list[Fallen]] = field(default_factory=dict)
    _ahead: dict[tuple[int, str, Instant, int], dict[Closing, Carried]] = field(
        default_factory=dict
    )
    cuts: dict[Cut, int] = field(default_factory=dict)
    """The serial that closed a payer's periods, or had them billed early."""
    early: dict[Cut, Body] = field(default_factory=dict)
    """What had a cut made early, as its fact tells it."""
    corrections: dict[Cut, Fact] = field(default_factory=dict)
    """What had a cut made that bills nothing: late usage that no other cut came after."""
    decided: dict[Cut, Fact] = field(default_factory=dict)
    """What somebody decided of a document, which bills nothing either."""
    again: Mapping[Cut, Again] = field(default_factory=dict)
    """Documents in the place of others: which was the first, and what by hand they keep."""
    farther: dict[Cut, Mapping[Source, Instant]] = field(default_factory=dict)
    """Where notes of diffs bill prices farther than their documents did, and up to where."""
    stands_until: int = LAST
    """The last fact whose notes of diffs stand."""
    alike: "Billing | None" = None
    """Of the same usage and the same cuts."""

    def otherwise(self, facts: Sequence[Fact], stands_until: int) -> "Billing":
        """Return what would be billed had facts said other prices: nobody is cut otherwise."""
        told = (facts, self.witness, self.taken, self.edits)
        return Billing(
            *told, again=self.again, farther=self.farther, stands_until=stands_until, alike=self
        )

    def bill_farther(self, place: Cut, until: Mapping[Source, Instant]) -> None:
        """Hear that the note of a cut bills prices up to there: documents behind it do not."""
        self.farther[place] = until
        for known in (self._fallen, self._issued, self._ahead):
            known.clear()

    def __post_init__(self) -> None:
        """Sort usage, find every cut."""
        if self.alike is not None:
            self._used, self._gone, self.cuts = self.alike._used, self.alike._gone, self.alike.cuts
            self.early, self.corrections = self.alike.early, self.alike.corrections
            self.decided = self.alike.decided
            return
        for each in self.witness.counted:
            self._used.setdefault((each.event.customer, each.event.meter), []).append(each)
        for gone in self.taken:
            place = (gone.usage.event.customer, gone.usage.event.meter)
            self._gone.setdefault(place, []).append(gone)
        for serial, tick in sorted(self.witness.ticks.items()):
            book = self.book(tick.fact_position)
            grace = cast(int, book.latest["rules", "rules"]["grace_s"]) * SECOND
            horizon = tick.time - grace
            for end in ends(book, horizon):
                self.cuts.setdefault(end, serial)
            before = self.witness.ticks.get(serial - 1)
            if before is not None and before.fact_position < tick.fact_position:
                known = self.book(before.fact_position)
                grace = cast(int, known.latest["rules", "rules"]["grace_s"]) * SECOND
                for end in over(known, book, before.time - grace, horizon):
                    self._cut_again(end, serial)
                self._cut_by_facts(self.facts[before.fact_position : tick.fact_position], serial)

    def _cut_again(self, end: Cut, serial: int) -> None:
        """Cut what is over once more, at the next instant, where its last end was cut before."""
        while end in self.cuts and self.cuts[end] != serial:
            end = (*end[:2], end[2] + 1)
        self.cuts[end] = serial

    def _cut_by_facts(self, news: Sequence[Fact], serial: int) -> None:
        for fact in news:
            if fact.kind not in (*_EARLY, *_NOTED, FactKind.CORRECTION):
                continue
            told = fact.body
            place = str(told["customer"]), str(told["currency"]), parse_instant(told["at"])
            self.cuts[place] = serial
            if fact.kind is FactKind.CORRECTION:
                self.corrections[place] = fact
            elif fact.kind in _NOTED:
                self.decided[place] = fact
            else:
                self.early[place] = told

    def book(self, position: int) -> Book:
        """Return what is in force at a fact position."""
        if position not in self._books:
            until = self.facts[:position]
            plans: dict[str, list[Revision]] = {}
            for fact in until:
                if fact.kind is FactKind.PLAN:
                    plans[fact.subject] = revised(plans.get(fact.subject, []), fact.body)
            latest: dict[tuple[str, str], Body] = {}
            for fact in until:  # whatever was told last stands at the end
                latest.pop((fact.kind.value, fact.subject), None)
                latest[fact.kind.value, fact.subject] = fact.body
            self._books[position] = Book(position, latest, plans)
        return self._books[position]

    def issued(self, payer: str, currency: str, until: int, seen: int | None = None) -> "Issued":
        """Return every document up to a tick, by usage before its cut.

        Or, to be corrected, by all usage before the tick `seen`.
        """
        fallen = self.fallen_of(payer, currency)
        count = sum(each.serial <= until for each in fallen)
        known = self._issued.get((payer, currency, count, seen))
        if known is None:
            known = Issued({}, fallen[count - 1].carried if count else Carried())
            for each in fallen[:count]:
                below = each.serial if each.early else seen or each.serial
                closing = currency, each.instant
                lines = self._lines_of(payer, closing, each.dues, self._end(payer, below))
                if lines:
                    known.lines[each.instant] = lines
            self._issued[payer, currency, count, seen] = known
        return known

    def fallen_of(self, payer: str, currency: str) -> list[Fallen]:
        """Return what fell due at every cut of a payer in a currency, in their order."""
        known = self._fallen.get((payer, currency))
        if known is None:
            known, carried = [], Carried()
            nothing = (self.corrections.keys() | self.decided.keys()) - self.farther.keys()
            own = sorted(
                (serial, instant)
                for (who, which, instant), serial in self.cuts.items()
                if (who, which) == (payer, currency)
                if (who, which, instant) not in nothing
            )
            for serial, instant in own:
                book = self.book(self.witness.ticks[serial].fact_position)
                early = self.early.get((payer, currency, instant))
                dues: Sequence[Due | ExpectedLine] = ()
                if farther := self.farther.get((payer, currency, instant)):
                    stands = self.decided[payer, currency, instant].serial <= self.stands_until
                    for source, until in farther.items() if stands else ():
                        carried.billed(source, until)
                elif early:
                    end = self._end(payer, serial)
                    dues = self._early_lines(book, early, (payer, currency, instant), carried, end)
                else:
                    dues = due(book, payer, (currency, instant), carried)
                after = carried.copy()
                known.append(Fallen(serial, instant, dues, early is not None, after))
            self._fallen[payer, currency] = known
        return known

    def _end(self, payer: str, serial: int) -> int:
        """Return where a tick stands in a payer's partition: it and all before is billed."""
        return self.witness.tick_places[self.witness.home(payer), serial]

    def open(self, book: Book, payer: str, log_time: Instant, until: int) -> dict[Closing, Carried]:
        """Return the closings still ahead at a log time, with what is carried before each."""
        asked = book.position, payer, log_time, until
        if asked not in self._ahead:
            self._ahead[asked] = self._open(book, payer, log_time, until)
        return self._ahead[asked]

    def _open(
        self, book: Book, payer: str, log_time: Instant, until: int
    ) -> dict[Closing, Carried]:
        cut = {k[1:] for k, serial in self.cuts.items() if k[0] == payer and serial <= until}
        ahead = {
            (currency, end)
            for _, currency, end in ends(book, 1 << 62, began=log_time, payer=payer)
            if (currency, end) not in cut
        }
        carried: dict[str, Carried] = {}
        found = {}
        for currency, instant in sorted(ahead, key=lambda closing: closing[1]):
            if currency not in carried:
                carried[currency] = self.issued(payer, currency, until).carried.copy()
            found[currency, instant] = carried[currency].copy()
            due(book, payer, (currency, instant), carried[currency])
        return found

    def lines(
        self,
        book: Book,
        payer: str,
        closing: Closing,
        carried: Carried,
        end: int,
        edited_until: int,
    ) -> list[ExpectedLine]:
        """Return the lines that fall due at a closing and nobody carries, by usage up to `end`.

        They are as people edited them by the facts up to a position.
        """
        dues = due(book, payer, closing, carried.copy())
        return self._lines_of(payer, closing, dues, end, edited_until)

    def _lines_of(
        self,
        payer: str,
        closing: Closing,
        dues: Sequence[Due | ExpectedLine],
        end: int,
        edited_until: int = LAST,
    ) -> list[ExpectedLine]:
        found = []
        for each in dues:
            if isinstance(each, ExpectedLine):
                found.append(each)
            else:
                whole = self._line(each.name, each.customer, each.card, closing[0], each.spans, end)
                line = without_early(whole, each.spans, each.early)
                if each.committed is not None:
                    lacks = self._lacks(each, each.committed, closing[0], end)
                    line = replace(line, total_minor=lacks)
                found.append(
                    line if each.customer == payer else replace(line, account=each.customer)
                )
        found = [self.edits.on((payer, *closing), line, edited_until) for line in found]
        return sorted(found, key=lambda line: (line.source, line.start, line.total_minor))

    def _early_lines(
        self, book: Book, told: Body, place: Cut, carried: Carried, end_offset: int
    ) -> list[ExpectedLine]:
        """Return what a fact has billed of the periods that run; carry it as it is edited."""
        name, at = str(told["subscription"]), parse_instant(told["running_at"])
        subscription, found = book.latest["subscription", name], []
        for item, period, sold in billed_periods(book, subscription, at):
            (start, end), stay = period.served, period.stay
            if not (start <= at < end and carried.until.get((name, item), -1) < end):
                continue
            if told["add_on"] not in (None, stay.add_on):
                continue
            early = carried.early.setdefault((name, item), {})
            for body, spans in left_of(book, item, period, sold, carried):
                if body["meter"] is None:
                    continue
                customer = str(subscription["customer"])
                whole = self._line(name, customer, body, place[1], spans, end_offset)
                line = without_early(whole, spans, early)
                if payer_of(book, customer) != customer:
                    line = replace(line, account=customer)
                more = printed(line.quantity or Fraction(0))
                if not (more or line.total_minor or line.taken_minor):
                    continue
                line = self.edits.on(place, line)
                more = printed(line.quantity or Fraction(0))
                found.append(line)
                before = early.get(spans.left[0], Early(end, Fraction(0), 0, 0, line))
                early[spans.left[0]] = Early(
                    spans.left[1],
                    before.quantity + more,
                    before.total + line.total_minor,
                    before.taken + line.taken_minor,
                    line,
                )
        return sorted(found, key=lambda line: (line.source, line.start))

    def _line(
        self,
        subscription: str,
        customer: str,
        card: Body,
        currency: str,
        spans: Spans,
        end_offset: int,
    ) -> ExpectedLine:
        digits = DIGITS[currency]
        (start, end), used, taken = spans.left, None, 0
        if card["meter"] is None:
            total = fee_total(card, spans, digits)
        else:
            meter = str(card["meter"])
            counted = self._standing(customer, meter, end_offset)
            used, before = quantity(meter, counted, spans.whole), Fraction(0)
            total, taken = usage_totals(card, used, digits)
            if spans.whole[0] != start:  # tiers carry over from the part that is billed already
                before = quantity(meter, counted, (spans.whole[0], start))
                billed = usage_totals(card, before, digits)
                total, taken = total - billed[0], taken - billed[1]
            used -= before
        return ExpectedLine(
            f"{subscription}/{card['id']}",
            instant_text(start),
            instant_text(end),
            used,
            total,
            spans.due,
            cast("str | None", card["meter"]),
            cast("str | None", card.get("plan")),
            taken_minor=taken,
            seller=card.get("seller"),
            tax=card.get("tax"),
        )

    def _lacks(self, due: Due, told: Committed, currency: str, end: int) -> int:
        """Return what the prices of a commitment lack of it, by usage up to `end`."""
        sums = [
            sum(
                self._line(due.name, due.customer, card, currency, spans, end).total_minor
                for card, spans in parts
            )
            for parts in (told.least, told.counted)
        ]
        lacks = max(0, sums[0] - sums[1])
        return (
            lacks if told.before is None else lacks - self._lacks(due, told.before, currency, end)
        )

    def _standing(self, customer: str, meter: str, end: int) -> list[Counted]:
        """Return the usage of a meter up to an offset, but for what was taken off up to there."""
        taken = self._gone.get((customer, meter), ())
        gone = {id(each.usage) for each in taken if each.offset <= end}
        used = self._used.get((customer, meter), ())
        return [each for each in used if each.offset <= end and id(each) not in gone]
