"""Edits: what of a sheet is refused because of what is in force.

Owns: which edits would move the edges of billed periods, or bill them anew.
Does not own: the shape of the file (sheet.py), what is written then (changes.py).
Law: a refusal guards money; whatever moves none that was billed may change.
"""

from collections.abc import Iterator

from pipeline.catalog.cards import meter_faults
from pipeline.catalog.catalog import Catalog
from pipeline.catalog.documents import Plan
from pipeline.catalog.sheet import Sheet
from pipeline.catalog.yaml import Problem
from pipeline.core.calendar import instant_text


def refused_edits(sheet: Sheet, catalog: Catalog) -> Iterator[Problem]:
    """Yield why entries of a sheet cannot come into force after what is."""
    yield from _meter_problems(sheet, catalog)
    yield from _plan_problems(sheet, catalog)
    yield from _customer_problems(sheet, catalog)
    yield from _subscription_problems(sheet, catalog)


def _meter_problems(sheet: Sheet, catalog: Catalog) -> Iterator[Problem]:
    for meter in sheet.meters:
        before = catalog.meters.get(meter.id)
        if before not in (None, meter):
            message = f"{meter.id} is in force with another definition, and a meter never changes"
            yield sheet.problem(sheet.places["meters"][meter.id], f"{message}: make a new meter")


def _plan_problems(sheet: Sheet, catalog: Catalog) -> Iterator[Problem]:
    sold = {subscription.plan for subscription in catalog.subscriptions.values()}
    for plan in sheet.plans:
        path = sheet.places["plans"][plan.id]
        for place, price in enumerate(plan.prices):
            if price.meter is None or price.meter in sheet.places["meters"]:
                continue
            meter = catalog.meters.get(price.meter)
            where = f"{path}.prices[{place}]"
            for key, fault in meter_faults(meter, plan.cycle, plan.currency, price):
                yield sheet.problem(f"{where}.{key}", fault)
        if plan.id in sold:
            yield from _sold_plan_problems(sheet, path, catalog.plans[plan.id], plan)


def _sold_plan_problems(sheet: Sheet, path: str, before: Plan, plan: Plan) -> Iterator[Problem]:
    """Yield the edits of a plan that its subscriptions forbid.

    A document has one currency; another cycle moves the edges of periods already billed; a price
    that was not there bills every past period, for none carries it yet; one due at another time
    moves from one document to the next.
    """
    tail = f"while {plan.id} has subscriptions: make a new plan"
    if plan.currency != before.currency:
        message = f"the currency cannot change from {before.currency} to {plan.currency} {tail}"
        yield sheet.problem(f"{path}.currency", message)
    if plan.cycle != before.cycle:
        texts = f"from {before.cycle.text} to {plan.cycle.text}"
        yield sheet.problem(f"{path}.cycle", f"the cycle cannot change {texts} {tail}")
    prices = {price.id: price for price in before.prices}
    for place, price in enumerate(plan.prices):
        where, old = f"{path}.prices[{place}]", prices.get(price.id)
        if old is None:
            message = f"the new price {price.id} would bill past periods too"
            yield sheet.problem(f"{where}.id", f"{message} {tail}")
        elif price.in_advance != old.in_advance:
            message = f"the payment term of {price.id} cannot change"
            yield sheet.problem(f"{where}.payment_term", f"{message} {tail}")


def _customer_problems(sheet: Sheet, catalog: Catalog) -> Iterator[Problem]:
    billed = {subscription.customer for subscription in catalog.subscriptions.values()}
    for entry in sheet.customers:
        before = catalog.customers.get(entry.id)
        if before and entry.id in billed and entry.time_zone != before.time_zone:
            message = f"the zone cannot change from {before.time_zone} to {entry.time_zone}"
            tail = f"while {entry.id} has subscriptions, it would move billed periods"
            path = f"{sheet.places['customers'][entry.id]}.time_zone"
            yield sheet.problem(path, f"{message} {tail}: make a new customer")


def _subscription_problems(sheet: Sheet, catalog: Catalog) -> Iterator[Problem]:
    for subscription in sheet.subscriptions:
        path = sheet.places["subscriptions"][subscription.id]
        before = catalog.subscriptions.get(subscription.id)
        if before is None:
            continue
        for key, old, new in (
            ("customer", before.customer, subscription.customer),
            ("plan", before.plan, subscription.plan),
            ("start", instant_text(before.start), instant_text(subscription.start)),
        ):
            if old != new:
                message = f"the {key} of {subscription.id} cannot change from {old} to {new}"
                yield sheet.problem(
                    f"{path}.{key}", f"{message}, only its end can: end it and make a new one"
                )
