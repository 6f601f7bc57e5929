"""What is looked at before a document is issued: sums, currency, categories, unusual amounts."""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from builders import (
    catalog_of,
    customer_of,
    flat,
    issuer_of,
    log_of,
    plan_of,
    price_of,
    rules_of,
    subscription_of,
    tax_terms_of,
    taxed_in,
)
from pipeline.catalog.documents import Completeness
from pipeline.invoice.compose import Composed, compose
from pipeline.invoice.planned import planned_lines
from pipeline.invoice.validation import Seen, unusual, validated
from rooms.test_by_hand import MARCH, composed

PLANTED = 20
NOTHING = Seen()


def codes(document: Composed, seen: Seen = NOTHING) -> list[tuple[str, str]]:
    """What is said of a document."""
    return [(issue.code, issue.severity.value) for issue in validated(document, seen).issues]


def spoiled(spoil: Callable[[Any], None]) -> Composed:
    """A document whose content was changed."""
    document = composed()
    content: Any = {**document.content, "lines": [dict(line) for line in _lines(document)]}
    content["totals"] = dict(content["totals"])
    spoil(content)
    return replace(document, content=content)


def _lines(document: Composed) -> Any:
    return document.content["lines"]


def test_nothing_is_said_of_a_good_document() -> None:
    assert codes(composed()) == []


def _other_total(content: Any) -> None:
    content["totals"]["total_minor"] += 1


def _lost_child(content: Any) -> None:
    line = next(line for line in content["lines"] if line["children"])
    line["children"] = line["children"][1:]


def _other_currency(content: Any) -> None:
    content["lines"][0]["currency"] = "USD"


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (_other_total, "sums_differ"),
        (_lost_child, "sums_differ"),
        (_other_currency, "currency_differs"),
    ],
)
def test_a_broken_document_is_never_issued(spoil: Callable[[Any], None], code: str) -> None:
    found = codes(spoiled(spoil))
    assert found
    assert set(found) == {(code, "critical")}


def in_categories(*tax_codes: str) -> Composed:
    """A document of a German issuer for a German customer, with a fee of each code."""
    catalog = catalog_of(
        log_of(),
        rules_of(),
        taxed_in(issuer_of(), "DE"),
        plan_of(
            "basic",
            *(price_of(c, flat("10"), None, tax=tax_terms_of(c, reason="so")) for c in tax_codes),
        ),
        taxed_in(customer_of("acme"), "DE"),
        subscription_of("s", "acme", "basic", "2026-03-01T00:00:00Z"),
    )
    lines = planned_lines(catalog, "acme", "EUR", MARCH)
    (document,) = compose(catalog, "acme", "EUR", MARCH, lines, {})
    return document


@pytest.mark.parametrize(
    ("tax_codes", "told"),
    [
        (["standard"], []),
        (["out_of_scope"], []),
        (["standard", "exempt", "zero"], []),
        (["standard", "out_of_scope"], [("tax_categories_mixed", "critical")]),
        (["zero", "out_of_scope"], [("tax_categories_mixed", "critical")]),
        (["exempt", "standard", "out_of_scope"], [("tax_categories_mixed", "critical")]),
    ],
)
def test_what_is_outside_the_scope_of_tax_stands_alone(
    tax_codes: list[str], told: list[tuple[str, str]]
) -> None:
    """BR-O-11 to 14 of EN 16931."""
    assert codes(in_categories(*tax_codes)) == told


def test_mixed_categories_may_be_accepted_and_a_note_takes_off_what_there_is() -> None:
    mixed = in_categories("standard", "out_of_scope")
    (issue,) = validated(mixed, NOTHING).issues

    assert issue.waivable
    assert f"talea invoices waive {issue.id}" in issue.mend
    assert codes(replace(mixed, kind="credit_note")) == []


def test_an_unusual_amount_is_a_warning() -> None:
    (issue,) = validated(composed(), Seen([100, 110, 90, 105, 95, 100])).issues
    assert (issue.code, issue.severity.value) == ("unusual_amount", "warning")
    assert "usual 1.00" in issue.message


@pytest.mark.parametrize(
    ("total", "earlier", "told"),
    [
        (10_000, [1000] * 5, False),  # too few to know
        (1300, [1000] * 6, False),
        (1301, [1000] * 6, True),
        (10, [1000] * 6, False),
        (1600, [1000, 900, 1100, 1000, 800, 1200], False),
        (2000, [1000, 900, 1100, 1000, 800, 1200], True),
        (1, [0] * 6, True),
    ],
)
def test_what_is_far_above_the_median_is_unusual(
    total: int, earlier: list[int], told: bool
) -> None:
    assert unusual(total, earlier) is told


def test_of_planted_amounts_nearly_all_are_found_and_hardly_another() -> None:
    """2,000 customers with a year each, some steady, some not; of 20 the next invoice is thrice."""
    random, found, false = Random(7), 0, 0
    for number in range(2000):
        usual, spread = random.choice((900, 12_000, 450_000)), random.choice((0.02, 0.1, 0.2))
        earlier = [max(0, round(random.gauss(usual, spread * usual))) for _ in range(12)]
        total = max(0, round(random.gauss(usual, spread * usual)))
        if number < PLANTED:
            found += unusual(3 * total, earlier)
        else:
            false += unusual(total, earlier)
    assert found >= 19
    assert false <= (2000 - PLANTED) // 100


LATE = {"late": 2, "unknown_meter": 1}


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        (Seen(refused=LATE), ("refused_usage", "warning")),
        (Seen(refused=LATE, policy=Completeness.FLAG), ("refused_usage", "warning")),
        (Seen(refused=LATE, policy=Completeness.HOLD), ("refused_usage", "critical")),
        (Seen(unclosed=3), ("conservation_open", "critical")),
        (Seen(unclosed=3, policy=Completeness.FLAG), ("conservation_open", "warning")),
        (Seen(unclosed=-3, policy=Completeness.HOLD), ("conservation_open", "critical")),
    ],
)
def test_usage_that_is_on_no_document_is_told_as_the_issuer_wants_it(
    seen: Seen, told: tuple[str, str]
) -> None:
    assert codes(composed(), seen) == [told]
    assert codes(replace(composed(), kind="credit_note"), seen) == []
    (issue,) = validated(composed(), seen).issues
    assert issue.waivable
    assert f"talea invoices waive {issue.id}" in issue.mend


def test_refused_usage_is_counted_by_reason() -> None:
    (issue,) = validated(composed(), Seen(refused=LATE)).issues
    assert "3 events of acme in its period were refused (2 late, 1 unknown_meter)" in issue.message
