"""Tax in a sheet: what it comes to, what stands in facts, each problem with its line and mend."""

import pytest

from pipeline.catalog.sheet import parse_sheet
from pipeline.catalog.tax_terms import (
    CustomerTax,
    Engine,
    Fallback,
    IssuerTax,
    TaxCode,
    TaxTerms,
    on_day,
)
from rooms.test_sheet_changes import Desk

SHEET = """\
issuers:
  - id: shop
    name: The Shop
    number_prefix: A-
    tax:
      country: DE
      vat_id: DE 136.695.976
      registrations: {CH: CHE-107.787.577 MWST, GB: GB 980 7806 84}
      oss: true
      requires: [name, address]
      engine: outside
      fallback: own
meters: [{id: calls, aggregation: sum, unit: call}]
plans:
  - id: pro
    name: Pro
    issuer: shop
    currency: EUR
    cycle: P1M
    tax_code: digital
    tax: inclusive
    prices:
      - {id: seats, name: Seats, price: {type: flat, amount: "5"}, currencies: {USD: {price: {type: flat, amount: "6"}}}}
      - {id: book, name: Book, price: {type: flat, amount: "9"}, tax_code: reduced}
      - {id: class, name: Class, price: {type: flat, amount: "9"}, tax_code: exempt, tax_reason: UStG § 4}
    phases:
      - {id: first, length: P1M, prices: [{id: seats, name: Seats, price: {type: flat, amount: "1"}}]}
customers:
  - id: acme
    profile: {name: Ada, address: Paris}
    tax:
      country: FR
      vat_id: fr 40 303 265 045
  - {id: base, profile: {name: Base}, tax: {country: DE, exempt: {reason: NATO SOFA, evidence: paper 7}}}
  - {id: corp, profile: {name: Corp}, tax: {country: US, business: true}}
  - {id: isle, profile: {name: Isle}, tax: {country: ES, region: canary_islands}}
  - {id: nobody}
subscriptions:
  - {id: s1, customer: acme, plan: pro, start: "2026-11-01T00:00:00Z"}
"""

# ruff: noqa: E501
BROKEN = [
    (
        "country: DE\n",
        "country: Germany\n",
        "line 6: issuers[0].tax.country: 'Germany' is no country: use two letters of ISO 3166, such as DE",
    ),
    (
        "country: DE\n",
        "country: UK\n",
        "line 6: issuers[0].tax.country: 'UK' is no country of ISO 3166: use GB",
    ),
    (
        "      country: DE\n",
        "",
        "line 6: issuers[0].tax.country: required, but absent or empty: add country",
    ),
    (
        "DE 136.695.976",
        "DE 136.695.975",
        "line 7: issuers[0].tax.vat_id: 'DE 136.695.975' is no VAT id: write it with its country, DE123456788; its digits are checked",
    ),
    (
        "DE 136.695.976",
        "136695976",
        "line 7: issuers[0].tax.vat_id: '136695976' is no VAT id: write it with its country, DE123456788; its digits are checked",
    ),
    (
        "DE 136.695.976",
        "FR40303265045",
        "line 7: issuers[0].tax.vat_id: a VAT id of FR, and the country is DE: mend one of them",
    ),
    (
        "{CH: CHE",
        "{DE: DE136695976, CH: CHE",
        "line 8: issuers[0].tax.registrations.DE: DE is the issuer's own country: remove it, use vat_id",
    ),
    (
        "GB: GB 980",
        "FR: GB 980",
        "line 8: issuers[0].tax.registrations.FR: a VAT id of GB, and the country is FR: mend one of them",
    ),
    (
        "GB: GB 980",
        "EL: GB 980",
        "line 8: issuers[0].tax.registrations.EL: 'EL' is no country of ISO 3166: use GR",
    ),
    ("oss: true", "oss: maybe", "line 9: issuers[0].tax.oss: 'maybe': use true or false"),
    (
        "engine: outside",
        "engine: avalara",
        "line 11: issuers[0].tax.engine: 'avalara': use one of own, outside, outside_always",
    ),
    (
        "fallback: own",
        "fallback: zero",
        "line 12: issuers[0].tax.fallback: 'zero': use one of hold, own",
    ),
    (
        "fallback: own",
        "rate: 19",
        "line 12: issuers[0].tax.rate: nobody reads this key: remove it, or use country, vat_id, registrations, oss, requires, engine, fallback, since",
    ),
    (
        "tax_code: digital",
        "tax_code: books",
        "line 20: plans[0].tax_code: 'books': use one of standard, reduced, second_reduced, super_reduced, digital, goods, zero, exempt, out_of_scope",
    ),
    ("tax: inclusive", "tax: gross", "line 21: plans[0].tax: 'gross': use inclusive or exclusive"),
    (
        "tax_code: exempt, ",
        "",
        "line 25: plans[0].prices[2].tax_reason: only what is exempt or out_of_scope has one: remove it",
    ),
    (
        "name: Ada,",
        "name: Ada, vat_id: FR1,",
        "line 30: customers[0].profile.vat_id: it stands under tax, where it is looked at: move it there",
    ),
    (
        "fr 40 303 265 045",
        "fr 41 303 265 045",
        "line 33: customers[0].tax.vat_id: 'fr 41 303 265 045' is no VAT id: write it with its country, DE123456788; its digits are checked",
    ),
    (
        "fr 40 303 265 045",
        "XI 980780684",
        "line 33: customers[0].tax.vat_id: a VAT id of GB, and the country is FR: mend one of them",
    ),
    (
        "fr 40 303 265 045",
        "fr 40 303 265 045\n      business: false",
        "line 34: customers[0].tax.business: who has a VAT id is a business: remove one of them",
    ),
    (
        "      vat_id: fr 40 303 265 045",
        "      business: true",
        "line 33: customers[0].tax.business: within the Union a business is who has a VAT id: add vat_id, or remove business",
    ),
    (
        ", evidence: paper 7",
        "",
        "line 34: customers[1].tax.exempt.evidence: required, but absent or empty: add evidence",
    ),
    (
        "canary_islands",
        "mallorca",
        "line 36: customers[3].tax.region: 'mallorca' is no region with a tax law of its own: use one of canary_islands, ceuta, melilla",
    ),
    (
        "country: US, business: true",
        "country: US, region: texas",
        "line 35: customers[2].tax.region: 'texas' is no region with a tax law of its own: US has none: remove it",
    ),
]


