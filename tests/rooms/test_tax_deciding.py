"""Which tax is due: one row a case, by who sells what to whom."""

from dataclasses import replace

import pytest

from pipeline.catalog.tax_terms import CustomerTax, IssuerTax, TaxCode, TaxTerms
from pipeline.tax.deciding import Question, Treatment, Unknown, decide

BERLIN = IssuerTax("DE", "DE136695976")
OSS = replace(BERLIN, oss=True)
PARIS_TOO = replace(BERLIN, registrations=(("FR", "FR40303265045"),))
ZURICH_TOO = replace(BERLIN, registrations=(("CH", "CHE107787577MWST"),))
LONDON_TOO = replace(BERLIN, registrations=(("GB", "GB980780684"),))
LONDON, ZURICH = IssuerTax("GB", "GB980780684"), IssuerTax("CH", "CHE107787577MWST")
BOSTON = IssuerTax("US")


def consumer(country: str, region: str | None = None) -> CustomerTax:
    return CustomerTax(country, region)


def firm(country: str, vat: str | None = None, region: str | None = None) -> CustomerTax:
    return CustomerTax(country, region, vat, business=True)


EXEMPT_IN_BERLIN = CustomerTax("DE", exempt="NATO SOFA")

ROWS = [
    # at home
    (BERLIN, consumer("DE"), "standard", "S-19 DE"),
    (BERLIN, firm("DE", "DE"), "standard", "S-19 DE"),
    (BERLIN, consumer("DE"), "reduced", "S-7 DE"),
    (BERLIN, consumer("DE"), "digital", "S-19 DE"),
    (BERLIN, consumer("DE"), "goods", "S-19 DE"),
    (BERLIN, consumer("DE"), "zero", "Z DE"),
    (BERLIN, consumer("DE"), "exempt", "E DE"),
    (BERLIN, consumer("DE"), "out_of_scope", "O DE"),
    (BERLIN, EXEMPT_IN_BERLIN, "standard", "E DE"),
    (BERLIN, consumer("DE"), "second_reduced", "?"),
    (LONDON, consumer("GB"), "reduced", "S-5 GB"),
    (LONDON, consumer("IM"), "standard", "S-20 GB"),
    (LONDON, firm("GB", "XI", "northern_ireland"), "standard", "S-20 GB"),
    (ZURICH, consumer("CH"), "standard", "S-8.1 CH"),
    (ZURICH, consumer("LI"), "standard", "S-8.1 CH"),
    (ZURICH, consumer("DE", "busingen"), "standard", "S-8.1 CH"),
    # services within the Union
    (BERLIN, firm("FR", "FR"), "standard", "AE FR"),
    (BERLIN, firm("GR", "EL"), "digital", "AE GR"),
    (BERLIN, firm("MC", "FR"), "digital", "AE FR"),
    (PARIS_TOO, firm("FR", "FR"), "digital", "AE FR"),
    (BERLIN, consumer("FR"), "standard", "S-19 DE"),
    (BERLIN, consumer("FR"), "digital", "S-19 DE"),  # below the threshold of article 59c
    (OSS, consumer("FR"), "digital", "S-20 FR"),
    (OSS, consumer("MC"), "digital", "S-20 FR"),
    (OSS, consumer("FI"), "digital", "S-25.5 FI"),
    (PARIS_TOO, consumer("FR"), "digital", "S-20 FR"),
    (PARIS_TOO, consumer("IT"), "digital", "S-19 DE"),
    (OSS, consumer("FR"), "standard", "S-19 DE"),
    (OSS, consumer("FR"), "exempt", "E DE"),
    # services to elsewhere
    (BERLIN, firm("US"), "standard", "O US"),
    (BERLIN, firm("GB", "GB"), "digital", "O GB"),
    (LONDON_TOO, firm("GB", "GB"), "digital", "O GB"),
    (BERLIN, consumer("US"), "standard", "S-19 DE"),
    (BERLIN, consumer("US"), "digital", "O US"),
    (BERLIN, consumer("GB"), "digital", "O GB"),
    (LONDON_TOO, consumer("GB"), "digital", "S-20 GB"),
    (LONDON_TOO, consumer("GB", "northern_ireland"), "digital", "S-20 GB"),
    (BERLIN, consumer("CH"), "digital", "O CH"),
    (ZURICH_TOO, consumer("CH"), "digital", "S-8.1 CH"),
    (ZURICH_TOO, firm("CH", "CHE"), "digital", "S-8.1 CH"),
    (ZURICH_TOO, firm("CH", "CHE"), "standard", "S-8.1 CH"),
    (BERLIN, firm("ES", "ES", "canary_islands"), "digital", "O ES"),
    (BERLIN, consumer("ES", "canary_islands"), "digital", "O ES"),
    (OSS, consumer("DE", "heligoland"), "digital", "O DE"),
    (BERLIN, consumer("DE", "busingen"), "digital", "O CH"),
    # from Great Britain and Switzerland
    (LONDON, firm("FR", "FR"), "digital", "O FR"),
    (LONDON, consumer("FR"), "standard", "S-20 GB"),
    (LONDON, consumer("FR"), "digital", "?"),
    (replace(LONDON, oss=True), consumer("FR"), "digital", "S-20 FR"),
    (LONDON, consumer("US"), "digital", "O US"),
    (LONDON, consumer("US"), "standard", "S-20 GB"),
    (LONDON, consumer("CH"), "digital", "O CH"),
    (ZURICH, firm("DE", "DE"), "digital", "O DE"),
    (ZURICH, consumer("DE"), "standard", "O DE"),
    (ZURICH, consumer("DE"), "digital", "?"),
    (replace(ZURICH, oss=True), consumer("DE"), "digital", "S-19 DE"),
    (ZURICH, consumer("GB"), "digital", "O GB"),
    (ZURICH, consumer("US"), "standard", "O US"),
    # goods
    (BERLIN, firm("FR", "FR"), "goods", "K FR"),
    (BERLIN, consumer("FR"), "goods", "S-19 DE"),
    (OSS, consumer("FR"), "goods", "S-20 FR"),
    (BERLIN, consumer("US"), "goods", "G DE"),
    (BERLIN, firm("CH"), "goods", "G DE"),
    (BERLIN, firm("GB", "GB"), "goods", "G DE"),
    (BERLIN, firm("GB", "XI", "northern_ireland"), "goods", "?"),
    (LONDON, consumer("US"), "goods", "G GB"),
    (LONDON, consumer("FR"), "goods", "?"),
    # not known
    (BOSTON, consumer("US"), "standard", "?"),
    (BOSTON, consumer("DE"), "digital", "?"),
]


