"""Restored: what each step of an incident must have done, as the auditor reads facts.

Owns: which facts were wrong, that all was held, that what stood before holds again, what is told.
Does not own: amounts of notes (repriced.py), that nothing is issued while held (workflow.py).
Law: it shares no step with the pipeline.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import cast

from pipeline.catalog.facts import Fact, FactKind
from pipeline.core.identity import Json
from pipeline.simulate.agreements import Body
from pipeline.simulate.alarms import Alarms
from pipeline.simulate.billing import Billing
from pipeline.simulate.database import Tables
from pipeline.simulate.mended import mended, wrong_of
from pipeline.simulate.replays import Wanted

Fault = tuple[str, str]
"""(law, detail)."""
_STEPS = ("opened", "rolled_back", "credited", "closed")


def incident_faults(alarms: Alarms, tables: Tables, billing: Billing) -> Iterator[Fault]:
    """Yield what was not done about an incident, or more than once."""
    told = [fact for fact in billing.facts if fact.kind is FactKind.INCIDENT]
    steps = {str(fact.body["what"]): fact for fact in told}
    if not told or alarms.told is None:
        return
    done = [str(fact.body["what"]) for fact in told]
    if done not in ([*_STEPS], ["opened", "rolled_back", "closed"]):  # the second: given up
        yield "incident", f"it went {done}"
        return
    opened, back = steps["opened"], steps["rolled_back"]
    wrong = wrong_of(billing.facts[: opened.serial - 1], alarms.told)
    if [fact.serial for fact in wrong] != opened.body["wrong"]:
        yield "incident", f"{opened.body['wrong']} were told wrong, it is about {wrong}"
    # It says so in the next fact; somebody else may have before, or may take it back then.
    if not any(_held(billing.facts, opened.serial + more) for more in (0, 1)):
        yield "incident", "it was opened, and nothing was held"
    if all(_held(billing.facts, back.serial + more) for more in (0, 1)):
        yield "incident", "prices were rolled back, and all is held on"
    yield from _still_wrong(alarms, billing, wrong, back)
    if "credited" in steps:
        yield from _untold(steps["credited"], tables, billing.facts)


def _held(facts: Sequence[Fact], position: int) -> bool:
    """Return whether everything is held at a position."""
    known = (f for f in facts[:position] if f.kind is FactKind.HOLD and f.body["scope"] == "all")
    return bool([False, *(cast(bool, fact.body["on"]) for fact in known)][-1])


def _still_wrong(
    alarms: Alarms, billing: Billing, wrong: Sequence[Fact], back: Fact
) -> Iterator[Fault]:
    """Yield whose prices are not those that would hold had nobody been wrong."""
    wanted = Wanted(incident=back.subject)
    right = mended(billing.facts, back.serial, wanted, alarms.told).facts
    book, must = billing.book(back.serial), billing.otherwise(right, 0).book(back.serial)
    for fact in wrong:
        about = fact.kind.value, fact.subject
        plans = book.plans.get(fact.subject), must.plans.get(fact.subject)
        if book.latest[about] != must.latest[about] or plans[0] != plans[1]:
            yield "incident", f"{about} was rolled back, and is not as it was"


def _untold(credited: Fact, tables: Tables, facts: Sequence[Fact]) -> Iterator[Fault]:
    """Yield where an incident tells other notes than were decided, or one was never made."""
    totals, decided = Counter[str](), list[Fact]()
    for fact in facts:
        diff_id = credited.body["diff_id"]
        if fact.kind is FactKind.REPRICING and fact.body["reference"] == diff_id:
            decided.append(fact)
            for line in cast(list[Body], cast(Body, fact.body["change"])["lines"]):
                totals[str(fact.body["currency"])] += cast(int, line["total_minor"])
    must: Json = {currency: minor for currency, minor in totals.items() if minor}
    told = credited.body["documents"], credited.body["total_minor"]
    if told != (len(decided), must):
        yield "incident", f"{told} were told, {len(decided)} notes of {must} decided"
    notes = {each.content.get("cause") for each in tables.documents.values()}
    for fact in decided:
        if fact.id not in notes:
            yield "incident", f"it was closed, and {fact.subject} has no note"
