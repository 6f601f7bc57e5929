"""Promoting: a candidate's prices come into force at a period edge, and are taken back.

Owns: the edge, which facts put former prices back, which invoices that touches.
Does not own: putting a catalog in force (cli/catalog.py), the notes (applying.py).
Law: rolled back, the catalog says what it said before; what was issued meanwhile is corrected by
notes that bring each invoice to what it would have been.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from pipeline.catalog.catalog import FactLog
from pipeline.catalog.documents import Plan
from pipeline.catalog.facts import Fact, FactKind, NewFact
from pipeline.catalog.sheet import Sheet
from pipeline.core.calendar import Instant, instant_text, parse_instant
from pipeline.core.errors import BadInput
from pipeline.core.identity import Json
from pipeline.invoice.history import History, Paper
from pipeline.replay.diff import Moved, Pair, Selection, UsedIn, diff
from pipeline.replay.revising import revised
from pipeline.stores.postgres.documents import Document
from pipeline.stores.postgres.drafts import read_drafts
from pipeline.stores.postgres.facts import Author
from pipeline.stores.postgres.session import Session
from pipeline.stores.postgres.shadow_prices import Candidate
from pipeline.workers.announcing import await_named
from pipeline.workers.applying import Looked
from pipeline.workers.beside import Issued, revisions_of
from pipeline.workers.surroundings import Surroundings

_EDGES_TOLD = 3


def period_edge(session: Session, candidate: Candidate) -> Instant:
    """Return when all periods end that a candidate's plans are billed in now.

    Raises:
        BadInput: they end at several instants, or there is none.

    """
    plans = {each.subject for each in revisions_of(candidate) if each.kind is FactKind.PLAN}
    ends = set()
    for draft in read_drafts(session):
        for line in cast("list[Mapping[str, Json]]", draft.content["lines"]):
            card = cast("Mapping[str, Json] | None", line["rate_card"]) or {}
            if card.get("plan") in plans:
                ends.add(draft.instant)
    if len(ends) == 1:
        return ends.pop()
    if not ends:
        raise BadInput("nobody has a draft by these plans: say --at TIME")
    first = ", ".join(instant_text(each) for each in sorted(ends)[:_EDGES_TOLD])
    raise BadInput(f"their periods end at {len(ends)} instants ({first} ...): say --at TIME")


def dated(candidate: Candidate, sheet: Sheet, at: Instant, standing: Mapping[str, Plan]) -> Sheet:
    """Return a candidate's catalog with its changes in force from an instant on.

    Raises:
        BadInput: more changes than plans, and only these can have a day; or a plan in force
            (`standing`) has a later one, which could not be put back without these prices.

    """
    for each in revisions_of(candidate):
        if each.kind is not FactKind.PLAN:
            raise BadInput(
                f"{each.kind.value} {each.subject} has no day to come into force: `talea catalog"
                " apply` it when it is to hold"
            )
    changed = {each.subject for each in revisions_of(candidate)}
    for name in sorted(changed & standing.keys()):
        to_come = standing[name].effective
        if to_come is not None and to_come > at:
            day = instant_text(to_come)
            raise BadInput(f"plan {name} changes at {day} already: say --at {day} or later")
    plans = [replace(plan, effective=at) for plan in sheet.plans if plan.id in changed]
    return replace(sheet, plans=tuple(plans))


def promotion_json(at: Instant, position: int, written: Sequence[Fact]) -> dict[str, Json]:
    """Return what is kept of a promotion: from when on, and which facts said so."""
    return {
        "effective": instant_text(at),
        "position": position,
        "facts": {fact.subject: fact.serial for fact in written},
    }


def take_back(around: Surroundings, candidate: Candidate, author: Author) -> list[Fact]:
    """Put former prices in force again; return the facts, none where they are.

    Raises:
        BadInput: somebody changed these plans since.

    """
    promoted = _promoted(candidate)
    said = cast(Mapping[str, int], promoted["facts"])
    before = cast(int, promoted["position"])

    def decide(facts: Sequence[Fact]) -> Sequence[NewFact]:
        plans = [fact for fact in facts if fact.kind is FactKind.PLAN and fact.subject in said]
        former = {fact.subject: fact for fact in plans if fact.serial <= before}
        last = {fact.subject: fact for fact in plans}
        found = []
        for plan, serial in said.items():
            if last[plan].serial != serial and last[plan].body != former[plan].body:
                raise BadInput(
                    f"plan {plan} was changed since by fact {last[plan].serial}: put the prices in"
                    " force that you want (talea catalog apply)"
                )
            if last[plan].body != former[plan].body:
                found.append(NewFact(FactKind.PLAN, plan, former[plan].body))
        return found

    with around.database.session("take back") as session:
        written = session.append_facts(decide, author, session.clock()())
    if written:
        await_named(around, written[-1].serial)
    return written


@dataclass(frozen=True, slots=True)
class Affected:
    """Invoices issued by promoted prices beside what they would have been.

    `by_hand`: the numbers of those with notes that people decided on: these are left to them.
    """

    looked: Looked
    by_hand: Sequence[str]


def affected(around: Surroundings, candidate: Candidate) -> Affected:
    """Return the invoices that promoted prices went into, beside what former ones make of them.

    Raises:
        BadInput: the candidate was never promoted.

    """
    promoted = _promoted(candidate)
    since = parse_instant(promoted["effective"])
    with around.database.session("affected") as session, session.snapshot():
        facts = session.read_facts(0)
        before = cast(int, promoted["position"])
        otherwise = revised(facts, _former(facts, promoted), before)
        former = FactLog()
        former.append(otherwise)
        issued = Issued(session, former.at, former.at(former.head))
        pairs, by_hand = list[Pair](), list[str]()
        documents = session.read_documents()
        payers = {each.payer for each in documents if each.instant > since}
        for payer in sorted(payers):
            own = [each for each in documents if each.payer == payer]
            history = issued.history(payer, own)
            for each in own:
                if each.instant <= since or each.paper.is_note or each.sealed.is_removed:
                    continue
                notes = [other for other in own if other.content.get("corrects") == each.id]
                if any(note.content.get("cause") is not None for note in notes):
                    by_hand.append(each.sealed.number)
                    continue
                pairs += _pairs(issued, history, each, notes)
        (position, _) = session.fact_head()
    shown = diff(pairs, Selection(), _nothing_moved)
    looked = Looked(
        f"shadow prices {candidate.name}", pairs, Selection(), shown, position, otherwise
    )
    return Affected(looked, by_hand)


def _promoted(candidate: Candidate) -> Mapping[str, Json]:
    if candidate.promoted is None:
        raise BadInput(f"{candidate.name} was not promoted: there is nothing to take back")
    return candidate.promoted


def _former(
    facts: Sequence[Fact], promoted: Mapping[str, Json]
) -> dict[tuple[FactKind, str], Mapping[str, Json]]:
    """Return what was said of the promoted plans before."""
    said, before = cast(Mapping[str, int], promoted["facts"]), cast(int, promoted["position"])
    return {
        (fact.kind, fact.subject): fact.body
        for fact in facts[:before]
        if fact.kind is FactKind.PLAN and fact.subject in said
    }


def _pairs(
    issued: Issued, history: History, document: Document, notes: Sequence[Document]
) -> list[Pair]:
    """Return an invoice and its notes beside what it would be with all that the notes know."""
    paper: Paper = document.paper
    serial = max([document.cut_serial, *(note.cut_serial for note in notes)])
    made = issued.composed(history, paper, serial).content
    where = document.payer, document.instant, document.cut_serial
    name, content = document.sealed.number, document.content
    same = not notes and made == content
    found = [Pair(name, *where, same, content, made, below=serial)]
    for note in notes:
        at = note.payer, note.instant, note.cut_serial
        found.append(Pair(note.sealed.number, *at, False, note.content, None))
    return found


def _nothing_moved(_used: UsedIn) -> Moved:
    return Moved(0, 0)
