"""Post-mortem: what an incident was, what it came to and what was done, told out of facts.

Owns: the report (JSON, Markdown, HTML), the notices to customers, finance and legal.
Does not own: sending or writing them (cli), any figure (facts, issued documents).
Law: every amount stands in a decided fact or an issued note; the same facts tell the same.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import cast

from pipeline.catalog.facts import Fact, FactKind
from pipeline.core.calendar import SECOND, Instant, instant_text
from pipeline.core.identity import Json
from pipeline.core.money import Money, sums_by_currency
from pipeline.invoice.lines import Line
from pipeline.invoice.notes import Change
from pipeline.invoice.totals import Totals
from pipeline.replay.incident import Incident, Step, stood_before

_DID: Mapping[Step, str] = {
    Step.OPENED: "the incident was found",
    Step.ROLLED_BACK: "the prices were rolled back",
    Step.CREDITED: "the notes were decided",
    Step.CLOSED: "the incident was closed",
}


@dataclass(frozen=True, slots=True)
class Issued:
    """A document as it is known outside: `total_minor` of its own, notes aside."""

    number: str
    total_minor: int


@dataclass(frozen=True, slots=True)
class Corrected:
    """An invoice that was wrong, by how much, in which lines, and the note that says so."""

    number: str
    document: str
    customer: str
    currency: str
    billed_minor: int
    difference_minor: int
    note: str | None
    lines: Sequence[tuple[str, int]]

    def json(self) -> dict[str, Json]:
        """Return it for a report."""
        lines: list[Json] = [
            {"name": name, "difference_minor": minor} for name, minor in self.lines
        ]
        return {
            "number": self.number,
            "id": self.document,
            "customer": self.customer,
            "currency": self.currency,
            "billed_minor": self.billed_minor,
            "difference_minor": self.difference_minor,
            "note": self.note,
            "lines": lines,
        }


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that happened: when, what, by whom and why."""

    at: Instant
    what: str
    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class Mail:
    """A notice: to `customer`, `finance` or `legal`; `about` is which customer."""

    audience: str
    about: str | None
    subject: str
    text: str


@dataclass(frozen=True, slots=True)
class PostMortem:
    """An incident as it is told when it is over, or as far as it is."""

    name: str
    step: Step
    timeline: Sequence[Entry]
    documents: Sequence[Corrected]

    @property
    def totals(self) -> Mapping[str, int]:
        """What the notes come to, by currency; none that is zero."""
        return sums_by_currency((each.currency, each.difference_minor) for each in self.documents)

    @property
    def customers(self) -> list[str]:
        """Who was billed wrongly."""
        return sorted({each.customer for each in self.documents})

    @property
    def missing(self) -> list[str]:
        """The invoices whose note is not issued yet."""
        return [each.number for each in self.documents if each.note is None]

    def seconds(self, step: Step) -> int | None:
        """Return the seconds from the first wrong price to a step; None where it was not done."""
        found = [entry.at for entry in self.timeline if entry.what == _DID[step]]
        return (found[0] - self.timeline[0].at) // SECOND if found else None

    def json(self) -> dict[str, Json]:
        """Return the report as one document."""
        timeline: list[Json] = [
            {"at": instant_text(e.at), "what": e.what, "actor": e.actor, "reason": e.reason}
            for e in self.timeline
        ]
        return {
            "incident": self.name,
            "step": self.step.value,
            "timeline": timeline,
            "found_after_s": self.seconds(Step.OPENED),
            "rolled_back_after_s": self.seconds(Step.ROLLED_BACK),
            "credited_after_s": self.seconds(Step.CREDITED),
            "invoices": [each.json() for each in self.documents],
            "total_difference_minor": dict(self.totals),
            "customers_touched": len(self.customers),
            "notes_missing": [*self.missing],
        }


