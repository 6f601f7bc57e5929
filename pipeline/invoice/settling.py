"""Settling: what prepaid credits pay of a document.

Owns: which credit pays which line, in which order, and how much.
Does not own: content (compose.py), the credits themselves (catalog/credits.py), what earlier
documents took of them: that comes in, and what this one takes stands in its issue record.
Law: no document is below zero then, no credit below nothing; one answer to one question.

Credits pay in their turn; each takes from the lines it may pay, in the order of the document. A
line is paid by what is alive at its tax point: the last instant of what was served, or the moment
that a fee in advance or an order falls due.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

from pipeline.catalog.credits import Grant
from pipeline.core.calendar import Instant
from pipeline.core.identity import Json
from pipeline.invoice.lines import tax_point_of

Spent = Mapping[str, int]
"""Minor units that issued documents took, by credit."""

Record = Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Settlement:
    """What credits pay of a document, in the order they pay; all in minor units."""

    total_minor: int
    credits: tuple[tuple[str, int], ...] = ()
    """(credit, amount), each above zero."""

    @property
    def due_minor(self) -> int:
        """What is left to pay."""
        return self.total_minor - sum(amount for _, amount in self.credits)

    def json(self) -> dict[str, Json] | None:
        """Return it as it is sealed; None where no credit pays."""
        if not self.credits:
            return None
        paid: list[Json] = [
            {"credit": credit, "amount_minor": amount} for credit, amount in self.credits
        ]
        return {"credits": paid, "due_minor": self.due_minor}


@dataclass(slots=True)
class _Open:
    """A line with something left to pay."""

    meter: str | None
    plan: str | None
    tax_point: Instant
    left: int

    def payable_by(self, grant: Grant) -> bool:
        """Whether a credit may pay it."""
        return (
            grant.alive(self.tax_point)
            and (not grant.meters or self.meter in grant.meters)
            and (not grant.plans or self.plan in grant.plans)
        )


def settle(content: Record, grants: Iterable[Grant], spent: Spent) -> Settlement:
    """Return what the customer's credits pay of a document, after what they paid before."""
    total = cast(int, cast(Record, content["totals"])["total_minor"])
    if content.get("corrects") is not None:
        return Settlement(total)  # what credits paid of its document is never worked out anew
    lines = [*_open_lines(content)]
    owner = (content["issuer"], content["currency"])
    paid, room = list[tuple[str, int]](), total
    for grant in sorted(grants, key=lambda each: each.turn):
        if grant.voided or (grant.issuer, grant.currency) != owner:
            continue
        rest = min(room, grant.amount_minor - spent.get(grant.id, 0))
        taken = 0
        for line in lines:
            share = min(line.left, rest - taken) if line.payable_by(grant) else 0
            if share > 0:
                line.left -= share
                taken += share
        if taken:
            paid.append((grant.id, taken))
            room -= taken
    return Settlement(total, tuple(paid))


def given_back(note: Record, settled: Record | None) -> Settlement:
    """Return what a note that voids a document gives back to the credits that paid it.

    The last that paid gets back first; what people took off before is not given back twice.
    """
    total = cast(int, cast(Record, note["totals"])["total_minor"])
    room, back = max(0, -total), list[tuple[str, int]]()
    for credit, amount in reversed(taken_by(settled)):
        share = min(amount, room)
        if share:
            back.append((credit, -share))
            room -= share
    return Settlement(total, tuple(back))


def _open_lines(content: Record) -> Iterable[_Open]:
    """Yield the lines that charge anything; what others give back counts for all of them."""
    for line in cast(list[Record], content["lines"]):
        charged = cast(int, cast(Record, line["totals"])["total_minor"])
        if charged <= 0:
            continue
        plan = cast(Record, line["rate_card"] or {}).get("plan")
        yield _Open(
            cast("str | None", line["meter"]),
            cast("str | None", plan),
            tax_point_of(line),
            charged,
        )


def settle_all(
    contents: Iterable[Record], grants: Iterable[Grant], spent: Spent
) -> list[Settlement]:
    """Return the settlements of documents that would be issued one after the other."""
    known, taken, found = [*grants], dict(spent), []
    for content in contents:
        settlement = settle(content, known, taken)
        taken = added(taken, settlement.json())
        found.append(settlement)
    return found


def added(spent: Spent, settlement: Record | None) -> dict[str, int]:
    """Return what was taken of credits, with what one more issue record says."""
    total = dict(spent)
    for credit, amount in taken_by(settlement):
        total[credit] = total.get(credit, 0) + amount
    return total


def taken_by(settlement: Record | None) -> list[tuple[str, int]]:
    """Return (credit, amount) of a settlement as it is sealed."""
    paid = cast(list[Record], settlement["credits"]) if settlement else []
    return [(cast(str, each["credit"]), cast(int, each["amount_minor"])) for each in paid]


@dataclass(frozen=True, slots=True)
class Balance:
    """A credit with what became of it: paid by issued documents, about to be paid by drafts.

    `left_minor` is what it may still pay once the drafts are issued as they stand.
    """

    grant: Grant
    used_minor: int
    on_drafts_minor: int
    state: str

    @property
    def left_minor(self) -> int:
        """What is left: nothing of one that is void or expired."""
        if self.state in ("voided", "expired"):
            return 0
        return self.grant.amount_minor - self.used_minor - self.on_drafts_minor

    def json(self) -> dict[str, Json]:
        """Return it for a report."""
        return {
            **self.grant.body(),
            "state": self.state,
            "amount_minor": self.grant.amount_minor,
            "used_minor": self.used_minor,
            "on_drafts_minor": self.on_drafts_minor,
            "left_minor": self.left_minor,
        }


def balances(
    grants: Iterable[Grant], spent: Spent, drafts: Iterable[Record], now: Instant
) -> list[Balance]:
    """Return a customer's credits in the order they pay, at an instant."""
    known = sorted(grants, key=lambda each: each.turn)
    after = dict[str, int]()
    for settlement in settle_all(drafts, known, spent):
        after = added(after, settlement.json())
    return [
        Balance(each, spent.get(each.id, 0), after.get(each.id, 0), _state(each, spent, now))
        for each in known
    ]


def _state(grant: Grant, spent: Spent, now: Instant) -> str:
    if grant.voided:
        return "voided"
    if spent.get(grant.id, 0) == grant.amount_minor:
        return "used up"
    if grant.expires is not None and grant.expires <= now:
        return "expired"
    return "active" if grant.starts <= now else "not yet"
