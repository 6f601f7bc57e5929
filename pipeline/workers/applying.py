"""Applying a diff: its notes are decided, once, if nothing moved since.

Owns: load -> check -> write the facts.  Does not own: which notes (replay/applying.py), making them
(workers/correcting.py), numbers and seals.
Law: twice is once: the facts name the diff. Either all notes of a diff are decided or none.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.catalog.catalog import Catalog, extend
from pipeline.catalog.facts import Fact, FactKind, NewFact
from pipeline.core.errors import BadInput
from pipeline.core.identity import Json
from pipeline.invoice.asking import own_instant
from pipeline.replay.applying import (
    families,
    given_back_by_next,
    moved_since,
    repricings,
    total_minor,
)
from pipeline.replay.diff import Diff, Pair, Selection, diff
from pipeline.stores.postgres.facts import Author
from pipeline.workers.announcing import await_named
from pipeline.workers.replaying import moved_by, through
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


def apply_diff(around: Surroundings, name: str, diff_id: str, author: Author) -> Applied:
    """Decide the notes that the diff of a replay shows; return once their facts are in force.

    Raises:
        BadInput: the diff of that replay is another, or something happened to its documents since.

    """
    live = around.database.schema
    with through(around, name) as (session, selection):
        pairs = session.documents_beside(live, whole=True)
        shown = diff(pairs, selection, moved_by(session, live))
        (planted_at, _) = session.fact_head()
    looked = Looked(f"replay {name}", pairs, selection, shown, planted_at)
    return apply_looked(around, looked, diff_id, author)


@dataclass(frozen=True, slots=True)
class Looked:
    """Documents beside what they would be, as at a position of the facts; `of` names it all."""

    of: str
    pairs: Sequence[Pair]
    selection: Selection
    shown: Diff
    position: int


def apply_looked(around: Surroundings, looked: Looked, diff_id: str, author: Author) -> Applied:
    """Decide the notes that a diff shows; return once their facts are in force.

    Raises:
        BadInput: it is another diff, or something happened to its documents since.

    """
    with around.database.session("apply") as store:
        now = store.clock()()
        known = store.read_facts(0)
        before = [fact for fact in known if _of(fact, diff_id)]
        if before:
            return Applied(before, already=True)
        if looked.shown.id != diff_id:
            told = f"the diff of {looked.of} is {looked.shown.id} now"
            raise BadInput(f"{told}: look at it before it is applied")
        try:
            found = families(looked.pairs, looked.selection)
        except ValueError as error:
            raise BadInput(str(error)) from None
        wanted = repricings(found, looked.selection, diff_id, now)

        def decide(facts: Sequence[Fact]) -> Sequence[NewFact]:
            catalog = extend(Catalog(), facts)
            decided = defaultdict(list)
            for each in catalog.deals.decisions.known:
                if each.serial > looked.position:
                    decided[each.document].append(each)
            issued = store.notes_by_document([each.document for each in found])
            moved = moved_since(found, decided, issued)
            if moved is not None:
                raise BadInput(
                    f"{moved} was corrected since: replay it again, and look at the diff"
                )
            carried = store.carried_by([each.payer for each in wanted])
            waits = given_back_by_next(wanted, catalog, carried)
            if waits is not None:
                raise BadInput(
                    f"{waits} billed a fee in advance whose price is another by now: the next"
                    " invoice gives that back by itself, so look at the diff again behind it"
                )
            least, made = now, []
            for each in wanted:
                least = own_instant(catalog, replace(each, at=max(each.at, least)), least)
                made.append(replace(each, at=least).told())
                least += 1
            return made

        written = store.append_facts(decide, author, now)
    if written:
        await_named(around, written[-1].serial)
    return Applied(written, already=False)


def _of(fact: Fact, diff_id: str) -> bool:
    return fact.kind is FactKind.REPRICING and fact.body["reference"] == diff_id
