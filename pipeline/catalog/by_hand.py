"""By hand: what people decided of single documents: lines, edits, holds, approvals, waivers.

Owns: their records, how a fact's body becomes one and one a body, their fold.
Does not own: what may be decided (hand_rules.py), what a document makes of it (invoice/by_hand.py),
whether it is issued (workers/finalizer.py).
Law: a line is known by its id and an edit by what it edits: told again, the last one counts.

A document's id follows from payer, currency, cut instant and issuer, so a fact can name one that
is not there yet. Facts that name a document enter it also after its cut.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from typing import cast

from pipeline.catalog.facts import Fact, FactKind
from pipeline.catalog.rate_cards import Body, PlanPrice, card_body, plan_price
from pipeline.core.calendar import Instant, instant_text, parse_instant
from pipeline.core.identity import Json
from pipeline.core.quantity import exact, quantity_text


class LineType(StrEnum):
    """What a line by hand is."""

    CHARGE = "charge"
    FEE = "fee"
    CREDIT = "credit"
    DISCOUNT = "discount"
    ADJUSTMENT = "adjustment"

    @property
    def gives_back(self) -> bool:
        """Whether its amount is below zero."""
        return self in (LineType.CREDIT, LineType.DISCOUNT)


@dataclass(frozen=True, slots=True)
class HandLine:
    """A line by hand, due at `at`: on `document`, or on the customer's next one of the issuer.

    A `plan` says that its price is one of the catalog; else it is a price of its own.
    """

    id: str
    customer: str
    issuer: str
    currency: str
    at: Instant
    type: LineType
    card: PlanPrice
    quantity: Fraction
    plan: str | None = None
    document: str | None = None
    external_reference: str | None = None
    position: int = 0

    def body(self) -> dict[str, Json]:
        """Return what a fact says of it."""
        return {
            "id": self.id,
            "customer": self.customer,
            "issuer": self.issuer,
            "currency": self.currency,
            "at": instant_text(self.at),
            "type": self.type.value,
            "card": card_body(self.card),
            "quantity": quantity_text(self.quantity),
            "plan": self.plan,
            "document": self.document,
            "external_reference": self.external_reference,
        }


def hand_line(position: int, body: Body) -> HandLine:
    """Return the line of a fact."""
    return HandLine(
        id=cast(str, body["id"]),
        customer=cast(str, body["customer"]),
        issuer=cast(str, body["issuer"]),
        currency=cast(str, body["currency"]),
        at=parse_instant(body["at"]),
        type=LineType(cast(str, body["type"])),
        card=plan_price(cast(Body, body["card"])),
        quantity=exact(cast(str, body["quantity"])),
        plan=cast("str | None", body["plan"]),
        document=cast("str | None", body["document"]),
        external_reference=cast("str | None", body["external_reference"]),
        position=position,
    )


@dataclass(frozen=True, slots=True)
class LineEdit:
    """What a line says instead of what it would, whatever its usage becomes; None: as it would."""

    document: str
    customer: str
    line: str
    name: str | None = None
    description: str | None = None
    quantity: Fraction | None = None
    unit_amount: Fraction | None = None
    amount_minor: int | None = None
    external_reference: str | None = None
    position: int = 0

    @property
    def prices(self) -> bool:
        """Whether it says what the line comes to."""
        return (self.quantity, self.unit_amount, self.amount_minor) != (None, None, None)

    def body(self) -> dict[str, Json]:
        """Return what a fact says of it."""
        return {
            "document": self.document,
            "customer": self.customer,
            "line": self.line,
            "name": self.name,
            "description": self.description,
            "quantity": _told(self.quantity),
            "unit_amount": _told(self.unit_amount),
            "amount_minor": self.amount_minor,
            "external_reference": self.external_reference,
        }


def line_edit(position: int, body: Body) -> LineEdit:
    """Return the edit of a fact."""
    return LineEdit(
        document=cast(str, body["document"]),
        customer=cast(str, body["customer"]),
        line=cast(str, body["line"]),
        name=cast("str | None", body["name"]),
        description=cast("str | None", body["description"]),
        quantity=_read(body["quantity"]),
        unit_amount=_read(body["unit_amount"]),
        amount_minor=cast("int | None", body["amount_minor"]),
        external_reference=cast("str | None", body["external_reference"]),
        position=position,
    )


@dataclass(frozen=True, slots=True)
class DocumentEdit:
    """What a document says of its customer and of itself instead of what it would.

    `profile` holds commitments to personal values, as a customer's does. None: as it would.
    """

    document: str
    customer: str
    profile: Mapping[str, str] = field(default_factory=dict)
    purchase_order: str | None = None
    memo: str | None = None
    payment_days: int | None = None
    position: int = 0

    def own(self) -> dict[str, Json]:
        """Return what the document says of itself: only what was told."""
        known: dict[str, Json] = {
            "purchase_order": self.purchase_order,
            "memo": self.memo,
            "payment_days": self.payment_days,
        }
        return {name: value for name, value in known.items() if value is not None}

    def body(self) -> dict[str, Json]:
        """Return what a fact says of it."""
        return {
            "document": self.document,
            "customer": self.customer,
            "profile": dict(self.profile),
            "purchase_order": self.purchase_order,
            "memo": self.memo,
            "payment_days": self.payment_days,
        }


def document_edit(position: int, body: Body) -> DocumentEdit:
    """Return the edit of a fact."""
    return DocumentEdit(
        document=cast(str, body["document"]),
        customer=cast(str, body["customer"]),
        profile=cast(dict[str, str], body["profile"]),
        purchase_order=cast("str | None", body["purchase_order"]),
        memo=cast("str | None", body["memo"]),
        payment_days=cast("int | None", body["payment_days"]),
        position=position,
    )


def _told(number: Fraction | None) -> Json:
    return None if number is None else quantity_text(number)


def _read(told: Json) -> Fraction | None:
    return None if told is None else exact(cast(str, told))


@dataclass(frozen=True, slots=True)
class Holds:
    """What is not finalized until it is released."""

    everything: bool = False
    customers: frozenset[str] = frozenset()
    prices: frozenset[str] = frozenset()
    """PRICE, or PLAN/PRICE."""

    def after(self, body: Body) -> "Holds":
        """Return them after one more decision."""
        scope, name, on = body["scope"], cast("str | None", body["name"]), body["on"] is True
        named = frozenset((name or "",))
        match scope:
            case "all":
                return Holds(on, self.customers, self.prices)
            case "customer":
                customers = self.customers | named if on else self.customers - named
                return Holds(self.everything, customers, self.prices)
            case _:
                prices = self.prices | named if on else self.prices - named
                return Holds(self.everything, self.customers, prices)


def nothing_held() -> Holds:
    """Return that nothing is held."""
    return Holds()


BY_HAND = frozenset(
    (
        FactKind.HAND_LINE,
        FactKind.LINE_EDIT,
        FactKind.DOCUMENT_EDIT,
        FactKind.HOLD,
        FactKind.APPROVAL,
        FactKind.RETRY,
        FactKind.ISSUE_WAIVER,
    )
)
"""The kinds of facts that this is the fold of."""


@dataclass(frozen=True, slots=True)
class ByHand:
    """Everything of the kind that is in force; `position` is that of the last such fact."""

    position: int = 0
    lines: Mapping[str, Mapping[str, HandLine]] = field(default_factory=dict)
    """By customer and id."""
    edits: Mapping[str, Mapping[str, LineEdit]] = field(default_factory=dict)
    """By document and line."""
    documents: Mapping[str, DocumentEdit] = field(default_factory=dict)
    """What documents say otherwise, by id."""
    holds: Holds = Holds()
    approvals: Mapping[str, int] = field(default_factory=dict)
    """Documents that may be issued: by id the position of the fact."""
    waivers: Mapping[str, int] = field(default_factory=dict)
    """Validation issues that are accepted as they are: by id the position of the fact."""
    of_customers: Mapping[str, int] = field(default_factory=dict)
    """The position of the last line or edit by hand of each customer."""
    retried: int = 0
    """The position of the last retry, which changes nothing else."""

    def after(self, facts: Iterable[Fact]) -> "ByHand":
        """Return it after more facts of its kinds."""
        told = [*facts]
        if not told:
            return self
        lines, edits, holds = dict(self.lines), dict(self.edits), self.holds
        documents, retried = dict(self.documents), self.retried
        approvals, waivers, owned = (
            dict(self.approvals),
            dict(self.waivers),
            dict(self.of_customers),
        )
        for fact in told:
            match fact.kind:
                case FactKind.HAND_LINE:
                    line = hand_line(fact.serial, fact.body)
                    lines[line.customer] = {**lines.get(line.customer, {}), line.id: line}
                    owned[line.customer] = fact.serial
                case FactKind.LINE_EDIT:
                    edit = line_edit(fact.serial, fact.body)
                    edits[edit.document] = {**edits.get(edit.document, {}), edit.line: edit}
                    owned[edit.customer] = fact.serial
                case FactKind.DOCUMENT_EDIT:
                    said = document_edit(fact.serial, fact.body)
                    documents[said.document] = said
                    owned[said.customer] = fact.serial
                case FactKind.HOLD:
                    holds = holds.after(fact.body)
                case FactKind.APPROVAL:
                    approvals[fact.subject] = fact.serial
                case FactKind.ISSUE_WAIVER:
                    waivers[fact.subject] = fact.serial
                case _:
                    retried = fact.serial
        last = told[-1].serial
        return ByHand(last, lines, edits, documents, holds, approvals, waivers, owned, retried)

    def position_of(self, customer: str, document: str, issues: Iterable[str] = ()) -> int:
        """Return the position of the last fact that names a document or an issue of it; 0: none."""
        own = self.lines.get(customer, {}).values()
        lines = (line.position for line in own if line.document == document)
        edits = (edit.position for edit in self.edits.get(document, {}).values())
        waived = (self.waivers.get(issue, 0) for issue in issues)
        said = [self.documents[document].position] if document in self.documents else []
        return max((self.approvals.get(document, 0), *lines, *edits, *said, *waived))


NOTHING_BY_HAND = ByHand()
