"""Mended documents that take off what others billed before: all comes to what other prices make.

What those billed early, or in advance, the diff put right, too.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest

from builders import (
    Decision,
    customer_of,
    facts,
    flat,
    instant,
    issuer_of,
    log_of,
    meter_of,
    per_unit,
    plan_of,
    price_of,
    rules_of,
    subscription_of,
)
from pipeline.book.booking import Cut
from pipeline.catalog.catalog import Catalog, extend
from pipeline.catalog.corrections import Decision as Decided
from pipeline.catalog.corrections import Part
from pipeline.catalog.early import EarlyUsage
from pipeline.catalog.facts import Fact, FactKind, NewFact
from pipeline.catalog.mends import mended
from pipeline.core.calendar import Instant
from pipeline.invoice.compose import compose
from pipeline.invoice.correcting import decided_note, usage_note
from pipeline.invoice.history import History, Paper
from pipeline.invoice.layers import layers_of
from pipeline.invoice.notes import is_note, lines_of
from pipeline.invoice.planned import Carried, planned_lines
from pipeline.invoice.totals import Totals
from pipeline.invoice.usage import Usage, UsagePart, UsageRequest
from pipeline.ledger.seal import Sealed, content_bytes
from pipeline.replay.ahead import with_ahead
from pipeline.replay.applying import OtherPrices, families, mends, repricings
from pipeline.replay.diff import Pair, Selection
from pipeline.stores.postgres.documents import Document
from pipeline.stores.postgres.preparing import Prepared
from pipeline.workers.retaining import kept_by_place
from rooms.test_finalizer import Archive, finalizing

JAN, MID, FEB = (instant(f"2026-{day}T00:00:00Z") for day in ("01-01", "01-16", "02-01"))
CALLS, AHEAD = "calls", "ahead"


def told(price: str) -> list[Decision]:
    """acme on calls at a price, and on a fee in advance of a hundred times that."""
    fee = price_of(AHEAD, flat(f"{price}00"), payment_term="in_advance")
    return [
        log_of(),
        rules_of(),
        issuer_of(),
        meter_of(CALLS, window_s=3600),
        plan_of("p", price_of(CALLS, per_unit(price), CALLS), fee),
        customer_of("acme"),
        subscription_of("s", "acme", "p", "2026-01-01T00:00:00Z"),
    ]


@dataclass
class Life:
    """What is told of acme, and what was issued."""

    known: list[Fact]
    papers: list[Paper] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)

    def tell(self, *new: NewFact) -> None:
        for each in new:
            serial = len(self.known) + 1
            body = dict(each.body)
            fact = Fact(serial, f"fact-{serial}", each.kind, each.subject, body, "ada", "", 0)
            self.known.append(fact)

    def catalog(self, serial: int) -> Catalog:
        return extend(Catalog(), self.known[: self.positions[serial - 1]])

    @property
    def history(self) -> History:
        return History("acme", [*self.papers], self.catalog)

    def usage(self, requests: Sequence[UsageRequest], used: int) -> Usage:
        """So much was used, whenever."""
        return used_of(requests, used)

    def _serial(self) -> int:
        self.positions.append(len(self.known))
        return len(self.positions)

    def cut(self, at: Instant, used: int, *, early: bool = False) -> None:
        """Issue what falls due, or is billed early, of so much usage."""
        if early:
            asked = Decided(FactKind.BILL_NOW, "acme", "EUR", at, early=EarlyUsage("s", JAN))
            self.tell(asked.told())
        serial, history = self._serial(), self.history
        catalog, cause = self.catalog(serial), self.known[-1].id if early else None
        decided = catalog.deals.decisions.known
        of = decided[-1].early if early else None
        lines = planned_lines(catalog, "acme", "EUR", at, history.carried("EUR"), of)
        usage = self.usage([asked for line in lines for asked in line.requests()], used)
        for made in compose(catalog, "acme", "EUR", at, lines, usage, cause):
            self.papers.append(Paper(serial, at, made.kind, made.ordinal, made.content))

    def decide(self, wanted: Decided, used: int) -> None:
        """Make the note of a decision, and what is issued anew."""
        serial, history = self._serial(), self.history
        decision = self.catalog(serial).deals.decisions.about(wanted.document)[-1]
        note = decided_note(history, decision)
        assert note is not None
        self.papers.append(Paper(serial, decision.at, note.kind, 0, note.content))
        if decision.reissue:
            paper = history.find(decision.document)
            assert paper is not None
            anew = history.reissue(paper, serial, decision.at, decision.fact)
            made = anew.composed("acme", "EUR", self.usage(anew.requests, used))
            self.papers.append(Paper(serial, decision.at, made.kind, 0, made.content))

    @property
    def last(self) -> Paper:
        """The last document that is no note."""
        return next(each for each in reversed(self.papers) if not is_note(each.content))

    def issue_anew(self, used: int) -> None:
        """Void the last document, and issue it anew."""
        at, last = FEB + 100 * len(self.papers), self.last
        void = Decided(FactKind.VOID, "acme", "EUR", at, last.id, code="wrong", reissue=True)
        self.tell(void.told())
        self.decide(void, used)
        assert self.last.replaces == last.id

    def late(self, used: int, known: int = 0, of: Paper | None = None) -> None:
        """Correct a document, the last, once so much was used, of which a diff knew some."""
        serial, history, last = self._serial(), self.history, of or self.last
        deals, at = self.catalog(serial).deals, FEB + 100 * len(self.papers)
        layers, decided = layers_of(history, last, deals.mends.get(last.id, ())), deals.decisions
        usage = self.usage(layers.requests, used)
        note = usage_note(
            history, layers, usage, lambda of, _: self.usage(of, known), at, decided.about(last.id)
        )
        if note is not None:
            self.papers.append(Paper(serial, at, note.kind, 0, note.content))

    @property
    def total(self) -> int:
        """What all documents come to."""
        return Totals.sum(Totals.of_json(each.content["totals"]) for each in self.papers).total


def used_of(requests: Sequence[UsageRequest], used: int) -> Usage:
    return {asked: [UsagePart(0, 1, used, 0, 0)] for asked in requests}


def put_right(
    life: Life, right: Life, used: int, taken_back: int = 0, name: str = "diff_1", at: Instant = FEB
) -> None:
    """Apply the diff of all documents; so much usage is taken back before it has its notes."""
    others = {each.id: each.content for each in right.papers}
    pairs = [
        Pair(e.id, "acme", e.instant, e.cut_serial, False, e.content, others.get(e.id))
        for e in life.papers
    ]
    found, whole = families(pairs, Selection()), Selection()
    notes, known = repricings(found, whole, name, at + 1), extend(Catalog(), life.known)
    held = {("acme", "EUR"): life.history.carried("EUR")}
    notes = with_ahead(notes, pairs, whole, known.deals.decisions.known, held)
    life.tell(*mended(name, mends(found, whole, OtherPrices.of(life.known, right.known))))
    asked = [replace(each, at=each.at + number) for number, each in enumerate(notes)]
    life.tell(*(each.told() for each in asked))
    if taken_back:
        life.late(used - taken_back, used)
    for each in asked:
        life.decide(each, used)


def beyond_retention(life: Life, stages: Sequence[int]) -> None:
    """Remove the contents of so many documents, one stage after the other."""
    documents = [
        Document(
            "talea", each.id, each.kind, "acme", "EUR", each.instant, each.ordinal, each.cut_serial,
            Sealed(place, f"T-{place}", content_bytes(each.content), b"", b""),
        )
        for place, each in enumerate(life.papers, 1)
    ]  # fmt: skip
    for place in stages:
        kept = kept_by_place(documents[:place], documents, life.known)
        documents = [replace(e, kept=kept.get(e.sealed.place, e.kept)) for e in documents]
    life.papers = [each.paper for each in documents]


def credit_calls(life: Life, minor: int) -> None:
    """Credit the calls of the last document by hand."""
    (line,) = (e for e in lines_of(life.last.content) if e["meter"] == CALLS)
    part = (Part(str(line["id"]), amount_minor=minor),)
    asked = Decided(FactKind.CREDIT_NOTE, "acme", "EUR", FEB + 9, life.last.id, part, code="slow")
    life.tell(asked.told())
    life.decide(asked, 0)


def billed_early(life: Life) -> int:
    life.cut(MID, 60, early=True)
    life.cut(FEB, 100)
    return 100


def given_back(life: Life) -> int:
    """Usage that was billed early of what is not sold any more; so is the fee."""
    life.cut(JAN, 0)
    life.cut(MID, 60, early=True)
    life.tell(NewFact(*subscription_of("s", "acme", "p", *["2026-01-01T00:00:00Z"] * 2)))
    life.cut(JAN + 1, 60)
    return 60


def ended_within(life: Life) -> int:
    """A fee in advance, of which a part is given back."""
    life.cut(JAN, 0)
    start, end = "2026-01-01T00:00:00Z", "2026-01-16T00:00:00Z"
    life.tell(NewFact(*subscription_of("s", "acme", "p", start, end)))
    life.cut(MID, 60)
    return 60


@pytest.mark.parametrize("goes", [billed_early, given_back, ended_within])
@pytest.mark.parametrize("price", ["1", "5"])
def test_what_is_issued_anew_takes_off_what_was_billed_before_as_it_was_put_right(
    goes: Callable[[Life], int], price: str
) -> None:
    life, right = Life(facts(*told("2"))), Life(facts(*told(price)))
    used = goes(life)
    goes(right)
    put_right(life, right, used)
    assert life.total == right.total

    for more in (0, 7, 12):
        life.issue_anew(used + more)
        right.late(used + more)
        assert life.total == right.total
    life.late(used + 15)
    right.late(used + 15)
    assert life.total == right.total


@pytest.mark.parametrize("wrong", ["1", "5"])
def test_so_it_is_where_other_prices_have_other_lines_give_back_a_fee(wrong: str) -> None:
    """A fee is given back whole where its price is another by then; else what is not served."""
    life, right = Life(facts(*told("2"))), Life(facts(*told("2")))
    start, end = "2026-01-01T00:00:00Z", "2026-01-16T00:00:00Z"
    for each, price in ((life, wrong), (right, "2")):
        each.cut(JAN, 0)
        each.tell(NewFact(*told(price)[4]), NewFact(*subscription_of("s", "acme", "p", start, end)))
        each.cut(MID, 60)
        each.tell(NewFact(*subscription_of("s", "acme", "p", start)))
        each.cut(FEB, 100)
    put_right(life, right, 100)
    assert life.total == right.total

    life.issue_anew(100)

    assert life.total == right.total


@pytest.mark.parametrize("price", ["1", "5"])
def test_a_fee_is_given_back_as_a_diff_put_it_right(price: str) -> None:
    """Its price is that of the diff by then, and part of its period is not served."""
    life, right = Life(facts(*told("2"))), Life(facts(*told(price)))
    start, end = "2026-01-01T00:00:00Z", "2026-01-16T00:00:00Z"
    life.cut(JAN, 0)
    right.cut(JAN, 0)
    put_right(life, right, 0)
    for each in (life, right):
        each.tell(NewFact(*told(price)[4]), NewFact(*subscription_of("s", "acme", "p", start, end)))
        each.cut(MID, 60)
    assert life.total == right.total

    life.issue_anew(60)
    assert life.total == right.total


def ended_behind_a_diff() -> Life:
    """A fee in advance, put right, and then given back in part."""
    life, right = Life(facts(*told("2"))), Life(facts(*told("1")))
    life.cut(JAN, 0)
    right.cut(JAN, 0)
    put_right(life, right, 0)
    return life


class Carrying(Archive):
    """What the finalizer knows of documents and facts by now."""

    def fact_position(self, tick_serial: int) -> int:
        return len(self.begun) + len(self.later)

    def read_prepared(self, payer: str) -> list[Prepared]:
        return [*self.prepared]

    def carried_by(self, payers: Sequence[str]) -> Mapping[tuple[str, str], Carried]:
        return {("acme", "EUR"): dict(self.reached)}


def test_the_finalizer_keeps_what_documents_carry_then() -> None:
    life, begun = ended_behind_a_diff(), told("2")
    archive = Carrying([Cut("acme", "EUR", JAN, 1)], {"acme": 0}, begun=begun)
    finalizing(archive).prepare()
    before = dict(archive.reached)

    archive.later = life.known[len(begun) :]
    note = life.papers[-1]
    archive.cuts.append(Cut("acme", "EUR", note.instant, 2, fact=len(life.known)))
    finalizing(archive).prepare()

    assert archive.reached == life.history.carried("EUR") != before


@pytest.mark.parametrize("stages", [[1], [2], [1, 2], [1, 2, 3]])
def test_so_it_is_once_contents_are_beyond_retention(stages: list[int]) -> None:
    life = ended_behind_a_diff()
    life.cut(FEB, 60)
    carried = life.history.carried("EUR")
    beyond_retention(life, stages)

    assert life.history.carried("EUR") == carried


def test_a_line_is_corrected_below_nothing_where_more_was_billed_early_than_stands() -> None:
    """As it would be had nobody decided anything of it."""
    life, right = Life(facts(*told("2"))), Life(facts(*told("5")))
    used = billed_early(life)
    put_right(life, right, billed_early(right))
    for left in (80, 20, 0, 30):
        life.late(left, used)
        right.late(left)
        assert life.total == right.total


@pytest.mark.parametrize(("left", "notes"), [(90, [-2000]), (20, []), (0, [])])
def test_calls_that_somebody_credited_are_corrected_by_no_more_than_is_left(
    left: int, notes: list[int]
) -> None:
    life = Life(facts(*told("2")))
    life.cut(FEB, 100)
    credit_calls(life, 15000)
    before = life.total

    life.late(left)

    assert life.total - before == sum(notes)


def test_a_diff_that_is_about_to_add_to_calls_leaves_room_though_somebody_credited_them() -> None:
    life, right = Life(facts(*told("2"))), Life(facts(*told("5")))
    for each in (life, right):
        each.cut(FEB, 100)
        credit_calls(each, 1000)

    put_right(life, right, 100, taken_back=80)
    right.late(20)

    assert life.total == right.total
