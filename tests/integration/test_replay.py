"""A replay on real servers: the same fold again makes the same documents, and another price list
makes others, each difference named.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep
from typing import Any

import pytest

from fixtures_stack import StackMaker
from integration.commands import talea
from integration.running import RunningStack, wipe_claims
from integration.story import GENERATIONS, SESSION_S, Story, open_shop
from oracle import per_unit
from pipeline.stores.postgres.documents import Document
from pipeline.stores.postgres.facts import fact_head

pytestmark = [pytest.mark.servers, pytest.mark.timeout(200)]

DEAR = ("0.1275", "0.2275")
"""The price of a gigabyte, and one that it never had."""


def told(stack: RunningStack, *arguments: str) -> Any:
    ran = talea(stack, "replay", *arguments, "--json")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return json.loads(ran.stdout)


@contextmanager
def replayed(stack: RunningStack, name: str, *asked: str) -> Iterator[Any]:
    """What comes of a replay, which is dropped at the end."""
    try:
        yield told(stack, "run", name, *asked)
    finally:
        dropped = talea(stack, "replay", "drop", name)
    assert dropped.returncode == 0, dropped.stderr


def test_a_dearer_book_is_explained_and_applied_and_the_log_folded_again_makes_the_same(
    make_stack: StackMaker, tmp_path: Path
) -> None:
    stack = make_stack(session_s=SESSION_S, **GENERATIONS)
    stack.start()
    story = open_shop(stack, seed=9, cycle_s=5, grace_s=2)
    with story.load:
        sleep(8)
    story.close()
    issued, facts = stack.documents(), fact_head(stack.connection)

    priced_otherwise(stack, story, tmp_path / "dear.yaml")
    assert stack.documents()[: len(issued)] == issued
    documents = stack.documents()
    assert len(documents) > len(issued)
    wipe_claims(stack.around)

    with replayed(stack, "again", "--workers", "2") as again:
        assert again["identical"] is True
        assert (again["differing"], again["documents"]) == ([], len(documents))
        assert again["events"] == stack.counts().offered
        assert told(stack, "diff", "again")["invoices"] == []
        (listed,) = told(stack, "list")
        assert (listed["name"], listed["running"]) == ("again", False)
        assert told(stack, "run", "again")["identical"] is True  # nothing is left to do

    assert stack.documents() == documents
    assert fact_head(stack.connection)[0] == facts[0] + len(documents) - len(issued)
    assert told(stack, "list") == []
    stack.close_the_books()


def priced_otherwise(stack: RunningStack, story: Story, file: Path) -> None:
    """The only thing that is dearer is named, to the cent, and corrected by notes, once."""
    file.write_text(story.catalog(story.load.end).replace(*DEAR))
    expected = more(story)
    assert expected > 0
    with replayed(stack, "dear", "--catalog", str(file)) as dear:
        assert dear["identical"] is None
        diff = told(stack, "diff", "dear")
        assert diff["total_difference_minor"] == {"EUR": expected}
        assert diff["by_cause"] == {"price_revision": {"EUR": expected}}
        lines = [line for each in diff["invoices"] for line in each["lines"]]
        assert {line["meter"] for line in lines} == {"gigabytes"}
        assert diff["customers_touched"] == len(story.customers)
        (revenue,) = told(stack, "what-if", "dear")["revenue"]
        assert revenue["before_minor"] == sum(stack.invoiced().values())
        assert revenue["difference_minor"] == expected

        asked = ("apply", "dear", "--actor", "ada", "--reason", "agreed", "--diff")
        assert talea(stack, "replay", *asked, "diff_of_another").returncode == 2
        before = len(stack.documents())
        applied = told(stack, *asked, diff["diff_id"])
        assert applied["total_minor"] == {"EUR": expected}
        notes = stack.await_documents(before + len(applied["documents"]))[before:]
        assert {each.content["corrects"] for each in notes} == set(applied["documents"])
        assert sum(total_of(each) for each in notes) == expected
        assert told(stack, *asked, diff["diff_id"])["already"] is True


def total_of(document: Document) -> int:
    content: Any = document.content
    return int(content["totals"]["total_minor"])


def more(story: Story) -> int:
    """What everybody would have paid more for what they used."""
    total = 0
    for begun, ended in story.periods():
        for name in story.customers:
            used = story.traffic.oracle.quantity(name, "gigabytes", begun, ended)
            cheap, dear = (per_unit(price, used) for price in DEAR)
            total += dear - cheap
    return total