def post_mortem(
    facts: Sequence[Fact],
    incident: Incident,
    documents: Mapping[str, Issued],
    notes: Mapping[str, str],
) -> PostMortem:
    """Return what is known of an incident.

    `documents` by id, `notes` their numbers by the fact that caused each.
    """
    corrected = [
        _corrected(fact, documents, notes)
        for fact in facts
        if fact.kind is FactKind.REPRICING and fact.body["reference"] == incident.diff_id
    ]
    return PostMortem(
        incident.name, incident.step, [*_timeline(facts, incident)], sorted(corrected, key=_number)
    )


def _number(each: Corrected) -> str:
    return each.number


def _timeline(facts: Sequence[Fact], incident: Incident) -> Iterator[Entry]:
    before = stood_before(facts, incident.wrong)
    for fact in facts:
        who = fact.recorded_at, fact.actor, fact.reason
        if fact.serial in before:
            what = (
                f"{fact.kind.value} {fact.subject} was wrong: {_changed(before[fact.serial], fact)}"
            )
        elif fact.kind is FactKind.INCIDENT and fact.subject == incident.name:
            what = _DID[Step(cast(str, fact.body["what"]))]
        else:
            continue
        yield Entry(who[0], what, *who[1:])


def _changed(before: Fact, after: Fact) -> str:
    keys = dict.fromkeys([*before.body, *after.body])
    named = [key for key in keys if before.body.get(key) != after.body.get(key)]
    return ", ".join(named) or "nothing of it"


def _corrected(fact: Fact, documents: Mapping[str, Issued], notes: Mapping[str, str]) -> Corrected:
    change = Change.of_json(cast(Line, fact.body["change"]))
    issued = documents[fact.subject]
    return Corrected(
        number=issued.number,
        document=fact.subject,
        customer=cast(str, fact.body["customer"]),
        currency=cast(str, fact.body["currency"]),
        billed_minor=issued.total_minor,
        difference_minor=change.totals.total,
        note=notes.get(fact.id),
        lines=[
            (cast(str, line["name"]), Totals.of_json(line["totals"]).total) for line in change.lines
        ],
    )


# ---- as people read it -----------------------------------------------------------------------

_HEADS = ("Invoice", "Customer", "Billed", "Difference", "Currency", "Note", "Lines")


def _rows(told: PostMortem) -> Iterator[tuple[str, ...]]:
    for each in told.documents:
        lines = "; ".join(f"{name} {_money(minor, each)}" for name, minor in each.lines)
        billed, difference = (_money(m, each) for m in (each.billed_minor, each.difference_minor))
        note = each.note or "not issued yet"
        yield each.number, each.customer, billed, difference, each.currency, note, lines


def _money(minor: int, of: Corrected) -> str:
    return Money(minor, of.currency).text


def amounts_text(of: Mapping[str, int]) -> str:
    """Return amounts by currency, as people read them."""
    told = (f"{Money(minor, currency).text} {currency}" for currency, minor in of.items())
    return ", ".join(told) or "nothing"


def _facts_of(told: PostMortem) -> Iterator[tuple[str, str]]:
    yield "Stands at", told.step.value.replace("_", " ")
    for title, step in (
        ("Found after", Step.OPENED),
        ("Rolled back after", Step.ROLLED_BACK),
        ("Credited after", Step.CREDITED),
    ):
        seconds = told.seconds(step)
        yield title, "not yet" if seconds is None else f"{seconds} s"
    if told.seconds(Step.CREDITED) is None:
        survey = f"talea incident survey {told.name}"
        yield "Notes", f"not decided; what was billed wrongly is told by: {survey}"
        return
    yield "Invoices that were wrong", str(len(told.documents))
    yield "Customers", ", ".join(told.customers) or "none"
    yield "Notes in all", amounts_text(told.totals)


_TO_WRITE = ("Root cause", "What went well", "What went badly", "What will be changed, by whom")


