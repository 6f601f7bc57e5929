"""What a sheet would change, whom it touches, and what their drafts would come to."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from builders import instant
from pipeline.book.booking import Cursor
from pipeline.catalog.catalog import Catalog
from pipeline.catalog.changes import Changes
from pipeline.catalog.facts import Fact
from pipeline.catalog.planning import as_written, differences, touched, unchanged_count
from pipeline.cli.catalog_plan import Outlook
from pipeline.core.calendar import Instant
from pipeline.core.identity import partition_of
from pipeline.invoice.effect import Effect, effects, sums
from pipeline.invoice.planned import Carried, planned_lines, with_lines
from pipeline.invoice.usage import UsagePart, UsageRequest, Used
from pipeline.meter.slices import Counts
from pipeline.meter.ticks import Tick
from pipeline.stores.postgres.books import Anchor
from pipeline.stores.postgres.preparing import BookedCuts
from pipeline.workers.foreseeing import Foreseen, foresee
from rooms.test_sheet_changes import Desk
from rooms.test_sheet_problems import SHEET, edited
from rooms.test_sheet_yaml import sheet

NOW = "2026-11-20T00:00:00Z"
END = "2026-12-01T00:00:00Z"
MORE = """\
customers: [{id: initech}]
subscriptions: [{id: initech-1, customer: initech, plan: standard, start: 2026-11-01T00:00:00Z}]
"""


def desk() -> Desk:
    found = Desk()
    found.apply(SHEET)
    found.apply(MORE)
    return found


def asked(found: Desk, text: str) -> Changes:
    changes = found.ask(text)
    assert isinstance(changes, Changes)
    return changes


def touched_by(text: str) -> list[str]:
    found = desk()
    new = asked(found, text).facts
    return [subscription.id for subscription in touched(as_written(found.catalog, new), new)]


def test_what_is_added_what_is_changed_and_what_stays() -> None:
    found = desk()
    text = edited(
        ("0.005", "0.004"), ("meters:\n", "meters:\n  - {id: gpu, aggregation: sum, unit: s}\n")
    )
    new = asked(found, text).facts
    known = [Fact(1, "", f.kind, f.subject, f.body, "", "", 0) for f in asked(Desk(), SHEET).facts]

    added, changed = differences(known, new)

    assert (added.kind, added.id, added.before) == ("meter", "gpu", None)
    assert (changed.kind, changed.id, changed.keys) == ("plan", "standard", ["prices"])
    assert changed.json().keys() == {"kind", "id", "before", "after"}
    assert added.json().keys() == {"kind", "id", "after"}
    assert unchanged_count(sheet(text), new) == 5


def test_whoever_is_on_a_plan_that_changes_is_touched() -> None:
    assert touched_by(edited(("0.005", "0.004"))) == ["acme-1", "initech-1"]


def test_a_customer_an_end_and_an_issuer_touch_their_own() -> None:
    assert touched_by(edited(("ap@", "billing@"))) == ["acme-1"]
    assert touched_by(edited(("end: null", f"end: {END}"))) == ["acme-1"]
    assert touched_by(edited(("Cloud Ltd", "Cloud plc"))) == ["acme-1", "initech-1"]


def test_grace_and_a_new_meter_touch_nobody() -> None:
    assert touched_by(edited(("PT5S", "PT9S"))) == []
    assert touched_by("meters: [{id: gpu, aggregation: sum, unit: s}]") == []


class Books:
    """What a draft rests on, of partitions that stand at NOW."""

    def __init__(self, used: int, cut: Iterable[str] = ()) -> None:
        """Every customer used so much CPU on the 10th; ends of acme in `cut` are behind."""
        self.used = used
        self.cut = {("EUR", instant(end)) for end in cut}
        self.bites: list[tuple[int, int]] = []

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        yield

    def load_cursors(self) -> dict[int, tuple[Cursor, Anchor]]:
        tick = Tick(9, instant(NOW), 1)
        cursor = Cursor(0, 7, 7, tick, instant(NOW), Counts())
        return {partition: (cursor, Anchor("", b"")) for partition in range(4)}

    def read_usage(
        self, requests: Iterable[UsageRequest], below_cut: int = 0
    ) -> Mapping[UsageRequest, Sequence[Used]]:
        at = instant("2026-11-10T00:00:00Z")
        part = UsagePart(0, 1, self.used, self.used, self.used)
        return {r: [part] if r.start <= at < r.end else [] for r in requests}

    def read_cuts(self, payers: Sequence[str], after: Instant) -> BookedCuts:
        return BookedCuts({"acme": {closing for closing in self.cut if closing[1] > after}})

    def carried_by(self, payers: Sequence[str]) -> Mapping[tuple[str, str], Carried]:
        return {}


YESTERDAY = "2026-11-19T00:00:00Z"
AHEAD = SHEET.replace(
    'price: {type: flat, amount: "5.00"}',
    'payment_term: in_advance, price: {type: flat, amount: "5.00"}',
).replace("2026-11-01T00:00:00Z", YESTERDAY)


class Billed(Books):
    """The fee of acme was billed to the end of its period, which began yesterday."""

    def carried_by(self, payers: Sequence[str]) -> Mapping[tuple[str, str], Carried]:
        found = Desk()
        found.apply(AHEAD)
        lines = planned_lines(found.catalog, "acme", "EUR", instant(YESTERDAY))
        return {("acme", "EUR"): with_lines({}, lines)}


def foreseen(text: str, books: Books, names: Sequence[str] = ("acme", "initech")) -> Foreseen:
    found = desk()
    after: Catalog = as_written(found.catalog, asked(found, text).facts)
    return foresee(books, found.facts, after, names, lambda *n: books.bites.append(n))


def euros(found: Foreseen) -> list[tuple[str, str, int | None, int | None, int]]:
    return [
        (e.customer, e.cut_instant[:10], e.before_minor, e.after_minor, e.difference_minor)
        for e in found.effects
    ]


def test_a_price_change_in_the_money_of_each_draft() -> None:
    books = Books(used=300)

    # 5.00 + 100 x 0.01 + 200 x 0.005, or x 0.004
    assert euros(foreseen(edited(("0.005", "0.004")), books)) == [
        ("acme", "2026-12-01", 700, 680, -20),
        ("initech", "2026-12-01", 700, 680, -20),
    ]
    assert books.bites == [(2, 2)]


def test_a_commitment_to_more_in_the_money_of_each_draft() -> None:
    """7.00 count: they lack 3.00 of 10.00, and 13.00 of 20.00."""
    spend = '- {id: spend, name: Spend, price: {type: flat, amount: "10"}, covers: all}'
    before = SHEET.replace("    prices:\n", f"    prices:\n      {spend}\n", 1)
    found = Desk()
    found.apply(before)
    told = asked(found, before.replace('amount: "10"', 'amount: "20"')).facts
    after: Catalog = as_written(found.catalog, told)

    assert euros(foresee(Books(used=300), found.facts, after, ["acme"])) == [
        ("acme", "2026-12-01", 1000, 2000, 1000)
    ]


def test_a_price_change_at_a_date_moves_only_what_comes_after_it() -> None:
    text = edited(("0.005", "0.004"), ("cycle: P1M", "cycle: P1M\n    effective: %s"))

    assert euros(foreseen(text % "2026-11-09T00:00:00Z", Books(used=300)))[0][2:4] == (700, 680)
    assert euros(foreseen(text % "2026-11-11T00:00:00Z", Books(used=300)))[0][2:4] == (700, 700)


def test_a_new_customer_s_drafts_have_no_before() -> None:
    text = (
        SHEET + "  - {id: hooli-1, customer: hooli, plan: standard, start: 2026-10-05T00:00:00Z}\n"
    )
    text = text.replace("customers:\n", "customers:\n  - {id: hooli}\n")

    assert euros(foreseen(text, Books(used=0), ["hooli"])) == [
        ("hooli", "2026-11-05", None, 500, 500),  # behind already: cut as soon as it is in force
        ("hooli", "2026-12-05", None, 500, 500),
    ]


def test_a_new_subscription_s_fee_in_advance_is_due_at_its_start() -> None:
    fee = 'price: {type: flat, amount: "5.00"}'
    text = SHEET.replace("id: standard", "id: ahead").replace("plan: standard", "plan: ahead")
    text = text.replace(fee, f"payment_term: in_advance, {fee}").replace("acme-1", "acme-2")

    found = euros(foreseen(text, Books(used=0), ["acme"]))

    assert found[0] == ("acme", "2026-11-01", None, 500, 500)


def test_an_end_that_is_moved_makes_another_document_of_it() -> None:
    text = edited(("end: null", "end: 2026-11-16T00:00:00Z"))

    assert euros(foreseen(text, Books(used=0), ["acme"])) == [
        ("acme", "2026-11-16", None, 250, 250),
        ("acme", "2026-12-01", 500, None, -500),
    ]


def test_what_was_cut_is_no_draft() -> None:
    text = edited(("end: null", "end: 2026-11-16T00:00:00Z"))

    assert euros(foreseen(text, Books(used=0, cut=[END]), ["acme"])) == [
        ("acme", "2026-11-16", None, 250, 250)
    ]


def at_once(found: Foreseen) -> list[tuple[str, str, int, list[tuple[str, int]]]]:
    """Whose documents come at once: of when, for how much, with which lines."""
    told = []
    for one in found.at_once:
        content: Any = one.content
        lines = [(line["description"], line["total_minor"]) for line in content["lines"]]
        told.append((one.payer, content["cut_instant"], content["totals"]["total_minor"], lines))
    return told


def test_what_a_new_subscription_owes_of_the_past_comes_at_once() -> None:
    text = SHEET + "  - {id: acme-2, customer: acme, plan: standard, start: 2026-10-05T00:00:00Z}\n"

    assert at_once(foreseen(text, Books(used=0), ["acme"])) == [
        ("acme", "2026-11-05T01:00:00Z", 500, [("Base fee", 500), ("CPU time, 0 s", 0)])
    ]
    assert at_once(foreseen(edited(("0.005", "0.004")), Books(used=300))) == []


def test_what_is_over_where_it_was_cut_already_comes_at_once_behind_it() -> None:
    """The fee of a period that began yesterday was billed then; today it is taken back."""
    found = Desk()
    found.apply(AHEAD)
    over = AHEAD.replace("end: null", f"end: {YESTERDAY}")
    books = Billed(used=0, cut=[YESTERDAY])

    after = as_written(found.catalog, asked(found, over).facts)
    assert at_once(foresee(books, found.facts, after, ["acme"])) == [
        ("acme", "2026-11-19T00:00:00.000001Z", -500, [("Base fee, unused", -500)])
    ]


def test_a_person_reads_what_comes_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    found = Desk()
    found.apply(AHEAD)
    text = AHEAD.replace("end: null", f"end: {YESTERDAY}")
    books = Billed(used=0, cut=[YESTERDAY])

    Outlook(books, found.written, sheet(text), asked(found, text)).tell()

    assert capsys.readouterr().out.splitlines()[-2:] == [
        "at once: acme, an invoice of 2026-11-19T00:00:00.000001Z: -5.00 EUR",
        "  Base fee, unused, 2026-11-19T00:00:00Z to 2026-12-19T00:00:00Z: -5.00",
    ]


def test_an_order_of_the_past_comes_at_once_where_its_instant_was_cut_too() -> None:
    order = """
