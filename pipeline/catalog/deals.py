"""Deals: what stands beside plans: books, promotions, credits, orders, decisions and the like.

Owns: their fold.  Does not own: what each of them means (books.py, promotions.py,
credits.py, currencies.py, orders.py, tax_answers.py, corrections.py, mends.py).
Law: as the catalog's: deals depend on the facts up to their position, on nothing else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from pipeline.catalog.books import PriceBook, Switch, price_book, switch
from pipeline.catalog.corrections import CUTTING, NO_DECISIONS, Decisions
from pipeline.catalog.credits import Grant, grant
from pipeline.catalog.currencies import FxRate, Rates, fx_rate, with_rates
from pipeline.catalog.facts import Fact, FactKind
from pipeline.catalog.mends import Mends, with_mends
from pipeline.catalog.orders import NO_ORDERS, Order, Orders, order
from pipeline.catalog.promotions import Promotion, Redemption, promotion, redemption
from pipeline.catalog.tax_answers import TaxAnswers, tax_answer

DEALT = CUTTING | {
    FactKind.BOOK,
    FactKind.BOOK_SWITCH,
    FactKind.PROMOTION,
    FactKind.REDEMPTION,
    FactKind.FX_RATE,
    FactKind.CREDIT,
    FactKind.CREDIT_VOID,
    FactKind.ORDER,
    FactKind.TAX_ANSWER,
    FactKind.MENDED,
}
"""The kinds of facts that say something of them."""


@dataclass(frozen=True, slots=True)
class Deals:
    """Everything of the kind that is in force."""

    books: Mapping[str, PriceBook] = field(default_factory=dict)
    switches: Mapping[str, Switch] = field(default_factory=dict)
    """Of the books that are on for anybody."""
    promotions: Mapping[str, Promotion] = field(default_factory=dict)
    redemptions: Mapping[str, Sequence[Redemption]] = field(default_factory=dict)
    """By subscription, in the order of their facts."""
    credits: Mapping[str, Mapping[str, Grant]] = field(default_factory=dict)
    """By customer and id."""
    rates: Rates = field(default_factory=dict)
    orders: Orders = NO_ORDERS
    tax_answers: TaxAnswers = field(default_factory=TaxAnswers)
    decisions: Decisions = NO_DECISIONS
    mends: Mends = field(default_factory=dict)

    def after(self, facts: Sequence[Fact]) -> "Deals":
        """Return them after more facts; facts of other kinds say nothing of them."""
        if not facts:
            return self
        books, switches, promotions = dict(self.books), dict(self.switches), dict(self.promotions)
        redemptions, credits = dict(self.redemptions), dict(self.credits)
        told: list[FxRate] = []
        ordered: list[Order] = []
        answers = self.tax_answers
        for fact in facts:
            match fact.kind:
                case FactKind.BOOK:
                    books[fact.subject] = price_book(fact.body)
                case FactKind.BOOK_SWITCH:
                    switches.pop(fact.subject, None)
                    switched = switch(fact.serial, fact.body)
                    if switched is not None:
                        switches[fact.subject] = switched
                case FactKind.PROMOTION:
                    promotions[fact.subject] = promotion(fact.body)
                case FactKind.REDEMPTION:
                    new = redemption(fact.body)
                    redemptions[new.subscription] = (*redemptions.get(new.subscription, ()), new)
                case FactKind.FX_RATE:
                    told.append(fx_rate(fact.body))
                case FactKind.CREDIT | FactKind.CREDIT_VOID:
                    owner = str(fact.body["customer"])
                    credits[owner] = _granted(credits.get(owner, {}), fact)
                case FactKind.TAX_ANSWER:
                    told_tax = tax_answer(fact.serial, fact.subject, fact.body)
                    answers = answers.after(told_tax)
                case FactKind.ORDER:
                    ordered.append(order(fact.body))
                case _:
                    pass
        rates, orders = with_rates(self.rates, told), self.orders.after(ordered)
        decisions = self.decisions.after(fact for fact in facts if fact.kind in CUTTING)
        mends = [fact for fact in facts if fact.kind is FactKind.MENDED]
        return Deals(
            books,
            switches,
            promotions,
            redemptions,
            credits,
            rates,
            orders,
            answers,
            decisions,
            with_mends(self.mends, mends) if mends else self.mends,
        )


def _granted(before: Mapping[str, Grant], fact: Fact) -> Mapping[str, Grant]:
    """Return a customer's credits once one is granted, or the rest of one is void."""
    if fact.kind is FactKind.CREDIT:
        return {**before, fact.subject: grant(fact.serial, fact.body)}
    return {**before, fact.subject: replace(before[fact.subject], voided=True)}
