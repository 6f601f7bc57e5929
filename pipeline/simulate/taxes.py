"""Taxes: what is due on documents and their notes, as the auditor works it out.

Owns: which answer counts for which line, the tax of each category, that lines share it.
Does not own: what lines come to before tax (billing.py), who is asked (beside.py).
Law: it shares no step with the pipeline.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple, cast

from pipeline.catalog.facts import Fact, FactKind
from pipeline.core.calendar import DAY, Instant, instant_text, parse_instant
from pipeline.simulate.agreements import Body
from pipeline.simulate.sold import minor

_AT_HOME = {"standard": "19", "reduced": "7", "digital": "19"}
"""The rates of whom the rules know, in percent: issuer and customer are in one country."""


class Category(NamedTuple):
    """What is taxed alike: by whom, as what, in percent, and whether amounts contain it."""

    jurisdiction: str
    category: str
    percent: str
    inclusive: bool

    @property
    def share(self) -> Fraction:
        """What part of an amount its tax is."""
        percent = Fraction(self.percent)
        return percent / (100 + percent) if self.inclusive else percent / 100


Question = tuple[str, str, bool, str]
"""(customer, code, whether amounts contain it, day)."""


@dataclass(slots=True)
class Taxes:
    """What was answered, question by question, and whom the rules know."""

    issuer: Body | None = None
    known: set[str] = field(default_factory=set)
    answers: dict[Question, list[Fact]] = field(default_factory=dict)

    @classmethod
    def of(cls, facts: Iterable[Fact]) -> "Taxes":
        """Read the facts; neither issuer nor customers ever move."""
        found = cls()
        for fact in facts:
            if fact.kind is FactKind.ISSUER:
                found.issuer = cast("Body | None", fact.body.get("tax"))
            elif fact.kind is FactKind.CUSTOMER and "tax" in fact.body:
                found.known.add(fact.subject)
            elif fact.kind is FactKind.TAX_ANSWER:
                asked = cast(Body, fact.body["question"])
                terms = _told_of(cast(Body, asked["terms"]))
                question = str(asked["customer"]), *terms, str(asked["day"])
                found.answers.setdefault(question, []).append(fact)
        return found

    def repeated(self) -> Iterator[str]:
        """Yield what was answered once more, though nothing was said that was not said before."""
        for question, told in self.answers.items():
            if any(one.body == other.body for one, other in pairwise(told)):
                yield f"{question} is answered {len(told)} times"

    def category(self, customer: str, line: Body, position: int) -> Category | None:
        """Return how a line of a document is taxed by the facts at its cut; None: nobody knows.

        The last answer by then counts; where there is none, the first of all.
        """
        code, inclusive = _terms_of(line)
        if self._at_home(customer):
            return Category("DE", "S", _AT_HOME[code], inclusive)
        told = self.answers.get((customer, code, inclusive, day_of(line)))
        if told is None:
            return None
        by_then = [fact for fact in told if fact.serial <= position]
        body = (by_then[-1] if by_then else told[0]).body
        place, category, percent = (
            str(body[key]) for key in ("jurisdiction", "category", "rate_percent")
        )
        return Category(place, category, percent, inclusive and percent != "0")

    def answered(self, customer: str, line: Body, position: int) -> bool:
        """Return whether it was known by the facts up to a position."""
        told = self.answers.get((customer, *_terms_of(line), day_of(line)), [])
        return self._at_home(customer) or any(fact.serial <= position for fact in told)

    def _at_home(self, customer: str) -> bool:
        """Return whether the rules know: the issuer leaves outside only what they do not."""
        asks = self.issuer is not None and self.issuer["engine"] == "outside"
        return asks and customer in self.known

    def faults(self, content: Body, position: int, *, whole: bool) -> Iterator[str]:
        """Yield what is wrong with the taxes of a document that was cut at a position.

        Of a draft that is not `whole` some may be known only later, and so be left out.
        """
        if self.issuer is None:
            if "taxes" in content:
                yield "it tells of taxes"
            return
        groups: dict[Category, list[Body]] = {}
        for line in cast(list[Body], content["lines"]):
            category = self.category(str(content["customer"]), line, position)
            if line["tax_amount_minor"] is not None and category is not None:
                groups.setdefault(category, []).append(line)
            elif whole or self.answered(str(content["customer"]), line, position):
                yield f"{line['source_id']} is not taxed, as {category}"
            elif line["tax_amount_minor"] is not None:
                yield f"{line['source_id']} is taxed, and nobody knows how"
        must = {group: _tax_of(group, map(untaxed, lines)) for group, lines in groups.items()}
        rows = {_category_of(row): row["tax_minor"] for row in _rows(content)}
        if rows != must:
            yield f"taxes {rows}, must be {must}"
        for group, lines in groups.items():
            yield from _share_faults(group, lines, must[group])


def tax_of_all(
    taxes: Taxes, document: Body, contents: Sequence[Body], position: int
) -> Iterator[str]:
    """Yield what a document and its notes tell of tax, together, that does not go with their lines.

    One tax a category: rounded once over what all of them come to.
    """
    if taxes.issuer is None:
        return
    sums: dict[Category, int] = {}
    told: dict[Category, int] = {}
    for content in contents:
        for line in cast(list[Body], content["lines"]):
            category = taxes.category(str(document["customer"]), line, position)
            if category is not None:
                sums[category] = sums.get(category, 0) + untaxed(line)
        for row in _rows(content):
            category = _category_of(row)
            told[category] = told.get(category, 0) + cast(int, row["tax_minor"])
    for category in sums.keys() | told.keys():
        must = _tax_of(category, [sums.get(category, 0)])
        if told.get(category, 0) != must:
            yield f"{category}: {told.get(category, 0)} on {sums.get(category, 0)}, must be {must}"


def untaxed(line: Body) -> int:
    """Return what a line, or a document, comes to without what is on top of it."""
    totals = cast(Mapping[str, int], line["totals"])
    return totals["total_minor"] - totals["taxes_exclusive_total_minor"]


def day_of(line: Body) -> str:
    """Return the day that a line is taxed by: of the last instant that it bills."""
    due: Instant = parse_instant(line["invoice_at"])
    served = line["source_type"] == "subscription_item"
    return instant_text((due - served) // DAY * DAY)[:10]


def _terms_of(line: Body) -> tuple[str, bool]:
    card = cast("Body | None", line["rate_card"]) or {}
    return _told_of(cast("Body | None", card.get("tax")) or {"code": "standard"})


def _told_of(terms: Body) -> tuple[str, bool]:
    return str(terms["code"]), terms.get("inclusive") is True


def _tax_of(category: Category, amounts: Iterable[int]) -> int:
    return minor(sum(amounts) * category.share, 0)


def _rows(content: Body) -> list[Body]:
    return cast(list[Body], content.get("taxes", []))


def _category_of(row: Body) -> Category:
    place, category, percent = (str(row[k]) for k in ("jurisdiction", "category", "rate_percent"))
    return Category(place, category, percent, row["inclusive"] is True)


def _share_faults(group: Category, lines: Sequence[Body], tax: int) -> Iterator[str]:
    """Yield where lines do not share a tax: each within a minor unit, children as their line."""
    told = [cast(int, line["tax_amount_minor"]) for line in lines]
    if sum(told) != tax:
        yield f"{group}: lines share {told} of {tax}"
    for line, own in zip(lines, told, strict=True):
        totals, children = (
            cast(Mapping[str, int], line["totals"]),
            cast(list[Body], line["children"]),
        )
        on_top = 0 if group.inclusive else own
        parts = totals["taxes_exclusive_total_minor"], totals["taxes_total_minor"]
        if abs(own - untaxed(line) * group.share) >= 1 or parts != (on_top, own):
            yield f"{line['source_id']} of {untaxed(line)} is taxed by {own}: {parts}"
        below = [cast(int, child["tax_amount_minor"]) for child in children]
        if children and sum(below) != own:
            yield f"{line['source_id']}: its children share {below} of {own}"
