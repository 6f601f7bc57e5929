"""The drill's play: a shop with a past, a price list with a bug, and who finds it.

Owns: the shop, its usage, the bug, the alarm, and what each customer should have paid.
Does not own: what is done about it (incident.py), any figure of it (the stack).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path

from pipeline.agents import Recorder
from pipeline.catalog.sheet import Sheet, parse_sheet
from pipeline.cli.catalog import apply_sheet
from pipeline.cli.incident import Addresses, guide
from pipeline.cli.screen import out
from pipeline.cli.verify import verify_documents
from pipeline.collect.event import UsageEvent
from pipeline.core.calendar import SECOND, Instant, instant_text
from pipeline.core.errors import BrokenInvariant, ServerFailed
from pipeline.core.identity import Json
from pipeline.core.money import Money
from pipeline.invoice.validation import HISTORY_MAX, HISTORY_MIN, unusual
from pipeline.replay.post_mortem import PostMortem
from pipeline.stores.clock import wall_clock
from pipeline.stores.kafka import log_ends, usage_log
from pipeline.stores.postgres.documents import Document, read_documents
from pipeline.stores.postgres.facts import Author
from pipeline.workers.incidents import open_incident
from pipeline.workers.surroundings import Surroundings

_RIGHT, _WRONG = "0.10", "1.00"
_CUSTOMERS = {"ana": 12, "ben": 30, "cid": 7}
"""Calls an hour of each, every hour."""
_BESIDE = "dora"
"""A customer of another plan, whom the bug does not touch."""
_HOUR: Instant = 3600 * SECOND
_PAST = HISTORY_MIN + 1
"""Hours billed rightly before the bug: enough to know what is usual."""
_LEAD_S = 12
"""The hour with the bug ends so long after the shop opens."""
_PATIENCE_S = 90.0
_POLL_S = 0.2
_ADA = Author("ada (drill)", "the 10:00 price list says 1.00 for 0.10")

_METERS = """
rules: {grace: PT1S}
meters: [{id: calls, aggregation: sum, unit: call, window: PT1S}]
"""
_SHOP = """
issuers: [{{id: drill-ltd, name: Drill Ltd, number_prefix: DRILL-, note_prefix: DN-}}]
plans:
  - id: standard
    name: Standard
    issuer: drill-ltd
    currency: EUR
    cycle: PT1H
    prices:
      - {{id: calls, name: Calls, meter: calls, price: {{type: unit, unit_amount: "{price}"}}}}
  - id: beside
    name: Beside
    issuer: drill-ltd
    currency: EUR
    cycle: PT1H
    prices:
      - {{id: calls, name: Calls, meter: calls, price: {{type: unit, unit_amount: "0.02"}}}}
