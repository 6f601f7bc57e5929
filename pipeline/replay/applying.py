"""Applying: the notes that bring issued documents to what a replay made of them.

Owns: which document gets which note, and why one gets none; how usage corrects them since.
Does not own: the diff (diff.py), the note itself (invoice/notes.py), writing decisions (workers).
Law: the notes sum to the diff; an invoice with all its notes then is the replay's with its own. But
for usage that was billed before its period ended: the period's last invoice bills the whole less
that, so until it was issued a note would give the same difference twice.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import cast

from pipeline.catalog.corrections import Decision
from pipeline.catalog.facts import Fact, FactKind
from pipeline.catalog.mends import Mend, Mends, Until, with_mends
from pipeline.core.calendar import Instant, instant_text, parse_instant
from pipeline.core.identity import Json
from pipeline.core.money import sums_by_currency
from pipeline.invoice.correcting import is_void
from pipeline.invoice.lines import LineKey
from pipeline.invoice.notes import (
    Change,
    Record,
    booked,
    difference,
    emptied,
    is_note,
    lines_of,
    part_of_change,
)
from pipeline.invoice.planned import (
    begins_of,
    carried_by_all,
    ends_of,
    farther,
    is_early,
    until_of,
)
from pipeline.replay.diff import Pair, Selection
from pipeline.replay.revising import PRICING

CODE = "repriced"
"""The reason code of such notes."""


Source = tuple[str, str]
"""(subscription, price)."""


@dataclass(frozen=True, slots=True)
class Family:
    """An issued invoice with all its notes, on both sides; `before` begins with the invoice."""

    customer: str
    instant: Instant
    before: Sequence[Record]
    after: Sequence[Record]
    running: Collection[LineKey] = ()
    """What was billed before its period ended, and that period's last invoice is still to come."""
    below: int = 0
    """Usage under cuts below it is in `after`."""
    noted: int = 0
    """The last cut that anything in `before` was made at."""
    first: tuple[int, Instant] = (0, 0)
    """The cut of the invoice, or of the first that it was issued in place of."""
    differs: bool = True

    @property
    def place(self) -> tuple[str, str]:
        """Its payer and currency."""
        return self.customer, cast(str, self.before[0]["currency"])

    @property
    def document(self) -> str:
        """The id of the invoice."""
        return cast(str, self.before[0]["id"])

    def change(self, selection: Selection) -> Change:
        """Return what brings the one side to the other, in the lines that are selected."""
        invoice, *notes = self.before
        stands = booked(invoice, notes)
        wanted = booked(self.after[0], self.after[1:]) if self.after else emptied(stands)
        change = difference(wanted, stands)
        kept = [
            line
            for line in change.lines
            if selection.meters is None or line["meter"] in selection.meters
            if not self.running or LineKey.of_line(line) not in self.running
        ]
        return change if len(kept) == len(change.lines) else part_of_change(invoice, kept)

    def farther(self, selection: Selection) -> Until:
        """Return which prices it bills farther in the replay, and up to where."""
        if not self.after or is_early(self.before[0]):
            return ()
        wanted, stands = ([*selection.lines(e[0]).values()] for e in (self.after, self.before))
        return farther(wanted, stands)

    def begins(self, selection: Selection, stands: Mapping[Source, Instant]) -> Until:
        """Return which prices it bills in the replay before where they stand, and from where."""
        begun = begins_of(selection.lines(self.after[0]).values()) if self.after else {}
        told = {each: at for each, at in begun.items() if at < stands.get(each, at)}
        return [(*source, instant_text(at)) for source, at in sorted(told.items())]

    def says(self, selection: Selection) -> bool:
        """Whether it is void, or has a note of the diff: only that tells how far it bills."""
        return is_void(self.before[1:]) or self.change(selection).is_money

    def told(self, change: Change, selection: Selection) -> Record:
        """Return a change as its fact tells it, and which prices it bills farther.

        Later invoices bill from there: else they would bill the same, by prices of then.
        """
        until: list[Json] = [[*each] for each in self.farther(selection)]
        return {**change.json(), **({"until": until} if until else {})}


