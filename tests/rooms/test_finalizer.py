"""The finalizer: whose document cannot be rated is held up, everybody else is billed."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from structlog.testing import capture_logs

from builders import (
    T0,
    customer_of,
    facts,
    instant,
    issuer_of,
    log_of,
    meter_of,
    plan_of,
    price_of,
    rules_of,
    subscription_of,
)
from pipeline.book.booking import Cut, TickPassed
from pipeline.catalog.facts import Fact
from pipeline.core.calendar import Instant
from pipeline.core.identity import Json
from pipeline.invoice.planned import Carried
from pipeline.invoice.usage import UsagePart, UsageRequest, Used
from pipeline.meter.slices import Counts
from pipeline.meter.ticks import Tick
from pipeline.stores.postgres.documents import Document, Prepared, Registrar
from pipeline.stores.postgres.drafts import Draft
from pipeline.workers.finalizer import Finalizer
from pipeline.workers.knowledge import Knowledge

JAN, FEB = instant("2026-01-01T00:00:00Z"), instant("2026-02-01T00:00:00Z")
ENDS_AT_TEN: dict[str, Json] = {"type": "volume", "tiers": [{"up_to": "10", "unit_amount": "1"}]}
FACTS = facts(
    log_of(),
    rules_of(),
    issuer_of(),
    meter_of("calls"),
    plan_of("basic", price_of("per-call", ENDS_AT_TEN, "calls")),
    *(customer_of(name) for name in ("acme", "heavy", "light")),
    *(
        subscription_of(f"s-{name}", name, "basic", "2026-01-01T00:00:00Z")
        for name in ("acme", "heavy", "light")
    ),
)


@dataclass
class Archive:
    """Cuts and usage in memory; `prepared` is what came of them."""

    cuts: list[Cut]
    used: Mapping[str, int]
    prepared: list[Prepared] = field(default_factory=list)
    drafts: list[Draft] = field(default_factory=list)

    def transaction(self) -> AbstractContextManager[object]:
        return nullcontext()

    def take_cut(self, held_up: Collection[str]) -> tuple[Cut, int] | None:
        return next(((cut, 0) for cut in self.cuts if cut.payer not in held_up), None)

    def save_prepared(self, cut: Cut, documents: Iterable[Prepared], reached: Carried) -> None:
        self.cuts.remove(cut)
        self.prepared += documents

    def store_drafts(self, drafts: Iterable[Draft]) -> None:
        self.drafts += drafts

    def read_documents(self, payer: str | None = None) -> list[Document]:
        return []

    def read_prepared(self, payer: str) -> list[Prepared]:
        return []

    def late_usage(self, payer: str, currency: str, below: int) -> list[tuple[int, Instant]]:
        return []

    def issuers_waiting(self) -> list[str]:
        return []

    def register(self, issuer: str, seal: Registrar) -> int:
        raise NotImplementedError

    def carried_by(self, payers: Sequence[str]) -> Mapping[tuple[str, str], Carried]:
        return {}

    def read_usage(
        self, requests: Iterable[UsageRequest], below_cut: int = 0
    ) -> Mapping[UsageRequest, Sequence[Used]]:
        return {each: [self._part(self.used[each.customer])] for each in requests}

    @staticmethod
    def _part(value: int) -> UsagePart:
        return UsagePart(0, 1, value, value, value)

    def digest_of_usage(self, requests: Iterable[UsageRequest], below_cut: int) -> str:
        return ""

    def tick_passed(self, partition: int, serial: int) -> TickPassed:
        return TickPassed(Tick(serial, FEB, len(FACTS)), serial, Counts())

    def credits_used(self, payer: str) -> Mapping[str, int]:
        return {}

    def cut_before(self, payer: str, serial: int) -> int | None:
        return None

    def fact_position(self, tick_serial: int) -> int:
        return len(FACTS)


@dataclass(frozen=True)
class Told:
    """The facts, all at once."""

    def read_facts(self, after: int, until: int | None = None) -> list[Fact]:
        return list(FACTS[after:until])

    def ticks_from(self, serial: int, count: int) -> list[Tick]:
        return []


def clock() -> Instant:
    return T0


def test_a_document_that_cannot_be_rated_holds_up_its_payer_alone() -> None:
    cuts = [Cut(payer, "EUR", FEB, 7) for payer in ("acme", "heavy", "light")]
    archive = Archive(cuts, {"acme": 10, "heavy": 11, "light": 1})
    finalizer = Finalizer(archive, Knowledge(Told()), clock)

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
