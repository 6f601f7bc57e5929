"""Facts: what people decided, one after the other.

Owns: the record of a fact and its kinds.  Does not own: where facts are kept (stores/postgres).
Law: a fact never changes; the catalog at a position is the fold of the facts up to it.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import cast

from pipeline.core.calendar import Instant, instant_text, parse_instant
from pipeline.core.identity import Json, canonical, derived_id


class FactKind(StrEnum):
    """What a fact is about. Each but LOG replaces what it says of the same subject before."""

    LOG = "log"
    """First fact of a log: partition count, horizon, tolerance."""
    RULES = "rules"
    """Grace, rule version, tzdata version."""
    ISSUER = "issuer"
    METER = "meter"
    PLAN = "plan"
    CUSTOMER = "customer"
    SUBSCRIPTION = "subscription"
    ORDER = "order"
    """Something was bought once."""
    BILL_NOW = "bill_now"
    """What was used so far in a subscription's running periods is billed now."""
    THRESHOLD_REACHED = "threshold_reached"
    """What was used in a running period came to an amount at which it is billed."""
    GATE_PASS = "gate_pass"
    """Prepared batches may come late; a batch names the pass by this fact's id."""
    REDRIVE = "redrive"
    """Rejected events were sent again."""
    WAIVER = "waiver"
    """Rejected events will not be billed."""
    MATCH = "match"
    """Reversals met their originals, or others than they say."""
    AMENDMENT = "amendment"
    """Usage was voided or amended: who, why, which events."""
    BACKFILL = "backfill"
    """Old usage came in bulk, as one unit of that name, or was taken back with it."""
    INCIDENT = "incident"
    """Prices were wrong for a while: which facts said so, and what was done about it."""
    BOOK = "price_book"
    BOOK_SWITCH = "book_switch"
    """A price book is on for a share of the customers and a list of them, or off."""
    PROMOTION = "promotion"
    REDEMPTION = "redemption"
    """A subscription has a promotion code, and what it gives."""
    FX_RATE = "fx_rate"
    CREDIT = "credit"
    """A customer paid beforehand."""
    CREDIT_VOID = "credit_void"
    """What is left of a credit pays nothing any more."""
    TAX_ANSWER = "tax_answer"
    """How something is taxed, as an outside engine or a person says; by the question's digest."""
    VOID = "void"
    """An issued document is brought to zero; perhaps to be issued anew."""
    CREDIT_NOTE = "credit_note"
    """Something is taken off an issued document."""
    DEBIT_NOTE = "debit_note"
    """Something is added to an issued document."""
    REPRICING = "repricing"
    """A document is brought to what a replay made of it: the differences, line by line."""
    MENDED = "mended"
    """Documents whose diff was applied: by which prices usage corrects them since."""
    CORRECTION = "correction"
    """Usage of closed periods changed of a payer that has no next cut: notes are made now."""
    DISPUTE = "dispute"
    """A customer contests a document, or that is over."""
    HAND_LINE = "hand_line"
    """A line by hand, for one document or a customer's next."""
    LINE_EDIT = "line_edit"
    """A line of a document says something else than it would."""
    DOCUMENT_EDIT = "document_edit"
    """A document tells its customer's data, or its own terms, otherwise than it would."""
    HOLD = "hold"
    """Everything, a price or a customer is not finalized until it is released."""
    APPROVAL = "approval"
    """A document may be issued."""
    RETRY = "retry"
    """A document that could not be issued is composed once more."""
    ISSUE_WAIVER = "issue_waiver"
    """A validation issue is accepted as it is."""
    PAYMENT = "payment"
    """Money came in for an issued document."""
    PAID_BACK = "paid_back"
    """Money went back."""
    WRITE_OFF = "write_off"
    """What is left of an issued document will not be paid."""
    RETENTION = "retention"
    """Contents of issued documents that need not be kept any longer were removed."""
    SKIP = "skip"
    """Go on without one message of the usage log: acts by position, whatever the tick."""


@dataclass(frozen=True, slots=True)
class NewFact:
    """A fact that was not written yet: `subject` is the id of what it is about."""

    kind: FactKind
    subject: str
    body: Mapping[str, Json]

    def id_after(self, revision: int) -> str:
        """Return the fact's id: the same decision twice is one fact."""
        return derived_id(
            "fact", self.kind, self.subject, str(revision), canonical(dict(self.body)).decode()
        )


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact as it stands in the log, at `serial` (gapless from 1)."""

    serial: int
    id: str
    kind: FactKind
    subject: str
    body: Mapping[str, Json]
    actor: str
    reason: str
    recorded_at: Instant


def mirror_of(fact: Fact) -> bytes:
    """Return a fact as it is mirrored."""
    return canonical(
        {
            "serial": fact.serial,
            "id": fact.id,
            "kind": fact.kind.value,
            "subject": fact.subject,
            "body": dict(fact.body),
            "actor": fact.actor,
            "reason": fact.reason,
            "recorded_at": instant_text(fact.recorded_at),
        }
    )


def read_mirrored(message: bytes) -> Fact:
    """Return a fact out of its mirror.

    Raises:
        ValueError: it is none.

    """
    told = cast(Json, json.loads(message))
    if not isinstance(told, dict) or not isinstance(told.get("body"), dict):
        raise ValueError("not a fact as it is mirrored")
    texts = ("id", "subject", "actor", "reason")
    missing = [name for name in (*texts, "kind", "recorded_at") if type(told.get(name)) is not str]
    if missing or type(told.get("serial")) is not int:
        raise ValueError(f"a mirrored fact without {(missing or ['serial'])[0]}")
    fact_id, subject, actor, reason = (str(told[name]) for name in texts)
    return Fact(
        cast(int, told["serial"]),
        fact_id,
        FactKind(str(told["kind"])),
        subject,
        cast(dict[str, Json], told["body"]),
        actor,
        reason,
        parse_instant(told["recorded_at"]),
    )


Skips = frozenset[tuple[int, int]]
"""(partition, offset) of every message that is skipped."""


def skip_fact(partition: int, offset: int) -> NewFact:
    """Return the decision to go on without a message."""
    body: dict[str, Json] = {"partition": partition, "offset": offset}
    return NewFact(FactKind.SKIP, f"{partition}/{offset}", body)


def skips_of(bodies: Iterable[Mapping[str, Json]]) -> Skips:
    """Return what the bodies of skips name."""
    return frozenset((cast(int, b["partition"]), cast(int, b["offset"])) for b in bodies)
