"""Prices in another currency: exactly the rate times what they come to, each line rounded once."""

from dataclasses import replace
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from laws.test_rate_laws import all_prices, decimals, quantities, requests
from pipeline.core.money import minor_digits
from pipeline.rate import Fault, Price, RatingInput, exchanged, price_json, rate
from pipeline.rate.price import price_parts
from pipeline.rate.rating import work
from pipeline.rate.request import line_events, line_quantity

rates = decimals("0.0001", "200", 4)
billed = st.sampled_from(["EUR", "JPY", "KWD"])


def rounded(value: Fraction) -> int:
    """Half away from zero, written out."""
    doubled = abs(value) * 2 + 1
    whole = doubled.numerator // (doubled.denominator * 2)
    return whole if value >= 0 else -whole


@given(requests(all_prices), rates, billed)
def test_a_line_is_the_rate_times_its_exact_amount_rounded_once(
    request: RatingInput, fx: Fraction, currency: str
) -> None:
    plain = RatingInput(
        currency,
        exchanged(request.price, fx),
        request.quantity,
        event_count=request.event_count,
        per_event_amounts=request.per_event_amounts,
        dimensions=request.dimensions,
    )
    answer, before = rate(plain), replace(plain, price=request.price)
    if isinstance(answer, Fault):
        assert isinstance(rate(before), Fault)
        return
    quantity = line_quantity(before)
    assert not isinstance(quantity, Fault)
    parts = price_parts(
        request.price, max(Fraction(0), quantity), line_events(before), request.dimensions
    )

    scale = 10 ** minor_digits(currency)
    exact = [part.quantity * part.unit_amount * fx * scale for part in parts]
    assert [line.amount_minor for line in answer.lines] == [rounded(amount) for amount in exact]
    assert [line.quantity for line in answer.lines] == [part.quantity for part in parts]


@given(all_prices, rates, rates)
def test_two_exchanges_are_one_at_their_product(
    price: Price, one: Fraction, other: Fraction
) -> None:
    assert exchanged(exchanged(price, one), other) == exchanged(price, one * other)


@given(all_prices)
def test_one_for_one_changes_nothing(price: Price) -> None:
    assert exchanged(price, Fraction(1)) == price
    assert price_json(exchanged(price, Fraction(1))) == price_json(price)


@given(all_prices, quantities, rates)
def test_whatever_can_be_rated_can_be_rated_exchanged(
    price: Price, quantity: Fraction, fx: Fraction
) -> None:
    before = work(RatingInput("EUR", price, quantity))
    after = work(RatingInput("EUR", exchanged(price, fx), quantity))

    assert isinstance(before, Fault) is isinstance(after, Fault)
