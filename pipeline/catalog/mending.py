"""Mending: the catalog by other prices than its facts said.

Owns: which parts of a catalog say something else then.
Does not own: the prices (mends.py), whose documents are corrected by them (invoice/layers.py).
Law: it is the catalog of facts that had always said these prices, at its position.
"""

from collections.abc import Sequence
from dataclasses import replace

from pipeline.catalog import documents
from pipeline.catalog.catalog import Catalog
from pipeline.catalog.facts import Fact, FactKind


def priced_by(catalog: Catalog, prices: Sequence[Fact]) -> Catalog:
    """Return a catalog by other prices: all that is said of their subjects, in order."""
    said = [fact for fact in prices if fact.serial <= catalog.position]
    if not said:
        return catalog
    about = {(fact.kind, fact.subject) for fact in said}
    issuers = {n: e for n, e in catalog.issuers.items() if (FactKind.ISSUER, n) not in about}
    plans = {n: e for n, e in catalog.plans.items() if (FactKind.PLAN, n) not in about}
    for fact in said:
        if fact.kind is FactKind.ISSUER:
            issuer = documents.issuer(fact.body)
            issuers[issuer.id] = issuer.after(issuers.get(issuer.id))
        elif fact.kind is FactKind.PLAN:
            plan = documents.plan(fact.body)
            plans[plan.id] = plan.after(plans.get(plan.id))
    return replace(catalog, issuers=issuers, plans=plans, deals=catalog.deals.after(said))
