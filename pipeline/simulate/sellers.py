"""Sellers: what of each document is whose, as the auditor works it out.

Owns: that each statement's lines are those of its seller, and gross = commission + payout.
Does not own: which seller a line must name (billing.py), amounts of lines (auditor.py).
Law: it shares no step with the pipeline.
"""

from collections.abc import Collection, Iterator, Mapping
from fractions import Fraction
from typing import cast

from pipeline.core.identity import Json
from pipeline.invoice.marketplace import statements
from pipeline.simulate.agreements import Body
from pipeline.simulate.sold import minor
from pipeline.stores.postgres.documents import Document

Fault = tuple[str, str]
"""(law, detail)."""


def seller_faults(documents: Collection[Document]) -> Iterator[Fault]:
    """Yield every statement of a document that is not what its lines make of it."""
    for document in documents:
        sold: dict[tuple[str, str], dict[str, int]] = {}
        for line in cast(list[Body], document.content["lines"]):
            seller = cast(
                "Body | None", (cast("Body | None", line["rate_card"]) or {}).get("seller")
            )
            if seller is not None:
                owner = str(seller["id"]), str(seller["commission_percent"])
                totals = cast(Mapping[str, int], line["totals"])
                net = totals["total_minor"] - totals["taxes_total_minor"]
                sold.setdefault(owner, {})[str(line["id"])] = net
        told = [each.json() for each in statements(document.content)]
        named = [(str(each["seller"]), str(each["commission_percent"])) for each in told]
        if sorted(named) != sorted(sold):
            yield "sellers", f"{document.sealed.number} has statements of {named}, not {[*sold]}"
            continue
        for owner, each in zip(named, told, strict=True):
            for fault in _statement_faults(each, sold[owner], Fraction(owner[1]) / 100):
                yield "sellers", f"{document.sealed.number}, {owner[0]} at {owner[1]}%: {fault}"


def _statement_faults(
    told: Mapping[str, Json], nets: Mapping[str, int], share: Fraction
) -> Iterator[str]:
    """Yield what is wrong with a statement over lines that come to `nets`."""
    kept = minor(sum(nets.values()) * share, 0)
    lines = cast(list[Body], told["lines"])
    if {str(line["line"]): line["gross_minor"] for line in lines} != nets:
        yield f"lines {lines} for {nets}"
    if _sums(told) != (sum(nets.values()), kept, sum(nets.values()) - kept):
        yield f"{_sums(told)}, and the commission must be {kept}"
    for line in lines:
        gross, commission, payout = _sums(line)
        if gross != commission + payout or abs(commission - gross * share) >= 1:
            yield f"line {line['line']}: {_sums(line)}"
    if sum(_sums(line)[1] for line in lines) != kept:
        yield f"the commissions of its lines are not {kept}"


def _sums(told: Mapping[str, Json]) -> tuple[int, int, int]:
    gross, commission, payout = (
        cast(int, told[f"{name}_minor"]) for name in ("gross", "commission", "payout")
    )
    return gross, commission, payout
