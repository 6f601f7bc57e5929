"""Mends: by which prices documents are corrected since a diff of them was applied.

Owns: the record, how its facts tell it.
Does not own: which documents, and why (replay/applying.py), the catalog by other prices
(mending.py), notes (invoice/layers.py).
Law: what a fact tells is what was told it: documents, lines, prices at their serials.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from pipeline.catalog.facts import Fact, FactKind, NewFact
from pipeline.core.identity import Json, canonical

_AT_ONCE = 1000
"""So many documents one fact names: it is one message of a topic."""
NOTHING_MENDED: Mapping[str, Json] = {"documents": {}, "meters": None, "prices": []}
"""What such a fact says where what it is about is priced anew."""


@dataclass(frozen=True, slots=True)
class Mend:
    """A document whose diff was applied.

    The diff knew its usage booked under cuts `below` one, and its notes made up to the cut `noted`.
    It was of the lines of some `meters`, None: of all.
    """

    document: str
    below: int
    noted: int
    meters: frozenset[str] | None = None
    prices: Sequence[Fact] = ()
    """All that was said of subjects that had other prices; none: they were those of before."""

    def holds(self, meter: Json) -> bool:
        """Whether the diff was of lines of a meter."""
        return self.meters is None or meter in self.meters


Mends = Mapping[str, Sequence[Mend]]
"""By document, in the order of their facts."""


def with_mends(known: Mends, facts: Iterable[Fact]) -> Mends:
    """Return mends after more facts of their kind."""
    found = dict(known)
    for each in (mend for fact in facts for mend in mends_of(fact.body)):
        before = found.get(each.document, ())
        if before and not each.prices:
            each = replace(each, prices=before[-1].prices)
        found[each.document] = (*before, each)
    return found


def mends_of(body: Mapping[str, Json]) -> Iterator[Mend]:
    """Yield what the body of a fact tells."""
    meters = cast("list[str] | None", body["meters"])
    said = cast(list[Mapping[str, Json]], body["prices"])
    prices = tuple(sorted((fact for each in said for fact in _facts_of(each)), key=_by_serial))
    for document, (below, noted) in cast(Mapping[str, list[int]], body["documents"]).items():
        held = None if meters is None else frozenset(meters)
        yield Mend(document, below, noted, held, prices)


def _by_serial(fact: Fact) -> int:
    return fact.serial


def _facts_of(said: Mapping[str, Json]) -> Iterator[Fact]:
    kind, subject = FactKind(cast(str, said["kind"])), cast(str, said["subject"])
    body = cast(Mapping[str, Json], said["body"])
    for serial in cast(list[int], said["facts"]):
        yield Fact(serial, "", kind, subject, body, "", "", 0)


def mended(diff: str, mends: Iterable[Mend]) -> Iterator[NewFact]:
    """Yield the facts that tell how documents are corrected since a diff was applied."""
    alike: dict[bytes, tuple[dict[str, Json], list[Mend]]] = {}
    for each in mends:
        body: dict[str, Json] = {
            "meters": None if each.meters is None else [*sorted(each.meters)],
            "prices": [*_told(each.prices)],
        }
        alike.setdefault(canonical(body), (body, []))[1].append(each)
    for told, own in alike.values():
        for first in range(0, len(own), _AT_ONCE):
            some = own[first : first + _AT_ONCE]
            named: dict[str, Json] = {each.document: [each.below, each.noted] for each in some}
            yield NewFact(FactKind.MENDED, diff, {**told, "documents": named})


def _told(prices: Iterable[Fact]) -> Iterator[Json]:
    """Yield what is said of each subject, with the serials of all facts that say so."""
    alike: dict[bytes, tuple[Fact, list[Json]]] = {}
    for each in prices:
        same = canonical([each.kind.value, each.subject, dict(each.body)])
        alike.setdefault(same, (each, []))[1].append(each.serial)
    for fact, serials in alike.values():
        told: dict[str, Json] = {
            "kind": fact.kind.value,
            "subject": fact.subject,
            "body": dict(fact.body),
            "facts": serials,
        }
        yield told