customers:{customers}
subscriptions:{subscriptions}
"""


@dataclass(frozen=True, slots=True)
class Drilled:
    """What came of a drill; `faults`: what should have been otherwise."""

    told: PostMortem
    alarmed: Sequence[str]
    files: Sequence[Path]
    verified: int
    faults: Sequence[str]

    def json(self) -> dict[str, Json]:
        """Return it for a report."""
        return {
            **self.told.json(),
            "alarmed": [*self.alarmed],
            "files": [str(path) for path in self.files],
            "verified": self.verified,
            "faults": [*self.faults],
        }


class DrillPlay:
    """One drill over a stack whose workers run."""

    def __init__(self, around: Surroundings, folder: Path, *, quiet: bool) -> None:
        """Say where the report is to lie."""
        self._around, self._folder, self._quiet = around, folder, quiet
        self._end: Instant = 0
        self._usage: dict[str, list[tuple[Instant, int]]] = {}

    def play(self) -> Drilled:
        """Open the shop, let the bug go live, find it, and do what is to be done.

        Raises:
            ServerFailed: the stack does not come to what the play waits for.

        """
        with self._around.database.session("drill") as session:
            issued = partial(read_documents, session)
            self._open_shop(issued)
            since = self._bug()
            alarmed = self._alarm(issued)
            open_incident(self._around, "INC-1", since, None, (), _ADA)
            where = Addresses(
                "billing@drill.invalid", "finance@drill.invalid", "legal@drill.invalid"
            )
            told, files = guide(self._around, "INC-1", _ADA, self._folder, where, quiet=self._quiet)
            documents = issued()
        numbers = [document.sealed.number for document in documents]
        verified = verify_documents(self._around, numbers)
        faults = [*self._faults(documents, told), *sorted(verified.faults)]
        return Drilled(told, alarmed, files, verified.checked, faults)

    def _say(self, text: str) -> None:
        if not self._quiet:
            out.print(text, markup=False, soft_wrap=True)

    def _open_shop(self, issued: Callable[[], list[Document]]) -> None:
        """Bill the hours before the bug, and have usage in the hour that is about to end."""
        self._apply(_METERS)
        self._end = (wall_clock() // SECOND + _LEAD_S) * SECOND
        self._send()
        self._apply(self._shop(_RIGHT))
        expected = _PAST * (len(_CUSTOMERS) + 1)
        _await(lambda: len(issued()) >= expected, f"{expected} invoices of the hours before")
        self._say(f"a shop with {len(_CUSTOMERS) + 1} customers has billed {_PAST} hours rightly")

    def _bug(self) -> Instant:
        """Put the wrong price list in force."""
        since = wall_clock()
        self._apply(self._shop(_WRONG))
        self._say(f"a price list goes live that says {_WRONG} for {_RIGHT}; the hour ends")
        return since

    def _alarm(self, issued: Callable[[], list[Document]]) -> list[str]:
        """Wait for the first invoices that are far from usual; return whose they are."""
        expected = (_PAST + 1) * (len(_CUSTOMERS) + 1)
        _await(lambda: len(issued()) >= expected, "the invoices of the hour with the bug")
        totals: dict[str, list[int]] = {}
        for document in sorted(issued(), key=lambda each: each.instant):
            totals.setdefault(document.payer, []).append(_total(document))
        found = [
            payer
            for payer, own in sorted(totals.items())
            if unusual(own[-1], own[-2 : -2 - HISTORY_MAX : -1])
        ]
        for payer in found:
            before, now = (Money(minor, "EUR").text for minor in totals[payer][-2:])
            self._say(f"ALARM {payer}: {now} EUR is far above the usual {before}")
        return found

    def _faults(self, documents: Sequence[Document], told: PostMortem) -> list[str]:
        """Hold what everybody was billed, notes included, against the right price."""
        billed: dict[str, int] = {}
        for document in documents:
            if document.instant <= self._end or document.kind != "invoice":
                billed[document.payer] = billed.get(document.payer, 0) + _total(document)
        found = []
        for customer, events in self._usage.items():
            price = Decimal(_RIGHT if customer in _CUSTOMERS else "0.02")
            right = sum(int(price * 100 * calls) for at, calls in events if at < self._end)
            if billed.get(customer) != right:
                found.append(f"{customer} was billed {billed.get(customer)} cents, not {right}")
        if told.customers != sorted(_CUSTOMERS):
            found.append(f"notes went to {told.customers}")
        return found

    def _send(self) -> None:
        """Send what was used in each hour, and in the one that begins when the bug's ends."""
        start = self._end - (_PAST + 1) * _HOUR
        events = []
        for customer, calls in {**_CUSTOMERS, _BESIDE: 50}.items():
            hours = [start + hour * _HOUR for hour in range(_PAST + 1)]
            self._usage[customer] = [(at + SECOND, calls) for at in hours]
            events += [
                UsageEvent(customer, "calls", at, Decimal(n), f"{at}", "drill")
                for at, n in self._usage[customer]
            ]
        with Recorder.open(
            kafka=self._around.kafka,
            spool=self._around.settings.home / "drill.spool",
            producer="drill",
            partitions=self._around.partitions,
            topic=usage_log(self._around.stack),
        ) as recorder:
            for event in events:
                recorder.put(event)
            recorder.flush(_PATIENCE_S)
        self._await_booked()

    def _await_booked(self) -> None:
        name, around = usage_log(self._around.stack), self._around
        ends = [end for _, end in log_ends(around.kafka, name, around.partitions)]
        with around.database.session("drill books") as session:

            def booked() -> bool:
                at = session.load_cursors()
                return all(p in at and at[p][0].offset + 1 >= end for p, end in enumerate(ends))

            _await(booked, "the books reach the end of the log")

    def _shop(self, price: str) -> str:
        start = instant_text(self._end - (_PAST + 1) * _HOUR)
        plans: Mapping[str, str] = {**dict.fromkeys(_CUSTOMERS, "standard"), _BESIDE: "beside"}
        customers = "".join(
            f"\n  - {{id: {name}, profile: {{name: Ms {name}, email: {name}@drill.invalid}}}}"
            for name in plans
        )
        subscriptions = "".join(
            f"\n  - {{id: s-{name}, customer: {name}, plan: {plan}, start: {start}, end: null}}"
            for name, plan in plans.items()
        )
        return _SHOP.format(price=price, customers=customers, subscriptions=subscriptions)

    def _apply(self, text: str) -> None:
        sheet = parse_sheet(text)
        if not isinstance(sheet, Sheet):
            raise BrokenInvariant(f"the drill's own catalog: {sheet[0]}")
        apply_sheet(self._around, sheet, "the drill's catalog", Author("drill", "a price list"))


def _total(document: Document) -> int:
    totals = document.content["totals"]
    if not isinstance(totals, dict):
        raise BrokenInvariant(f"{document.id} has no totals")
    return int(str(totals["total_minor"]))


def _await(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise ServerFailed(f"not within {_PATIENCE_S:.0f} s: {what}; see the workers' logs")
        time.sleep(_POLL_S)
