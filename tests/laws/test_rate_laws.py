"""Laws of rating, over anything Hypothesis comes up with."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from fractions import Fraction
from itertools import pairwise

from hypothesis import assume, example, given
from hypothesis import strategies as st

from pipeline.core.money import allocate
from pipeline.core.quantity import quantity_text
from pipeline.rate import (
    BlockTier,
    Cell,
    Discount,
    DynamicPrice,
    Fault,
    FixedDiscount,
    FlatPrice,
    GraduatedPercentagePrice,
    GraduatedPrice,
    MatrixPrice,
    Operation,
    PackagePrice,
    PackageRounding,
    PercentageDiscount,
    PercentagePrice,
    PercentageTier,
    Position,
    Price,
    Rated,
    RatedLine,
    RatingInput,
    Rounding,
    Tier,
    UnitConversion,
    UnitPrice,
    UnitTier,
    VolumePrice,
    answer_allocate,
    answer_rate,
    explain_rate,
    looks_at_events,
    parse_price,
    price_json,
    rate,
)
from pipeline.rate.rating import rate_bare, work

ZERO = Fraction(0)


def decimals(low: str, high: str, places: int = 3) -> st.SearchStrategy[Fraction]:
    return st.decimals(low, high, places=places).map(Fraction)


amounts = decimals("0", "50")
quantities = decimals("0", "60", 2)
above_zero = decimals("0.01", "20", 2)


@st.composite
def bounds(draw: st.DrawFn) -> list[Fraction | None]:
    ends = sorted(draw(st.sets(above_zero, max_size=3)))
    return [*ends, None]


@st.composite
def tiers(draw: st.DrawFn) -> tuple[Tier, ...]:
    def tier(up_to: Fraction | None) -> Tier:
        if draw(st.booleans()):
            return UnitTier(up_to, draw(amounts), draw(st.one_of(st.just(ZERO), amounts)))
        return BlockTier(up_to, draw(above_zero), draw(amounts))

    return tuple(tier(up_to) for up_to in draw(bounds()))


@st.composite
def percentage_tiers(draw: st.DrawFn) -> tuple[PercentageTier, ...]:
    return tuple(PercentageTier(b, draw(amounts), draw(amounts)) for b in draw(bounds()))


progressive_prices: st.SearchStrategy[Price] = st.one_of(
    st.builds(UnitPrice, amounts),
    st.builds(GraduatedPrice, tiers()),
    st.builds(VolumePrice, tiers()),
    st.builds(PackagePrice, above_zero, amounts, quantities, st.sampled_from(PackageRounding)),
    st.builds(PercentagePrice, amounts, free_amount=st.one_of(st.none(), amounts)),
    st.builds(GraduatedPercentagePrice, percentage_tiers()),
    st.builds(DynamicPrice, amounts),
)
all_prices: st.SearchStrategy[Price] = st.one_of(
    progressive_prices,
    st.builds(FlatPrice, decimals("-50", "50")),
    st.builds(
        MatrixPrice,
        st.just(("region",)),
        st.tuples(st.builds(Cell, st.just(("eu",)), amounts)),
        amounts,
    ),
    st.builds(
        PercentagePrice,
        amounts,
        amounts,
        st.one_of(st.none(), st.integers(0, 5)),
        st.one_of(st.none(), amounts),
        st.one_of(st.none(), decimals("0", "1")),
        st.one_of(st.none(), decimals("1", "2")),
    ),
)
conversions = st.builds(
    UnitConversion,
    st.sampled_from(Operation),
    above_zero,
    st.sampled_from(Rounding),
    st.integers(0, 2),
)
discounts: st.SearchStrategy[tuple[Discount, ...]] = st.lists(
    st.one_of(
        st.builds(PercentageDiscount, decimals("0", "120", 1)), st.builds(FixedDiscount, amounts)
    ),
    max_size=3,
).map(tuple)


@st.composite
def requests(draw: st.DrawFn, prices: st.SearchStrategy[Price] = progressive_prices) -> RatingInput:
    maximum = draw(st.one_of(st.none(), decimals("0", "300", 2)))
    minimum = draw(st.one_of(st.none(), decimals("0", "300", 2)))
    if maximum is not None and minimum is not None and minimum > maximum:
        maximum, minimum = minimum, maximum
    return RatingInput(
        currency=draw(st.sampled_from(["EUR", "JPY", "KWD"])),
        price=draw(prices),
        quantity=draw(quantities),
        unit_conversion=draw(st.one_of(st.none(), conversions)),
        usage_discount=draw(st.one_of(st.just(ZERO), quantities)),
        discounts=draw(discounts),
        maximum=maximum,
        minimum=minimum,
        proration=draw(st.one_of(st.none(), st.fractions(0, 1, max_denominator=99))),
    )


def rated(request: RatingInput) -> Rated:
    answer = rate(request)
    assert isinstance(answer, Rated), answer
    return answer


def in_pieces(whole: RatingInput, pieces: Sequence[Fraction]) -> list[Rated]:
    """Rate the pieces one after another, as first, mid, ... and last lines."""
    answers, before = [], ZERO
    for index, piece in enumerate(pieces):
        position = Position.FIRST if index == 0 else Position.MID
        if index == len(pieces) - 1:
            position = Position.LAST
        answers.append(
            rated(replace(whole, quantity=piece, pre_line_quantity=before, line_position=position))
        )
        before += piece
    return answers


def by_component(
    lines: Sequence[RatedLine],
) -> dict[tuple[str, Fraction], tuple[Fraction, int, int]]:
    sums: dict[tuple[str, Fraction], tuple[Fraction, int, int]] = defaultdict(lambda: (ZERO, 0, 0))
    for line in lines:
        if line.kind.value == "minimum":
            continue
        key = (line.component.text, line.unit_amount)
        quantity, amount, discount = sums[key]
        sums[key] = (
            quantity + line.quantity,
            amount + line.amount_minor,
            discount + line.discount_minor,
        )
    return {key: value for key, value in sums.items() if any(value)}


@given(requests(), st.lists(decimals("0", "30", 2), min_size=2, max_size=6))
def test_split_anywhere_is_the_whole_line_by_line(
    request: RatingInput, pieces: list[Fraction]
) -> None:
    whole = rated(replace(request, quantity=sum(pieces, ZERO)))
    answers = in_pieces(request, pieces)

    assert sum(answer.amount_minor for answer in answers) == whole.amount_minor
    lines = [line for answer in answers for line in answer.lines]
    assert by_component(lines) == by_component(whole.lines)
    assert all(line.quantity or line.amount_minor or line.discount_minor for line in lines)


@given(requests(), st.lists(decimals("-30", "30", 2), min_size=2, max_size=6))
def test_corrections_on_the_way_leave_no_trace(
    request: RatingInput, pieces: list[Fraction]
) -> None:
    ahead = ZERO
    for piece in pieces:
        ahead += piece
        assume(ahead >= 0)
    whole = rated(replace(request, quantity=ahead))
    answers = in_pieces(request, pieces)

    assert sum(answer.amount_minor for answer in answers) == whole.amount_minor
    billed = 0
    for answer in answers:
        billed += answer.amount_minor
        assert billed >= 0  # a credit is never above what was billed


@given(requests(st.builds(FlatPrice, amounts)))
def test_a_flat_fee_split_in_lines_is_the_whole(request: RatingInput) -> None:
    whole = rated(request)
    parts = [
        rated(replace(request, line_position=position, pre_line_quantity=Fraction(7)))
        for position in (Position.FIRST, Position.MID, Position.LAST)
    ]
    assert sum(part.amount_minor for part in parts) == whole.amount_minor


@given(requests(), st.one_of(st.none(), decimals("0", "400", 2)))
def test_a_line_without_a_past_bears_at_most_its_amount(
    request: RatingInput, previously: Fraction | None
) -> None:
    answer = rated(replace(request, previously_billed_amount=previously))
    for line in answer.lines:
        assert 0 <= line.discount_minor <= line.amount_minor
    assert answer.amount_minor == sum(
        line.amount_minor - line.discount_minor for line in answer.lines
    )
    if request.maximum is not None and previously is None and request.minimum is None:
        scale = {"EUR": 100, "JPY": 1, "KWD": 1000}[request.currency]
        assert answer.amount_minor <= request.maximum * scale + Fraction(1, 2)


@given(requests(), decimals("0", "60", 2), decimals("0", "400", 2))
def test_a_positive_line_bills_up_to_maximum_less_previously_billed(
    request: RatingInput, before: Fraction, previously: Fraction
) -> None:
    assume(request.maximum is not None)
    line = replace(request, currency="EUR", minimum=None, pre_line_quantity=before)
    net = rated(replace(line, maximum=None)).amount_minor
    assume(net >= 0)
    answer = rated(replace(line, previously_billed_amount=previously))
    assert request.maximum is not None
    room = max(ZERO, request.maximum - previously) * 100
    assert answer.amount_minor == min(net, room)


@given(requests())
def test_the_input_order_of_kinds_is_nothing(request: RatingInput) -> None:
    percentages = [d for d in request.discounts if isinstance(d, PercentageDiscount)]
    fixed = [d for d in request.discounts if isinstance(d, FixedDiscount)]
    assert rated(request) == rated(replace(request, discounts=(*percentages, *fixed)))
    assert rated(request) == rated(replace(request, discounts=(*fixed, *percentages)))
    swapped = rated(replace(request, discounts=(*percentages, *reversed(fixed))))
    assert swapped.amount_minor == rated(request).amount_minor


@given(requests(), quantities, decimals("0", "400", 2))
def test_a_minimum_is_reached_by_the_last_line_and_by_no_other(
    request: RatingInput, before: Fraction, previously: Fraction
) -> None:
    assume(request.minimum is not None)
    line = replace(
        request, currency="EUR", pre_line_quantity=before, previously_billed_amount=previously
    )
    assert request.minimum is not None
    for position in Position:
        answer = rated(replace(line, line_position=position))
        tops = [line for line in answer.lines if line.kind.value == "minimum"]
        if position in (Position.FIRST, Position.MID):
            assert not tops
        else:
            assert previously * 100 + answer.amount_minor >= request.minimum * 100
        if tops:
            assert previously * 100 + answer.amount_minor == request.minimum * 100


def naive_graduated(price: GraduatedPrice, units: int) -> dict[int, Fraction]:
    """Price whole units one by one: what a tier charges is the sum over its units."""
    charges: dict[int, Fraction] = defaultdict(lambda: ZERO)
    for unit in range(1, units + 1):
        for number, tier in enumerate(price.tiers):
            if tier.up_to is None or unit <= tier.up_to:
                assert isinstance(tier, UnitTier)
                charges[number] += tier.unit_amount
                break
    return charges


@given(
    st.lists(st.integers(1, 20), max_size=3, unique=True).map(sorted),
    st.lists(amounts, min_size=4, max_size=4),
    st.integers(0, 40),
)
def test_graduated_is_the_sum_of_its_units(
    ends: list[int], prices: list[Fraction], units: int
) -> None:
    limits = [*map(Fraction, ends), None]
    price = GraduatedPrice(
        tuple(UnitTier(up_to, each) for up_to, each in zip(limits, prices, strict=False))
    )
    answer = rated(RatingInput("KWD", price, Fraction(units)))
    charges = naive_graduated(price, units)
    assert [line.amount_minor for line in answer.lines] == [
        charge * 1000 for _, charge in sorted(charges.items())
    ]


@given(st.integers(-(10**9), 10**9), st.lists(quantities, min_size=1, max_size=9))
def test_shares_sum_mirror_and_stay_within_one(total: int, weights: list[Fraction]) -> None:
    whole = sum(weights, ZERO)
    assume(whole)
    shares = allocate(total, weights)

    assert sum(shares) == total
    assert allocate(-total, weights) == [-share for share in shares]
    for share, weight in zip(shares, weights, strict=True):
        assert abs(share - total * weight / whole) < 1
        assert weight or share == 0


@given(all_prices)
def test_a_price_survives_its_json(price: Price) -> None:
    assert parse_price(price_json(price)) == price
    assert parse_price(json.loads(json.dumps(price_json(price)))) == price


@given(
    st.sampled_from(
        ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC"]
    ),
    st.dates(date(1990, 1, 1), date(2037, 1, 1)),
    st.lists(st.integers(0, 24 * 40), min_size=1, max_size=5),
)
def test_services_that_tile_a_period_bill_the_whole(
    zone: str, start: date, hours: list[int]
) -> None:
    cuts = [0, *sorted(hours), 24 * 40]
    times = [_wall(start, hour) for hour in cuts]
    billed = 0
    for begin, end in pairwise(times):
        proration = {
            "period_start": times[0],
            "period_end": times[-1],
            "service_start": begin,
            "service_end": end,
            "time_zone": zone,
        }
        request = {
            "currency": "EUR",
            "price": {"type": "flat", "amount": "1" + "0" * 20},
            "proration": proration,
        }
        answer = json.loads(answer_rate(json.dumps(request)))
        if "error" in answer:  # wall-clock times may step back where clocks do
            assert answer["error"]["code"] == "bad_period"
            return
        billed += int(answer["amount"].replace(".", ""))
    assert abs(billed - 10**22) <= len(cuts)


def _wall(start: date, hour: int) -> str:
    return f"{start + timedelta(days=hour // 24)}T{hour % 24:02}:30"


def words(text: str) -> list[str]:
    return text.split()


REQUEST_KEYS = words(
    "id currency price quantity unit_conversion usage_discount discounts maximum minimum"
    " pre_line_quantity previously_billed_amount line_position proration event_count"
    " per_event_amounts"
)
KEYS = REQUEST_KEYS + words(
    "type amount unit_amount tiers up_to flat_amount block_size block_amount package_size"
    " package_amount free_units rounding rate_percent fixed_per_event free_events free_amount"
    " per_event_minimum per_event_maximum percent operation factor precision period_start"
    " period_end service_start service_end time_zone weights"
)
WORDS = words(
    "flat unit graduated volume package percentage graduated_percentage fixed divide multiply"
    " none ceiling floor half_up up down single first mid last EUR JPY XXX 1 0 -1 0.5 10 1e5 NaN"
    " 2024-01-01 2024-02-01 2024-01-01T00:00:00Z Europe/Berlin UTC Europe"
)
leaves = st.one_of(
    st.sampled_from(WORDS),
    st.text(max_size=5),
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.sampled_from(KEYS), st.text(max_size=3)), inner, max_size=6),
    ),
    max_leaves=20,
)
objects = st.dictionaries(st.sampled_from(REQUEST_KEYS), values, max_size=10)


def check_answered(line: str | bytes) -> None:
    for answer_line, good in ((answer_rate, {"amount", "lines"}), (answer_allocate, {"shares"})):
        text = answer_line(line)
        assert "\n" not in text
        answer = json.loads(text, parse_int=str)  # an id may be a number of any length
        assert set(answer) in ({"id", "error"}, {"id", *good})
        if "error" in answer:
            assert set(answer["error"]) == {"code", "path", "message"}
    assert explain_rate(line).startswith("id ")


@given(st.one_of(values, objects).map(json.dumps))
@example("[" * 100_000)
@example('{"a":' * 100_000)
@example('{"id":' + "9" * 10_000 + "}")
def test_any_json_is_answered(line: str) -> None:
    check_answered(line)


@given(st.one_of(st.text(), st.binary(), st.text(alphabet='{}[]":,01-.eE+ntf\\u ')))
def test_any_line_is_answered(line: str | bytes) -> None:
    check_answered(line)


def request_json(request: RatingInput) -> dict[str, object]:
    assert request.quantity is not None
    return {
        "id": 1,
        "currency": request.currency,
        "price": price_json(request.price),
        "quantity": quantity_text(request.quantity),
        "line_position": request.line_position.value,
        "discounts": [],
    }


@given(requests(all_prices), st.data())
def test_a_request_with_one_thing_changed_is_answered(
    request: RatingInput, data: st.DataObject
) -> None:
    document = request_json(request)
    price = document["price"]
    assert isinstance(price, dict)
    spot = price if data.draw(st.booleans()) else document
    key = data.draw(st.sampled_from([*spot, *KEYS]))
    spot[key] = data.draw(values)
    check_answered(json.dumps(document))


@given(requests(all_prices))
def test_rating_answers_or_says_why(request: RatingInput) -> None:
    answer = rate(request)
    if isinstance(answer, Fault):
        assert answer.code.value in {"events_needed"}


@given(all_prices, decimals("-5", "60", 2), st.sampled_from(["EUR", "JPY", "KWD"]))
def test_a_bare_request_is_rated_as_any_other(
    price: Price, quantity: Fraction, currency: str
) -> None:
    request = RatingInput(currency, price, quantity)
    working = work(request)

    known = not looks_at_events(price) and not isinstance(working, Fault)
    assert request.bare
    assert (rate_bare(currency, price, quantity) is not None) is known
    assert rate(request) == (working if isinstance(working, Fault) else working.rated)


@given(
    st.lists(st.fractions(min_value=0, max_value=60, max_denominator=60), min_size=1),
    amounts,
    decimals("-5", "5"),
    st.sets(above_zero, max_size=2).flatmap(lambda ends: st.permutations([None, *sorted(ends)])),
)
def test_bounds_of_events_cost_what_they_cost_one_by_one(
    paid: list[Fraction], percent: Fraction, fee: Fraction, ends: list[Fraction | None]
) -> None:
    low, high = ends[0], ends[-1]
    assume(low is not None or high is not None)
    assume(low is None or high is None or low <= high)
    price = PercentagePrice(percent, fee, per_event_minimum=low, per_event_maximum=high)
    costs = []
    for each in paid:
        cost = each * percent / 100 + fee
        cost = cost if low is None else max(cost, low)
        costs.append(cost if high is None else min(cost, high))
    rated = rate(RatingInput("EUR", price, None, per_event_amounts=tuple(paid)))

    assert isinstance(rated, Rated)
    assert sum(line.quantity * line.unit_amount for line in rated.lines) == sum(costs)
