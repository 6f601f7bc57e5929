"""Restoring: what topics know that tables out of an older backup do not.

Owns: which facts, ticks and documents are lost, in which order they happened, and that whatever
both know is the same.  Does not own: reading topics, writing tables (workers, stores).
Law: what is taken from a topic follows what the tables hold without a gap, each document behind
the seal before it; where topic and table say different things, nothing is taken.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import TypeAlias, cast

from pipeline.catalog.facts import Fact, FactKind, mirror_of, read_mirrored
from pipeline.core.calendar import Instant, parse_instant
from pipeline.core.identity import Json
from pipeline.invoice.lifecycle import EventKind, InvoiceEvent
from pipeline.invoice.published import Issued
from pipeline.ledger.seal import FIRST_SEAL, Sealed, link_fault
from pipeline.meter.ticks import Tick


class Contradicted(ValueError):
    """A topic and a table, or two records of a topic, say different things of one."""


Happening: TypeAlias = Issued | Fact
"""A document that was issued, or a fact that something happened to one."""


@dataclass(frozen=True, slots=True)
class Lost:
    """What the tables lack. Up to `acked` every partition has the ticks."""

    facts: Sequence[Fact]
    ticks: Sequence[Tick]
    documents: Sequence[Issued]
    acked: int = 0


def lost_facts(mirror: Iterable[bytes], known: Sequence[Fact]) -> list[Fact]:
    """Return the facts of the mirror behind those known, which are the first ones.

    Raises:
        Contradicted: it says otherwise of one that is known, or lacks one.

    """
    told = {fact.serial: mirror_of(fact) for fact in known}
    found: dict[int, Fact] = {}
    for message in mirror:
        fact = read_mirrored(message)
        if told.setdefault(fact.serial, message) != message:
            raise Contradicted(f"fact {fact.serial} is another in its mirror, by {fact.actor}")
        if fact.serial > len(known):
            found[fact.serial] = fact
    lost = [found[serial] for serial in sorted(found)]
    _refuse_gap("fact", (fact.serial for fact in lost), len(known))
    return lost


def lost_ticks(seen: Mapping[Tick, Collection[int]], last: int, partitions: int) -> list[Tick]:
    """Return the ticks behind the serial `last` that stand in every partition, in order.

    What stands in some alone was not acked, or is somebody's who may not write ticks.
    """
    whole = {tick.serial: tick for tick, places in seen.items() if len(places) == partitions}
    found: list[Tick] = []
    while (tick := whole.get(last + 1 + len(found))) is not None:
        found.append(tick)
    return found


def lost_documents(
    published: Iterable[Issued], sealed: Mapping[str, Mapping[int, bytes]]
) -> list[Issued]:
    """Return the documents behind the heads of the chains, by issuer and place.

    `sealed` are the seals of the tables, by issuer and place.

    Raises:
        Contradicted: one that both know is another, or a chain does not hold.

    """
    found: dict[tuple[str, int], Issued] = {}
    for each in published:
        own = sealed.get(each.issuer, {})
        before = found.get((each.issuer, each.place))
        known = before.seal if before else own.get(each.place)
        if known is not None and known != each.seal:
            raise Contradicted(
                f"{each.number} at place {each.place} of {each.issuer} is published with another"
                " seal than it has in the database"
            )
        if each.place not in own:
            found[each.issuer, each.place] = each
    lost = [found[where] for where in sorted(found)]
    for issuer, chain in groupby(lost, key=attrgetter("issuer")):
        _refuse_broken(issuer, [*chain], sealed.get(issuer, {}))
    return lost


def _refuse_broken(issuer: str, chain: Sequence[Issued], known: Mapping[int, bytes]) -> None:
    place = max(known, default=0)
    previous = known[place].hex() if known else FIRST_SEAL
    for each in chain:
        sealed = Sealed(each.place, each.number, each.content, each.record, each.seal)
        fault = link_fault(sealed, place + 1, previous)
        if fault:
            raise Contradicted(f"{each.number} of {issuer} as it is published: {fault}")
        place, previous = each.place, each.seal.hex()


def _refuse_gap(what: str, serials: Iterable[int], last: int) -> None:
    for serial in serials:
        if serial != last + 1:
            raise Contradicted(f"{what} {last + 1} is missing, and {what} {serial} is there")
        last = serial


def in_order(documents: Iterable[Issued], facts: Iterable[Fact]) -> list[Happening]:
    """Return documents and what happened to some, as it came about; chains in their own order."""
    told: list[tuple[Instant, int, Happening]] = [
        (fact.recorded_at, 1, fact) for fact in facts if event_of(fact) is not None
    ]
    for _, chain in groupby(documents, key=attrgetter("issuer")):
        latest = 0
        for each in chain:
            latest = max(latest, issued_at(each))
            told.append((latest, 0, each))
    return [happening for _, _, happening in sorted(told, key=lambda each: each[:2])]


def issued_at(issued: Issued) -> Instant:
    """Return when a document was issued."""
    return parse_instant(record_of(issued)["issued_at"])


def record_of(issued: Issued) -> dict[str, Json]:
    """Return the issue record of a document as JSON."""
    return cast(dict[str, Json], json.loads(issued.record))


_KINDS = {
    FactKind.PAYMENT: EventKind.PAID,
    FactKind.PAID_BACK: EventKind.REFUNDED,
    FactKind.WRITE_OFF: EventKind.WRITTEN_OFF,
    FactKind.DISPUTE: EventKind.DISPUTED,
}


def event_of(fact: Fact) -> tuple[str, InvoiceEvent] | None:
    """Return the document that a fact happened to, and the event that it was; None: to none."""
    kind = _KINDS.get(fact.kind)
    if kind is None:
        return None
    body, reference = fact.body, fact.body.get("reference")
    if fact.kind is FactKind.DISPUTE:
        reference = fact.id
        if body["state"] != "open":
            kind = EventKind.DISPUTE_CLOSED
    amount = cast(int, body.get("amount_minor", 0))
    at, known_by = fact.recorded_at, cast("str | None", reference)
    event = InvoiceEvent(kind, fact.actor, fact.reason, at, amount, known_by)
    return str(body["document"]), event


def personal_in(facts: Iterable[Fact]) -> Iterator[tuple[str, str]]:
    """Yield (commitment, subject) of the personal values behind facts."""
    for fact in facts:
        profile = fact.body.get("profile")
        for value in profile.values() if isinstance(profile, dict) else ():
            yield str(value), str(fact.body.get("customer", fact.subject))
