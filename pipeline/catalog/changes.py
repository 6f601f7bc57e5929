"""Changes: the facts that turn what is in force into what a sheet says.

Owns: the bodies of new facts, commitments to personal values.
Does not own: the file (sheet.py), what is refused (checking.py, edits.py), writing
(stores/postgres/facts.py).
Law: extend(catalog, facts of changes(sheet, catalog)) has what the sheet says, and the same
sheet changes nothing then.

What a sheet does not name stays as it is: nothing is ever taken out of force by leaving it out.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.catalog.catalog import Catalog
from pipeline.catalog.checking import other_currencies, unknown_names
from pipeline.catalog.documents import Customer, Issuer, Payer, Plan, Rules, phase_body
from pipeline.catalog.edits import refused_edits
from pipeline.catalog.facts import FactKind, NewFact
from pipeline.catalog.rate_cards import card_body
from pipeline.catalog.sheet import CustomerEntry, Sheet, in_file_order
from pipeline.catalog.subscriptions import subscription_body
from pipeline.catalog.yaml import Problem
from pipeline.core.calendar import SECOND, Instant, instant_text
from pipeline.core.identity import Json, commitment
from pipeline.core.quantity import quantity_text
from pipeline.meter.meters import Meter

RULE_VERSION = 1
"""The rules that this version of the program bills by."""


class PersonalValue(NamedTuple):
    """A value behind a commitment, for the erasable table; `subject` is the customer."""

    commitment: str
    subject: str
    salt: bytes
    value: str

    def __repr__(self) -> str:
        """Return what may stand in a log."""
        return f"PersonalValue({self.commitment}, {self.subject})"


@dataclass(frozen=True, slots=True)
class Changes:
    """The facts to write, in order, and the personal values to keep before they are written."""

    facts: tuple[NewFact, ...]
    personal: tuple[PersonalValue, ...]


def first_facts(
    partitions: int,
    horizon_s: int,
    tolerance_s: int,
    grace_s: int,
    tzdata_version: str,
    test_clock: Instant | None = None,
) -> list[NewFact]:
    """Return the facts that open a new log; `test_clock`: when its own clock starts."""
    log: dict[str, Json] = {
        "partitions": partitions,
        "horizon_s": horizon_s,
        "tolerance_s": tolerance_s,
    }
    if test_clock is not None:
        log["test_clock"] = instant_text(test_clock)
    rules = Rules(grace_s * SECOND, RULE_VERSION, tzdata_version)
    return [NewFact(FactKind.LOG, "log", log), _rules_fact(rules)]


def changes(
    sheet: Sheet,
    catalog: Catalog,
    known: Mapping[str, str],
    salt: Callable[[], bytes],
    tzdata_version: str,
    passed: Instant = 0,
) -> Changes | list[Problem]:
    """Return what is to be written so that the sheet is in force, or why it cannot be.

    `known` holds the personal values behind the catalog's commitments, where not erased;
    `salt` draws 16 bytes. Every period that ended by `passed` was cut.
    """
    problems = [
        *unknown_names(sheet, catalog),
        *other_currencies(sheet, catalog),
        *refused_edits(sheet, catalog, passed),
    ]
    if problems:
        return in_file_order(problems)
    facts = []
    rules = _rules(sheet, catalog, tzdata_version)
    if rules is not None and rules != catalog.rules:
        facts.append(_rules_fact(rules))
    facts += [_issuer_fact(i) for i in sheet.issuers if i != catalog.issuers.get(i.id)]
    facts += [_meter_fact(m) for m in sheet.meters if m.id not in catalog.meters]
    facts += [_plan_fact(p) for p in sheet.plans if p != catalog.plans.get(p.id)]
    facts += [
        NewFact(FactKind.BOOK, b.id, b.body())
        for b in sheet.price_books
        if b != catalog.deals.books.get(b.id)
    ]
    facts += [
        NewFact(FactKind.PROMOTION, p.id, p.body())
        for p in sheet.promotions
        if p != catalog.deals.promotions.get(p.id)
    ]
    standing = {r.subject: r for own in catalog.deals.rates.values() for r in own}
    facts += [
        NewFact(FactKind.FX_RATE, r.subject, r.body())
        for r in sheet.fx_rates
        if r != standing.get(r.subject)
    ]
    personal: list[PersonalValue] = []
    for entry in sheet.customers:
        before = catalog.customers.get(entry.id)
        customer = _committed(entry, before, known, salt, personal)
        if customer != before:
            facts.append(_customer_fact(customer))
    facts += [
        NewFact(FactKind.SUBSCRIPTION, s.id, subscription_body(s))
        for s in sheet.subscriptions
        if s != catalog.subscriptions.get(s.id)
    ]
    facts += [
        NewFact(FactKind.ORDER, o.id, o.body())
        for o in sheet.orders
        if o != catalog.orders.by_id.get(o.id)
    ]
    return Changes(tuple(facts), tuple(personal))


def _rules(sheet: Sheet, catalog: Catalog, tzdata_version: str) -> Rules | None:
    """Return the rules that the sheet asks for; None where it says nothing of them."""
    if sheet.grace_us is None:
        return None
    version = catalog.rules.rule_version if catalog.rules else RULE_VERSION
    return Rules(sheet.grace_us, version, tzdata_version)


def _committed(
    entry: CustomerEntry,
    before: Customer | None,
    known: Mapping[str, str],
    salt: Callable[[], bytes],
    personal: list[PersonalValue],
) -> Customer:
    """Return the customer with commitments; add the values behind new ones to `personal`."""
    profile = {}
    for name, value in entry.profile.items():
        kept = before.profile.get(name) if before else None
        if kept is None or known.get(kept) != value:
            grain = salt()
            kept = commitment(grain, value)
            personal.append(PersonalValue(kept, entry.id, grain, value))
        profile[name] = kept
    return entry.as_customer(profile)


def _rules_fact(rules: Rules) -> NewFact:
    body: dict[str, Json] = {
        "grace_s": rules.grace_us // SECOND,
        "rule_version": rules.rule_version,
        "tzdata_version": rules.tzdata_version,
    }
    return NewFact(FactKind.RULES, "rules", body)


def _issuer_fact(issuer: Issuer) -> NewFact:
    body: dict[str, Json] = {
        "id": issuer.id,
        "name": issuer.name,
        "number_prefix": issuer.number_prefix,
    }
    if issuer.tax is not None:
        body["tax"] = issuer.tax.body()
    if issuer.approval:
        body["approval"] = True
    if issuer.completeness is not None:
        body["completeness"] = issuer.completeness.value
    if issuer.notes_from:
        body["notes_from"] = quantity_text(issuer.notes_from)
    if issuer.note_prefix is not None:
        body["note_prefix"] = issuer.note_prefix
    return NewFact(FactKind.ISSUER, issuer.id, body)


def _meter_fact(meter: Meter) -> NewFact:
    body: dict[str, Json] = {
        "id": meter.id,
        "aggregation": meter.aggregation.value,
        "unit": meter.unit,
        "window_s": meter.window_us // SECOND,
        "dimensions": list(meter.dimensions),
    }
    if meter.of is not None:
        body["of"] = meter.of
    if meter.percent is not None:
        body["percent"] = quantity_text(meter.percent)
    if meter.per_us is not None:
        body["per_s"] = meter.per_us // SECOND
    if meter.points:
        body["points"] = True
    return NewFact(FactKind.METER, meter.id, body)


def _plan_fact(plan: Plan) -> NewFact:
    prices: list[Json] = [card_body(price) for price in plan.prices]
    body: dict[str, Json] = {
        "id": plan.id,
        "name": plan.name,
        "issuer": plan.issuer,
        "currency": plan.currency,
        "cycle": plan.cycle.text,
        "payment_days": plan.payment_days,
        "prices": prices,
    }
    if plan.effective is not None:
        body["effective"] = instant_text(plan.effective)
    if plan.trial is not None:
        body["trial"] = plan.trial.text
    if plan.thresholds is not None:
        body["thresholds"] = plan.thresholds.body()
    if plan.phases:
        body["phases"] = [phase_body(phase) for phase in plan.phases]
    return NewFact(FactKind.PLAN, plan.id, body)


def _customer_fact(customer: Customer) -> NewFact:
    body: dict[str, Json] = {
        "id": customer.id,
        "time_zone": customer.time_zone,
        "profile": dict(customer.profile),
    }
    if customer.currency is not None:
        body["currency"] = customer.currency
    if customer.tax is not None:
        body["tax"] = customer.tax.body()
    if customer.approval:
        body["approval"] = True
    if customer.empty_invoices:
        body["empty_invoices"] = True
    if customer.parent is not None:
        body["parent"] = customer.parent
    if customer.parent_pays:
        body["payer"] = Payer.PARENT.value
    return NewFact(FactKind.CUSTOMER, customer.id, body)
