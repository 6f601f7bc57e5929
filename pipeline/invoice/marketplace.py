"""Marketplace: what of a document is its sellers', and what its issuer keeps for selling it.

Owns: the statement of each seller, line by line.  Does not own: the lines (compose.py), who is
paid out when (nobody here moves money), what a seller owes in tax.
Law: gross = commission + payout, of each line and in all. Gross is what a line comes to before
tax. The commission of a seller at a rate is rounded once over the document, half away from zero,
and given back to its lines by largest remainder: a note takes off of both what it takes off.

A statement follows from the lines alone, which tell seller and rate, so it is as sealed as they.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from pipeline.catalog.sellers import Seller, seller
from pipeline.core.identity import Json
from pipeline.core.quantity import quantity_text
from pipeline.invoice.totals import Totals
from pipeline.tax.sums import split_tax, tax_of, tax_share

Record = Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Payout:
    """What is paid out of an amount, and what is kept of it, in minor units."""

    gross: int
    commission: int

    @property
    def payout(self) -> int:
        """What the seller is paid."""
        return self.gross - self.commission

    def json(self) -> dict[str, Json]:
        """Return it by name."""
        return {
            "gross_minor": self.gross,
            "commission_minor": self.commission,
            "payout_minor": self.payout,
        }


@dataclass(frozen=True, slots=True)
class Statement:
    """A seller's part of a document, at one rate: in all, and of each line in their order."""

    seller: Seller
    currency: str
    whole: Payout
    lines: Sequence[tuple[Record, Payout]]

    def json(self) -> dict[str, Json]:
        """Return it for a report."""
        return {
            "seller": self.seller.id,
            "commission_percent": quantity_text(self.seller.commission),
            "currency": self.currency,
            **self.whole.json(),
            "lines": [{"line": line["id"], **each.json()} for line, each in self.lines],
        }


def statements(content: Record) -> list[Statement]:
    """Return the statements of a document's sellers, by seller and rate."""
    sold: dict[Seller, list[Record]] = {}
    for line in cast(list[Record], content["lines"]):
        card = cast("Record | None", line["rate_card"]) or {}
        owner = seller(card.get("seller"))
        if owner is not None:
            sold.setdefault(owner, []).append(line)
    return [_statement(owner, lines) for owner, lines in sorted(sold.items())]


def _statement(owner: Seller, lines: Sequence[Record]) -> Statement:
    nets = [*map(_gross, lines)]
    share = tax_share(owner.commission, inclusive=False)  # a part of sums, taken as a tax is
    kept = tax_of(sum(nets), share)
    own = [Payout(*each) for each in zip(nets, split_tax(kept, nets, share), strict=True)]
    return Statement(
        owner,
        str(lines[0]["currency"]),
        Payout(sum(nets), kept),
        [*zip(lines, own, strict=True)],
    )


def _gross(line: Record) -> int:
    totals = Totals.of_json(line["totals"])
    return totals.total - totals.taxes_total


def payouts(contents: Iterable[tuple[str, Record]], owner: str | None) -> Iterator[dict[str, Json]]:
    """Yield what each seller, or one, is paid out of each document, by number."""
    for number, content in contents:
        for each in statements(content):
            if owner in (None, each.seller.id):
                yield {"number": number, "customer": content["customer"], **each.json()}
