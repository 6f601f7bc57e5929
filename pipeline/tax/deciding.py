"""Deciding: which tax is due on one thing sold, by where its issuer and its customer are.

Owns: the category (EN 16931), who taxes, the rate, the reason where nothing is due.
Does not own: rates (rates.py), sums (sums.py), what an outside engine says.
Law: an answer follows from the question alone. What is not known here is said to be unknown:
nothing is ever taxed by a guess.

A checked subset for issuers in the European Union, Great Britain and Switzerland:

- At home: the rate of the code; zero, exempt and exempt customers as the catalog says.
- Services within the Union: to a business with a VAT id reverse charge (Directive 2006/112/EC,
  articles 44 and 196); to a consumer at home's rate (45), but a digital one where the consumer
  lives (58), if the issuer is in the one-stop shop or registered there; if it is neither, it is
  below the threshold of article 59c and at home's rate.
- Services to elsewhere: to a business outside the scope (44); to a consumer at home's rate (45),
  but a digital one outside the scope (58), unless the issuer is registered there.
- Goods: to a business elsewhere in the Union intra-community (138), to a consumer there as digital
  services are (33, 59c); to elsewhere an export (146).
- From Great Britain (VAT Act 1994, s. 7A) as from the Union, but every customer is elsewhere, and a
  digital service to a consumer of the Union needs the one-stop shop or a registration. From
  Switzerland (MWSTG, art. 8) a service is where its recipient is, whoever that is. A foreign
  issuer registered in Switzerland taxes there whoever buys (art. 10, 45).
- A consumer is who has no VAT id in the Union (Regulation 282/2011, art. 18), and elsewhere who is
  not said to be a business.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from functools import lru_cache

from pipeline.catalog.tax_places import EU, OUTSIDE, vat_area
from pipeline.catalog.tax_terms import CustomerTax, IssuerTax, TaxCode, TaxTerms
from pipeline.core.quantity import quantity_text
from pipeline.tax.rates import COUNTRIES, rate_on


class Category(StrEnum):
    """A VAT category, as EN 16931 codes it (UNCL5305)."""

    STANDARD = "S"
    """At a rate above zero."""
    ZERO = "Z"
    EXEMPT = "E"
    REVERSE_CHARGE = "AE"
    INTRA_COMMUNITY = "K"
    EXPORT = "G"
    OUT_OF_SCOPE = "O"


REASONS = {
    Category.REVERSE_CHARGE: "Reverse charge",
    Category.INTRA_COMMUNITY: "Intra-community supply",
    Category.EXPORT: "Export outside the EU",
    Category.OUT_OF_SCOPE: "Not subject to VAT",
    Category.EXEMPT: "Exempt from VAT",
}
"""What stands on a document where no tax is due, unless the catalog says it better."""


@dataclass(frozen=True, slots=True)
class Treatment:
    """How one thing sold is taxed. `source`: the rate's row of the table, or who said so.

    `code` is the category and its rate in one word: S-19, AE.
    """

    category: Category
    jurisdiction: str
    percent: Fraction
    reason: str | None
    source: str
    code: str = field(init=False)

    def __post_init__(self) -> None:
        """Put the code together once: every line asks for it."""
        rate = f"-{quantity_text(self.percent)}" if self.category is Category.STANDARD else ""
        object.__setattr__(self, "code", f"{self.category.value}{rate}")


@dataclass(frozen=True, slots=True)
class Unknown:
    """What the rules here do not know, and how to mend it."""

    why: str
    mend: str


@dataclass(frozen=True, slots=True)
class Question:
    """What a tax depends on. `day`: that of the tax point, in the customer's time zone."""

    issuer: IssuerTax
    customer: CustomerTax
    terms: TaxTerms
    day: str


