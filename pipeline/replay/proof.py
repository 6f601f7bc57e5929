"""Proof: an issued document against what a refold makes of the same cut.

Owns: what is compared.  Does not own: refolding (refold.py), the chain (ledger/seal.py).
Law: equal means equal bytes of content, equal windows, equal place of the cut, equal settlement.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

from pipeline.catalog.catalog import Catalog
from pipeline.catalog.credits import Grant
from pipeline.core.calendar import Instant
from pipeline.core.identity import Json
from pipeline.invoice.compose import compose
from pipeline.invoice.planned import Carried, planned_lines, requests_of
from pipeline.invoice.settling import Spent, added, settle
from pipeline.ledger.seal import Sealed, content_bytes, windows_digest
from pipeline.replay.refold import Refold


@dataclass(frozen=True, slots=True)
class Claimed:
    """What an issued document says of itself: where it is found, and what is sealed."""

    payer: str
    currency: str
    instant: Instant
    kind: str
    ordinal: int
    cut_serial: int
    sealed: Sealed


def content_fault(
    claimed: Claimed, catalog: Catalog, carried: Carried, refold: Refold
) -> str | None:
    """Return how a document differs from its refold, None where it is equal.

    `catalog` is the one at the cut; `carried` what the payer's earlier documents carry.
    """
    if claimed.payer not in catalog.customers:
        return f"no customer {claimed.payer} at its cut"
    lines = planned_lines(catalog, claimed.payer, claimed.currency, claimed.instant, carried)
    usage, windows = refold.usage(requests_of(lines), claimed.cut_serial)
    composed = compose(catalog, claimed.payer, claimed.currency, claimed.instant, lines, usage)
    for document in composed:
        if (document.kind, document.ordinal) == (claimed.kind, claimed.ordinal):
            if document.issues:
                return f"it cannot be rated any more: {document.issues[0]}"
            if content_bytes(document.content) != claimed.sealed.content:
                return "its content is not what the log makes of it"
            return _evidence_fault(claimed, refold, windows_digest(windows))
    return "the log makes no such document"


def _evidence_fault(claimed: Claimed, refold: Refold, digest: str) -> str | None:
    record = cast(dict[str, Json], json.loads(claimed.sealed.record))
    evidence = cast(dict[str, Json], record["evidence"])
    if evidence["windows_digest"] != digest:
        return "its windows are not what the log makes of them"
    passed = refold.ticks.get(claimed.cut_serial)
    for partition in cast(list[Mapping[str, Json]], evidence["partitions"]):
        if partition["partition"] != refold.number:
            return "it rests on another partition than its customer's"
        if passed is None or partition["to_offset"] != passed.offset:
            return "its cut lies elsewhere in the log"
    return None


def settlement_fault(
    sealed: Sealed, grants: Iterable[Grant], before: Iterable[Sealed]
) -> str | None:
    """Return why a document's settlement is not what its facts make of it; None where it is.

    `before` are the documents of the payer that its issuer sealed before this one.
    """
    spent: Spent = {}
    for other in before:
        spent = added(spent, _settlement(other))
    content = cast(dict[str, Json], json.loads(sealed.content))
    if settle(content, grants, spent).json() != _settlement(sealed):
        return "its settlement is not what the credits come to"
    return None


def _settlement(sealed: Sealed) -> Mapping[str, Json] | None:
    record = cast(dict[str, Json], json.loads(sealed.record))
    return cast("Mapping[str, Json] | None", record["settlement"])
