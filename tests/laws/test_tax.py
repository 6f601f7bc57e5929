"""Tax laws: EN 16931's arithmetic over many mixes of categories, discounts, signs and prices.

BT-106 and the like are the terms of the norm. A line's net (BT-131) is its amount with charges and
without discounts and tax; discounts and charges of the document as a whole (BT-107, BT-108) are
those of its lines, so they stand in the nets already.
"""

from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import cast

import hypothesis.strategies as st
from hypothesis import example, given

from builders import (
    Decision,
    catalog_of,
    credit_of,
    customer_of,
    flat,
    graduated,
    instant,
    issuer_of,
    log_of,
    meter_of,
    plan_of,
    price_of,
    rules_of,
    subscription_of,
    tax_terms_of,
    taxed_in,
)
from pipeline.catalog.tax_places import EU
from pipeline.core.identity import Json
from pipeline.invoice.compose import Composed, compose
from pipeline.invoice.notes import Cause, booked, difference, note
from pipeline.invoice.planned import planned_lines, requests_of
from pipeline.invoice.settling import settle
from pipeline.invoice.usage import UsagePart
from pipeline.tax.rates import COUNTRIES
from pipeline.tax.sums import split_tax, tax_of, tax_share

Node = Mapping[str, Json]

MARCH, APRIL = "2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z"
NO_TAX = ("tax_amount_minor", "tax_code", "tax_jurisdiction")

amounts = st.integers(-20_000, 20_000).map(lambda minor: str(Decimal(minor) / 100))
percents = st.integers(1, 1000).map(lambda tenth: str(Decimal(tenth) / 10))


@st.composite
def terms(draw: st.DrawFn) -> dict[str, Json]:
    """Tax terms and a discount of a price, or neither."""
    told: dict[str, Json] = {}
    if draw(st.booleans()):
        code = draw(st.sampled_from(["standard", "reduced", "digital", "zero", "exempt", "goods"]))
        told["tax"] = tax_terms_of(code, inclusive=draw(st.booleans()))
    if draw(st.booleans()):
        told["discounts"] = [{"type": "percentage", "percent": draw(percents)}]
    return told


@st.composite
def plans(draw: st.DrawFn) -> tuple[Decision, int]:
    """A plan of some fees and a tiered price, with a quantity used."""
    fees = [
        price_of(f"fee-{place}", flat(draw(amounts)), None, **draw(terms()))
        for place in range(draw(st.integers(0, 5)))
    ]
    tiers = graduated(("10", "0.07", "0.31"), ("100", "0.013", "0"), (None, "0.5", "1.99"))
    more = draw(terms())
    if draw(st.booleans()):
        more["minimum"] = "17.77"
    used = price_of("calls", tiers, "calls", **more)
    return plan_of("mix", *fees, used), draw(st.integers(0, 1000))


homes = st.sampled_from(sorted(EU - {"DK", "BG", "NL"}))  # with every reduced rate a price asks for
places = st.sampled_from(sorted(COUNTRIES | {"US", "NO"}))


@st.composite
def buyers(draw: st.DrawFn) -> Decision:
    country = draw(places)
    told: dict[str, Json] = {}
    if draw(st.booleans()):
        told = {"vat": country} if country in EU else {"business": True}
    if draw(st.integers(0, 5)) == 0:
        told["exempt"] = "diplomat"
    return taxed_in(customer_of("acme"), country, **told)


def document(seller: Decision, buyer: Decision, plan: tuple[Decision, int]) -> Composed:
    catalog = catalog_of(
        log_of(),
        rules_of(),
        seller,
        meter_of("calls"),
        plan[0],
        buyer,
        subscription_of("s", "acme", "mix", MARCH),
    )
    lines = planned_lines(catalog, "acme", "EUR", instant(APRIL))
    part = UsagePart(0, 1, plan[1], plan[1], plan[1])
    usage = {request: [part] for request in requests_of(lines)}
    (composed,) = compose(catalog, "acme", "EUR", instant(APRIL), lines, usage)
    return composed


