"""Sealing: the numbers, issue records and seals of an issuer's next documents.

Owns: what registering adds to content.  Does not own: content (finalizer.py), the form of records
and seals (ledger), the place in the chain and keeping (stores).
Law: documents are numbered and settled in their order, each behind the one before.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from pipeline.catalog.catalog import Catalog
from pipeline.catalog.documents import Issuer
from pipeline.catalog.fields import DEFAULT_PAYMENT_DAYS
from pipeline.core.calendar import Instant
from pipeline.core.errors import BrokenInvariant
from pipeline.core.identity import Json
from pipeline.invoice.notes import NOTE_KINDS
from pipeline.invoice.settling import added, given_back, settle
from pipeline.invoice.taxed import answers_in
from pipeline.ledger.seal import Issue, Sealed, issue_record, seal_of
from pipeline.stores.postgres.preparing import Prepared
from pipeline.workers.knowledge import Knowledge


class Chain(Protocol):
    """What sealing asks of what is issued."""

    def credits_used(self, payers: Sequence[str]) -> Mapping[str, Mapping[str, int]]: ...

    def fact_position(self, tick_serial: int) -> int: ...

    def notes_issued(self, issuer: str) -> int: ...

    def settlement_of(self, document: str) -> Mapping[str, Json] | None: ...


@dataclass(slots=True)
class Sealer:
    """Seals what is prepared."""

    store: Chain
    known: Knowledge
    clock: Callable[[], Instant]

    def seal(self, prepared: Sequence[Prepared], place: int, previous: str) -> list[Sealed]:
        """Seal documents of an issuer, in order, behind the last one."""
        serials = sorted({each.cut_serial for each in prepared})
        positions = {serial: self.store.fact_position(serial) for serial in serials}
        notes = self.store.notes_issued(prepared[0].issuer) if prepared else 0
        used = dict(self.store.credits_used(sorted({each.payer for each in prepared})))
        found = []
        for each in prepared:
            place += 1
            position = positions[each.cut_serial]
            catalog = self.known.catalog(position)
            issuer = catalog.issuers.get(each.issuer)
            if issuer is None:
                raise BrokenInvariant(f"issuer {each.issuer} is unknown at fact {position}")
            content = cast(dict[str, Json], json.loads(each.content))
            number, notes = _number(issuer, each.kind, place, notes)
            issue = Issue(
                number=number,
                issuer=each.issuer,
                issued_at=self.clock(),
                payment_days=_payment_days(catalog, content),
                fact_position_cut=position,
                fact_position_last=max(
                    self._last_position(position, each.payer, content), each.named_at
                ),
                rule_version=catalog.rules_in_force.rule_version,
                tzdata_version=catalog.rules_in_force.tzdata_version,
                evidence=each.evidence,
                previous_seal=previous,
                settlement=self._settlement(catalog, each.payer, content, used),
            )
            record = issue_record(each.content, issue)
            seal = seal_of(record)
            found.append(Sealed(place, number, each.content, record, seal))
            previous = seal.hex()
        return found

    def _last_position(self, cut: int, payer: str, content: Mapping[str, Json]) -> int:
        """Return the position of the last fact that entered a document: answers may come late."""
        needed = answers_in(content)
        if not needed:
            return cut
        catalog = self.known.catalog(cut).answered_by(self.known.latest())
        known = catalog.deals.tax_answers.of(payer)
        return max(cut, *(known[digest].position for digest in needed))

    def _settlement(
        self,
        catalog: Catalog,
        payer: str,
        content: Mapping[str, Json],
        used: dict[str, Mapping[str, int]],
    ) -> Mapping[str, Json] | None:
        """Return what prepaid credits pay, by the facts at the cut; add it to what is used of them.

        A credit is one issuer's, and an issuer's documents are registered one after the other.
        """
        grants = catalog.deals.credits.get(payer)
        if not grants:
            return None
        spent = used.get(payer, {})
        settled = settle(content, grants.values(), spent)
        if content.get("voids") is True:  # a decision about what is issued: it has its record
            paid = self.store.settlement_of(str(content["corrects"]))
            settled = given_back(content, paid)
        used[payer] = added(spent, settled.json())
        return settled.json()


def _number(issuer: Issuer, kind: str, place: int, notes: int) -> tuple[str, int]:
    """Return the number of the document at a place of its issuer's chain, behind so many notes.

    And how many notes there are then. They may have numbers of their own: each series is without
    gaps.
    """
    is_note = kind in NOTE_KINDS
    if issuer.note_prefix is None:
        return f"{issuer.number_prefix}{place:06d}", notes + is_note
    if is_note:
        return f"{issuer.note_prefix}{notes + 1:06d}", notes + 1
    return f"{issuer.number_prefix}{place - notes:06d}", notes


def _payment_days(catalog: Catalog, content: Mapping[str, Json]) -> int:
    """Return the payment term: as its draft was told, or the longest of its plans and orders.

    A document of lines by hand alone, of no plan, has the usual one.
    """
    told = content.get("payment_days")
    if told is not None:
        return cast(int, told)
    lines = cast(list[dict[str, Json]], content["lines"])
    cards = [cast(dict[str, str], line["rate_card"]) for line in lines]
    plans = {catalog.plans[card["plan"]].payment_days for card in cards if "plan" in card}
    orders = {catalog.orders.by_id[c["order"]].payment_days for c in cards if "order" in c}
    usual = DEFAULT_PAYMENT_DAYS if content["kind"] == "invoice" else 0
    return max(plans | orders, default=usual)
