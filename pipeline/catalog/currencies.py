"""Currencies: rates of exchange, dated and with their source, and which one counts.

Owns: rates, and the tax point that chooses among them.
Does not own: which currency a subscription is billed in (offers.py), converting (rate/exchange.py).
Law: the rate of a line is the last one dated at or before its tax point: the last instant of what
was served, or the moment that a fee in advance falls due; never the day of issue.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias, cast

from pipeline.core.calendar import Instant, instant_text, parse_instant
from pipeline.core.identity import Json
from pipeline.core.quantity import exact, quantity_text


@dataclass(frozen=True, slots=True)
class FxRate:
    """What one of `base` was worth in `quote` from a date (at 00:00 UTC) on, as a source says."""

    base: str
    quote: str
    date: str
    rate: Fraction
    source: str

    @property
    def subject(self) -> str:
        """What a fact of it is about; a later one of the same date stands instead."""
        return f"{self.base}/{self.quote}/{self.date}"

    @property
    def since(self) -> Instant:
        """From when on it counts."""
        return parse_instant(f"{self.date}T00:00:00Z")

    def body(self) -> dict[str, Json]:
        """Return it as its fact tells it."""
        return {
            "from": self.base,
            "to": self.quote,
            "date": self.date,
            "rate": quantity_text(self.rate),
            "source": self.source,
        }


Rates: TypeAlias = Mapping[tuple[str, str], Sequence[FxRate]]
"""By currencies, in the order of dates."""


def fx_rate(body: Mapping[str, Json]) -> FxRate:
    """Return the rate of a fact."""
    base, quote, date, rate, source = (
        cast(str, body[key]) for key in ("from", "to", "date", "rate", "source")
    )
    return FxRate(base, quote, date, exact(rate), source)


def with_rates(rates: Rates, more: Iterable[FxRate]) -> Rates:
    """Return rates with more of them; one of a date that is known stands instead."""
    found = {pair: {each.date: each for each in own} for pair, own in rates.items()}
    for each in more:
        found.setdefault((each.base, each.quote), {})[each.date] = each
    return {pair: [own[date] for date in sorted(own)] for pair, own in found.items()}


def tax_point(due: Instant, *, in_advance: bool) -> Instant:
    """Return the tax point of a line that falls due at an instant."""
    return due if in_advance else due - 1


def rate_at(rates: Rates, base: str, quote: str, instant: Instant) -> FxRate | str:
    """Return the rate that counts at an instant, or why there is none and how to mend it."""
    known = [each for each in rates.get((base, quote), ()) if each.since <= instant]
    if known:
        return known[-1]
    date = instant_text(instant)[:10]
    return (
        f"no rate from {base} to {quote} dated {date} or before:"
        " add one under fx_rates, or list the price in its currencies"
    )
