"""`talea catalog plan`: what a catalog would change, whom, and by how much money."""

from collections.abc import Sequence
from typing import cast

from rich.table import Table
from rich.text import Text

from pipeline.catalog.catalog import FactLog
from pipeline.catalog.changes import Changes
from pipeline.catalog.facts import Fact
from pipeline.catalog.planning import (
    Difference,
    as_written,
    buyers,
    differences,
    touched,
    unchanged_count,
)
from pipeline.catalog.sheet import Sheet
from pipeline.catalog.subscriptions import Subscription
from pipeline.cli.screen import counted, out
from pipeline.core.calendar import instant_text
from pipeline.core.identity import Json
from pipeline.core.money import Money
from pipeline.invoice.effect import Effect, sums
from pipeline.stores.postgres.drafts import Draft
from pipeline.workers.drafting import OpenBooks
from pipeline.workers.foreseeing import Foreseen, foresee

_EFFECTS_SHOWN = 20
_OF_LINES = (
    "source_id",
    "type",
    "description",
    "quantity",
    "period_start",
    "period_end",
    "total_minor",
)
"""What is told of the lines of a document that would be issued at once."""


class Outlook:
    """What follows from a sheet's changes."""

    def __init__(
        self, books: OpenBooks, facts: Sequence[Fact], sheet: Sheet, found: Changes
    ) -> None:
        """Work it out; the drafts of whoever is touched are rated twice."""
        log = FactLog()
        log.append(facts)
        after = as_written(log.at(log.head), found.facts)
        self._position = log.head
        self._differences = differences(facts, found.facts)
        self._unchanged = unchanged_count(sheet, found.facts)
        self._touched: list[Subscription] = touched(after, found.facts)
        customers = {subscription.customer for subscription in self._touched}
        self._customers = sorted(customers | buyers(found.facts))
        with counted("rating drafts") as tell:
            self._foreseen: Foreseen = foresee(books, log, after, self._customers, tell)

    def json(self) -> dict[str, Json]:
        """Return all of it."""
        added = [each for each in self._differences if each.before is None]
        changed = [each for each in self._differences if each.before is not None]
        return {
            "fact_position": self._position,
            "added": [each.json() for each in added],
            "changed": [each.json() for each in changed],
            "unchanged": self._unchanged,
            "customers": [*self._customers],
            "subscriptions": [subscription.id for subscription in self._touched],
            "drafts": [effect.json() for effect in self._foreseen.effects],
            "totals": [*sums(self._foreseen.effects)],
            "at_once": [_issued(one) for one in self._foreseen.at_once],
            "unrated": [
                {
                    "customer": one.payer,
                    "currency": one.currency,
                    "cut_instant": instant_text(one.instant),
                    "why": _why(one),
                    "validation_issues": [dict(issue) for issue in one.issues],
                }
                for one in self._foreseen.unrated
            ],
        }

    def tell(self) -> None:
        """Print it for a person: changes, then the drafts that move most."""
        for each in self._differences:
            out.print(_line(each), markup=False, soft_wrap=True)
        out.print(
            f"{self._unchanged} entries unchanged; {len(self._touched)} subscriptions of"
            f" {len(self._customers)} customers touched"
        )
        moved = sorted(self._foreseen.effects, key=lambda e: (-abs(e.difference_minor), e))
        if moved:
            out.print(_table(moved[:_EFFECTS_SHOWN]))
        if len(moved) > _EFFECTS_SHOWN:
            out.print(f"and {len(moved) - _EFFECTS_SHOWN} more drafts: --json has all")
        for total in sums(moved):
            currency = str(total["currency"])
            before, after, difference = (
                _money(int(str(total[f"{name}_minor"])), currency)
                for name in ("before", "after", "difference")
            )
            out.print(f"all of them: {before} -> {after} ({difference} {currency})", markup=False)
        self._tell_at_once()
        for one in self._foreseen.unrated:
            out.print(f"cannot be rated then: {_why(one)}", markup=False, soft_wrap=True)

    def _tell_at_once(self) -> None:
        """Print who gets a document as soon as this is in force, and what is in it."""
        at_once = self._foreseen.at_once
        for one in map(_issued, at_once[:_EFFECTS_SHOWN]):
            currency, lines = str(one["currency"]), cast(list[dict[str, Json]], one["lines"])
            total = _money(cast(int, one["total_minor"]), currency)
            when = "early, at a threshold" if one["cause"] else f"of {one['cut_instant']}"
            told = f"at once: {one['customer']}, an invoice {when}: {total} {currency}"
            out.print(told, markup=False, soft_wrap=True)
            for line in lines:
                start, end = line["period_start"], line["period_end"]
                period = start if start == end else f"{start} to {end}"
                amount = _money(cast(int, line["total_minor"]), currency)
                told = f"  {line['description']}, {period}: {amount}"
                out.print(told, markup=False, soft_wrap=True)
        if len(at_once) > _EFFECTS_SHOWN:
            out.print(f"and {len(at_once) - _EFFECTS_SHOWN} more at once: --json has all")


def _issued(draft: Draft) -> dict[str, Json]:
    """Return what is told of a document that would be issued at once."""
    content = draft.content
    lines = cast(list[dict[str, Json]], content["lines"])
    return {
        "customer": draft.payer,
        "currency": draft.currency,
        "cut_instant": content["cut_instant"],
        "issuer": content["issuer"],
        "cause": content.get("cause"),
        "total_minor": cast(dict[str, Json], content["totals"])["total_minor"],
        "lines": [{key: line[key] for key in _OF_LINES} for line in lines],
    }


def _why(draft: Draft) -> str:
    return "; ".join(f"{issue['component']}: {issue['message']}" for issue in draft.issues)


def _line(each: Difference) -> str:
    if each.before is None:
        return f"+ {each.kind.value} {each.id}"
    return f"~ {each.kind.value} {each.id}: {', '.join(each.keys)}"


def _table(found: Sequence[Effect]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("customer", "period end", "before", "after", "difference", ""):
        amount = name in ("before", "after", "difference")
        table.add_column(name, justify="right" if amount else "left", no_wrap=True)
    for each in found:
        amounts = (each.before_minor, each.after_minor, each.difference_minor)
        told = ["-" if amount is None else _money(amount, each.currency) for amount in amounts]
        cells = (each.customer, each.cut_instant, *told, each.currency)
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _money(amount_minor: int, currency: str) -> str:
    return Money(amount_minor, currency).text