def answer(found: Treatment | Unknown) -> str:
    return "?" if isinstance(found, Unknown) else f"{found.code} {found.jurisdiction}"


@pytest.mark.parametrize(("issuer", "customer", "code", "expected"), ROWS)
def test_a_sale(issuer: IssuerTax, customer: CustomerTax, code: str, expected: str) -> None:
    question = Question(issuer, customer, TaxTerms(TaxCode(code)), "2026-03-31")

    found = decide(question)

    assert answer(found) == expected
    if isinstance(found, Treatment):
        assert (found.reason is None) is (found.category.value in "SZ")
        assert (found.percent > 0) is (found.category.value == "S")
    else:
        assert found.why
        assert found.mend


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        ("2020-06-30", "S-19 DE"),
        ("2020-07-01", "S-16 DE"),
        ("2020-12-31", "S-16 DE"),
        ("2021-01-01", "S-19 DE"),
        ("2015-12-31", "?"),
    ],
)
def test_the_day_decides_the_rate(day: str, expected: str) -> None:
    assert answer(decide(Question(BERLIN, consumer("DE"), TaxTerms(), day))) == expected


def test_what_is_not_due_says_why() -> None:
    def reason(customer: CustomerTax, terms: TaxTerms) -> str | None:
        found = decide(Question(BERLIN, customer, terms, "2026-03-31"))
        assert isinstance(found, Treatment)
        return found.reason

    exempt = TaxTerms(TaxCode.EXEMPT, reason="UStG, § 4 no. 21")
    assert reason(consumer("DE"), exempt) == "UStG, § 4 no. 21"
    assert reason(consumer("DE"), TaxTerms(TaxCode.EXEMPT)) == "Exempt from VAT"
    assert reason(EXEMPT_IN_BERLIN, TaxTerms()) == "NATO SOFA"
    assert reason(firm("FR", "FR"), TaxTerms()) == "Reverse charge"
    assert reason(consumer("DE"), TaxTerms()) is None
