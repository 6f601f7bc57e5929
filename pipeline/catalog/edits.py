"""Edits: what of a sheet is refused because of what is in force.

Owns: which edits would move the edges of billed periods, or bill them anew.
Does not own: the shape of the file (sheet.py), what is written then (changes.py).
Law: a refusal guards money; whatever moves none that was billed may change.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from pipeline.catalog.account_faults import account_problems
from pipeline.catalog.agreements import agreement_faults
from pipeline.catalog.book_entries import book_faults
from pipeline.catalog.cards import meter_faults
from pipeline.catalog.catalog import Catalog
from pipeline.catalog.commitments import agreed_faults
from pipeline.catalog.documents import Customer, Phase, Plan
from pipeline.catalog.legs import legs
from pipeline.catalog.periods import last_closing
from pipeline.catalog.rate_cards import PlanPrice
from pipeline.catalog.rate_entries import lacking
from pipeline.catalog.sheet import Sheet
from pipeline.catalog.subscriptions import Subscription
from pipeline.catalog.yaml import Problem
from pipeline.core.calendar import Instant, instant_text

PERIODS_MAX = 100_000
"""Periods of the past that one new subscription may owe: a second each would stop the books."""


def refused_edits(sheet: Sheet, catalog: Catalog, passed: Instant = 0) -> Iterator[Problem]:
    """Yield why entries of a sheet cannot come into force after what is.

    Every period that ended by `passed` was cut.
    """
    yield from _issuer_problems(sheet, catalog)
    yield from _meter_problems(sheet, catalog)
    yield from _plan_problems(sheet, catalog)
    yield from _book_problems(sheet, catalog)
    yield from _customer_problems(sheet, catalog)
    yield from account_problems(sheet, catalog)
    yield from _subscription_problems(sheet, catalog, passed)
    yield from _rate_problems(sheet, catalog)
    yield from _order_problems(sheet, catalog, passed)


def _issuer_problems(sheet: Sheet, catalog: Catalog) -> Iterator[Problem]:
    """Yield the issuers whose notes would be numbered otherwise from one note to the next."""
    for issuer in sheet.issuers:
        before = catalog.issuers.get(issuer.id)
        if before is not None and before.note_prefix != issuer.note_prefix:
            told = "whether notes have numbers of their own, and which, never changes"
            path = f"{sheet.places['issuers'][issuer.id]}.note_prefix"
            yield sheet.problem(path, f"{told}: make a new issuer")


def _meter_problems(sheet: Sheet, catalog: Catalog) -> Iterator[Problem]:
    for meter in sheet.meters:
        before = catalog.meters.get(meter.id)
        if before not in (None, meter):
            message = f"{meter.id} is in force with another definition, and a meter never changes"
            yield sheet.problem(sheet.places["meters"][meter.id], f"{message}: make a new meter")


def _plan_problems(sheet: Sheet, catalog: Catalog) -> Iterator[Problem]:
    sold = {plan for each in catalog.subscriptions.values() for plan in each.plans}
    for plan in sheet.plans:
        path = sheet.places["plans"][plan.id]
        for where, price in _cards(path, plan):
            if price.meter is None or price.meter in sheet.places["meters"]:
                continue
            meter = catalog.meters.get(price.meter)
            for key, fault in meter_faults(meter, plan.cycle, plan.currency, price):
                yield sheet.problem(f"{where}.{key}", fault)
        if plan.id in sold:
            yield from _sold_plan_problems(sheet, path, catalog.plans[plan.id], plan)
        if plan.id in catalog.plans:
            yield from _commitment_problems(sheet, path, catalog.plans[plan.id], plan)


def _commitment_problems(sheet: Sheet, path: str, before: Plan, plan: Plan) -> Iterator[Problem]:
    """Yield what would be a fee in a part of a period, and a commitment in another."""
    phases = {phase.id: phase.prices or () for phase in before.phases}
    lists = [(path, plan.prices, before.prices)] + [
        (f"{path}.phases[{place}]", phase.prices or (), phases.get(phase.id, ()))
        for place, phase in enumerate(plan.phases)
    ]
    for where, prices, old in lists:
        known = {price.id: price for price in old}
        for place, price in enumerate(prices):
            for fault in agreed_faults(price, known.get(price.id), prices):
                yield sheet.problem(f"{where}.prices[{place}].covers", fault)


def _cards(path: str, plan: Plan) -> Iterator[tuple[str, PlanPrice]]:
    for place, price in enumerate(plan.prices):
        yield f"{path}.prices[{place}]", price
    for phase_place, phase in enumerate(plan.phases):
        for place, price in enumerate(phase.prices or ()):
            yield f"{path}.phases[{phase_place}].prices[{place}]", price


def _sold_plan_problems(sheet: Sheet, path: str, before: Plan, plan: Plan) -> Iterator[Problem]:
    """Yield the edits of a plan that its subscriptions forbid.

    A document has one currency; another cycle, trial or phase moves the edges of periods already
    billed; a price that was not there bills every past period, for none carries it yet; one due
    at another time moves from one document to the next.
    """
    tail = f"while {plan.id} has subscriptions: make a new plan"
    if plan.currency != before.currency:
        message = f"the currency cannot change from {before.currency} to {plan.currency} {tail}"
        yield sheet.problem(f"{path}.currency", message)
    if plan.cycle != before.cycle:
        texts = f"from {before.cycle.text} to {plan.cycle.text}"
        yield sheet.problem(f"{path}.cycle", f"the cycle cannot change {texts} {tail}")
    for key, told in (("trial", plan.trial != before.trial), ("phases", _moved(before, plan))):
        if told:
            yield sheet.problem(f"{path}.{key}", f"the {key} of {plan.id} cannot change {tail}")
    prices = {price.id: price for price in before.prices}
    for place, price in enumerate(plan.prices):
        where, old = f"{path}.prices[{place}]", prices.get(price.id)
        if old is None:
            message = f"the new price {price.id} would bill past periods too"
            yield sheet.problem(f"{where}.id", f"{message} {tail}")
        elif price.in_advance != old.in_advance:
            message = f"the payment term of {price.id} cannot change"
            yield sheet.problem(f"{where}.payment_term", f"{message} {tail}")


def _moved(before: Plan, plan: Plan) -> bool:
    """Whether the phases of a plan have other edges, or other prices."""
    old, new = (
        [(phase.id, phase.length, _ids(phase)) for phase in each.phases] for each in (before, plan)
    )
    return old != new


def _ids(phase: Phase) -> list[tuple[str, bool]] | None:
    if phase.prices is None:
        return None
    return [(price.id, price.in_advance) for price in phase.prices]


def _book_problems(sheet: Sheet, catalog: Catalog) -> Iterator[Problem]:
    plans = {**catalog.plans, **{plan.id: plan for plan in sheet.plans}}
    meters = {**catalog.meters, **{meter.id: meter for meter in sheet.meters}}
    for book in sheet.price_books:
        for path, fault in book_faults(book, plans, meters):
            yield sheet.problem(f"{sheet.places['price_books'][book.id]}.{path}", fault)
    for book in catalog.deals.books.values():
        told = {} if book.id in sheet.places["price_books"] else book.cards
        for plan in sheet.plans:
            one = replace(book, cards={plan.id: told[plan.id]} if plan.id in told else {})
            for _, fault in book_faults(one, plans, meters):
                message = f"price book {book.id}, in force, would not fit: {fault}"
                yield sheet.problem(sheet.places["plans"][plan.id], message)


def _customer_problems(sheet: Sheet, catalog: Catalog) -> Iterator[Problem]:
    billed = {subscription.customer for subscription in catalog.subscriptions.values()}
    for entry in sheet.customers:
        before = catalog.customers.get(entry.id)
        if before is None or entry.id not in billed:
            continue
        path = sheet.places["customers"][entry.id]
        for key, what, old, new in (
            ("time_zone", "zone", before.time_zone, entry.time_zone),
            ("currency", "currency", before.currency or "none", entry.currency or "none"),
        ):
            if old != new:
                message = f"the {what} cannot change from {old} to {new}"
                tail = f"while {entry.id} has subscriptions, it would move billed periods"
                yield sheet.problem(f"{path}.{key}", f"{message} {tail}: make a new customer")


def _rate_problems(sheet: Sheet, catalog: Catalog) -> Iterator[Problem]:
    """Yield where the sheet sells in a currency that nothing leads to."""
    customers = {each.id: Customer(each.id, "", {}, each.currency) for each in sheet.customers}
    after = replace(
        catalog,
        plans={**catalog.plans, **{plan.id: plan for plan in sheet.plans}},
        customers={**catalog.customers, **customers},
    )
    sold = {**catalog.subscriptions, **{each.id: each for each in sheet.subscriptions}}
    known = [
        each
        for each in sold.values()
        if each.customer in after.customers and after.plans.keys() >= each.plans
    ]
    pairs = ((rate.base, rate.quote) for rate in sheet.fx_rates)
    for each, plan, card, billed in lacking(after, known, pairs):
        told = f"{each.id} is billed in {billed}, and {plan.id} has {card.id} in {plan.currency}"
        mend = f"list it under its currencies, or add a rate from {plan.currency} under fx_rates"
        for key, name in (
            ("subscriptions", each.id),
            ("customers", each.customer),
            ("plans", plan.id),
        ):
            if name in sheet.places[key]:
                yield sheet.problem(f"{sheet.places[key][name]}", f"{told}: {mend}")
                break


def _order_problems(sheet: Sheet, catalog: Catalog, passed: Instant) -> Iterator[Problem]:
    """Yield the orders that change once billed."""
    for order in sheet.orders:
        before, path = catalog.orders.by_id.get(order.id), sheet.places["orders"][order.id]
        if before is not None and before != order and before.at <= passed:
            message = f"{order.id} was billed at {instant_text(before.at)} and never changes"
            yield sheet.problem(path, f"{message}: use another id")


def _subscription_problems(sheet: Sheet, catalog: Catalog, passed: Instant) -> Iterator[Problem]:
    plans = {**catalog.plans, **{plan.id: plan for plan in sheet.plans}}
    meters = {**catalog.meters, **{meter.id: meter for meter in sheet.meters}}
    known = replace(catalog, plans={**plans, **catalog.plans})
    for subscription in sheet.subscriptions:
        path = sheet.places["subscriptions"][subscription.id]
        for key, fault in agreement_faults(subscription, plans, meters):
            yield sheet.problem(f"{path}.{key}", fault)
        before = catalog.subscriptions.get(subscription.id)
        if before is None:
            owed = _periods_owed(subscription, plans, passed)
            if owed > PERIODS_MAX:
                told = f"{owed} periods would be billed at once: {PERIODS_MAX} at most"
                message = f"{told}, choose a later start or a plan of longer cycles"
                yield sheet.problem(f"{path}.start", message)
            continue
        for key, old, new in (
            ("customer", before.customer, subscription.customer),
            ("plan", before.plan, subscription.plan),
            ("start", instant_text(before.start), instant_text(subscription.start)),
            ("currency", before.currency, subscription.currency),
        ):
            if old != new:
                message = f"the {key} of {subscription.id} cannot change from {old} to {new}"
                mend = "put it under changes" if key == "plan" else "end it and make a new one"
                yield sheet.problem(f"{path}.{key}", f"{message}: {mend}")
                break
        else:
            for key, fault in _billed_faults(known, before, subscription, passed):
                yield sheet.problem(f"{path}.{key}", fault)


def _periods_owed(sold: Subscription, plans: Mapping[str, Plan], passed: Instant) -> int:
    """Return about how many periods are over as soon as a subscription is known."""
    served = min(passed, sold.end or passed) - sold.start
    cycles = [plans[name].cycle.nominal_us for name in sold.plans if name in plans]
    return max((served // cycle for cycle in cycles), default=0)


def _billed_faults(
    catalog: Catalog, before: Subscription, after: Subscription, passed: Instant
) -> Iterator[tuple[str, str]]:
    """Yield the key of a subscription whose edit would change what was cut."""
    if before == after or not catalog.plans.keys() >= after.plans:
        return
    until = last_closing(catalog, before, passed)
    if until is None:
        return
    keys = ("anchor", "trial_end", "prices", "quantities", "changes", "pauses", "add_ons", "end")
    key = next((key for key in keys if getattr(before, key) != getattr(after, key)), "thresholds")
    if _told(catalog, before, until) != _told(catalog, after, until):
        told = f"{before.id} was billed up to {instant_text(until)}, and this would change what was"
        yield key, f"{told}: leave all before that instant as it is in force"


def _told(catalog: Catalog, subscription: Subscription, until: Instant) -> list[object]:
    """Return what holds for a subscription before an instant."""
    return [
        (
            leg.item(price),
            leg.plan.id,
            start,
            min(end or until, until),
            leg.anchor,
            leg.free,
            card,
        )
        for leg in legs(catalog, subscription)
        for price in leg.prices
        for start, end, card in leg.cards(price)
        if start < until
    ]
