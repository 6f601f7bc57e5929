"""Account faults: what a sheet may not say of sub-accounts.

Owns: why a parent, or who pays, is refused.  Does not own: the fold (accounts.py), other edits
(edits.py).
Law: a sub-account has one parent, which has none; who pays for what was sold never changes, and
has the usage of all its sub-accounts in its own partition.
"""

from collections.abc import Iterator, Mapping
from itertools import count

from pipeline.catalog.catalog import Catalog
from pipeline.catalog.documents import Customer
from pipeline.catalog.sheet import Sheet
from pipeline.catalog.yaml import Problem
from pipeline.core.identity import partition_of


def account_problems(sheet: Sheet, catalog: Catalog) -> Iterator[Problem]:
    """Yield why customers of a sheet cannot be sub-accounts of their parents."""
    told = {each.id: each.as_customer({}) for each in sheet.customers}
    known = {**catalog.customers, **told}
    parents = {each.parent for each in known.values()}
    places = sheet.places.get("customers", {})
    for child in known.values():
        if child.parent is None or not told.keys() & {child.id, child.parent}:
            continue
        is_parent = child.id in parents
        for key, fault in _parent_faults(catalog, known, child, is_parent=is_parent):
            own = f"{places[child.id]}.{key}" if child.id in told else places[child.parent]
            yield sheet.problem(own, fault)
    for name, customer in told.items():
        before = catalog.customers.get(name)
        sold = catalog.subscriptions_of(name) or catalog.orders.of(name)
        if before is not None and before.payer != customer.payer and sold:
            message = f"who pays for {name} cannot change from {before.payer} to {customer.payer}"
            tail = "while something is sold to it, it would move billed periods"
            yield sheet.problem(f"{places[name]}.payer", f"{message} {tail}: make a new customer")
        for key in _without_effect(customer):
            message = f"{name} has no documents of its own, {customer.payer} pays"
            tail = f"this does nothing; say it of {customer.payer}"
            yield sheet.problem(f"{places[name]}.{key}", f"{message}: {tail}")


def _without_effect(customer: Customer) -> Iterator[str]:
    """Yield the keys that speak of documents of a customer that has none."""
    if customer.parent_pays:
        yield from ("approval",) if customer.approval else ()
        yield from ("empty_invoices",) if customer.empty_invoices else ()


def _parent_faults(
    catalog: Catalog, known: Mapping[str, Customer], customer: Customer, *, is_parent: bool
) -> Iterator[tuple[str, str]]:
    """Yield the key of a sub-account that its parent does not allow, and why."""
    name, parent = customer.id, known.get(customer.parent or "")
    if parent is None:
        told = f"no customer {customer.parent}, in this file or in force"
        yield "parent", f"{told}: add it under customers, or mend the id"
    elif parent.id == name:
        yield "parent", f"{name} is no sub-account of itself: name another customer"
    elif parent.parent is not None:
        told = f"{parent.id} is a sub-account of {parent.parent} itself"
        yield "parent", f"{told}: name {parent.parent}"
    elif is_parent:
        yield "parent", f"{name} has sub-accounts, so it is none itself: remove parent"
    elif customer.parent_pays:
        yield from _payer_faults(catalog, customer, parent)


def _payer_faults(
    catalog: Catalog, customer: Customer, parent: Customer
) -> Iterator[tuple[str, str]]:
    """Yield why a parent cannot pay for a sub-account."""
    name = customer.id
    if customer.currency != parent.currency:
        own, other = (each.currency or "that of its plans" for each in (customer, parent))
        told = f"{name} is billed in {own} and {parent.id} in {other}"
        yield "payer", f"{told}: give both one currency, or leave payer out"
    if catalog.log is None:
        return
    partitions = catalog.log.partitions
    home = partition_of(parent.id, partitions)
    if partition_of(name, partitions) != home:
        numbered = (f"{name}-{number}" for number in count(2))
        free = next(each for each in numbered if partition_of(each, partitions) == home)
        told = f"usage of {name} is in another partition than that of {parent.id}, which pays"
        yield "id", f"{told}: an id such as {free} is in the same"
