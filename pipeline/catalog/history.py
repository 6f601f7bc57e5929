"""History: what was in force at one instant, as it was known at another.

Owns: the two times of a decision: when it was recorded, and from when on it is in force.
Does not own: the fold itself (catalog.py), where facts are kept (stores/postgres).
Law: of the facts known, each subject has at most one in force at an instant; the plan's is the
one whose prices a line there is rated by.
"""

from collections.abc import Iterable, Sequence

from pipeline.catalog import documents
from pipeline.catalog.catalog import Catalog, extend
from pipeline.catalog.facts import Fact, FactKind
from pipeline.core.calendar import Instant, instant_text
from pipeline.core.identity import Json

KINDS = (
    FactKind.RULES,
    FactKind.ISSUER,
    FactKind.METER,
    FactKind.PLAN,
    FactKind.BOOK,
    FactKind.BOOK_SWITCH,
    FactKind.PROMOTION,
    FactKind.FX_RATE,
    FactKind.CUSTOMER,
    FactKind.SUBSCRIPTION,
    FactKind.ORDER,
)
"""What a catalog is made of, in the order it leans on each other."""


def known_at(facts: Iterable[Fact], known: Instant) -> list[Fact]:
    """Return the facts recorded up to an instant; a clock that stepped back hides none."""
    found = list(facts)
    while found and found[-1].recorded_at > known:
        found.pop()
    return found


def in_force(known: Sequence[Fact], instant: Instant) -> list[Fact]:
    """Return the facts that are in force at an instant, of all that are known, kind by kind."""
    catalog = extend(Catalog(), known)
    last = {(fact.kind, fact.subject): fact for fact in known}
    for subject, plan in catalog.plans.items():
        last[FactKind.PLAN, subject] = _revision(known, plan.at(instant))
    standing = (fact for fact in last.values() if fact.kind in KINDS)
    found = [fact for fact in standing if _runs(catalog, fact, instant)]
    return sorted(found, key=lambda fact: (KINDS.index(fact.kind), fact.subject))


def _revision(known: Sequence[Fact], wanted: documents.Plan) -> Fact:
    return next(
        fact
        for fact in reversed(known)
        if (fact.kind, fact.subject) == (FactKind.PLAN, wanted.id)
        and documents.plan(fact.body) == wanted
    )


def _runs(catalog: Catalog, fact: Fact, instant: Instant) -> bool:
    if fact.kind is not FactKind.SUBSCRIPTION:
        return True
    subscription = catalog.subscriptions[fact.subject]
    end = subscription.end
    return subscription.start <= instant and (end is None or instant < end)


def fact_json(fact: Fact) -> dict[str, Json]:
    """Return who decided what, when, and why."""
    return {
        "serial": fact.serial,
        "time": instant_text(fact.recorded_at),
        "kind": fact.kind.value,
        "subject": fact.subject,
        "actor": fact.actor,
        "reason": fact.reason,
    }
