"""Retention: what stays of documents that are older than they must be kept.

Owns: up to which place contents may go, what is kept of one, the fact that tells of it.
Does not own: taking them out (stores/postgres/retention.py), who asks (workers/retaining.py).
Law: a chain is proved over what was removed: records and seals stay, a signed checkpoint stands
at the last of them, and the digest of what is kept of their contents is in the fact.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import cast

from pipeline.catalog.facts import Fact, FactKind, NewFact
from pipeline.core.calendar import Duration, Instant, cycle_edge, instant_text
from pipeline.core.identity import Json, canonical
from pipeline.ledger.checkpoint import Checkpoint
from pipeline.ledger.seal import Sealed

Record = Mapping[str, Json]

_KEPT = (
    "format",
    "id",
    "kind",
    "issuer",
    "customer",
    "currency",
    "cut_instant",
    "cause",
    "replaces",
    "corrects",
    "reason_code",
    "voids",
    "external_reference",
    "refund_due_minor",
    "period_start",
    "period_end",
    "totals",
)
_YEAR = Duration(12, 0, 0)


@dataclass(frozen=True, slots=True)
class Removal:
    """The contents of an issuer's documents of after < place <= `place` were removed.

    `number` and `seal` are those of the last; `kept_digest` is over what is kept of each.
    """

    issuer: str
    after: int
    place: int
    number: str
    seal: str
    kept_digest: str

    def told(self) -> NewFact:
        """Return the fact that tells it."""
        body: dict[str, Json] = {
            "after": self.after,
            "place": self.place,
            "number": self.number,
            "seal": self.seal,
            "kept_digest": self.kept_digest,
        }
        return NewFact(FactKind.RETENTION, self.issuer, body)


def removals(facts: Iterable[Fact]) -> dict[str, list[Removal]]:
    """Return what was removed, by issuer, in order."""
    found: dict[str, list[Removal]] = {}
    for fact in facts:
        if fact.kind is FactKind.RETENTION:
            body = fact.body
            found.setdefault(fact.subject, []).append(
                Removal(
                    fact.subject,
                    cast(int, body["after"]),
                    cast(int, body["place"]),
                    cast(str, body["number"]),
                    cast(str, body["seal"]),
                    cast(str, body["kept_digest"]),
                )
            )
    return found


def removed_to(known: Sequence[Removal]) -> int:
    """Return the last place of an issuer's chain whose content was removed; 0: none was."""
    return known[-1].place if known else 0


def oldest_kept(now: Instant, years: int) -> Instant:
    """Return the instant so many years ago: what was issued before need not be kept."""
    return cycle_edge(now, _YEAR, -years, "UTC")


def last_to_go(
    checkpoints: Iterable[Checkpoint], known: Sequence[Removal], before: Instant
) -> Checkpoint | None:
    """Return the checkpoint at the last place that may go; None where nothing more may.

    A checkpoint was signed behind all that it holds: if that was before an instant, they were
    issued before it. `checkpoints` are those of one issuer.
    """
    due = [each for each in checkpoints if each.head.at < before]
    last = max(due, key=lambda each: each.head.place, default=None)
    return last if last is not None and last.head.place > removed_to(known) else None


def kept_of(content: Record, carried: Json) -> dict[str, Json]:
    """Return what is kept of a content: which document it was, its totals, and how far it billed.

    `carried` is what its payer's later documents build on (invoice/planned.py); None: nothing.
    """
    return {
        **{name: content[name] for name in _KEPT if name in content},
        **({} if carried is None else {"carried": carried}),
        "billing_profile": {},
        "lines": [],
        "beyond_retention": True,
    }


def kept_text(kept: Record) -> str:
    """Return what is kept of a content as it stands beside its seal."""
    return canonical(dict(kept)).decode()


def kept_digest(texts: Iterable[str]) -> str:
    """Return the digest of what is kept of documents, in the order of their places."""
    return "sha256:" + sha256("\n".join(texts).encode()).hexdigest()


def removal_faults(
    known: Iterable[Removal], chain: Iterable[Sealed], kept: Mapping[int, str | None]
) -> dict[str, str]:
    """Return what is wrong with what was removed of an issuer's chain, by number."""
    seals, faults = {each.place: each.seal.hex() for each in chain}, {}
    for removal in known:
        texts = [kept.get(place) for place in range(removal.after + 1, removal.place + 1)]
        if kept_digest(text or "" for text in texts) != removal.kept_digest:
            faults[removal.number] = "what is kept of removed contents is not what was told of it"
        if seals.get(removal.place) != removal.seal:
            faults[removal.number] = "it has another seal than the removal of its content told"
    return faults


def removal_text(fact: Fact) -> str:
    """Return who removed contents up to which number, when and why."""
    number, at = fact.body["number"], instant_text(fact.recorded_at)
    return f"{fact.subject}: contents up to {number} removed {at} by {fact.actor}: {fact.reason}"
