"""What a sheet means: defaults, nulls, numbers that stay text, aliases; nothing ever raises."""

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.catalog.card_shapes import PRICES
from pipeline.catalog.rate_cards import PlanPrice
from pipeline.catalog.sheet import Sheet, parse_sheet
from pipeline.core.calendar import DAY, SECOND, Duration, parse_instant
from pipeline.meter.meters import Aggregation, Meter
from pipeline.rate import FlatPrice, UnitPrice
from rooms.test_sheet_problems import SHEET

EXAMPLE = Path(__file__).parents[2] / "deploy/catalogs/example.yaml"


def sheet(text: str) -> Sheet:
    """A sheet that has no problem."""
    found = parse_sheet(text)
    assert isinstance(found, Sheet), "\n".join(map(str, found))
    return found


def prices(text: str) -> tuple[PlanPrice, ...]:
    """The prices of the first plan, given as a YAML list."""
    plan = "plans: [{id: p, name: P, issuer: i, currency: EUR, cycle: P1M, prices: %s}]"
    return sheet(plan % text).plans[0].prices


def test_the_example_is_a_sheet_with_a_price_of_every_type_that_is_booked() -> None:
    example = sheet(EXAMPLE.read_text())

    plan, *_, committed = example.plans
    assert [price.covers for price in committed.prices] == [None, None, ()]
    assert {price.configured["type"] for price in plan.prices} == set(PRICES)
    assert {meter.aggregation for meter in example.meters} == set(Aggregation)
    assert example.grace_us == 600 * SECOND
    assert [subscription.end for subscription in example.subscriptions] == [None, None]
    assert example.subscriptions[0].start == parse_instant("2026-10-31T23:00:00Z")


@pytest.mark.parametrize("text", ["", "# nothing", "---", "~", "null", "{}", "meters:\nplans: ~"])
def test_everything_is_optional(text: str) -> None:
    empty = sheet(text)

    assert empty == Sheet(None, (), (), (), (), (), empty.root)


def test_what_is_left_out_has_its_default() -> None:
    short = sheet(
        "meters: [{id: m, aggregation: count, unit: calls}]\n"
        "plans: [{id: p, name: P, issuer: i, currency: JPY, cycle: P1Y}]\n"
        "customers: [{id: c}]\n"
        "subscriptions: [{id: s, customer: c, plan: p, start: 2026-01-01T00:00:00Z}]\n"
    )

    assert short.meters == (Meter("m", Aggregation.COUNT, "calls", 900 * SECOND, ()),)
    assert short.plans[0].payment_days == 14
    assert short.plans[0].prices == ()
    assert short.plans[0].cycle == Duration(12, 0, 0)
    assert (short.customers[0].time_zone, short.customers[0].profile) == ("UTC", {})
    assert short.subscriptions[0].end is None


def test_dimensions_are_a_set() -> None:
    one, other = sheet(SHEET), sheet(SHEET.replace("[region, host]", "[host, region]"))

    assert one.meters == other.meters
    assert one.meters[0].dimensions == ("host", "region")


@pytest.mark.parametrize("null", ["", "~", "null", "Null", "NULL"])
def test_null_is_absent(null: str) -> None:
    assert sheet(SHEET.replace("end: null", f"end: {null}")).subscriptions[0].end is None
    assert sheet(SHEET.replace("14", null)).plans[0].payment_days == 14
    assert sheet(SHEET.replace("Europe/Berlin", null)).customers[0].time_zone == "UTC"


@pytest.mark.parametrize("word", ["null", "~", "no", "1.0", "0x10", "2026-01-01", "ja: nein"])
def test_what_is_quoted_is_text(word: str) -> None:
    text = SHEET.replace("Talea Cloud Ltd", f"'{word}'").replace("Acme GmbH", f'"{word}"')

    assert sheet(text).issuers[0].name == word
    assert sheet(text).customers[0].profile["name"] == word