orders:
  - id: checkout
    customer: acme
    issuer: talea-cloud
    currency: EUR
    at: 2026-11-07T00:00:00Z
    lines: [{id: setup, name: Set-up, price: {type: flat, amount: "250"}}]
"""
    for cut, instant_cut in (
        ([], "2026-11-07T00:00:00Z"),
        (["2026-11-07T00:00:00Z"], "2026-11-07T00:00:00.000001Z"),
    ):
        found = foreseen(SHEET + order, Books(used=0, cut=cut), ["acme"])
        assert at_once(found) == [("acme", instant_cut, 25000, [("Set-up", 25000)])]


def test_a_threshold_that_a_period_comes_to_has_it_billed_early() -> None:
    text = edited(("cycle: P1M", 'cycle: P1M\n    thresholds: {at: ["2"]}'))

    # 100 x 0.01 + 200 x 0.005
    early = at_once(foreseen(text, Books(used=300), ["acme"]))
    assert early == [("acme", NOW, 200, [("CPU time, 300 s", 200)])]
    assert at_once(foreseen(text, Books(used=298), ["acme"])) == []


def test_drafts_are_matched_by_document_and_summed_by_currency() -> None:
    def content(customer: str, currency: str, total: int) -> dict[str, object]:
        return {
            "customer": customer,
            "currency": currency,
            "cut_instant": END,
            "issuer": "i",
            "totals": {"total_minor": total},
        }

    found = effects(
        [content("a", "EUR", 5), content("b", "USD", 7)],  # type: ignore[list-item]
        [content("c", "EUR", 11), content("b", "USD", 6)],  # type: ignore[list-item]
    )

    assert found == [
        Effect("a", "EUR", END, "i", 5, None),
        Effect("b", "USD", END, "i", 7, 6),
        Effect("c", "EUR", END, "i", None, 11),
    ]
    assert sums(found) == [
        {"currency": "EUR", "before_minor": 5, "after_minor": 11, "difference_minor": 6},
        {"currency": "USD", "before_minor": 7, "after_minor": 6, "difference_minor": -1},
    ]
    assert found[0].json()["difference_minor"] == -5


def test_a_partition_that_nobody_books_yet_has_no_drafts() -> None:
    class Unbooked(Books):
        def load_cursors(self) -> dict[int, tuple[Cursor, Anchor]]:
            taken = partition_of("acme", 4)
            return {p: c for p, c in super().load_cursors().items() if p != taken}

    found = foreseen(edited(("0.005", "0.004")), Unbooked(used=300), ["acme"])

    assert found == Foreseen((), ())
