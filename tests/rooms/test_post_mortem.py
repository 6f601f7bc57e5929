"""A post-mortem is told out of facts and issued documents; no name in it breaks a page."""

from dataclasses import replace
from html.parser import HTMLParser

from builders import T0, Decision, facts, flat, issuer_of, log_of, plan_of, price_of, rules_of
from pipeline.catalog.facts import Fact, FactKind, NewFact
from pipeline.core.calendar import SECOND
from pipeline.core.identity import Json
from pipeline.invoice.totals import Totals
from pipeline.replay.incident import Step, incidents, opened, stepped
from pipeline.replay.post_mortem import Issued, PostMortem, html, markdown, notices, post_mortem


def basic(amount: str) -> Decision:
    return plan_of("basic", price_of("fee", flat(amount)))


def line(name: str, minor: int) -> dict[str, Json]:
    totals = Totals(amount=minor, total=minor)
    return {"name": name, "totals": totals.json()}


def repriced(document: str, customer: str, *lines: dict[str, Json]) -> Decision:
    change: Json = {"lines": [*lines], "taxes": []}
    body: dict[str, Json] = {
        "customer": customer,
        "currency": "EUR",
        "reference": "diff_1",
        "change": change,
    }
    return FactKind.REPRICING, document, body


ODD = "<b>|ev`il"
BEFORE = facts(log_of(), rules_of(), issuer_of(), basic("1"), basic("10"))
STEPS: list[tuple[int, NewFact]] = [
    (60, opened("INC-7", BEFORE[-1:])),
    (70, stepped("INC-7", Step.ROLLED_BACK)),
    (80, NewFact(*repriced("inv_1", "acme", line("Fee", -800), line(ODD, -100)))),
    (80, NewFact(*repriced("inv_2", ODD, line("Fee", -50)))),
    (80, NewFact(FactKind.REPRICING, "inv_3", {"reference": "diff_2"})),
    (95, stepped("INC-7", Step.CREDITED, diff_id="diff_1")),
]
DOCUMENTS = {"inv_1": Issued("T-1", 1000), "inv_2": Issued("T-2", 55), "inv_3": Issued("T-3", 7)}


def told(notes: dict[str, str], steps: int = len(STEPS)) -> PostMortem:
    known = [replace(fact, recorded_at=T0) for fact in BEFORE]
    known += [
        Fact(6 + n, f"f{n}", new.kind, new.subject, new.body, "ada", "a typo", T0 + after * SECOND)
        for n, (after, new) in enumerate(STEPS[:steps])
    ]
    return post_mortem(known, incidents(known)["INC-7"], DOCUMENTS, notes)


def test_it_tells_who_was_billed_wrongly_by_how_much_and_what_was_done_when() -> None:
    found = told({"f2": "N-1"})

    assert [(e.number, e.billed_minor, e.difference_minor, e.note) for e in found.documents] == [
        ("T-1", 1000, -900, "N-1"),
        ("T-2", 55, -50, None),
    ]
    assert found.documents[0].lines == [("Fee", -800), (ODD, -100)]
    assert (found.totals, found.customers, found.missing) == (
        {"EUR": -950},
        [ODD, "acme"],
        ["T-2"],
    )
    assert [entry.what for entry in found.timeline] == [
        "plan basic was wrong: prices",
        "the incident was found",
        "the prices were rolled back",
        "the notes were decided",
    ]
    assert [found.seconds(step) for step in Step] == [60, 70, 95, None]


def test_in_markdown_no_name_makes_a_cell_or_a_tag() -> None:
    page = markdown(told({}))

    rows = [row for row in page.splitlines() if row.startswith("| T-")]
    assert [row.replace("\\|", "").count("|") for row in rows] == [8, 8]
    assert "<b>" not in page.replace("\\<b\\>", "")
    assert "- Credited after: 95 s" in page
    assert "## Root cause" in page


def test_in_html_no_name_makes_a_tag() -> None:
    seen: list[str] = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            seen.append(tag)

    page = html(told({}))
    Tags().feed(page)

    assert "b" not in seen
    assert seen.count("tr") == 3
    assert "&lt;b&gt;|ev`il" in page


def test_each_customer_is_told_of_its_own_invoices_alone() -> None:
    mails = notices(told({"f2": "N-1"}))

    assert [(mail.audience, mail.about) for mail in mails] == [
        ("customer", ODD),
        ("customer", "acme"),
        ("finance", None),
        ("legal", None),
    ]
    to_acme = mails[1].text
    assert "Invoice T-1: 10.00 EUR was billed; note N-1 corrects it by -9.00 EUR." in to_acme
    assert "T-2" not in to_acme
    assert all("T-1" in mail.text or mail.audience == "legal" for mail in mails[1:])
    assert "-9.50 EUR in all" in mails[2].text


def test_of_what_nobody_was_billed_nobody_is_told() -> None:
    found = replace(told({}), documents=())

    assert notices(found) == []
    assert "Notes in all: nothing" in markdown(found)


def test_before_its_notes_are_decided_it_names_nobody_instead_of_none() -> None:
    found = markdown(told({}, steps=2))

    assert "Invoices that were wrong" not in found
    assert "- Notes: not decided" in found
    assert "- Customers: " in markdown(told({}))
