"""Check: every problem of a catalog at once, before anything is written.

Owns: names that stand nowhere, and the order of all that is wrong.
Does not own: the shape of the file (sheet.py), edits of what is in force (edits.py).
Law: a sheet that checks against a catalog can be applied on it.
"""

from collections.abc import Container, Iterator

from pipeline.catalog.catalog import Catalog
from pipeline.catalog.edits import refused_edits
from pipeline.catalog.fields import is_id
from pipeline.catalog.sheet import Sheet, in_file_order, read_sound
from pipeline.catalog.yaml import Entry, Problem
from pipeline.core.calendar import Instant


def check(text: str, catalog: Catalog | None, passed: Instant = 0) -> tuple[Sheet, list[Problem]]:
    """Return a text as a sheet, and every problem with it in the order of the file.

    Every period that ended by `passed` was cut. Without a `catalog` in force the sheet must
    stand by itself.
    """
    sheet, problems = read_sound(text)
    told = {problem.path for problem in problems}
    in_force = catalog or Catalog()
    found = [
        *unknown_names(sheet, catalog),
        *other_currencies(sheet, in_force),
        *refused_edits(sheet, in_force, passed),
    ]
    return sheet, in_file_order(problems + [p for p in found if p.path not in told])


def unknown_names(sheet: Sheet, catalog: Catalog | None) -> Iterator[Problem]:
    """Yield the issuers, meters, customers and plans that are named, but stand nowhere.

    Read from the file itself, so that an entry with a problem of its own is looked at too.
    """
    in_force = catalog or Catalog()
    known: dict[str, Container[str]] = {
        "issuer": in_force.issuers,
        "meter": in_force.meters,
        "customer": in_force.customers,
        "plan": in_force.plans,
    }
    where = "in this file" if catalog is None else "in this file or in force"
    for path, key, name in _named(Entry(sheet.root, "", [])):
        if name not in sheet.places[f"{key}s"] and name not in known[key] and is_id(name):
            message = f"no {key} {name}, {where}: add it under {key}s, or mend the id"
            yield sheet.problem(f"{path}.{key}", message)


def other_currencies(sheet: Sheet, catalog: Catalog) -> Iterator[Problem]:
    """Yield the prices outside a plan that name another currency than the plan bills in.

    Nothing of plans nobody knows.
    """
    plans = {**catalog.plans, **{plan.id: plan for plan in sheet.plans}}
    for name, price in _prices_outside(Entry(sheet.root, "", [])):
        told, plan = price.word("currency"), plans.get(name)
        if told and plan and told != plan.currency:
            message = f"{told} is not the currency of {name}, {plan.currency}: remove it"
            yield sheet.problem(f"{price.path}.currency", message)


def _prices_outside(root: Entry) -> Iterator[tuple[str, Entry]]:
    """Yield the prices of books and subscriptions, each with the plan that it is held against."""
    for book in root.items("price_books"):
        for plan in book.items("plans"):
            yield from ((plan.word("id"), price) for price in plan.items("prices"))
    for subscription in root.items("subscriptions"):
        for priced in (subscription, *subscription.items("changes")):
            yield from ((subscription.word("plan"), price) for price in priced.items("prices"))


def _named(root: Entry) -> Iterator[tuple[str, str, str]]:
    """Yield (path of the entry, what it names, by which id)."""
    for plan in root.items("plans"):
        yield plan.path, "issuer", plan.word("issuer")
        for priced in (plan, *plan.items("phases")):
            for price in priced.items("prices"):
                yield price.path, "meter", price.word("meter")
    for book in root.items("price_books"):
        for plan in book.items("plans"):
            yield plan.path, "plan", plan.word("id")
            for price in plan.items("prices"):
                yield price.path, "meter", price.word("meter")
    for code in root.items("promotions"):
        for name in code.words("plans"):
            yield code.path, "plan", name
    for order in root.items("orders"):
        yield order.path, "customer", order.word("customer")
        yield order.path, "issuer", order.word("issuer")
    for subscription in root.items("subscriptions"):
        yield subscription.path, "customer", subscription.word("customer")
        yield subscription.path, "plan", subscription.word("plan")
        for more in (*subscription.items("changes"), *subscription.items("add_ons")):
            yield more.path, "plan", more.word("plan")
        for priced in (subscription, *subscription.items("changes")):
            for price in priced.items("prices"):
                yield price.path, "meter", price.word("meter")
