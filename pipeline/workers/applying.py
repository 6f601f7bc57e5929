"""Applying a diff: its notes are decided, once, if nothing moved since.

Owns: load -> check -> write the facts.  Does not own: which notes (replay/applying.py), making them
(workers/correcting.py), numbers and seals.
Law: twice is once: the facts name the diff. Either all notes of a diff are decided or none.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from pipeline.catalog.catalog import Catalog, extend
from pipeline.catalog.corrections import Decision
from pipeline.catalog.facts import Fact, FactKind, NewFact
from pipeline.catalog.mends import mended
from pipeline.core.calendar import Instant
from pipeline.core.errors import BadInput
from pipeline.core.identity import Json, canonical
from pipeline.invoice.asking import own_instant
from pipeline.invoice.planned import Carried
from pipeline.replay.ahead import Elsewhere, with_ahead
from pipeline.replay.applying import (
    Family,
    OtherPrices,
    families,
    mended_since,
    mends,
    moved_since,
    repricings,
    total_minor,
)
from pipeline.replay.diff import Diff, Moved, Pair, Selection, UsedIn, diff
from pipeline.replay.next_invoice import Place, billed_by_next, given_back_by_next
from pipeline.replay.revising import PRICING
from pipeline.stores.postgres.facts import Author
from pipeline.stores.postgres.preparing import BookedCuts
from pipeline.topology import MESSAGE_BYTES_MAX
from pipeline.workers.announcing import await_named
from pipeline.workers.knowledge import FactReader
from pipeline.workers.replaying import through
from pipeline.workers.seams import FactWriter
from pipeline.workers.surroundings import Surroundings


@dataclass(frozen=True, slots=True)
class Applied:
    """The facts of a diff, and whether they were there already."""

    facts: Sequence[Fact]
    already: bool

    @property
    def total_minor(self) -> dict[str, int]:
        """What their notes come to, by currency."""
        return total_minor(fact.body for fact in self.facts)

    def json(self, diff_id: str) -> dict[str, Json]:
        """Return it for a report."""
        documents: list[Json] = [fact.subject for fact in self.facts]
        return {
            "diff_id": diff_id,
            "already": self.already,
            "documents": documents,
            "total_minor": {**self.total_minor},
        }


@dataclass(frozen=True, slots=True)
class Looked:
    """Documents beside what they would be, as at a position of the facts; `of` names it all.

    `otherwise` are the facts that say prices, or how documents are corrected, as they say it there.
    """

    of: str
    pairs: Sequence[Pair]
    selection: Selection
    shown: Diff
    position: int
    otherwise: Sequence[Fact] = ()


class Beside(FactReader, Protocol):
    """A shadow that is through: its documents and usage beside those of whom it shadows."""

    def documents_beside(self, live: str, *, whole: bool = False) -> list[Pair]: ...

    def moved_usage(self, live: str, used: UsedIn) -> Moved: ...

    def fact_head(self) -> tuple[int, int]: ...


class Deciders(FactReader, FactWriter, Protocol):
    """The facts, and what was decided and issued of documents since."""

    def notes_by_document(self, ids: Sequence[str]) -> Mapping[str, Sequence[str]]: ...

    def carried_by(self, payers: Sequence[str]) -> Mapping[tuple[str, str], Carried]: ...

    def read_cuts(self, payers: Sequence[str], after: Instant) -> BookedCuts: ...


_FACT_BYTES_MAX = MESSAGE_BYTES_MAX // 2
Also = Callable[[Sequence[Fact], Sequence[Mapping[str, Json]]], Sequence[NewFact]]
"""Called with all facts and the bodies of a diff's; returns what else is told with them."""


def nothing_else(
    _facts: Sequence[Fact], _bodies: Sequence[Mapping[str, Json]]
) -> Sequence[NewFact]:
    """Tell nothing else."""
    return ()


def look(shadow: Beside, live: str, of: str, selection: Selection) -> Looked:
    """Return what a shadow that is through shows."""
    pairs = shadow.documents_beside(live, whole=True)
    shown = diff(pairs, selection, partial(shadow.moved_usage, live))
    position, _ = shadow.fact_head()
    otherwise = shadow.read_facts(0, position, {*PRICING, FactKind.MENDED})
    return Looked(of, pairs, selection, shown, position, otherwise)


def apply_diff(
    around: Surroundings, name: str, diff_id: str, author: Author, also: Also = nothing_else
) -> Applied:
    """Decide the notes that the diff of a replay shows; return once their facts are in force.

    Raises:
        BadInput: the diff of that replay is another, or something happened to its documents since.

    """
    with through(around, name) as (session, selection):
        looked = look(session, around.database.schema, f"replay {name}", selection)
    return apply_looked(around, looked, diff_id, author, also)


def apply_looked(
    around: Surroundings, looked: Looked, diff_id: str, author: Author, also: Also = nothing_else
) -> Applied:
    """Decide the notes that a diff shows; return once their facts are in force.

    Raises:
        BadInput: it is another diff, or something happened to its documents since.

    """
    with around.database.session("apply") as store:
        applied = decide_looked(store, looked, diff_id, author, store.clock()(), also)
    if applied.facts and not applied.already:
        await_named(around, applied.facts[-1].serial)
    return applied


