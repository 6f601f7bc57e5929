"""What is asked outside where the rules know no tax, and what an answer makes of a document."""

from collections.abc import Mapping
from fractions import Fraction
from typing import cast

import pytest

from builders import (
    Decision,
    catalog_of,
    customer_of,
    flat,
    instant,
    issuer_of,
    log_of,
    plan_of,
    price_of,
    rules_of,
    subscription_of,
    tax_terms_of,
    taxed_in,
)
from pipeline.catalog.catalog import Catalog
from pipeline.catalog.facts import FactKind
from pipeline.catalog.tax_answers import TaxAnswer
from pipeline.core.identity import Json, canonical
from pipeline.invoice.compose import Composed, compose
from pipeline.invoice.planned import planned_lines
from pipeline.invoice.taxed import answers_in, awaited_in
from pipeline.tax.asking import Asked, answering, read_answer

MARCH, APRIL = "2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z"
OUTSIDE = taxed_in(issuer_of(), "US", engine="outside")
BOOK = price_of("book", flat("50"), None, tax=tax_terms_of("goods"))
CALIFORNIA: dict[str, object] = {
    "category": "S",
    "jurisdiction": "US-CA",
    "rate_percent": "7.25",
}


def catalog(seller: Decision, *more: Decision, buyer: Decision | None = None) -> Catalog:
    return catalog_of(
        log_of(),
        rules_of(),
        seller,
        plan_of("p", price_of("seats", flat("100")), BOOK),
        buyer or taxed_in(customer_of("acme", name="c0ffee"), "US"),
        subscription_of("s", "acme", "p", MARCH),
        *more,
    )


def document(known: Catalog) -> Composed:
    lines = planned_lines(known, "acme", "EUR", instant(APRIL))
    (composed,) = compose(known, "acme", "EUR", instant(APRIL), lines, {})
    return composed


def questions(composed: Composed) -> list[Mapping[str, Json]]:
    tax = cast(Mapping[str, Json], composed.content["tax"])
    return cast(list[Mapping[str, Json]], tax.get("awaited", []))


def answer_of(question: Mapping[str, Json], told: Mapping[str, object] = CALIFORNIA) -> Decision:
    answer = read_answer(question, told, "tax.example")
    assert isinstance(answer, TaxAnswer), answer
    return FactKind.TAX_ANSWER, answer.digest, answer.body(question)


def test_what_the_rules_do_not_know_is_asked_and_nothing_is_issued() -> None:
    composed = document(catalog(OUTSIDE))

    assert [cast(Mapping[str, Json], q["terms"])["code"] for q in questions(composed)] == [
        "goods",
        "standard",
    ]
    assert {(q["day"], q["customer"]) for q in questions(composed)} == {("2026-03-31", "acme")}
    assert awaited_in(composed.content) == {Asked(q).digest for q in questions(composed)}
    assert [(issue.code, issue.severity.value) for issue in composed.issues] == [
        ("tax_awaited", "critical"),
        ("tax_awaited", "critical"),
    ]
    assert composed.content["taxes"] == []
    assert cast(Mapping[str, int], composed.content["totals"])["taxes_total_minor"] == 0


def test_a_question_holds_no_personal_value() -> None:
    (question, _) = questions(document(catalog(OUTSIDE)))

    assert "c0ffee" not in canonical(dict(question)).decode()
    assert "Ada" not in canonical(dict(question)).decode()


def test_a_question_reads() -> None:
    """As an engine is sent it; its bytes are a promise."""
    (question, _) = questions(document(catalog(OUTSIDE)))

    assert canonical(dict(question)).decode() == (
        '{"customer":"acme","customer_tax":{"business":false,"country":"US","exempt":null,'
        '"region":null,"since":null,"vat":null},"day":"2026-03-31","format":"talea.tax-question.1",'
        '"issuer":"talea","issuer_tax":{"country":"US","engine":"outside","fallback":"hold",'
        '"oss":false,"registrations":{},"requires":[],"since":null,"vat_id":null},'
        '"terms":{"code":"goods","inclusive":false}}'
    )


def test_answers_tax_the_document() -> None:
    asked = questions(document(catalog(OUTSIDE)))
    answers = [answer_of(question) for question in asked]
    composed = document(catalog(OUTSIDE, *answers))

    assert composed.issues == ()
    assert questions(composed) == []
    digests = sorted(subject for _, subject, _ in answers)
    assert composed.content["taxes"] == [
        {
            "category": "S",
            "tax_code": "S-7.25",
            "jurisdiction": "US-CA",
            "rate_percent": "7.25",
            "taxable_minor": 15000,
            "tax_minor": 1088,
            "inclusive": False,
            "reason": None,
            "sources": [f"answer {digest}" for digest in digests],
        }
    ]
    assert answers_in(composed.content) == set(digests)


def test_a_part_that_is_answered_is_taxed_and_the_rest_is_awaited() -> None:
    asked = questions(document(catalog(OUTSIDE)))
    composed = document(catalog(OUTSIDE, answer_of(asked[0])))

    assert questions(composed) == [asked[1]]
    assert len(composed.issues) == 1
    assert cast(Mapping[str, int], composed.content["totals"])["taxes_total_minor"] == 363


ELSEWHERE: dict[str, object] = {"category": "E", "jurisdiction": "US", "reason": "resale"}


