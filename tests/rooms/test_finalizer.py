"""The finalizer: whose document cannot be rated is held up, everybody else is billed."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import pytest
from structlog.testing import capture_logs

from builders import (
    T0,
    Decision,
    customer_of,
    facts,
    flat,
    instant,
    issuer_of,
    line_edit_of,
    log_of,
    meter_of,
    plan_of,
    price_of,
    rules_of,
    subscription_of,
)
from pipeline.book.booking import Cut, SequenceKey, TickPassed
from pipeline.catalog.by_hand import Holds, nothing_held
from pipeline.catalog.facts import Fact, FactKind
from pipeline.core.calendar import Instant, instant_text
from pipeline.core.errors import Code, Rejection
from pipeline.core.identity import Json, derived_id
from pipeline.dedupe.sequences import SequenceState
from pipeline.invoice.fees import Reach
from pipeline.invoice.issues import Severity
from pipeline.invoice.lines import document_id_of
from pipeline.invoice.planned import Carried, carried_by_all
from pipeline.invoice.usage import UsagePart, UsageRequest, Used
from pipeline.meter.slices import Counts
from pipeline.meter.ticks import Tick
from pipeline.replay.letters import LetterId, RejectedEvent, letter_facts
from pipeline.stores.postgres.documents import Document
from pipeline.stores.postgres.drafts import Draft
from pipeline.stores.postgres.preparing import Prepared, PreparedCut, Registrar
from pipeline.workers.finalizer import Finalizer
from pipeline.workers.knowledge import Knowledge
from pipeline.workers.refusing import Refusals

JAN, FEB = instant("2026-01-01T00:00:00Z"), instant("2026-02-01T00:00:00Z")
ENDS_AT_TEN: dict[str, Json] = {"type": "volume", "tiers": [{"up_to": "10", "unit_amount": "1"}]}
DECISIONS = (
    log_of(),
    rules_of(),
    issuer_of(),
    meter_of("calls"),
    plan_of("basic", price_of("per-call", ENDS_AT_TEN, "calls")),
    *(customer_of(name) for name in ("acme", "heavy", "light")),
    (FactKind.CUSTOMER, "careful", {**customer_of("careful")[2], "approval": True}),
    *(
        subscription_of(f"s-{name}", name, "basic", "2026-01-01T00:00:00Z")
        for name in ("acme", "heavy", "light", "careful")
    ),
)
FACTS = facts(*DECISIONS)


@dataclass
class Archive:
    """Cuts and usage in memory; `prepared` is what came of them."""

    cuts: list[Cut]
    used: Mapping[str, int]
    prepared: list[Prepared] = field(default_factory=list)
    drafts: list[Draft] = field(default_factory=list)
    later: list[Fact] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    begun: Sequence[Decision] = DECISIONS
    gaps: Mapping[tuple[int, SequenceKey], SequenceState] = field(default_factory=dict)
    holds: list[Holds] = field(default_factory=list)
    issued: set[str] = field(default_factory=set)
    reached: dict[tuple[str, str], Reach] = field(default_factory=dict)

    def decide(self, *decisions: Decision) -> None:
        """Write facts behind those at the cut."""
        behind = facts(
            *DECISIONS, *((f.kind, f.subject, dict(f.body)) for f in self.later), *decisions
        )
        self.later = behind[len(FACTS) :]

    def transaction(self) -> AbstractContextManager[object]:
        return nullcontext()

    def take_cuts(self, held_up: Collection[str], count_max: int) -> list[tuple[Cut, int]]:
        return [(cut, 0) for cut in self.cuts if cut.payer not in held_up][:count_max]

    def save_prepared(self, made: Sequence[PreparedCut]) -> None:
        for each in made:
            self.cuts.remove(each.cut)
            self.prepared += each.documents
            self.reached |= each.reached

    def store_drafts(self, drafts: Iterable[Draft]) -> None:
        self.drafts += drafts

    def read_documents(self, payer: str | None = None) -> list[Document]:
        return []

    def read_prepared(self, payer: str) -> list[Prepared]:
        return []

    def late_usage(
        self, payer: str, currency: str, below: int, *, carried: bool = False
    ) -> list[tuple[int, Instant]]:
        return []

    def moved_since(self, asked: Sequence[tuple[UsageRequest, int]], below_cut: int) -> list[bool]:
        return []

    def late_payers(self, payers: Sequence[str], below: int) -> set[str]:
        return set()

    def issued_among(self, ids: Sequence[str]) -> set[str]:
        return self.issued & set(ids)

    def issuers_waiting(self) -> list[str]:
        return self.waiting

    def register(
        self,
        issuer: str,
        seal: Registrar,
        count_max: int,
        held: Callable[[], Holds] = nothing_held,
    ) -> int:
        self.holds.append(held())
        return 0

    def carried_by(self, payers: Sequence[str]) -> Mapping[tuple[str, str], Carried]:
        return {}

    def read_usage(
        self, requests: Iterable[UsageRequest], below_cut: int = 0
    ) -> Mapping[UsageRequest, Sequence[Used]]:
        return {each: [self._part(self.used[each.customer])] for each in requests}

    @staticmethod
    def _part(value: int) -> UsagePart:
        return UsagePart(0, 1, value, value, value)

    def digests_of_usage(
        self, asked: Sequence[Iterable[UsageRequest]], below_cut: int
    ) -> list[str]:
        return ["" for _ in asked]

    def tick_passed(self, partition: int, serial: int) -> TickPassed:
        return TickPassed(Tick(serial, FEB, len(FACTS)), serial, Counts())

    def notes_issued(self, issuer: str) -> int:
        return 0

    def settlement_of(self, document: str) -> Mapping[str, Json] | None:
        return None

    def credits_used(self, payers: Sequence[str]) -> Mapping[str, Mapping[str, int]]:
        return {}

    def cuts_before(self, payers: Sequence[str], serial: int) -> Mapping[str, int]:
        return {}

    def load_incomplete(
        self, partition: int | None = None
    ) -> Mapping[tuple[int, SequenceKey], SequenceState]:
        return self.gaps

    def earlier_totals(
        self, payers: Sequence[str], count_max: int
    ) -> Mapping[tuple[str, str], list[int]]:
        return {}

    def fact_position(self, tick_serial: int) -> int:
        return len(self.begun)


@dataclass
class Told:
    """The facts, all at once: those at the cut and later ones."""

    archive: "Archive"

    def read_facts(
        self, after: int, until: int | None = None, kinds: Collection[FactKind] | None = None
    ) -> list[Fact]:
        return [*facts(*self.archive.begun), *self.archive.later][after:until]

    def ticks_from(self, serial: int, count: int) -> list[Tick]:
        return []


def clock() -> Instant:
    return T0


def finalizing(archive: Archive) -> Finalizer:
    """A finalizer over an archive."""
    return Finalizer(archive, Knowledge(Told(archive)), clock)


def prepared_of(finalizer: Finalizer, archive: Archive) -> list[str]:
    """Whose documents are prepared once all is done that can be."""
    while finalizer.prepare():
        pass
    return [document.payer for document in archive.prepared]


def test_a_document_that_cannot_be_rated_holds_up_its_payer_alone() -> None:
    cuts = [Cut(payer, "EUR", FEB, 7) for payer in ("acme", "heavy", "light")]
    archive = Archive(cuts, {"acme": 10, "heavy": 11, "light": 1, "careful": 1})
    finalizer = finalizing(archive)

    with capture_logs() as said:
        while finalizer.prepare():
            pass

    assert [document.payer for document in archive.prepared] == ["acme", "light"]
    assert [cut.payer for cut in archive.cuts] == ["heavy"]
    (told,) = said
    assert (told["log_level"], told["payer"]) == ("critical", "heavy")
    assert "last tier" in told["why"]
    (draft,) = archive.drafts
    (issue,) = draft.issues
    assert (draft.payer, draft.instant, draft.position.offset) == ("heavy", FEB, 7)
    assert (issue["severity"], issue["code"]) == ("critical", "beyond_last_tier")
    assert issue["component"] == "s-heavy/per-call from 2026-01-01T00:00:00Z"


@pytest.mark.parametrize("amount", [None, 1])
def test_what_is_kept_of_a_fee_ahead_is_what_its_document_tells(amount: int | None) -> None:
    plan = plan_of("basic", price_of("fee", flat("20"), payment_term="in_advance"))
    sold = subscription_of("s-acme", "acme", "basic", "2026-01-01T00:00:00Z")
    begun = [*DECISIONS[:4], plan, customer_of("acme"), sold]
    name = document_id_of("acme", "EUR", instant_text(JAN), "talea")
    line = derived_id("line", name, "s-acme", "fee", instant_text(JAN), "flat")
    if amount is not None:
        begun.append(line_edit_of(name, "acme", line, amount_minor=amount))
    archive = Archive([Cut("acme", "EUR", JAN, 7)], {}, begun=begun)

    finalizing(archive).prepare()

    (document,) = (json.loads(each.content) for each in archive.prepared)
    assert document["totals"]["total_minor"] == (2000 if amount is None else amount)
    assert archive.reached == carried_by_all([document])


def a_cut_of(*payers: str) -> Archive:
    """An archive in which the January of payers is cut; heavy cannot be rated."""
    cuts = [Cut(payer, "EUR", FEB, 7) for payer in payers]
    return Archive(cuts, {"acme": 10, "heavy": 11, "light": 1, "careful": 1})


def hold_of(scope: str, name: str | None = None, *, on: bool = True) -> Decision:
    """A hold, or its release."""
    return FactKind.HOLD, scope, {"scope": scope, "name": name, "on": on}


@pytest.mark.parametrize(
    ("scope", "name", "issued"),
    [
        ("all", None, []),
        ("customer", "acme", ["light"]),
        ("price", "per-call", []),
        ("price", "basic/per-call", []),
        ("price", "other", ["acme", "light"]),
    ],
)
def test_what_is_held_waits_until_it_is_released(
    scope: str, name: str | None, issued: list[str]
) -> None:
    archive = a_cut_of("acme", "light")
    archive.decide(hold_of(scope, name))
    finalizer = finalizing(archive)

    assert prepared_of(finalizer, archive) == issued
    codes = [issue["code"] for draft in archive.drafts for issue in draft.issues]
    assert codes == ["held"] * (2 - len(issued))
    assert prepared_of(finalizer, archive) == issued

    archive.decide(hold_of(scope, name, on=False))
    assert sorted(prepared_of(finalizer, archive)) == ["acme", "light"]
    assert {document.named_at for document in archive.prepared} == {0}


def test_what_is_held_since_it_was_prepared_is_known_as_it_is_registered() -> None:
    archive = a_cut_of()
    archive.waiting = ["talea"]
    finalizer = finalizing(archive)
    finalizer.register()

    archive.decide(hold_of("price", "basic/per-call"), hold_of("customer", "acme"))
    finalizer.register()
    archive.decide(hold_of("all"))
    finalizer.register()

    later = Holds(customers=frozenset({"acme"}), prices=frozenset({"basic/per-call"}))
    assert archive.holds == [Holds(), later, replace(later, everything=True)]


def test_a_document_waits_for_the_approval_that_its_customer_asks_for() -> None:
    archive = a_cut_of("careful", "light")
    finalizer = finalizing(archive)

    assert prepared_of(finalizer, archive) == ["light"]
    (draft,) = archive.drafts
    (issue,) = draft.issues
    assert (issue["code"], issue["severity"]) == ("approval_needed", "critical")
    assert issue["created_at"] == issue["updated_at"] == "2026-02-01T00:00:00Z"

    archive.decide((FactKind.APPROVAL, draft.id, {"document": draft.id}))
    assert prepared_of(finalizer, archive) == ["light", "careful"]
    assert [d.named_at for d in archive.prepared] == [0, len(FACTS) + 1]


def test_an_edit_after_the_cut_lets_a_document_go_that_cannot_be_rated() -> None:
    archive = a_cut_of("heavy")
    finalizer = finalizing(archive)
    assert prepared_of(finalizer, archive) == []
    (draft,) = archive.drafts
    line = str(draft.issues[0]["line"])

    archive.decide(line_edit_of(draft.id, "heavy", line, amount_minor=700))

    assert prepared_of(finalizer, archive) == ["heavy"]
    (document,) = archive.prepared
    assert b'"total_minor":700' in document.content
    assert document.named_at == len(FACTS) + 1


def test_a_retry_composes_once_more() -> None:
    archive = a_cut_of("heavy")
    finalizer = finalizing(archive)
    assert prepared_of(finalizer, archive) == []

    archive.used = {"heavy": 10}  # as if another release could rate it
    assert prepared_of(finalizer, archive) == []
    archive.decide((FactKind.RETRY, archive.drafts[0].id, {"document": archive.drafts[0].id}))
    assert prepared_of(finalizer, archive) == ["heavy"]


GAP = {(0, ("host", "e1")): SequenceState(next=9, gaps=((3, 5),), since=(FEB - 1,))}


def test_a_decision_has_only_those_composed_again_that_it_is_about() -> None:
    """Where so many wait for somebody, to approve one after the other took the square of them."""
    archive = a_cut_of("acme", "light", "careful", "heavy")
    archive.decide(hold_of("customer", "acme"), hold_of("customer", "light"))
    finalizer = finalizing(archive)

    def tried() -> list[str]:
        archive.drafts.clear()
        prepared_of(finalizer, archive)
        return [draft.payer for draft in archive.drafts]

    assert tried() == ["acme", "light", "careful", "heavy"]
    careful = document_id_of("careful", "EUR", instant_text(FEB), "talea")
    archive.decide((FactKind.APPROVAL, careful, {"document": careful}))
    assert tried() == ["heavy"]  # what cannot be rated may be, by another release
    archive.decide(hold_of("customer", "light", on=False))
    assert tried() == ["heavy"]
    assert [each.payer for each in archive.prepared] == ["careful", "light"]
    acme = document_id_of("acme", "EUR", instant_text(FEB), "talea")
    archive.decide(line_edit_of(acme, "acme", "line_1", amount_minor=1))
    assert tried() == ["acme", "heavy"]
    archive.decide(hold_of("all"))
    assert tried() == ["acme", "heavy"]
    archive.decide((FactKind.RETRY, acme, {"document": acme}))
    assert tried() == ["acme", "heavy"]
    archive.decide(hold_of("all", on=False), hold_of("customer", "acme", on=False))
    assert tried() == ["heavy"]
    assert [each.payer for each in archive.prepared] == ["careful", "light", "acme"]


def shop_that(policy: str) -> Archive:
    """An archive whose issuer looks at completeness, while a host misses two events."""
    archive = a_cut_of("acme")
    archive.begun = (
        *DECISIONS[:2],
        (FactKind.ISSUER, "talea", {**issuer_of()[2], "completeness": policy}),
        *DECISIONS[3:],
    )
    archive.gaps = GAP
    return archive


def test_a_document_waits_for_missing_events_until_they_come() -> None:
    archive = shop_that("hold")
    finalizer = finalizing(archive)

    assert prepared_of(finalizer, archive) == []
    (issue,) = archive.drafts[0].issues
    assert (issue["code"], issue["severity"]) == ("incomplete", "critical")
    assert "misses 2 events" in str(issue["message"])

    archive.gaps = {}
    assert prepared_of(finalizer, archive) == ["acme"]


def test_missing_events_may_be_accepted() -> None:
    archive = shop_that("hold")
    finalizer = finalizing(archive)
    assert prepared_of(finalizer, archive) == []

    name = str(archive.drafts[0].issues[0]["id"])
    archive.decide((FactKind.ISSUE_WAIVER, name, {"issue": name}))

    assert prepared_of(finalizer, archive) == ["acme"]
    (document,) = archive.prepared
    assert [(issue.code, issue.severity) for issue in document.issues] == [
        ("incomplete", Severity.WARNING)
    ]
    assert document.named_at == len(FACTS) + 1


def test_missing_events_may_only_be_told() -> None:
    archive = shop_that("flag")
    assert prepared_of(finalizing(archive), archive) == ["acme"]
    assert [issue.code for issue in archive.prepared[0].issues] == ["incomplete"]


def test_a_replay_does_not_wait_for_missing_events() -> None:
    """A gap behind a cut, before the next tick, is as old as the cut: live it was issued before."""
    archive = shop_that("hold")
    finalizer = Finalizer(archive, Knowledge(Told(archive)), clock, waits=False)

    assert prepared_of(finalizer, archive) == ["acme"]
    assert archive.prepared[0].issues == ()


def test_what_came_to_miss_after_the_cut_is_no_matter_of_it() -> None:
    archive = shop_that("hold")
    archive.gaps = {(0, ("host", "e1")): SequenceState(next=9, gaps=((3, 5),), since=(FEB + 1,))}
    assert prepared_of(finalizing(archive), archive) == ["acme"]


def test_a_document_waits_until_every_event_of_its_partition_has_an_outcome() -> None:
    archive = a_cut_of("acme")
    finalizer = finalizing(archive)
    finalizer.unclosed.events = {0: 2, 1: 0}

    assert prepared_of(finalizer, archive) == []
    (issue,) = archive.drafts[0].issues
    assert (issue["code"], issue["severity"]) == ("conservation_open", "critical")

    finalizer.unclosed.events = {0: 0, 1: 3}
    assert prepared_of(finalizer, archive) == ["acme"]


def refused(customer: str, offset: int, at: Instant, count: int = 1) -> RejectedEvent:
    """Events that were refused, of which nobody knows more than the log's time."""
    late = Rejection(Code.LATE, "time", "it came late")
    return RejectedEvent(LetterId("usage", 0, offset), late, at, customer, count)