def decide_looked(
    store: Deciders,
    looked: Looked,
    diff_id: str,
    author: Author,
    now: Instant,
    also: Also = nothing_else,
) -> Applied:
    """Write the facts that a diff shows, once, and with them what `also` is told of it.

    Raises:
        BadInput: it is another diff, or something happened to its documents since.

    """
    known = store.read_facts(0)
    before = [fact for fact in known if _of(fact, diff_id)]
    if before:
        return _again(store, before, author, now, also)
    if looked.shown.id != diff_id:
        told = f"the diff of {looked.of} is {looked.shown.id} now"
        raise BadInput(f"{told}: look at it before it is applied")
    try:
        compared = families(looked.pairs, looked.selection)
    except ValueError as error:
        raise BadInput(str(error)) from None
    wanted = repricings((each for each in compared if each.differs), looked.selection, diff_id, now)
    prices = OtherPrices.of(known, looked.otherwise)
    since = list[NewFact]()
    if wanted or prices.of_subjects():
        since = mended(diff_id, mends(compared, looked.selection, prices))
    _small_enough(looked, since)
    if since and not wanted and _are_told(since, known):
        return _again(store, [], author, now, also)

    def decide(facts: Sequence[Fact]) -> Sequence[NewFact]:
        made = _decided(store, looked, compared, wanted, facts)
        # Before the notes: no tick names one without the other, as they come in one transaction.
        return [*since, *made, *also(facts, [new.body for new in made])]

    written = store.append_facts(decide, author, now)
    return Applied([fact for fact in written if _of(fact, diff_id)], already=False)


def _again(
    store: Deciders, before: Sequence[Fact], author: Author, now: Instant, also: Also
) -> Applied:
    """Tell what else is to be told of a diff that was applied already."""
    bodies = [fact.body for fact in before]
    store.append_facts(lambda facts: also(facts, bodies), author, now)
    return Applied(before, already=True)


def _are_told(since: Iterable[NewFact], known: Sequence[Fact]) -> bool:
    """Whether facts say this already: of two diffs without a difference ids are equal."""
    said = [(fact.subject, fact.body) for fact in known if fact.kind is FactKind.MENDED]
    return all((new.subject, new.body) in said for new in since)


def _small_enough(looked: Looked, since: Iterable[NewFact]) -> None:
    """Hold the facts that tell prices against what a topic takes: each is one message of it.

    Raises:
        BadInput: the other prices are too many.

    """
    most = max((len(canonical(dict(new.body))) for new in since), default=0)
    if most > _FACT_BYTES_MAX:
        told = f"the other prices of {looked.of} take {most} bytes, more than {_FACT_BYTES_MAX}"
        raise BadInput(f"{told}: have fewer plans differ, in one replay after the other")


def _decided(
    store: Deciders,
    looked: Looked,
    compared: Sequence[Family],
    wanted: Sequence[Decision],
    facts: Sequence[Fact],
) -> list[NewFact]:
    """Return the facts of a diff, by all facts there are.

    Raises:
        BadInput: something happened to its documents since it was looked at.

    """
    catalog, position = extend(Catalog(), facts), looked.position
    decided = defaultdict(list)
    for each in catalog.deals.decisions.known:
        if each.serial > position:
            decided[each.document].append(each)
    found = [each for each in compared if each.differs]
    issued = store.notes_by_document([each.document for each in found])
    moved = mended_since(compared, facts[position:]) or moved_since(found, decided, issued)
    if moved is not None:
        raise BadInput(f"{moved} was corrected since: replay it again, and look at the diff")
    carried = store.carried_by([each.payer for each in wanted])
    waits = given_back_by_next(wanted, catalog, carried)
    if waits is not None:
        raise BadInput(
            f"{waits} billed a fee in advance whose price is another by now: the next"
            " invoice gives that back by itself, so look at the diff again behind it"
        )
    try:
        known, selection = catalog.deals.decisions.known, looked.selection
        wanted = with_ahead(wanted, looked.pairs, selection, known, carried)
    except Elsewhere as error:
        raise BadInput(
            f"{error} billed a fee in advance otherwise, and an invoice that is not compared bills"
            " it, too: replay it again, and look at the diff of all its customer's documents"
        ) from None
    billed = billed_by_next(wanted, looked.pairs, catalog, carried, _done(store, wanted, compared))
    if billed is not None:
        raise BadInput(
            f"{billed} left out what a later invoice bills, or is about to: replay it again,"
            " and look at the diff behind that invoice"
        )
    made: list[NewFact] = []
    least: Instant = 0
    for each in wanted:
        least = own_instant(catalog, replace(each, at=max(each.at, least)), least)
        made.append(replace(each, at=least).told())
        least += 1
    return made


def _done(
    store: Deciders, wanted: Sequence[Decision], compared: Iterable[Family]
) -> dict[Place, set[Instant]]:
    """Return the closings behind the first document of a diff whose own documents are made."""
    named = {each.document for each in wanted}
    since = min((each.instant for each in compared if each.document in named), default=0)
    cuts = store.read_cuts(sorted({each.payer for each in wanted}), since)
    found = defaultdict[Place, set[Instant]](set)
    for payer, closed in cuts.closed.items():
        for currency, instant in closed:
            found[payer, currency].add(instant)
    for place, waiting in cuts.unprepared.items():
        found[place] -= {instant for instant, _ in waiting}
    return found


def _of(fact: Fact, diff_id: str) -> bool:
    return fact.kind is FactKind.REPRICING and fact.body["reference"] == diff_id