def test_what_other_readers_make_booleans_and_numbers_of_stays_as_written() -> None:
    text = SHEET.replace("Talea Cloud Ltd", "no").replace("region, host", "1.10, yes, 0x1F")

    assert sheet(text).issuers[0].name == "no"
    assert sheet(text).meters[0].dimensions == ("0x1F", "1.10", "yes")


@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_a_price_keeps_every_digit(quote: str) -> None:
    amount = "12345678901234567890.12345678901234567890"
    (price,) = prices(
        f"[{{id: a, name: A, price: {{type: flat, amount: {quote}{amount}{quote}}}}}]"
    )

    assert price.price == FlatPrice(Fraction(amount))
    assert price.configured == {"type": "flat", "amount": amount}
    assert price.meter is None


def test_aliases_repeat_what_they_stand_for() -> None:
    one, other = prices(
        "[{id: a, name: A, meter: m, price: &p {type: unit, unit_amount: 0.1}},"
        " {id: b, name: B, meter: m, price: *p}]"
    )

    assert one.price == other.price == UnitPrice(Fraction(1, 10))


@pytest.mark.parametrize(("text", "seconds"), [("PT0S", 0), ("PT5S", 5), ("PT24H", 86_400)])
def test_grace(text: str, seconds: int) -> None:
    assert sheet(f"rules: {{grace: {text}}}").grace_us == seconds * SECOND


@pytest.mark.parametrize(
    ("window", "cycle"), [("PT1M", "PT1M"), ("PT15M", "PT1H"), ("PT1S", "P1W")]
)
def test_windows_that_fit_their_cycle(window: str, cycle: str) -> None:
    fitting = SHEET.replace("PT15M", window).replace("cycle: P1M", f"cycle: {cycle}")

    assert DAY % sheet(fitting).meters[0].window_us == 0


def test_personal_values_are_not_shown() -> None:
    assert "ap@acme.example" not in repr(sheet(SHEET))


def test_a_byte_order_mark_and_the_line_ends_of_windows_are_read() -> None:
    assert sheet("\ufeff" + SHEET.replace("\n", "\r\n")) == sheet(SHEET)


@given(st.text())
def test_no_text_raises(text: str) -> None:
    parse_sheet(text)


@given(st.data())
def test_no_mangled_sheet_raises_and_every_problem_has_a_line_of_it(data: st.DataObject) -> None:
    text = SHEET
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 20)))
        piece = data.draw(
            st.sampled_from(
                [
                    "",
                    " ",
                    "\n",
                    "- ",
                    "[",
                    "]",
                    "{",
                    "}",
                    ": ",
                    "&a ",
                    "*a ",
                    "'",
                    '"',
                    "~",
                    "!!int ",
                ]
            )
        )
        text = text[:start] + piece + text[end:]
    found = parse_sheet(text)
    if not isinstance(found, Sheet):
        lines = text.count("\n") + 1
        assert found
        assert all(1 <= problem.line <= lines for problem in found)
        assert all(problem.message for problem in found)


VALUES = st.recursive(
    st.sampled_from(["", "~", "x", "1", "P1M", "flat", "2026-01-01T00:00:00Z"]),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.dictionaries(
            st.sampled_from(["id", "name", "prices", "price", "type", "tiers", "profile", "a.b"]),
            inner,
            max_size=4,
        ).map(lambda d: "{" + ", ".join(f"{key}: {value}" for key, value in d.items()) + "}")
    ),
    max_leaves=12,
)
SECTIONS = ("rules", "issuers", "meters", "plans", "customers", "subscriptions")


@given(st.dictionaries(st.sampled_from(SECTIONS), VALUES))
def test_no_shape_raises(sections: dict[str, str]) -> None:
    parse_sheet("\n".join(f"{name}: {value}" for name, value in sections.items()))


def test_an_error_that_shows_at_the_end_is_told_on_a_line_of_the_file() -> None:
    lines = SHEET.count("\n") + 1
    for at in range(len(SHEET), 0, -4):
        found = parse_sheet(SHEET[:at] + "[" + SHEET[at:])
        if not isinstance(found, Sheet):
            assert all(1 <= problem.line <= lines for problem in found)