def test_the_last_answer_before_the_cut_counts_and_the_first_after_it() -> None:
    at_cut = catalog(OUTSIDE)
    asked = questions(document(at_cut))
    one = [answer_of(question) for question in asked]
    other = [answer_of(question, ELSEWHERE) for question in asked]
    by_one = document(catalog(OUTSIDE, *one)).content
    by_other = document(catalog(OUTSIDE, *other)).content

    assert document(catalog(OUTSIDE, *one, *other)).content == by_other
    later = catalog(OUTSIDE, *one, *other)
    assert document(at_cut.answered_by(later)).content == by_one
    assert document(catalog(OUTSIDE, *one).answered_by(later)).content == by_one
    assert document(catalog(OUTSIDE, *one, *other).answered_by(later)).content == by_other


def test_nothing_else_that_comes_after_the_cut_enters_it() -> None:
    at_cut = catalog(OUTSIDE)
    answers = [answer_of(question) for question in questions(document(at_cut))]
    dearer = plan_of("p", price_of("seats", flat("999")), BOOK)
    later = catalog(OUTSIDE, dearer, *answers)

    composed = document(at_cut.answered_by(later))

    assert composed.issues == ()
    assert composed.content == document(catalog(OUTSIDE, *answers)).content


@pytest.mark.parametrize(
    ("seller", "buyer", "code"),
    [
        (taxed_in(issuer_of(), "US"), None, "tax_undetermined"),
        (taxed_in(issuer_of(), "DE"), customer_of("acme"), "tax_undetermined"),
        (taxed_in(issuer_of(), "DE", engine="outside"), customer_of("acme"), "tax_awaited"),
        (taxed_in(issuer_of(), "DE", engine="outside_always"), None, "tax_awaited"),
    ],
)
def test_an_answer_by_hand_settles_any_tax_that_is_not_known(
    seller: Decision, buyer: Decision | None, code: str
) -> None:
    composed = document(catalog(seller, buyer=buyer))
    assert {issue.code for issue in composed.issues} == {code}
    assert all("talea tax answer" in issue.mend for issue in composed.issues)

    answers = [answer_of(question) for question in questions(composed)]
    assert document(catalog(seller, *answers, buyer=buyer)).issues == ()


def test_what_the_rules_know_is_asked_only_of_who_leaves_all_to_an_engine() -> None:
    assert questions(document(catalog(taxed_in(issuer_of(), "DE", engine="outside")))) == []
    always = taxed_in(issuer_of(), "DE", engine="outside_always")
    assert len(questions(document(catalog(always)))) == 2


def test_a_profile_that_lacks_what_the_issuer_needs_holds_the_document() -> None:
    seller = taxed_in(issuer_of(), "DE", requires=["address", "name"])
    (issue,) = document(catalog(seller)).issues

    assert (issue.code, issue.path) == ("customer_incomplete", "billing_profile.address")
    assert str(issue) == (
        "customer acme: its issuer needs address on every document;"
        " add address to its profile; once the period is cut, the issue can be waived"
    )
    assert issue.waivable


QUESTION: Mapping[str, Json] = {"customer": "acme", "day": "2026-03-31"}


@pytest.mark.parametrize(
    ("told", "fault"),
    [
        ({}, "category None is none of S, Z, E, AE, K, G, O"),
        ({"category": "X"}, "category 'X' is none of S, Z, E, AE, K, G, O"),
        ({"category": "S"}, "jurisdiction None is no country or part of one, such as US or US-CA"),
        ({"category": "S", "jurisdiction": "usa"}, "jurisdiction 'usa' is no country or part of"),
        ({**CALIFORNIA, "rate_percent": 7.25}, "rate_percent: a decimal travels as a string"),
        ({**CALIFORNIA, "rate_percent": "NaN"}, "rate_percent: 'NaN' is not a plain decimal"),
        ({**CALIFORNIA, "rate_percent": "0"}, "rate_percent 0 does not go with category S"),
        ({**CALIFORNIA, "rate_percent": "101"}, "rate_percent 101 does not go with category S"),
        ({**CALIFORNIA, "category": "O"}, "rate_percent 29/4 does not go with category O"),
        ({**CALIFORNIA, "reason": 7}, "reason must be a text"),
        ({**CALIFORNIA, "reason": "x" * 257}, "reason must be a text"),
    ],
)
def test_what_is_no_answer(told: dict[str, object], fault: str) -> None:
    found = read_answer(QUESTION, told, "tax.example")
    assert isinstance(found, str)
    assert found.startswith(fault)


def test_an_answer_without_a_reason_gets_the_one_of_its_category() -> None:
    told: dict[str, object] = {"category": "AE", "jurisdiction": "BR"}
    found = read_answer(QUESTION, told, "tax.example")
    assert isinstance(found, TaxAnswer)
    assert (found.reason, found.percent) == ("Reverse charge", Fraction(0))


def test_a_person_answers_what_nobody_has_answered() -> None:
    question, other = questions(document(catalog(OUTSIDE)))
    (told,) = answering(catalog(OUTSIDE), question, CALIFORNIA, "ada")

    assert (told.kind, told.subject) == (FactKind.TAX_ANSWER, Asked(question).digest)
    assert (told.body["said_by"], told.body["question"]) == ("ada", question)
    known = catalog(OUTSIDE, answer_of(question))
    assert answering(known, question, CALIFORNIA, "ada") == []
    assert len(answering(known, other, CALIFORNIA, "ada")) == 1
    with pytest.raises(ValueError, match="category 'X' is none of"):
        answering(known, other, {"category": "X"}, "ada")
