"""Validation in the SDK: what is refused, naming the field, before anything is sent."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.agents.failures import RefusedUsage
from pipeline.agents.intake import Intake
from pipeline.collect.batch import Entry
from pipeline.collect.event import UsageEvent
from pipeline.core.calendar import EARLIEST, parse_instant
from pipeline.core.errors import BadInput, Code
from pipeline.core.identity import partition_of
from pipeline.core.quantity import mantissa_scale, parse_decimal

NOON = datetime(2026, 1, 31, 12, 0, 0, 250, tzinfo=timezone(timedelta(hours=1)))


def entry(intake: Intake | None = None, **fields: object) -> Entry:
    given_fields: dict[str, object] = {
        "customer": "acme",
        "meter": "calls",
        "value": "1",
        "dimensions": None,
        "event_id": None,
        "source": None,
        "moment": NOON,
    }
    call = (intake or Intake("me", 8)).entry
    return call(**{**given_fields, **fields})  # type: ignore[arg-type]


def test_an_event_with_an_id_is_keyed_and_its_source_is_the_producer_unless_given() -> None:
    home = partition_of("acme", 8)
    at = parse_instant("2026-01-31T11:00:00.00025Z")
    assert entry() == (home, "acme", "calls", at, 1, 0, (), "", "", None)
    assert entry(event_id="7") == (home, "acme", "calls", at, 1, 0, (), "me", "7", None)
    assert entry(event_id="7", source="gw")[-3:] == ("gw", "7", None)


def test_dimensions_are_sorted_whatever_their_order() -> None:
    intake = Intake("me", 8)
    for _ in range(2):
        for dimensions in ({"b": "2", "a": "1"}, {"a": "1", "b": "2"}):
            assert entry(intake, dimensions=dimensions)[6] == (("a", "1"), ("b", "2"))


@pytest.mark.parametrize(
    ("value", "mantissa", "scale"),
    [
        ("1", 1, 0),
        ("1.50", 15, 1),
        ("-0.5", -5, 1),
        ("-0", 0, 0),
        (7, 7, 0),
        (-7, -7, 0),
        (10**20 - 1, 10**20 - 1, 0),
        (Decimal("1.50"), 15, 1),
        (Decimal("1E+3"), 1000, 0),
        (Decimal("1E-18"), 1, 18),
        (Decimal("0E+5"), 0, 0),
        ("9" * 20 + "." + "9" * 18, 10**38 - 1, 18),
    ],
)
def test_a_value_is_taken_exactly(value: object, mantissa: int, scale: int) -> None:
    intake = Intake("me", 8)
    for _ in range(2):  # the second time it is remembered
        assert entry(intake, value=value)[4:6] == (mantissa, scale)


@given(
    st.from_regex(r"-?[0-9]{1,22}(\.[0-9]{1,20})?", fullmatch=True)
    | st.text("0123456789.-+e ", max_size=12)
)
def test_a_number_is_read_as_quantity_reads_it(text: str) -> None:
    try:
        read = mantissa_scale(parse_decimal(text))
    except ValueError:
        with pytest.raises(RefusedUsage):
            entry(value=text)
    else:
        assert entry(value=text)[4:6] == read


BAD: list[tuple[str, object, Code, str]] = [
    ("customer", None, Code.MISSING_FIELD, "customer"),
    ("customer", "", Code.MISSING_FIELD, "customer"),
    ("customer", 7, Code.BAD_FIELD, "customer"),
    ("customer", b"acme", Code.BAD_FIELD, "customer"),
    ("customer", ["acme"], Code.BAD_FIELD, "customer"),
    ("customer", "x" * 257, Code.TOO_LARGE, "customer"),
    ("customer", "a\nb", Code.BAD_FIELD, "customer"),
    ("customer", "\ud800", Code.BAD_FIELD, "customer"),
    ("meter", None, Code.MISSING_FIELD, "meter"),
    ("meter", {}, Code.BAD_FIELD, "meter"),
    ("meter", "m" * 129, Code.TOO_LARGE, "meter"),
    ("value", None, Code.MISSING_FIELD, "value"),
    ("value", 1.0, Code.BAD_VALUE, "value"),
    ("value", float("nan"), Code.BAD_VALUE, "value"),
    ("value", True, Code.BAD_VALUE, "value"),
    ("value", "", Code.BAD_VALUE, "value"),
    ("value", "1e3", Code.BAD_VALUE, "value"),
    ("value", "NaN", Code.BAD_VALUE, "value"),
    ("value", "1" * 21, Code.BAD_VALUE, "value"),
    ("value", "1.\n", Code.BAD_VALUE, "value"),
    ("value", [], Code.BAD_VALUE, "value"),
    ("value", 10**20, Code.BAD_VALUE, "value"),
    ("value", -(10**5000), Code.BAD_VALUE, "value"),
    ("value", Decimal("NaN"), Code.BAD_VALUE, "value"),
    ("value", Decimal("sNaN"), Code.BAD_VALUE, "value"),
    ("value", Decimal("-Infinity"), Code.BAD_VALUE, "value"),
    ("value", Decimal("1E+20"), Code.BAD_VALUE, "value"),
    ("value", Decimal("1E-19"), Code.BAD_VALUE, "value"),
    ("value", Decimal("1E+999999"), Code.BAD_VALUE, "value"),
    ("value", Decimal("1E-999999"), Code.BAD_VALUE, "value"),
    ("dimensions", "region", Code.BAD_FIELD, "dimensions"),
    ("dimensions", [("region", "eu")], Code.BAD_FIELD, "dimensions"),
    ("dimensions", {"region": 1}, Code.BAD_FIELD, "dimensions.region"),
    ("dimensions", {"region": None}, Code.MISSING_FIELD, "dimensions.region"),
    ("dimensions", {"region": []}, Code.BAD_FIELD, "dimensions.region"),
    ("dimensions", {"": "eu"}, Code.MISSING_FIELD, "dimensions.<name>"),
    ("dimensions", {1: "eu"}, Code.BAD_FIELD, "dimensions.<name>"),
    ("dimensions", {str(i): "" for i in range(33)}, Code.TOO_LARGE, "dimensions"),
    ("dimensions", {str(i): "x" * 250 for i in range(5)}, Code.TOO_LARGE, "dimensions"),
    ("dimensions", {"region": "e\0u"}, Code.BAD_FIELD, "dimensions.region"),
    ("event_id", "", Code.MISSING_FIELD, "id"),
    ("event_id", 7, Code.BAD_FIELD, "id"),
    ("event_id", "x" * 257, Code.TOO_LARGE, "id"),
    ("event_id", "a\x00b", Code.BAD_FIELD, "id"),
    ("source", "gw", Code.BAD_FIELD, "source"),  # without an id there is nowhere to keep it
    ("moment", "2026-01-31T12:00:00Z", Code.BAD_TIME, "time"),
    ("moment", datetime(2026, 1, 31, 12), Code.BAD_TIME, "time"),  # noqa: DTZ001
    ("moment", datetime(1999, 12, 31, tzinfo=UTC), Code.BAD_TIME, "time"),
    ("moment", datetime(2100, 1, 1, tzinfo=UTC), Code.BAD_TIME, "time"),
    ("moment", 1_769_860_800, Code.BAD_TIME, "time"),
]


@pytest.mark.parametrize(
    ("field", "value", "code", "path"), BAD, ids=[f"{row[0]}-{n}" for n, row in enumerate(BAD)]
)
def test_a_bad_field_is_refused_by_name(field: str, value: object, code: Code, path: str) -> None:
    intake = Intake("me", 8)
    entry(intake)  # what is remembered must not let a lookalike in (True == 1 == 1.0)
    entry(intake, value=1, dimensions={"region": "1"})
    with pytest.raises(RefusedUsage) as caught:
        entry(intake, **{field: value})
    refused = caught.value
    assert (refused.rejection.code, refused.rejection.path) == (code, path)
    assert str(refused).startswith(path)
    assert "\n" not in str(refused)
    assert isinstance(refused, BadInput)
    assert isinstance(refused, ValueError)


@pytest.mark.parametrize("source", ["", 7, "x" * 257])
def test_a_bad_source_is_refused(source: object) -> None:
    with pytest.raises(RefusedUsage, match=r"^source"):
        entry(event_id="7", source=source)


@pytest.mark.parametrize("producer", ["", None, "a\nb"])
def test_a_producer_needs_a_name(producer: str) -> None:
    with pytest.raises(RefusedUsage, match=r"^producer"):
        Intake(producer, 8)


def test_a_float_is_told_what_to_be_instead() -> None:
    with pytest.raises(RefusedUsage, match="float, which is never exact: give a str or Decimal"):
        entry(value=0.1)


def test_an_event_without_a_time_happens_now() -> None:
    before = datetime.now(UTC)
    at = entry(moment=None)[3]
    assert before <= datetime.fromtimestamp(at / 1e6, UTC) <= datetime.now(UTC)


def test_a_checked_event_is_the_same_entry() -> None:
    event = UsageEvent("acme", "calls", EARLIEST, Decimal("1.5"), "7", "gw", {"b": "2", "a": "1"})
    assert Intake("me", 8).entry_of(event) == entry(
        value="1.5",
        dimensions={"a": "1", "b": "2"},
        event_id="7",
        source="gw",
        moment=datetime(2000, 1, 1, tzinfo=UTC),
    )


def test_a_reversal_keeps_its_own_time_and_needs_the_id_of_its_original() -> None:
    event = UsageEvent("acme", "calls", EARLIEST, Decimal(1), "7", "gw", {}, EARLIEST + 5)
    assert Intake("me", 8).entry_of(event)[-3:] == ("gw", "7", EARLIEST + 5)
    with pytest.raises(RefusedUsage, match="id: a reversal has its original's"):
        Intake("me", 8).entry_of(replace(event, id=""))


anything = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.decimals()
    | st.lists(st.text(max_size=1), max_size=1)
    | st.dictionaries(st.text(max_size=1), st.text(max_size=1) | st.integers(), max_size=2)
)


@given(st.dictionaries(st.sampled_from(["customer", "meter", "value", "dimensions"]), anything))
def test_whatever_is_given_is_taken_exactly_or_refused(fields: Mapping[str, object]) -> None:
    intake = Intake("me", 8)
    for _ in range(2):
        try:
            taken = entry(intake, **fields)
        except RefusedUsage:
            continue
        value = fields.get("value", "1")
        assert isinstance(value, str | int | Decimal)
        assert taken[4:6] == mantissa_scale(Decimal(value))