def totals(node: Node) -> Mapping[str, int]:
    told = cast(Mapping[str, int], node["totals"])
    return {name.removesuffix("_minor"): minor for name, minor in told.items()}


def net(node: Node) -> int:
    """The net of a line or a document, BT-131 and BT-109."""
    told = totals(node)
    return (
        told["amount"]
        + told["charges_total"]
        - told["discounts_total"]
        - told["taxes_inclusive_total"]
    )


def nodes(node: Node, key: str) -> list[Node]:
    return cast(list[Node], node[key])


def rounded(taxable_minor: int, rate_percent: str) -> int:
    """BR-CO-17 in decimals, apart from the program's own rounding."""
    exact = Decimal(taxable_minor) * Decimal(rate_percent) / 100
    return int(exact.quantize(Decimal(1), ROUND_HALF_UP))  # half away from zero


def family_sums(node: Node, key: str) -> None:
    for child in nodes(node, key):
        family_sums(child, "children")
    if nodes(node, key):
        for name, total in totals(node).items():
            assert total == sum(totals(child)[name] for child in nodes(node, key))


@given(homes, st.booleans(), buyers(), plans())
def test_the_arithmetic_of_the_norm(
    home: str, oss: bool, buyer: Decision, plan: tuple[Decision, int]
) -> None:
    composed = document(taxed_in(issuer_of(), home, oss=oss), buyer, plan)
    content = composed.content
    assert composed.issues == ()
    rows, lines, whole = nodes(content, "taxes"), nodes(content, "lines"), totals(content)

    # BR-CO-10 to 13: the lines' nets are the document's, and every one is in a category
    assert sum(net(line) for line in lines) == net(content)
    assert sum(cast(int, row["taxable_minor"]) for row in rows) == net(content)
    # BR-CO-14: the document's tax is that of its categories
    assert sum(cast(int, row["tax_minor"]) for row in rows) == whole["taxes_total"]
    # BR-CO-15: with tax is without tax and the tax
    assert whole["total"] == net(content) + whole["taxes_total"]
    family_sums(content, "lines")
    for row in rows:
        _holds_by_category(row, lines)
    assert len({(row["jurisdiction"], row["tax_code"]) for row in rows}) == len(rows)


def _holds_by_category(row: Node, lines: Sequence[Node]) -> None:
    """BR-CO-17, and that the category is what its lines say."""
    own = [
        line
        for line in lines
        if (line["tax_jurisdiction"], line["tax_code"]) == (row["jurisdiction"], row["tax_code"])
    ]
    taxable, tax = cast(int, row["taxable_minor"]), cast(int, row["tax_minor"])
    rate = cast(str, row["rate_percent"])
    assert own
    assert sum(net(line) for line in own) == taxable
    assert sum(cast(int, line["tax_amount_minor"]) for line in own) == tax
    if row["inclusive"]:
        gross = taxable + tax
        near = range(taxable - 2, taxable + 3)
        if any(each + rounded(each, rate) == gross for each in near):
            assert rounded(taxable, rate) == tax
        else:  # no net of whole minor units has this gross: one off, and the gross stands
            assert abs(rounded(taxable, rate) - tax) == 1
    else:
        assert rounded(taxable, rate) == tax
    share = tax_share(Fraction(rate), inclusive=row["inclusive"] is True)
    for line in own:
        before = totals(line)["total"] - totals(line)["taxes_exclusive_total"]
        assert abs(cast(int, line["tax_amount_minor"]) - before * share) < 1


@given(homes, plans(), st.integers(1, 50_000))
def test_what_is_due_is_the_total_less_what_was_paid(
    home: str, plan: tuple[Decision, int], paid_minor: int
) -> None:
    """BR-CO-16: credits pay the tax of a line with the line."""
    content = document(
        taxed_in(issuer_of(), home), taxed_in(customer_of("acme"), home), plan
    ).content
    credit = credit_of("c", "acme", str(Decimal(paid_minor) / 100))
    grants = catalog_of(log_of(), credit).deals.credits["acme"].values()

    settlement = settle(content, grants, {})

    paid = sum(amount for _, amount in settlement.credits)
    assert settlement.due_minor == totals(content)["total"] - paid
    assert paid <= max(0, totals(content)["total"])


