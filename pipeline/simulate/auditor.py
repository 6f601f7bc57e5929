"""The auditor: holds everything that a finished world kept against what it must be.

Owns: which law each difference breaks.
Does not own: what must be (witness.py, billing.py).
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from hashlib import sha256
from random import Random
from typing import cast

from pipeline.catalog.facts import FactKind
from pipeline.collect.letters import DeadLetter
from pipeline.core.calendar import Instant, instant_text
from pipeline.core.errors import Code
from pipeline.core.identity import Json
from pipeline.simulate.agreements import Body
from pipeline.simulate.billing import Billing, Cut
from pipeline.simulate.corrected import correction_faults
from pipeline.simulate.database import Tables
from pipeline.simulate.dues import ExpectedLine, due
from pipeline.simulate.log import Kept
from pipeline.simulate.quantities import point_of, width_us
from pipeline.simulate.redriven import redriven_faults
from pipeline.simulate.reissued import billed
from pipeline.simulate.returns import Returns
from pipeline.simulate.settled import settlement_faults
from pipeline.simulate.since import Since
from pipeline.simulate.sold import minor
from pipeline.simulate.taxes import Taxes, untaxed
from pipeline.simulate.witness import Counted, Witness
from pipeline.stores.postgres.drafts import Draft

_DRAFTS_LOOKED_AT = 40
_FIRST_USED = re.compile(r"key first used at offset (\d+),")
_OUTCOME_OF = {Code.CONFLICT: "conflict", Code.LATE: "late"}


@dataclass(frozen=True, slots=True)
class Violation:
    """A law that did not hold, and where."""

    seed: int
    law: str
    detail: str


Fault = tuple[str, str]
"""(law, detail)."""


@dataclass(slots=True)
class Auditor:
    """Looks at one drained world; `log` holds the usage log by partition."""

    witness: Witness
    returns: Returns
    billing: Billing
    tables: Tables
    log: Sequence[Sequence[Kept]]
    drafts_stored: Sequence[Draft]
    letters: Sequence[DeadLetter]
    random: Random
    taxes: Taxes
    known_at: int
    """The tick up to which all was booked long before the end."""
    since: Mapping[str, Sequence[Since]]
    """The diffs that were applied, by document."""

    def faults(self) -> Iterator[Fault]:
        """Yield every difference."""
        yield from (("once", fault) for fault in self.witness.faults)
        yield from (("reversed", fault) for fault in self.returns.faults)
        yield from self._conserved()
        yield from self._letters()
        yield from self._usage()
        yield from self._cuts()
        yield from self._documents()
        yield from self._terms()
        yield from self._taxes()
        yield from settlement_faults(self.tables.documents, self.billing)
        documents = self.tables.documents.values()
        yield from correction_faults(
            documents, self.billing, self.taxes, self.known_at, self.tables.removed, self.since
        )
        yield from self._chain()
        yield from self._drafts()
        yield from redriven_faults(self.tables.facts.values(), self.witness, self.log)

    def _conserved(self) -> Iterator[Fault]:
        """Every offered event has the outcome that the witness saw."""
        for partition in range(self.witness.partitions):
            told, counts = Counter(self.witness.outcomes[partition]), Counter[str]()
            told["conflict"] += self.returns.conflicts[partition]
            told["fresh"] -= self.returns.conflicts[partition]
            if partition in self.tables.cursors:
                kept = self.tables.cursors[partition][0].counts
                names = ("offered", "fresh", "duplicate", "conflict", "late", "rejected")
                counts = Counter({name: getattr(kept, name) for name in names})
            if +counts != +told:
                yield "conserved", f"partition {partition}: {dict(+counts)} != {dict(+told)}"

    def _letters(self) -> Iterator[Fault]:
        """Every refused event is told in a letter; one written twice says the same twice.

        But for conflicts: whoever is two generations behind the books asks claims that have
        forgotten who was first. Of one message the first letter stands (workers/letters.py).
        """
        once: dict[tuple[int, int, bool], DeadLetter] = {}
        for letter in self.letters:
            if ((letter.partition, letter.offset) in self.witness.skips) != letter.by_skip:
                continue  # of whoever looked at it before it was skipped
            if self._names_skipped(letter):
                continue  # of whoever looked before what came first was skipped: it is first now
            first = once.setdefault((letter.partition, letter.offset, letter.by_books), letter)
            if not self._alike(first, letter):
                yield "letters", f"{letter.partition}/{letter.offset} has two different letters"
        kept: dict[tuple[int, int], Counter[str]] = {}
        for letter in once.values():
            told = kept.setdefault((letter.partition, letter.offset), Counter())
            for refusal in letter.refusals:
                code = refusal.rejection.code
                told[_OUTCOME_OF.get(code, "rejected")] += refusal.event_count
        for place in sorted(kept.keys() | self.witness.refused.keys()):
            is_, must = +kept.get(place, Counter()), +self.witness.refused.get(place, Counter())
            if is_ != must:
                yield "letters", f"{place[0]}/{place[1]}: told {dict(is_)}, refused {dict(must)}"

    def _alike(self, one: DeadLetter, other: DeadLetter) -> bool:
        """Whether they say the same; one without its conflict may be of one customer, not two."""
        told = [self._comparable(each) for each in (one, other)]
        if _but_conflicts(one) != one or _but_conflicts(other) != other:
            told = [replace(each, customer="") for each in told]
        return told[0] == told[1]

    def _comparable(self, letter: DeadLetter) -> DeadLetter:
        """Without its log time, where whoever looked before a skip took that of what is skipped."""
        told, place = _but_conflicts(letter), letter.partition
        skipped = self.witness.first_skips.get(place, letter.offset) < letter.offset
        return replace(told, log_time=0) if skipped else told

    def _names_skipped(self, letter: DeadLetter) -> bool:
        texts = (refusal.rejection.message for refusal in letter.refusals)
        owners = (found[1] for text in texts if (found := _FIRST_USED.match(text)))
        return any((letter.partition, int(offset)) in self.witness.skips for offset in owners)

    def _usage(self) -> Iterator[Fault]:
        """Every window holds exactly the events that count."""
        kept: dict[tuple[str, str, Instant], list[Fraction]] = {}
        for (series, start, _), part in self.tables.usage.items():
            sums = kept.setdefault((series.customer, series.meter, start), [Fraction(0)] * 2)
            sums[0] += part.count
            sums[1] += Fraction(part.sum, 10**series.scale)
        must: dict[tuple[str, str, Instant], list[Fraction]] = {}
        for each, sign in self._signed():
            event, width = each.event, width_us(each.event.meter)
            place = (event.customer, event.meter, event.time // width * width)
            sums = must.setdefault(place, [Fraction(0)] * 2)
            sums[0] += sign
            sums[1] += sign * Fraction(event.value)
        for place in sorted(kept.keys() | must.keys()):
            if kept.get(place) != must.get(place):
                yield "once", f"{place}: kept {kept.get(place)}, counted {must.get(place)}"
        yield from self._points()

    def _signed(self) -> Iterator[tuple[Counted, int]]:
        """Yield all usage that counts, and again, as less, what was taken off."""
        yield from ((each, 1) for each in self.witness.counted)
        yield from ((each.usage, -1) for each in self.returns.taken)

    def _points(self) -> Iterator[Fault]:
        """Whatever single events are kept for stands as often as it was told."""
        kept, must = Counter[object](), Counter[object]()
        for (series, time, _, _), (value, told) in self.tables.points.items():
            kept[series.customer, series.meter, time, Fraction(value, 10**series.scale)] += told
        for each, sign in self._signed():
            place = point_of(each.event)
            if place is not None:
                must[each.event.customer, each.event.meter, *place] += sign
        for point in sorted((kept - must).keys() | (must - kept).keys(), key=str):
            yield "once", f"point {point}: kept {kept[point]} times, told {must[point]}"

    def _terms(self) -> Iterator[Fault]:
        """Every document says of itself what it was told last, and its record counts that in."""
        for document in self.tables.documents.values():
            edits = [f for f in self.witness.facts if f.kind is FactKind.DOCUMENT_EDIT]
            own = [fact for fact in edits if fact.subject == document.id]
            for fact in own[-1:]:
                for name in ("purchase_order", "memo", "payment_days"):
                    told, must = document.content.get(name), fact.body[name]
                    if must is not None and told != must:
                        yield "told", f"{document.sealed.number} says {name} {told}, not {must}"
                record = cast(dict[str, Json], json.loads(document.sealed.record))
                if cast(int, record["fact_position_last"]) < fact.serial:
                    yield "told", f"{document.sealed.number} was sealed without fact {fact.serial}"

    def _cuts(self) -> Iterator[Fault]:
        kept = {place: row.serial for place, row in self.tables.cuts.items()}
        yield from _differences("cut", kept, self.billing.cuts)
        told = Counter((f.kind, f.subject) for f in self.tables.facts.values())
        for (kind, subject), times in told.items():
            if kind is FactKind.THRESHOLD_REACHED and times > 1:
                yield "once", f"{subject} is told {times} times"

    def _documents(self) -> Iterator[Fault]:
        """Every document that is due was issued once, and says what it must."""
        kept: dict[Cut, Mapping[str, Json]] = {}
        for document in self.tables.documents.values():
            if document.kind != "invoice":
                continue
            place = (document.payer, document.currency, document.instant)
            if place in kept:
                yield "once", f"two documents of {place}"
            kept[place] = document.content
        last = max(self.witness.ticks, default=0)
        must = {
            (payer, currency, instant): lines
            for payer, currency in sorted({place[:2] for place in self.billing.cuts})
            for instant, lines in self.billing.issued(payer, currency, last).lines.items()
        }
        for place in self.billing.again:
            must[place] = billed(self.billing, place, self.billing.cuts[place], None)
        for place in sorted(kept.keys() - must.keys()):
            yield "content", f"no document is due of {place}"
        for place in sorted(must.keys() - kept.keys()):
            yield "content", f"the document of {place} is missing"
        for place in sorted(must.keys() & kept.keys()):
            yield from _content_faults("content", place, kept[place], must[place])

    def _taxes(self) -> Iterator[Fault]:
        """Every document has the tax that is due on its lines; notes with what they correct."""
        yield from (("once", fault) for fault in self.taxes.repeated())
        for document in self.tables.documents.values():
            if document.kind == "invoice":
                position = self.witness.ticks[document.cut_serial].fact_position
                for fault in self.taxes.faults(document.content, position, whole=True):
                    yield "taxed", f"{document.sealed.number}: {fault}"

    def _chain(self) -> Iterator[Fault]:
        """Numbers have no gap, each seal holds the one before."""
        previous, place = "0" * 64, 0
        for (issuer, _), document in sorted(self.tables.documents.items()):
            place, sealed = place + 1, document.sealed
            record = cast(dict[str, Json], json.loads(sealed.record))
            must = (place, f"T-{place:06d}", previous, sha256(sealed.content).hexdigest())
            told = (sealed.place, record["number"], record["previous_seal"])
            if told != must[:3] or must[3] not in str(record["content_digest"]):
                yield "chain", f"{issuer} {sealed.number} does not follow {place - 1}"
            if sha256(sealed.record).digest() != sealed.seal:
                yield "chain", f"{sealed.number} is not sealed by its record"
            previous = sealed.seal.hex()

    def _drafts(self) -> Iterator[Fault]:
        """Every draft said what would have been issued; those that stand are all there are."""
        stored = list(self.drafts_stored)
        for draft in self.random.sample(stored, min(len(stored), _DRAFTS_LOOKED_AT)):
            yield from self._draft_faults(draft)
        for draft in self.tables.drafts.values():
            yield from self._draft_faults(draft)
        kept = {(d.payer, d.currency, d.instant): 0 for d in self.tables.drafts.values()}
        yield from _differences("draft", kept, self._standing())

    def _standing(self) -> dict[Cut, int]:
        """Return the drafts there must be at the end of the log."""
        found = {}
        for partition, (cursor, _) in self.tables.cursors.items():
            book = self.billing.book(cursor.tick.fact_position)
            for kind, payer in sorted(book.latest):
                if kind != "customer" or self.witness.home(payer) != partition:
                    continue
                ahead = self.billing.open(book, payer, cursor.log_time, cursor.tick.serial)
                for closing, carried in ahead.items():
                    if due(book, payer, closing, carried.copy()):
                        found[payer, *closing] = 0
        return found

    def _draft_faults(self, draft: Draft) -> Iterator[Fault]:
        at, billing = draft.position, self.billing
        serial = self.witness.serial_at(at.partition, at.offset)
        book = billing.book(self.witness.ticks[serial].fact_position)
        place = (draft.payer, draft.currency, draft.instant)
        cut = min(serial, billing.cuts.get(place, serial))
        position = self.witness.ticks[cut].fact_position
        if "corrects" not in draft.content:
            for fault in self.taxes.faults(draft.content, position, whole=False):
                yield "taxed", f"draft of {place} at {at.partition}/{at.offset}: {fault}"
        if billing.cuts.get(place, serial + 1) <= serial:  # it waited behind its cut
            if "corrects" not in draft.content:
                lines = billed(billing, place, billing.cuts[place], None)
                ever = billing.edits.ever(place, lines)
                found = [[*_content_faults("draft", place, draft.content, must)] for must in ever]
                yield from min(found, key=bool)  # of whoever looked before the last edit
            return
        ahead = billing.open(book, draft.payer, at.log_time, serial)
        carried = ahead.get(place[1:])
        if carried is None:
            yield "draft", f"{place} is not open at {at}"
            return
        edited_until = self.witness.ticks[serial].fact_position
        lines = billing.lines(book, draft.payer, place[1:], carried, at.offset, edited_until)
        for law, detail in _content_faults("draft", place, draft.content, lines):
            yield law, f"{detail} at {at.partition}/{at.offset}"


def _content_faults(
    law: str,
    place: Cut,
    content: Mapping[str, Json],
    must: Sequence[ExpectedLine],
) -> Iterator[Fault]:
    payer, currency, instant = place
    name = f"{payer} {currency} {instant_text(instant)}"
    head = (content["customer"], content["currency"], content["cut_instant"])
    if head != (payer, currency, instant_text(instant)):
        yield law, f"{name} says it is of {head}"
    lines = cast(list[dict[str, Json]], content["lines"])
    kept = {(str(line["source_id"]), str(line["period_start"])): line for line in lines}
    for line in must:
        told = kept.pop((line.source, line.start), None)
        if told is None:
            yield law, f"{name} lacks {line}"
        elif fault := _line_fault(told, line):
            yield law, f"{name}: {fault}"
    for source, start in kept:
        yield law, f"{name} must have no line {source} from {start}"
    due = sum(line.total_minor for line in must)
    if untaxed(content) != due:
        yield law, f"{name} is over {untaxed(content)} before tax, due are {due}"


def _line_fault(told: Mapping[str, Json], must: ExpectedLine) -> str:
    """Return how a line differs; its children must sum to it."""
    card = cast(Body, told["rate_card"])
    pairs: list[tuple[str, object, object]] = [
        ("period_end", told["period_end"], must.end),
        ("total", untaxed(told), must.total_minor),
        ("due", told["invoice_at"], instant_text(must.due)),
        ("meter", told["meter"], must.meter),
        ("plan", card.get("plan"), must.plan),
        ("seller", card.get("seller"), must.seller),
        ("tax terms", card.get("tax"), must.tax),
        ("account", told.get("sub_account"), must.account),
    ]
    if must.plain or must.plan is not None:
        managed = "manual" if must.plain else "subscription"
        pairs.append(("manager", told["managed_by"], managed))
    if must.quantity is not None:
        pairs.append(("quantity", str(told["quantity"]), _text(must.quantity)))
        children = cast(list[Body], told["children"])
        parts = 0 if must.is_whole else must.total_minor
        pairs.append(("children", sum(map(untaxed, children)), parts))
    wrong = [f"{name} {is_} for {due}" for name, is_, due in pairs if is_ != due]
    return f"{must.source} from {must.start}: {', '.join(wrong)}" if wrong else ""


def _but_conflicts(letter: DeadLetter) -> DeadLetter:
    others = [each for each in letter.refusals if each.rejection.code is not Code.CONFLICT]
    return replace(letter, refusals=others)


def _text(quantity: Fraction) -> str:
    """Return a quantity as it is printed: to 12 decimals where it has no end."""
    rest = quantity.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    places = 12 if rest > 1 else quantity.denominator.bit_length()
    whole = minor(abs(quantity), places)
    text = f"{whole // 10**places}.{whole % 10**places:0{places}d}".rstrip("0").rstrip(".")
    return f"-{text}" if quantity < 0 and whole else text


def _differences(
    law: str,
    kept: Mapping[Cut, int],
    must: Mapping[Cut, int],
) -> Iterable[Fault]:
    for place in sorted(kept.keys() | must.keys()):
        if kept.get(place) != must.get(place):
            told = f"{place[0]} {place[1]} {instant_text(place[2])}"
            yield law, f"{law} of {told}: kept {kept.get(place)}, must {must.get(place)}"
