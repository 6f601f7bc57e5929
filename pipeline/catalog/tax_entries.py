"""Tax entries: what a sheet says of tax, of an issuer, a customer, a price.

Owns: every check that one entry alone can answer; which VAT ids are ones (python-stdnum, offline).
Does not own: which tax follows (tax), what nobody reads (shape.py).
Law: a VAT id that is none never comes into force; a country is one of ISO 3166.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import TypeVar

from stdnum.ch import vat as swiss
from stdnum.eu import vat as european
from stdnum.gb import vat as british

from pipeline.catalog import card_shapes, shape
from pipeline.catalog.fields import parse_date, parse_flag, parse_id, parse_text
from pipeline.catalog.tax_places import COUNTRIES, EU, MISTAKEN, REGIONS
from pipeline.catalog.tax_terms import (
    CustomerTax,
    Engine,
    Fallback,
    IssuerTax,
    TaxCode,
    TaxTerms,
)
from pipeline.catalog.yaml import Entry, shown

VAT_ID, EXEMPTION = "vat_id", "exemption"
"""Under which names a customer's VAT id, and what shows it is exempt, are personal values."""

E = TypeVar("E", bound=StrEnum)


def parse_country(text: str) -> str:
    """Return a country."""
    if text in MISTAKEN:
        raise ValueError(f"{shown(text)} is no country of ISO 3166: use {MISTAKEN[text]}")
    if text not in COUNTRIES:
        raise ValueError(f"{shown(text)} is no country: use two letters of ISO 3166, such as DE")
    return text


def parse_vat_id(text: str) -> str:
    """Return a VAT id of the Union, Great Britain or Switzerland, without spaces and points."""
    told = text.upper().replace(" ", "").replace("-", "").replace(".", "")
    check = british if told.startswith("GB") else swiss if told.startswith("CHE") else european
    if not told[:2].isalpha() or not check.is_valid(told):
        raise ValueError(
            f"{shown(text)} is no VAT id: write it with its country, DE123456788; its digits are"
            " checked"
        )
    return told


def vat_country(vat_id: str) -> str:
    """Return the country of a VAT id."""
    return {"EL": "GR", "XI": "GB"}.get(vat_id[:2], vat_id[:2])


def _one_of(words: type[E]) -> Callable[[str], E]:
    def parse(text: str) -> E:
        try:
            return words(text)
        except ValueError:
            raise ValueError(f"{shown(text)}: use one of {', '.join(words)}") from None

    return parse


def read_issuer_tax(issuer: Entry) -> IssuerTax | None:
    """Return where an issuer is taxed; None where it says nothing of it."""
    entry = issuer.inner("tax")
    if entry is None:
        return None
    entry.close(*shape.ISSUER_TAX.keys)
    country = entry.needed("country", parse_country, "")
    vat_id = entry.optional("vat_id", parse_vat_id, None)
    _check_vat_country(entry, "vat_id", vat_id, country)
    return IssuerTax(
        country,
        vat_id,
        _registrations(entry, country),
        entry.optional("oss", parse_flag, False),
        tuple(sorted(set(entry.texts("requires", parse_id)))),
        entry.optional("engine", _one_of(Engine), Engine.OWN),
        entry.optional("fallback", _one_of(Fallback), Fallback.HOLD),
        entry.optional("since", parse_date, None),
    )


def _registrations(entry: Entry, own: str) -> tuple[tuple[str, str], ...]:
    told, found = entry.inner("registrations"), []
    for key in [] if told is None else told.filled():
        assert told is not None
        vat_id = told.needed(key, parse_vat_id, "")
        try:
            parse_country(key)
        except ValueError as error:
            told.note(key, str(error))
            continue
        if key == own:
            told.note(key, f"{own} is the issuer's own country: remove it, use vat_id")
        _check_vat_country(told, key, vat_id, key)
        found.append((key, vat_id))
    return tuple(sorted(found))


def _check_vat_country(entry: Entry, key: str, vat_id: str | None, country: str) -> None:
    if vat_id and country and vat_country(vat_id) != country:
        message = f"a VAT id of {vat_country(vat_id)}, and the country is {country}"
        entry.note(key, f"{message}: mend one of them")


def read_customer_tax(customer: Entry) -> tuple[CustomerTax | None, dict[str, str]]:
    """Return where a customer is and what it is in tax law, and the personal values of it."""
    entry = customer.inner("tax")
    if entry is None:
        return None, {}
    entry.close(*shape.CUSTOMER_TAX.keys)
    country = entry.needed("country", parse_country, "")
    vat_id = entry.optional(VAT_ID, parse_vat_id, None)
    _check_vat_country(entry, VAT_ID, vat_id, country)
    business = entry.optional("business", parse_flag, vat_id is not None)
    if vat_id is not None and not business:
        entry.note("business", "who has a VAT id is a business: remove one of them")
    if business and vat_id is None and country in EU:
        entry.note(
            "business",
            "within the Union a business is who has a VAT id: add vat_id, or remove business",
        )
    personal = {} if vat_id is None else {VAT_ID: vat_id}
    exempt = entry.inner("exempt")
    reason = None
    if exempt is not None:
        exempt.close(*shape.EXEMPTION.keys)
        reason = exempt.needed("reason", parse_text, "")
        personal[EXEMPTION] = exempt.needed("evidence", parse_text, "")
    prefix = None if vat_id is None else vat_id[:2]
    since = entry.optional("since", parse_date, None)
    tax = CustomerTax(country, _region(entry, country), prefix, business, reason, since)
    return tax, personal


def _region(entry: Entry, country: str) -> str | None:
    region = entry.optional("region", parse_id, None)
    known = REGIONS.get(country, {})
    if region is not None and region not in known:
        told = f"use one of {', '.join(known)}" if known else f"{country} has none: remove it"
        entry.note("region", f"{shown(region)} is no region with a tax law of its own: {told}")
        return None
    return region


def read_tax_terms(entry: Entry) -> TaxTerms | None:
    """Return what a price or a plan says of tax: `tax_code`, `tax`, `tax_reason`."""
    if not any(entry.value(key) is not None for key in card_shapes.TAX_TERMS):
        return None
    code = entry.optional("tax_code", _one_of(TaxCode), TaxCode.STANDARD)
    reason = entry.optional("tax_reason", parse_text, None)
    if reason is not None and code not in (TaxCode.EXEMPT, TaxCode.OUT_OF_SCOPE):
        entry.note("tax_reason", "only what is exempt or out_of_scope has one: remove it")
    return TaxTerms(code, entry.optional("tax", _parse_inclusive, False), reason)


def _parse_inclusive(text: str) -> bool:
    if text not in ("inclusive", "exclusive"):
        raise ValueError(f"{shown(text)}: use inclusive or exclusive")
    return text == "inclusive"