def families(pairs: Iterable[Pair], selection: Selection) -> list[Family]:
    """Return the invoices that are looked at: usage may make a difference where there is none yet.

    Raises:
        ValueError: something is only in the replay, of an invoice that was never issued.

    """
    by_invoice: dict[str, list[Pair]] = defaultdict(list)
    pairs = sorted(pairs, key=attrgetter("order"))
    running, firsts = _running(pairs), _firsts(pairs)
    for pair in pairs:
        told = cast(Record, pair.before if pair.before is not None else pair.after)
        by_invoice[str(told.get("corrects", told["id"]))].append(pair)
    found = []
    for document, own in by_invoice.items():
        looked_at = [pair for pair in own if selection.holds(pair)]
        differs = not all(pair.same for pair in looked_at)
        before = [pair.before for pair in own if pair.before is not None]
        after = [pair.after for pair in own if pair.after is not None]
        if not before or before[0]["id"] != document or (after and after[0]["id"] != document):
            if differs:
                why = "there is nothing that a note corrects"
                raise ValueError(f"{document} was never issued: {why}")
            continue
        below = max((e.below or e.cut_serial for e in own if _has_usage(e.after)), default=0)
        noted = max(e.cut_serial for e in own if e.before is not None)
        where = own[0].customer, own[0].instant
        if looked_at:
            first = firsts[document]
            found.append(Family(*where, before, after, running, below, noted, first, differs))
    return found


def _firsts(pairs: Iterable[Pair]) -> Mapping[str, tuple[int, Instant]]:
    """Return where each invoice stands, or the first that it was issued in place of, by id."""
    found: dict[str, tuple[int, Instant]] = {}
    for pair in pairs:
        if pair.before is not None and not is_note(pair.before):
            replaces = str(pair.before.get("replaces"))
            found[str(pair.before["id"])] = found.get(replaces, pair.order)
    return found


def _has_usage(content: Record | None) -> bool:
    """Whether a document was made of usage: no note is that somebody decided."""
    return content is not None and (not is_note(content) or content["cause"] is None)


def _running(pairs: Sequence[Pair]) -> set[LineKey]:
    """Return what is, or would be, billed early of periods whose last invoice is to come."""
    issued = invoices_of(pair.before for pair in pairs)
    others, ended = invoices_of(pair.after for pair in pairs), dict[tuple[str, str], Instant]()
    for place, contents in issued.items():
        ends = (parse_instant(str(e["cut_instant"])) for e in contents if not is_early(e))
        ended[place] = max(ends, default=0)
    found = set()
    for place, contents in (*issued.items(), *others.items()):
        if any(map(is_early, contents)):
            for (subscription, price), reach in carried_by_all(contents).items():
                for early in reach.early:
                    if early.end > ended.get(place, 0):
                        found.add(LineKey(subscription, price, early.start, early.group))
    return found


def invoices_of(contents: Iterable[Record | None]) -> dict[tuple[str, str], list[Record]]:
    """Return the invoices among documents, by customer and currency."""
    found: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for content in contents:
        if content is not None and not is_note(content):
            found[str(content["customer"]), str(content["currency"])].append(content)
    return found


def repricings(
    found: Iterable[Family], selection: Selection, diff_id: str, at: Instant
) -> list[Decision]:
    """Return the decisions that make the notes; none where no money moves."""
    made = []
    for each in found:
        change = each.change(selection)
        if change.is_money:
            made.append(
                Decision(
                    FactKind.REPRICING,
                    each.customer,
                    cast(str, each.before[0]["currency"]),
                    max(at, each.instant + 1),
                    each.document,
                    code=CODE,
                    reference=diff_id,
                    change=each.told(change, selection),
                )
            )
    return made


@dataclass(frozen=True, slots=True)
class OtherPrices:
    """What a replay says of prices, and of diffs that stand there, beside what is `told`."""

    told: Sequence[Fact]
    said: Sequence[Fact]
    standing: Mends

    @classmethod
    def of(cls, told: Sequence[Fact], otherwise: Iterable[Fact]) -> "OtherPrices":
        """Return them of what facts say in a replay."""
        there = [*otherwise]
        mended = [each for each in there if each.kind is FactKind.MENDED]
        return cls(told, [e for e in there if e.kind in PRICING], with_mends({}, mended))

    def of_subjects(self, earlier: Sequence[Fact] = ()) -> list[Fact]:
        """Return all that is said of subjects whose prices are others than facts say.

        Or were, by a diff that was applied `earlier` and stands in the replay: what that said
        otherwise than facts do stays said.
        """
        stays = {each.serial: each for each in earlier if self._is_other(each)}
        found = [stays.get(each.serial, each) for each in self.said]
        others = {(each.kind, each.subject) for each in found if self._is_other(each)}
        return [each for each in found if (each.kind, each.subject) in others]

    def _is_other(self, fact: Fact) -> bool:
        return fact.serial <= len(self.told) and fact.body != self.told[fact.serial - 1].body