def markdown(told: PostMortem) -> str:
    """Return the report as Markdown, with places for what no program knows."""
    parts = [f"# Incident {_plain(told.name)}", ""]
    parts += [f"- {title}: {_plain(value)}" for title, value in _facts_of(told)]
    parts += ["", "## What happened", ""]
    parts += [
        f"- {instant_text(e.at)} {_plain(e.what)} ({_plain(e.actor)}: {_plain(e.reason)})"
        for e in told.timeline
    ]
    parts += ["", "## What was billed wrongly", "", _row(_HEADS), _row(["---"] * len(_HEADS))]
    parts += [_row(map(_plain, row)) for row in _rows(told)]
    for title in _TO_WRITE:
        parts += ["", f"## {title}", "", "(to be written)"]
    return "\n".join(parts) + "\n"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    """Return a text that means nothing in Markdown: one line, no cell, no tag, no link."""
    one_line = " ".join(text.split())
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#" else c for c in one_line)


def html(told: PostMortem) -> str:
    """Return the report as one page that asks for nothing else."""
    facts = "".join(f"<dt>{t}</dt><dd>{escape(v)}</dd>" for t, v in _facts_of(told))
    events = "".join(
        f"<li><time>{instant_text(e.at)}</time> {escape(e.what)}"
        f" <small>{escape(e.actor)}: {escape(e.reason)}</small></li>"
        for e in told.timeline
    )
    heads = "".join(f"<th>{head}</th>" for head in _HEADS)
    rows = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in _rows(told)
    )
    empty = "".join(f"<h2>{title}</h2><p>(to be written)</p>" for title in _TO_WRITE)
    title = f"Incident {escape(told.name)}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style><h1>{title}</h1><dl>{facts}</dl>"
        f"<h2>What happened</h2><ol>{events}</ol><h2>What was billed wrongly</h2>"
        f"<table><tr>{heads}</tr>{rows}</table>{empty}</html>\n"
    )


_STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse}td,th{border:1px solid #999;padding:.2rem .5rem;"
    "text-align:left}dt{font-weight:bold}"
)


def notices(told: PostMortem) -> list[Mail]:
    """Return what is to be said to each customer, to finance and to legal."""
    found = [_to_customer(told, customer) for customer in told.customers]
    if not found:
        return []
    what = f"{len(told.documents)} invoices of {len(told.customers)} customers"
    total = amounts_text(told.totals)
    listed = "\n".join(
        f"{each.number}  {each.customer}  {_money(each.difference_minor, each)} {each.currency}"
        f"  note {each.note or 'not issued yet'}"
        for each in told.documents
    )
    finance = (
        f"Incident {told.name}: prices were wrong, and {what} with them.\n"
        f"They are corrected by notes of {total} in all:\n\n{listed}\n"
    )
    happened = "\n".join(
        f"{instant_text(e.at)}  {e.what} ({e.actor}: {e.reason})" for e in told.timeline
    )
    legal = (
        f"Incident {told.name}: {what} were wrong, and are corrected by notes of {total}.\n"
        f"No issued invoice was changed; each note names the one that it corrects.\n"
        f"What happened:\n\n{happened}\n\nCustomers: {', '.join(told.customers)}\n"
    )
    subject = f"Incident {told.name}: {what} corrected"
    return [*found, Mail("finance", None, subject, finance), Mail("legal", None, subject, legal)]


def _to_customer(told: PostMortem, customer: str) -> Mail:
    own = [each for each in told.documents if each.customer == customer]
    lines = "\n".join(
        f"Invoice {each.number}: {_money(each.billed_minor, each)} {each.currency} was billed;"
        f" note {each.note or 'to follow'} corrects it by"
        f" {_money(each.difference_minor, each)} {each.currency}."
        for each in own
    )
    text = (
        "Dear customer,\n\nfor a while we billed you by a wrong price. We are sorry, and have"
        f" corrected it:\n\n{lines}\n\nYou need not do anything. Reference: {told.name}\n"
    )
    return Mail("customer", customer, f"A correction of your invoices ({told.name})", text)