@lru_cache(maxsize=1 << 14)  # the same few questions are asked for every line of every draft
def decide(question: Question) -> Treatment | Unknown:
    """Return how something is taxed, or why that is not known."""
    issuer, customer, code = question.issuer, question.customer, question.terms.code
    home, there = issuer.country, vat_area(customer.country, customer.region)
    if home not in COUNTRIES:
        return Unknown(
            f"the tax of {home} is not known here", "leave it to an outside engine (tax.engine)"
        )
    if code is TaxCode.OUT_OF_SCOPE:
        return _untaxed(question, Category.OUT_OF_SCOPE, home)
    if code is TaxCode.EXEMPT:
        return _untaxed(question, Category.EXEMPT, home)
    if there == home:
        return _taxed(question, home)
    if code is TaxCode.GOODS:
        return _goods(question, home, there)
    if there in EU:
        return _service_in_union(question, home, there)
    return _service_elsewhere(question, home, there)


def _goods(question: Question, home: str, there: str) -> Treatment | Unknown:
    issuer, customer = question.issuer, question.customer
    if customer.region == "northern_ireland" or home not in EU:
        if there in EU or customer.region == "northern_ireland":
            return Unknown(
                "goods between Great Britain, Northern Ireland, Switzerland and the Union"
                " are not known here",
                "leave them to an outside engine (tax.engine)",
            )
        return _untaxed(question, Category.EXPORT, home)
    if there not in EU:
        return _untaxed(question, Category.EXPORT, home)
    if customer.vat is not None:
        return _untaxed(question, Category.INTRA_COMMUNITY, there)
    declared = issuer.oss or there in issuer.registered
    return _taxed(question, there if declared else home)


def _service_in_union(question: Question, home: str, there: str) -> Treatment | Unknown:
    issuer, code = question.issuer, question.terms.code
    if question.customer.vat is not None:
        if home in EU:
            return _untaxed(question, Category.REVERSE_CHARGE, there)
        return _untaxed(question, Category.OUT_OF_SCOPE, there)
    if code is not TaxCode.DIGITAL:
        return (
            _untaxed(question, Category.OUT_OF_SCOPE, there)
            if home == "CH"
            else _taxed(question, home)
        )
    if issuer.oss or there in issuer.registered:
        return _taxed(question, there)
    if home in EU:
        return _taxed(question, home)
    return Unknown(
        f"a digital service to a consumer in {there}, where the issuer declares no tax",
        f"register it there (tax.registrations.{there}), or set tax.oss",
    )


def _service_elsewhere(question: Question, home: str, there: str) -> Treatment | Unknown:
    registered = there in question.issuer.registered
    if registered and there == "CH":
        return _taxed(question, there)
    if question.customer.business or home == "CH":
        return _untaxed(question, Category.OUT_OF_SCOPE, there)
    if question.terms.code is not TaxCode.DIGITAL:
        return _taxed(question, home)
    if registered and there != OUTSIDE:
        return _taxed(question, there)
    return _untaxed(question, Category.OUT_OF_SCOPE, there)


_STANDARD_RATED = (TaxCode.DIGITAL, TaxCode.GOODS)


def _taxed(question: Question, country: str) -> Treatment | Unknown:
    """Return what is due in a country that taxes it."""
    code, exempt = question.terms.code, question.customer.exempt
    if code is TaxCode.ZERO:
        return Treatment(Category.ZERO, country, Fraction(0), None, "price")
    if exempt is not None:
        return Treatment(Category.EXEMPT, country, Fraction(0), exempt, "customer")
    listed = TaxCode.STANDARD if code in _STANDARD_RATED else code
    rate = rate_on(country, listed, question.day)
    if rate is None:
        return Unknown(
            f"no {listed.replace('_', ' ')} rate of {country} on {question.day} is known here",
            "use another tax_code, or leave it to an outside engine (tax.engine)",
        )
    source = f"{country} {listed} {rate.since}"
    return Treatment(Category.STANDARD, country, rate.percent, None, source)


def _untaxed(question: Question, category: Category, place: str) -> Treatment:
    """Return that nothing is due; of an exemption the price may say why."""
    where = question.customer.country if place == OUTSIDE else place
    stated = category in (Category.EXEMPT, Category.OUT_OF_SCOPE) and question.terms.reason
    return Treatment(category, where, Fraction(0), stated or REASONS[category], "rules")
