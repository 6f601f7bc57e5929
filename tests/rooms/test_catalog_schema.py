"""The schema for editors: it lets every good sheet be, and refuses what the sheet refuses."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given

from json_schema import faults
from pipeline.catalog import shape
from pipeline.catalog.card_shapes import PRICES
from pipeline.catalog.sheet import parse_sheet
from pipeline.catalog.yaml import as_json, compose
from pipeline.rate import (
    MODELS,
)
from rooms.test_sheet_changes import sheets
from rooms.test_sheet_problems import SHEET, cases, edited
from rooms.test_sheet_terms import SHEET as TERMS

CATALOGS = sorted((Path(__file__).parents[2] / "deploy/catalogs").glob("*.yaml"))
SCHEMA: Any = shape.sheet_schema()


class Editor(yaml.SafeLoader):
    """YAML as editors read it: plain scalars are numbers where they look like some."""


Editor.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def as_told(text: str) -> list[str]:
    """What the schema refuses of a text, every scalar a string."""
    return [*faults(SCHEMA, as_json(compose(text)[0]))]


def test_the_schema_names_its_dialect() -> None:
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert set(SCHEMA["properties"]) == set(shape.SHEET.keys)


@pytest.mark.parametrize(
    "text", ["", SHEET, TERMS, *(path.read_text() for path in CATALOGS)], ids=lambda text: text[:12]
)
def test_a_good_sheet_passes_in_an_editor_too(text: str) -> None:
    assert CATALOGS
    assert as_told(text) == []
    assert [*faults(SCHEMA, yaml.load(text, Loader=Editor))] == []


@given(sheets())
def test_what_the_sheet_reads_the_schema_lets_be(text: str) -> None:
    assert as_told(text) == []


def test_most_broken_sheets_are_refused_while_they_are_written() -> None:
    """The rest no schema can tell: what repeats, contradicts itself, or no YAML at all."""
    refused = [case for case in cases() if as_told(edited(case[:2]))]

    assert len(refused) >= 65
    assert all(isinstance(parse_sheet(edited(case[:2])), list) for case in refused)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("unit: s", "unit: s\n    colour: red", ".meters[0].colour: additionalProperties"),
        ("aggregation: sum", "aggregation: avg", ".meters[0].aggregation: enum"),
        ("PT15M", "15m", ".meters[0].window: pattern"),
        ("id: talea-cloud, ", "", ".issuers[0]: required"),
        ("[region, host]", "region", ".meters[0].dimensions: type"),
        ('"5.00"', "5e2", ".plans[0].prices[0].price: anyOf"),
        ("name: Acme GmbH", "full name: Acme", ".customers[0].profile.full name: pattern"),
    ],
)
def test_what_an_editor_underlines(old: str, new: str, fault: str) -> None:
    assert as_told(edited((old, new))) == [fault]


def test_every_price_has_a_shape() -> None:
    assert set(PRICES) == set(MODELS)


@pytest.mark.parametrize("name", PRICES)
def test_a_price_has_the_keys_that_its_model_reads(name: str) -> None:
    assert set(PRICES[name].keys) == import_module(f"pipeline.rate.{name}").KEYS


@pytest.mark.parametrize(
    ("text", "fine"),
    [
        ("0.25", True),
        ("-1", True),
        ("12", True),
        ("1e3", False),
        (".5", False),
        ("1,5", False),
        ("NaN", False),
        ("1" * 103, False),
    ],
)
def test_decimals_are_strings_with_a_pattern(text: str, fine: bool) -> None:
    price = PRICES["unit"].schema()

    assert (not [*faults(price, {"type": "unit", "unit_amount": text})]) is fine
