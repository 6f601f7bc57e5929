"""`schemas/RATING.md` tells of every key, price, limit and error that the code knows."""

import re
from pathlib import Path

import pytest

from pipeline.rate import MODELS, FaultCode, limits
from pipeline.rate.reading import REQUEST_KEYS
from pipeline.stores.schemas import schema_folder

PAGE = (schema_folder() / "RATING.md").read_text("utf-8")


def named(head: str) -> list[str]:
    """Return the first cells of the table below a head."""
    table = PAGE.split(f"| {head} |", 1)[1].split("\n\n", 1)[0]
    return re.findall(r"^\| `(\w+)`", table, re.MULTILINE)


def test_every_key_of_a_request_is_told() -> None:
    assert set(named("key")) == REQUEST_KEYS


def test_every_price_is_told_with_its_keys() -> None:
    assert set(named("price")) == set(MODELS)
    for name, (keys, _) in MODELS.items():
        row = PAGE.split(f"\n| `{name}` |", 1)[1].split("\n", 1)[0]
        assert all(f"`{key}`" in row for key in keys - {"type"}), name


def test_every_error_is_told() -> None:
    assert named("code") == [code.value for code in FaultCode]


def test_every_rule_has_its_number() -> None:
    rules = PAGE.split("## The rules", 1)[1].split("## How they are read", 1)[0]
    assert re.findall(r"^(\d+)\. ", rules, re.MULTILINE) == [str(n) for n in range(1, 39)]


def test_every_rule_has_a_test_that_names_it() -> None:
    texts = [path.read_text("utf-8") for path in Path(__file__).parent.glob("test_rate_rules*.py")]
    named_in_tests = {int(n) for text in texts for n in re.findall(r"def test_rule_(\d+)_", text)}
    assert named_in_tests == {*range(1, 39)}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("NUMBER_DIGITS_MAX", "at most {} digits"),
        ("LINE_CHARS_MAX", "a line {} characters"),
        ("TIERS_MAX", "a price {} tiers"),
        ("DISCOUNTS_MAX", "a request {}\n  discounts"),
        ("EVENTS_MAX", "{} events or weights"),
    ],
)
def test_the_limits_are_those_of_the_code(name: str, words: str) -> None:
    assert words.format(f"{getattr(limits, name):,}") in PAGE