def mends(found: Iterable[Family], selection: Selection, prices: OtherPrices) -> list[Mend]:
    """Return by which prices usage corrects documents once their diff is applied.

    An invoice that is not in the replay is corrected no more. One that an earlier diff corrects
    there, too, has the prices of both; where either is of some meters only it stays as it is. So
    does one that bills a price farther there, where neither its note nor a later invoice does: the
    next one will.
    """
    own = prices.of_subjects()
    with_earlier: dict[int, list[Fact]] = {}
    billed: dict[tuple[str, str], list[tuple[str, str, str]]] = defaultdict(list)
    made = []
    known: dict[tuple[str, str, tuple[int, Instant]], tuple[Until, Mapping[Source, Instant]]] = {}
    found = [*found]
    stands, before = _billed(found, prices.told), _billed((), prices.told)
    for each in sorted(found, key=lambda family: family.first):
        if is_early(each.before[0]):
            continue
        # What is issued anew bills what the first did: neither is behind the other.
        place = (*each.place, each.first)
        if place not in known:
            known[place] = tuple(billed[each.place]), dict(before[each.place])
        until, stood = known[place]
        for source, end in ends_of(lines_of(each.before[0])).items():
            before[each.place][source] = max(end, before[each.place].get(source, end))
        told = each.farther(selection)
        left = [e for e in told if parse_instant(e[2]) > stands[each.place].get((e[0], e[1]), 0)]
        if left and not each.says(selection):
            billed[each.place] += left
            continue
        billed[each.place] += told
        since, gone = each.begins(selection, stood), not each.after
        earlier, by = prices.standing.get(each.document, ()), own
        if earlier:
            if selection.meters is not None or any(mend.meters is not None for mend in earlier):
                continue
            last = earlier[-1].prices
            if id(last) not in with_earlier:
                with_earlier[id(last)] = prices.of_subjects(last)
            by, until = with_earlier[id(last)], (*earlier[-1].until, *until)
            since, gone = earlier[-1].since, gone or earlier[-1].gone
        made.append(
            Mend(
                each.document,
                each.below,
                each.noted,
                selection.meters,
                by,
                until=until,
                since=since,
                gone=gone,
            )
        )
    return made


def _billed(
    found: Iterable[Family], told: Iterable[Fact]
) -> Mapping[tuple[str, str], dict[Source, Instant]]:
    """Return up to where invoices, or the notes of earlier diffs, bill prices, by place."""
    stands: dict[tuple[str, str], dict[Source, Instant]] = defaultdict(dict)
    ends = [
        (each.place, *end) for each in found for end in ends_of(lines_of(each.before[0])).items()
    ]
    for change, place in (
        (cast(Record, e.body["change"]), (str(e.body["customer"]), str(e.body["currency"])))
        for e in told
        if e.kind is FactKind.REPRICING
    ):
        ends += [(place, (e[0], e[1]), parse_instant(e[2])) for e in until_of(change)]
    for place, source, end in ends:
        stands[place][source] = max(end, stands[place].get(source, end))
    return stands


def total_minor(bodies: Iterable[Record]) -> dict[str, int]:
    """Return what the notes of applied decisions come to, by currency."""
    return sums_by_currency(
        (cast(str, body["currency"]), Change.of_json(cast(Record, body["change"])).totals.total)
        for body in bodies
    )


def moved_since(
    found: Iterable[Family],
    decided: Mapping[str, Sequence[Decision]],
    issued: Mapping[str, Iterable[str]],
) -> str | None:
    """Return the first invoice that something happened to since a diff; None where nothing did.

    `decided`: decisions since then, `issued`: the notes there are now, both by document.
    """
    for each in found:
        known = {note["id"] for note in each.before}
        if decided.get(each.document) or set(issued.get(each.document, ())) - known:
            return each.document
    return None


def mended_since(compared: Iterable[Family], facts: Iterable[Fact]) -> str | None:
    """Return the first invoice that facts since a diff correct by other prices; None: none."""
    mended = with_mends({}, (fact for fact in facts if fact.kind is FactKind.MENDED))
    return next((each.document for each in compared if each.document in mended), None)