@pytest.mark.parametrize(("old", "new", "problem"), BROKEN)
def test_a_broken_sheet(old: str, new: str, problem: str) -> None:
    assert old in SHEET
    found = parse_sheet(SHEET.replace(old, new, 1))

    assert isinstance(found, list)
    assert [str(each) for each in found] == [problem]


def desk() -> Desk:
    found = Desk()
    found.apply(SHEET)
    return found


def test_what_it_comes_to() -> None:
    catalog = desk().catalog

    assert catalog.issuers["shop"].tax == IssuerTax(
        "DE",
        "DE136695976",
        (("CH", "CHE107787577MWST"), ("GB", "GB980780684")),
        oss=True,
        requires=("address", "name"),
        engine=Engine.OUTSIDE,
        fallback=Fallback.OWN,
    )
    assert {name: each.tax for name, each in catalog.customers.items()} == {
        "acme": CustomerTax("FR", vat="FR", business=True),
        "base": CustomerTax("DE", exempt="NATO SOFA"),
        "corp": CustomerTax("US", business=True),
        "isle": CustomerTax("ES", "canary_islands"),
        "nobody": None,
    }
    plan = catalog.plans["pro"]
    digital = TaxTerms(TaxCode.DIGITAL, inclusive=True)
    assert [price.tax for price in plan.prices] == [
        digital,
        TaxTerms(TaxCode.REDUCED),
        TaxTerms(TaxCode.EXEMPT, reason="UStG § 4"),
    ]
    assert plan.prices[0].currencies["USD"].tax == digital
    assert [price.tax for price in plan.phases[0].prices or ()] == [digital]


def test_told_again_it_changes_nothing() -> None:
    assert desk().apply(SHEET) == []


def test_vat_ids_and_evidence_of_customers_are_personal_values() -> None:
    told = desk()

    for secret in ("303265045", "paper 7"):
        assert secret not in str([fact.body for fact in told.written])
    assert {"FR40303265045", "paper 7"} <= set(told.known.values())
    assert set(told.catalog.customers["acme"].profile) == {"name", "address", "vat_id"}
    assert set(told.catalog.customers["base"].profile) == {"name", "exemption"}


def test_another_vat_id_is_another_fact() -> None:
    told = desk()

    assert told.apply(SHEET.replace("fr 40 303 265 045", "fr 83 404 833 048")) == ["customer acme"]
    assert told.apply(SHEET.replace("engine: outside", "engine: own")) == [
        "issuer shop",
        "customer acme",
    ]


def test_a_tax_with_a_day_leaves_what_was_before_it() -> None:
    told = desk()
    france, spain = "country: FR\n      vat_id: fr 40 303 265 045", "country: ES\n      since: "
    for day in ("2027-03-01", "2027-01-01"):
        told.apply(SHEET.replace(france, f"{spain}{day}"))

    tax = told.catalog.customers["acme"].tax
    days = ("2026-12-31", "2027-01-01", "2027-03-01")
    found = [on_day(tax, day) for day in days]
    assert [each.country for each in found if each] == ["FR", "ES", "ES"]
    assert told.apply(SHEET.replace(france, f"{spain}2027-01-01")) == []
    assert on_day(CustomerTax("ES", since="2027-01-01"), "2026-12-31") is None
    told.apply(SHEET)
    assert on_day(told.catalog.customers["acme"].tax, "2027-03-01") == CustomerTax(
        "FR", vat="FR", business=True
    )
