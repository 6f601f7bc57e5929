"""Settled: what prepaid credits pay of each invoice, as the auditor works it out.

Owns: whose turn it is, which lines a credit pays, what is left of it.
Does not own: what the lines are (billing.py), whether they say so (auditor.py).
Law: it shares no step with the pipeline.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import cast

from pipeline.core.calendar import Instant, parse_instant
from pipeline.simulate.agreements import Body
from pipeline.simulate.billing import Billing
from pipeline.simulate.dues import ExpectedLine
from pipeline.simulate.reissued import billed
from pipeline.simulate.sold import DIGITS, Book, minor
from pipeline.stores.postgres.documents import Document


@dataclass(frozen=True, slots=True)
class Credit:
    """What a fact grants; `amount` in minor units."""

    name: str
    body: Body
    amount: int

    @property
    def turn(self) -> tuple[int, bool, Instant]:
        """Priority, then the earliest end; of two alike the older one comes first."""
        end = self.body["expires"]
        return cast(int, self.body["priority"]), end is None, parse_instant(end) if end else 0

    def pays(self, line: ExpectedLine) -> bool:
        """Return whether it lives at the last instant that a line bills, and is for such lines."""
        point, end = line.tax_point, self.body["expires"]
        alive = parse_instant(self.body["starts"]) <= point and (
            end is None or point < parse_instant(end)
        )
        meters, plans = (cast(list[str], self.body[key]) for key in ("meters", "plans"))
        fits = (not meters or line.meter in meters) and (not plans or line.plan in plans)
        return alive and fits


def credits_of(book: Book, payer: str, currency: str) -> list[Credit]:
    """Return what may pay a payer's documents in a currency, in turn."""
    found = [
        Credit(name, body, minor(Fraction(str(body["amount"])), DIGITS[currency]))
        for (kind, name), body in book.latest.items()  # in the order of their facts
        if kind == "credit" and (body["customer"], body["currency"]) == (payer, currency)
        if ("credit_void", name) not in book.latest
    ]
    return sorted(found, key=lambda each: each.turn)


def paid_by_credits(
    credits: Sequence[Credit], lines: Sequence[ExpectedLine], spent: Counter[str]
) -> list[tuple[str, int]]:
    """Return what each credit pays of lines in the order of their document; add it to `spent`."""
    left = [max(0, line.total_minor) for line in lines]
    room, paid = sum(line.total_minor for line in lines), []
    for credit in credits:
        rest = max(0, min(room, credit.amount - spent[credit.name]))
        before = rest
        for at, line in enumerate(lines):
            if credit.pays(line):
                share = min(left[at], rest)
                left[at], rest = left[at] - share, rest - share
        if before > rest:
            paid.append((credit.name, before - rest))
            spent[credit.name] += before - rest
            room -= before - rest
    return paid


def settlement_faults(
    documents: Mapping[tuple[str, int], Document], billing: Billing
) -> Iterator[tuple[str, str]]:
    """Yield where credits pay otherwise than in the order of numbers, by the facts at each cut.

    A void gives back what they paid, the last that paid first, up to what was left.
    """
    spent, paid_of = Counter[str](), dict[str, list[tuple[str, int]]]()
    for _, document in sorted(documents.items()):
        told = cast("Body | None", json.loads(document.sealed.record)["settlement"])
        paid: list[tuple[str, int]] = []
        total = cast(dict[str, int], document.content["totals"])["total_minor"]
        if document.kind == "invoice":
            payer, currency = document.payer, document.currency
            lines = _in_order(document, billing)
            book = billing.book(billing.witness.ticks[document.cut_serial].fact_position)
            paid = paid_by_credits(credits_of(book, payer, currency), lines, spent)
            paid_of[document.id], total = paid, sum(line.total_minor for line in lines)
        elif document.content["voids"] is True:
            paid = _given_back(paid_of[str(document.content["corrects"])], -total, spent)
        left: tuple[object, object] = [], None
        if told is not None:
            credits = cast(list[Body], told["credits"])
            left = [(each["credit"], each["amount_minor"]) for each in credits], told["due_minor"]
        must = paid, (total - sum(amount for _, amount in paid) if paid else None)
        if left != must:
            yield "settled", f"{document.sealed.number} is paid by {left}, must be by {must}"


def _given_back(
    paid: Sequence[tuple[str, int]], room: int, spent: Counter[str]
) -> list[tuple[str, int]]:
    """Return what credits get back of what they paid, as payments below zero; they spent less."""
    back = []
    for credit, amount in reversed(paid):
        share = max(0, min(amount, room))
        room -= share
        if share:
            back.append((credit, -share))
            spent[credit] -= share
    return back


def _in_order(document: Document, billing: Billing) -> list[ExpectedLine]:
    """Return the lines that a document must have, in the order in which it has them, taxed."""
    place = document.payer, document.currency, document.instant
    made = billed(billing, place, document.cut_serial, None)
    known = {(line.source, line.start): line for line in made}
    told = cast(list[Body], document.content["lines"])
    found = []
    for line in told:
        source = str(line["source_id"]), str(line["period_start"])
        if source in known:
            found.append(replace(known[source], total_minor=cast(int, line["total_minor"])))
    return found
