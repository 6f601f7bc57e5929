"""Mends: by which prices documents are corrected since a diff of them was applied.

Owns: the record, how its facts tell it.
Does not own: which documents, and why (replay/applying.py), the catalog by other prices
(mending.py), notes (invoice/layers.py).
Law: what a fact tells is what was told it: documents, lines, prices at their serials.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from pipeline.catalog.facts import Fact, FactKind, NewFact
from pipeline.core.identity import Json, canonical

_AT_ONCE = 1000
"""So many documents one fact names: it is one message of a topic."""
_SINCE, _GONE = "since", "gone"
NOTHING_MENDED: Mapping[str, Json] = {"documents": {}, "meters": None, "prices": []}
"""What such a fact says where what it is about is priced anew."""


Until = Sequence[tuple[str, str, str]]
"""Up to where prices are billed: (subscription, price, instant)."""


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
    """All that was said of subjects that had other prices; none: nobody had."""
    diff: str = ""
    """What it is known by; empty before it is told."""
    until: Until = ()
    """Which prices earlier documents bill farther by it."""
    since: Until = ()
    """From where it bills prices itself, though earlier documents say that they do."""
    gone: bool = False
    """Whether the diff took it off whole: others bill what it did, and usage of it."""

    def holds(self, meter: Json) -> bool:
        """Whether the diff was of lines of a meter."""
        return self.meters is None or meter in self.meters


Mends = Mapping[str, Sequence[Mend]]
"""By document, in the order of their facts."""


def with_mends(known: Mends, facts: Iterable[Fact]) -> Mends:
    """Return mends after more facts of their kind."""
    found = dict(known)
    for each in (mend for fact in facts for mend in mends_of(fact)):
        found[each.document] = (*found.get(each.document, ()), each)
    return found


def mends_of(fact: Fact) -> Iterator[Mend]:
    """Yield what a fact tells."""
    meters, prices = cast("list[str] | None", fact.body["meters"]), prices_of(fact.body)
    for document, told in cast(Mapping[str, list[Json]], fact.body["documents"]).items():
        held = None if meters is None else frozenset(meters)
        below, noted = cast(list[int], told[:2])
        sources = [cast(list[str], each) for each in told[2:] if each != _GONE]
        until, since = (
            [(each[0], each[1], each[2]) for each in sources if each[3:] == mark]
            for mark in ([], [_SINCE])
        )
        gone = _GONE in told
        yield Mend(document, below, noted, held, prices, fact.subject, until, since, gone)


def prices_of(body: Mapping[str, Json]) -> tuple[Fact, ...]:
    """Return what the body of a fact says of subjects that had other prices."""
    said = cast(list[Mapping[str, Json]], body["prices"])
    return tuple(sorted((fact for each in said for fact in _facts_of(each)), key=_by_serial))


def by_prices(body: Mapping[str, Json], prices: Iterable[Fact]) -> Mapping[str, Json]:
    """Return the body of a fact that says these instead."""
    return {**body, "prices": [*_told(prices)]}


def _by_serial(fact: Fact) -> int:
    return fact.serial


def _facts_of(said: Mapping[str, Json]) -> Iterator[Fact]:
    kind, subject = FactKind(cast(str, said["kind"])), cast(str, said["subject"])
    body = cast(Mapping[str, Json], said["body"])
    for serial in cast(list[int], said["facts"]):
        yield Fact(serial, "", kind, subject, body, "", "", 0)


def mended(diff: str, mends: Iterable[Mend]) -> list[NewFact]:
    """Return the facts that tell how documents are corrected since a diff was applied.

    Documents of the very same prices are told together: to compare prices of each takes too long.
    """
    alike: dict[tuple[frozenset[str] | None, int], list[Mend]] = {}
    for each in mends:
        alike.setdefault((each.meters, id(each.prices)), []).append(each)
    found = []
    for (meters, _), own in alike.items():
        held: Json = None if meters is None else [*sorted(meters)]
        told = by_prices({"meters": held}, own[0].prices)
        for first in range(0, len(own), _AT_ONCE):
            some = own[first : first + _AT_ONCE]
            named = {each.document: _named(each) for each in some}
            found.append(NewFact(FactKind.MENDED, diff, {**told, "documents": named}))
    return found


def _named(mend: Mend) -> Json:
    until: list[Json] = [[*source] for source in mend.until]
    since: list[Json] = [[*source, _SINCE] for source in mend.since]
    return [mend.below, mend.noted, *until, *since, *([_GONE] if mend.gone else [])]


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
