"""Tax terms: what a catalog says of tax: of issuers, of customers, of prices.

Owns: the records, and how a fact's body becomes one and one a body.
Does not own: which tax follows from them (tax), YAML (tax_entries.py).
Law: where an issuer says nothing of tax, nothing it issues speaks of tax. A VAT id enters a fact
as the country it is of, once it was found to be one; the id itself is a personal value.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TypeAlias, TypeVar, cast

from pipeline.core.identity import Json

Body: TypeAlias = Mapping[str, Json]


class TaxCode(StrEnum):
    """What is sold, as tax law tells it apart."""

    STANDARD = "standard"
    """A service at the standard rate."""
    REDUCED = "reduced"
    SECOND_REDUCED = "second_reduced"
    SUPER_REDUCED = "super_reduced"
    DIGITAL = "digital"
    """A service supplied electronically: a consumer pays the tax of where he lives."""
    GOODS = "goods"
    ZERO = "zero"
    EXEMPT = "exempt"
    OUT_OF_SCOPE = "out_of_scope"


class Engine(StrEnum):
    """Who says which tax is due."""

    OWN = "own"
    """The rules here; what they do not know holds the document up."""
    OUTSIDE = "outside"
    """An outside engine is asked for what the rules here do not know."""
    OUTSIDE_ALWAYS = "outside_always"


class Fallback(StrEnum):
    """What is done while an outside engine does not answer."""

    HOLD = "hold"
    """The document waits."""
    OWN = "own"
    """The rules here are taken, where they know; else the document waits."""


@dataclass(frozen=True, slots=True)
class TaxTerms:
    """What a price says of tax. `inclusive`: its amounts contain it. `reason`: why none is due."""

    code: TaxCode = TaxCode.STANDARD
    inclusive: bool = False
    reason: str | None = None

    def body(self) -> dict[str, Json]:
        """Return them as facts and documents tell them."""
        told: dict[str, Json] = {"code": self.code.value, "inclusive": self.inclusive}
        return told if self.reason is None else {**told, "reason": self.reason}


NO_TAX_TERMS = TaxTerms()
"""Of a price that says nothing."""


def tax_terms(body: Json) -> TaxTerms | None:
    """Return the tax terms under a rate card's `tax`."""
    if body is None:
        return None
    told = cast(Body, body)
    reason = cast("str | None", told.get("reason"))
    return TaxTerms(TaxCode(cast(str, told["code"])), told["inclusive"] is True, reason)


@dataclass(frozen=True, slots=True)
class IssuerTax:
    """Where an issuer is taxed. `registrations`: VAT ids it has elsewhere, by country.

    `oss`: it declares what consumers in the European Union owe through the one-stop shop.
    `requires`: values of the billing profile without which nothing is issued. It holds from the day
    `since` on, what was `earlier` before; without a day throughout.
    """

    country: str
    vat_id: str | None = None
    registrations: tuple[tuple[str, str], ...] = ()
    oss: bool = False
    requires: tuple[str, ...] = ()
    engine: Engine = Engine.OWN
    fallback: Fallback = Fallback.HOLD
    since: str | None = None
    earlier: "IssuerTax | None" = field(default=None, compare=False, repr=False)

    @property
    def registered(self) -> frozenset[str]:
        """The countries that it is registered in besides its own."""
        return frozenset(country for country, _ in self.registrations)

    def body(self) -> dict[str, Json]:
        """Return it as its fact tells it."""
        return {
            "country": self.country,
            "vat_id": self.vat_id,
            "registrations": dict(self.registrations),
            "oss": self.oss,
            "requires": list(self.requires),
            "engine": self.engine.value,
            "fallback": self.fallback.value,
            "since": self.since,
        }


def issuer_tax(body: Json) -> IssuerTax | None:
    """Return what the body of an issuer's fact says under `tax`."""
    if body is None:
        return None
    told = cast(Body, body)
    registrations = cast(dict[str, str], told["registrations"])
    return IssuerTax(
        cast(str, told["country"]),
        cast("str | None", told["vat_id"]),
        tuple(sorted(registrations.items())),
        told["oss"] is True,
        tuple(cast(list[str], told["requires"])),
        Engine(cast(str, told["engine"])),
        Fallback(cast(str, told["fallback"])),
        cast("str | None", told.get("since")),
    )


@dataclass(frozen=True, slots=True)
class CustomerTax:
    """Where a customer is, and what it is in tax law.

    `vat`: the prefix of its checked VAT id; `exempt`: why it owes no tax. The id itself, and what
    shows the exemption, are personal values. It holds from the day `since` on, what was `earlier`
    before; without a day throughout.
    """

    country: str
    region: str | None = None
    vat: str | None = None
    business: bool = False
    exempt: str | None = None
    since: str | None = None
    earlier: "CustomerTax | None" = field(default=None, compare=False, repr=False)

    def body(self) -> dict[str, Json]:
        """Return it as facts and documents tell it."""
        return {
            "country": self.country,
            "region": self.region,
            "vat": self.vat,
            "business": self.business,
            "exempt": self.exempt,
            "since": self.since,
        }


def customer_tax(body: Json) -> CustomerTax | None:
    """Return what the body of a customer's fact says under `tax`."""
    if body is None:
        return None
    told = cast(Body, body)
    return CustomerTax(
        cast(str, told["country"]),
        cast("str | None", told["region"]),
        cast("str | None", told["vat"]),
        told["business"] is True,
        cast("str | None", told["exempt"]),
        cast("str | None", told.get("since")),
    )


Dated = TypeVar("Dated", IssuerTax, CustomerTax)


def on_day(latest: Dated | None, day: str) -> Dated | None:
    """Return what holds on a day (2026-11-01); None: nothing was said of it."""
    found = latest
    while found is not None and found.since is not None and day < found.since:
        found = found.earlier
    return found


def dated_after(new: Dated | None, before: Dated | None) -> Dated | None:
    """Return what was said anew on top of what was before: instead of all from its day on."""
    if new is None or new.since is None:
        return new
    while before is not None and before.since is not None and before.since >= new.since:
        before = before.earlier
    return replace(new, earlier=before)