@given(homes, buyers(), plans())
def test_but_for_its_tax_a_document_is_what_it_would_be_without(
    home: str, buyer: Decision, plan: tuple[Decision, int]
) -> None:
    with_tax = document(taxed_in(issuer_of(), home), buyer, plan).content
    without = document(issuer_of(), buyer, plan).content

    assert {"tax", "taxes"} == with_tax.keys() - without.keys()
    for mine, other in zip(nodes(with_tax, "lines"), nodes(without, "lines"), strict=True):
        for key in ("id", "subtotal_minor", "unit_amount", "quantity", "discounts", "rate_card"):
            assert mine[key] == other[key]
        assert (
            totals(mine)["total"] - totals(mine)["taxes_exclusive_total"]
            == (totals(other)["total"])
        )
        assert all(mine[key] is not None for key in NO_TAX)
        assert all(other[key] is None for key in NO_TAX)


@given(homes, buyers(), plans(), st.integers(0, 1000))
def test_notes_keep_the_arithmetic_of_the_norm(
    home: str, buyer: Decision, plan: tuple[Decision, int], used: int
) -> None:
    """A note of later usage is a document of its own; with its invoice it is the one wanted."""
    seller = taxed_in(issuer_of(), home)
    invoice = document(seller, buyer, plan).content
    wanted = document(seller, buyer, (plan[0], used)).content
    change = difference(wanted, invoice)
    noted = note(invoice, change, Cause("2026-05-01T00:00:00Z", "late_usage"))

    rows, whole = nodes(noted, "taxes"), totals(noted)
    assert sum(net(line) for line in nodes(noted, "lines")) == net(noted)
    assert sum(cast(int, row["taxable_minor"]) for row in rows) == net(noted)
    assert sum(cast(int, row["tax_minor"]) for row in rows) == whole["taxes_total"]
    assert whole["total"] == net(noted) + whole["taxes_total"]
    family_sums(noted, "lines")
    for row in rows:
        taxable, tax = cast(int, row["taxable_minor"]), cast(int, row["tax_minor"])
        assert abs(rounded(taxable, cast(str, row["rate_percent"])) - tax) <= 1  # of two roundings
    together = {_category_of(row): row for row in nodes(booked(invoice, [noted]), "taxes")}
    asked = {_category_of(row): row for row in nodes(wanted, "taxes") if row["taxable_minor"]}
    assert {key: _sums(row) for key, row in together.items()} == {
        key: _sums(row) for key, row in asked.items()
    }


def _category_of(row: Node) -> tuple[Json, Json]:
    return row["jurisdiction"], row["tax_code"]


def _sums(row: Node) -> tuple[Json, Json]:
    return row["taxable_minor"], row["tax_minor"]


minors = st.lists(st.integers(-(10**12), 10**12), min_size=1, max_size=12)
rates = st.integers(0, 2700).map(lambda hundredth: Fraction(hundredth, 100))


@given(minors, rates, st.booleans())
@example([1, 1, 1], Fraction(50), False)
@example([-1, -1, -1], Fraction(50), False)
def test_shares_of_a_tax(nets: list[int], percent: Fraction, inclusive: bool) -> None:
    share = tax_share(percent, inclusive=inclusive)
    tax = tax_of(sum(nets), share)

    shares = split_tax(tax, nets, share)

    assert sum(shares) == tax
    assert abs(tax - sum(nets) * share) <= Fraction(1, 2)
    assert all(abs(each - n * share) < 1 for each, n in zip(shares, nets, strict=True))
    mirrored = split_tax(-tax, [-n for n in nets], share)
    assert mirrored == [-each for each in shares]


@given(minors, rates, st.booleans())
def test_children_take_what_their_line_was_given(
    nets: list[int], percent: Fraction, inclusive: bool
) -> None:
    share = tax_share(percent, inclusive=inclusive)
    lines = [sum(nets), *nets]
    own = split_tax(tax_of(sum(lines), share), lines, share)[0]

    assert sum(split_tax(own, nets, share)) == own
