"""Golden invoices: three stories, each to the last cent, as a person reads them.

The texts in `invoices/` were worked out by hand (see `stories.py`); no option rewrites them.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

import pytest

from golden import stories
from pipeline.core.identity import Json
from pipeline.invoice.text import invoice_text

INVOICES = Path(__file__).parent / "invoices"

STORIES = [
    ("unit_and_flat", stories.UNIT_AND_FLAT, 5422),
    ("graduated", stories.GRADUATED, 1239573140),
    ("prorated", stories.PRORATED, 4832),
]


@pytest.mark.parametrize(("name", "story", "total_minor"), STORIES)
def test_the_invoice_reads(name: str, story: stories.Story, total_minor: int) -> None:
    content = story.told()

    assert invoice_text(content) == (INVOICES / f"{name}.txt").read_text("utf-8")
    assert cast(Mapping[str, Json], content["totals"])["total_minor"] == total_minor


def parents(node: Mapping[str, Json], key: str) -> Iterator[Mapping[str, Json]]:
    """Every record that has children, the document included."""
    children = cast(list[Mapping[str, Json]], node[key])
    if children:
        yield {"totals": node["totals"], "children": list(children)}
    for child in children:
        yield from parents(child, "children")


@pytest.mark.parametrize("story", [story for _, story, _ in STORIES])
def test_children_sum_to_their_parent_in_all_seven_totals(story: stories.Story) -> None:
    looked = 0
    for parent in parents(story.told(), "lines"):
        children = cast(list[Mapping[str, Json]], parent["children"])
        for name, total in cast(Mapping[str, int], parent["totals"]).items():
            assert total == sum(cast(Mapping[str, int], c["totals"])[name] for c in children)
            looked += 1
    assert looked >= 7