@pytest.mark.parametrize(
    ("shop", "prepared"), [("flag", ["acme"]), ("hold", [])], ids=["told", "waited for"]
)
def test_usage_that_was_refused_is_told_while_nobody_did_anything_about_it(
    shop: str, prepared: list[str]
) -> None:
    """It is found only as the cut is taken."""
    archive = shop_that(shop)
    archive.gaps = {}
    finalizer = finalizing(archive)
    letters = [
        refused("acme", 3, JAN, 2),
        refused("acme", 3, JAN, 2),
        refused("acme", 4, FEB - 1),
        refused("acme", 5, FEB),
        refused("light", 6, JAN),
        refused("acme", 7, JAN),
    ]

    def look(refusals: Refusals) -> None:
        while letters:
            refusals.note(letters.pop())

    finalizer.refusals.look = look
    (waived,) = letter_facts(FactKind.WAIVER, [LetterId("usage", 0, 7)], {})
    finalizer.refusals.decide(facts((waived.kind, waived.subject, dict(waived.body))))

    assert prepared_of(finalizer, archive) == prepared
    told = [str(i["message"]) for d in archive.drafts for i in d.issues]
    told += [issue.message for document in archive.prepared for issue in document.issues]
    assert told == ["3 events of acme in its period were refused (3 late)"]

    if not prepared:
        name = str(archive.drafts[0].issues[0]["id"])
        archive.decide((FactKind.ISSUE_WAIVER, name, {"issue": name}))
        assert prepared_of(finalizer, archive) == ["acme"]


def test_a_cut_that_comes_once_more_after_a_restore_prepares_what_is_not_issued_alone() -> None:
    """The document of heavy was issued once, whatever would hold it up now."""
    names = ("acme", "heavy", "light")
    archive = a_cut_of(*names)
    archive.issued = {
        document_id_of(name, "EUR", instant_text(FEB), "talea") for name in ("acme", "heavy")
    }

    assert prepared_of(finalizing(archive), archive) == ["light"]
    assert (archive.cuts, archive.drafts) == ([], [])
