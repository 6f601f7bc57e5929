"""Retained: what must be left of documents whose contents were kept long enough, to the auditor.

Owns: that what is told of a removal is so, that nothing else went, what is kept of each.
Does not own: what documents said before (auditor.py), who removes (archivists.py).
Law: it shares no step with the pipeline.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from hashlib import sha256
from typing import cast

from pipeline.catalog.facts import Fact, FactKind
from pipeline.simulate.agreements import Body
from pipeline.simulate.database import Tables

Fault = tuple[str, str]
"""(law, detail)."""
_KEPT = (
    *("format", "id", "kind", "issuer", "customer", "currency", "cut_instant", "cause"),
    *("replaces", "corrects", "reason_code", "voids", "external_reference", "refund_due_minor"),
    *("period_start", "period_end", "totals"),
)


def retention_faults(tables: Tables, facts: Iterable[Fact]) -> Iterator[Fault]:
    """Yield where contents went otherwise than facts tell, or what is kept is not what it must be.

    A checkpoint of a removal's last place stands for all that went.
    """
    reached: dict[str, int] = {}
    for fact in facts:
        if fact.kind is FactKind.RETENTION:
            yield from _removal_faults(tables, fact, reached.get(fact.subject, 0))
            reached[fact.subject] = cast(int, fact.body["place"])
    for (issuer, place), document in sorted(tables.documents.items()):
        said, gone = tables.removed.get((issuer, place)), place <= reached.get(issuer, 0)
        if gone != (said is not None) or gone != (not document.sealed.content):
            yield "retained", f"{issuer} {place} is {'not ' * gone}gone"
        elif said is not None:
            must, kept = _left_of(json.loads(said)), json.loads(document.kept or "null")
            carried = kept.pop("carried", None) if isinstance(kept, dict) else None
            bills = must["kind"] == "invoice" and "replaces" not in must
            if kept != must or (carried is not None) != bills:
                yield "retained", f"{document.sealed.number} keeps {kept}, must keep {must}"


def _removal_faults(tables: Tables, fact: Fact, after: int) -> Iterator[Fault]:
    issuer, told = fact.subject, fact.body
    place = cast(int, told["place"])
    last = tables.documents.get((issuer, place))
    if told["after"] != after or place <= after or last is None:
        yield "retained", f"{issuer}: {told} behind {after}"
        return
    if (issuer, place) not in tables.checkpoints:
        yield "retained", f"{issuer} {place} went, and nobody had signed it"
    if (told["number"], told["seal"]) != (last.sealed.number, last.sealed.seal.hex()):
        yield "retained", f"{issuer} {place} is {last.sealed.number}, not {told['number']}"
    kept = (tables.documents[issuer, each].kept or "" for each in range(after + 1, place + 1))
    if told["kept_digest"] != "sha256:" + sha256("\n".join(kept).encode()).hexdigest():
        yield "retained", f"{issuer} {place} keeps something else than was told of it"


def _left_of(said: Mapping[str, object]) -> Body:
    """Return what is kept of a content, besides how far it billed."""
    left = {name: said[name] for name in _KEPT if name in said}
    return cast(Body, {**left, "billing_profile": {}, "lines": [], "beyond_retention": True})


def put_back(tables: Tables) -> None:
    """Put back what documents said, once all is over, for whoever looks at that."""
    for place, said in tables.removed.items():
        document = tables.documents[place]
        sealed = replace(document.sealed, content=said)
        tables.documents[place] = replace(document, sealed=sealed, kept=None)
