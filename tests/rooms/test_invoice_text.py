"""The text of a document: every figure aligned, every amount with its currency's decimals."""

from collections.abc import Mapping
from dataclasses import asdict

from pipeline.core.identity import Json
from pipeline.invoice.text import WIDTH, invoice_text
from pipeline.invoice.totals import Totals

MARCH = {"period_start": "2026-03-01T00:00:00Z", "period_end": "2026-04-01T00:00:00Z"}


def totals_of(amount: int, charges: int = 0, discounts: int = 0) -> Json:
    return Totals.of(amount=amount, charges=charges, discounts=discounts).json()


def line(name: str, amount: int, **more: Json) -> dict[str, Json]:
    plain: dict[str, Json] = {
        "name": name,
        "description": name,
        "quantity": "1",
        "unit_amount": "1",
        "currency": "EUR",
        "subtotal_minor": amount,
        "totals": totals_of(amount),
        "discounts": [],
        "children": [],
        **MARCH,
    }
    return plain | more


def document(*lines: Json, totals: Json, currency: str = "EUR") -> Mapping[str, Json]:
    return {
        "id": "inv_1",
        "kind": "invoice",
        "issuer": "talea",
        "customer": "acme",
        "currency": currency,
        "totals": totals,
        "lines": list(lines),
        **MARCH,
    }


def body(content: Mapping[str, Json]) -> str:
    """The table without the head."""
    return invoice_text(content).split("\n\n", 2)[2]


def test_discounts_charges_and_a_line_s_own_period() -> None:
    usage = line(
        "Calls",
        1000,
        description="Calls, 1234.5 call",
        quantity="1234.5",
        children=[
            line("Calls: tier 1 usage", 900, totals=totals_of(900, discounts=50)),
            line("Calls: minimum", 100),
        ],
        totals=totals_of(900, 100, 50),
    )
    fee = line("Fee", -5, period_end="2026-03-10T00:00:00Z")

    assert (
        body(document(usage, fee, totals=totals_of(895, 100, 50)))
        == """\
                                                   Quantity  Unit amount  Amount
--------------------------------------------------------------------------------
Calls (call)                                         1234.5            1   10.00
  discount                                                                 -0.50
  tier 1 usage                                            1            1    9.00
    discount                                                               -0.50
  minimum                                                 1            1    1.00
Fee                                                       1            1   -0.05
  2026-03-01T00:00:00Z to
  2026-03-10T00:00:00Z
--------------------------------------------------------------------------------
Amount                                                                      8.95
Charges                                                                     1.00
Discounts                                                                  -0.50
Total EUR                                                                   9.45
"""
    )


def test_taxes_are_told_where_there_are_any() -> None:
    taxed = asdict(Totals(amount=219, taxes_exclusive_total=19, taxes_total=36, total=238))
    totals: Json = {f"{name}_minor": figure for name, figure in taxed.items()}
    taxes: Json = [
        tax_row("DE", "19", 100, 19),
        tax_row("FR", "0", 17, 0, reason="Reverse charge"),
        tax_row("FR", "20", 85, 17, inclusive=True),
    ]

    assert body({**document(totals=totals), "taxes": taxes}).splitlines()[-5:] == [
        "Amount" + "2.19".rjust(WIDTH - 6),
        "VAT 19 % (DE) on 1.00" + "0.19".rjust(WIDTH - 21),
        "Reverse charge (FR) on 0.17" + "0.00".rjust(WIDTH - 27),
        "Total EUR" + "2.38".rjust(WIDTH - 9),
        "of which VAT 20 % (FR) on 0.85" + "0.17".rjust(WIDTH - 30),
    ]


def tax_row(
    jurisdiction: str, rate: str, taxable: int, tax: int, reason: str | None = None, **told: bool
) -> dict[str, Json]:
    """A category of tax as content has it."""
    return {
        "jurisdiction": jurisdiction,
        "rate_percent": rate,
        "taxable_minor": taxable,
        "tax_minor": tax,
        "reason": reason,
        "inclusive": False,
        **told,
    }


def test_long_names_are_wrapped_and_long_words_are_not_broken() -> None:
    wordy = line("A name of a great many words that goes on until it fills more than one row", 1)
    word = "x" * 70
    text = body(document(wordy, line(word, 2), totals=totals_of(3)))

    assert word in text
    assert "A name of a great many words" in text
    rows = text.splitlines()
    assert all(row.endswith(("0.01", "0.02", "0.03")) for row in rows if "0.0" in row)
    assert len({len(row) for row in rows if "0.0" in row or row.startswith("-")}) == 1


def test_every_currency_has_its_own_decimals() -> None:
    for currency, total in (("JPY", "123456"), ("EUR", "1234.56"), ("KWD", "123.456")):
        fee = line("Fee", 123456, currency=currency)
        text = body(document(fee, totals=totals_of(123456), currency=currency))
        assert text.splitlines()[2].endswith(f" {total}")
        assert text.splitlines()[-1].endswith(f" {total}")
