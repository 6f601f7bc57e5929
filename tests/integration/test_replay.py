"""A replay on real servers: the same fold again makes the same documents, and another price list
makes others, each difference named.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep
from typing import Any

import pytest

from fixtures_stack import StackMaker
from integration.commands import talea
from integration.replays import replayed, told
from integration.running import RunningStack, wipe_claims
from integration.story import GENERATIONS, SESSION_S, Story, open_shop
from oracle import per_unit
from pipeline.core.errors import BadInput
from pipeline.stores.kafka import KafkaLog
from pipeline.stores.postgres.documents import Document
from pipeline.stores.postgres.drafts import Draft
from pipeline.stores.postgres.facts import fact_head
from pipeline.workers.hindsight import drafts_at
from pipeline.workers.replaying import (
    Asked,
    diff_replay,
    list_replays,
    run_replay,
    stop_replay,
    what_if_replay,
)

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]

DEAR = ("0.1275", "0.2275")
"""The price of a gigabyte, and one that it never had."""


def test_a_dearer_book_is_explained_and_applied_and_the_log_folded_again_makes_the_same(
    make_stack: StackMaker, tmp_path: Path
) -> None:
    stack = make_stack(session_s=SESSION_S, **GENERATIONS)
    stack.start()
    story = open_shop(stack, seed=9, cycle_s=5, grace_s=2)
    drafts: list[Draft] = []
    with story.load:
        for _ in range(3):
            drafts += newer(stack, story.customers[0], drafts)
            sleep(2)
    story.close()
    as_they_were(stack, drafts)
    issued, facts = stack.documents(), fact_head(stack.connection)

    priced_otherwise(stack, story, tmp_path / "dear.yaml")
    assert stack.documents()[: len(issued)] == issued
    documents = stack.documents()
    assert len(documents) > len(issued)
    wipe_claims(stack.around)

    held = talea(stack, "hold", "--all", "--actor", "ada", "--reason", "an audit")
    assert held.returncode == 0, held.stderr
    stopped_at_once(stack, "again")
    with replayed(stack, "again", "--workers", "2") as again:
        assert again["identical"] is True
        assert (again["differing"], again["documents"]) == ([], len(documents))
        assert again["waiting"] == 0
        assert again["events"] == stack.counts().offered
        assert diff_replay(stack.around, "again").documents == []
        (listed,) = told(stack, "list")
        assert (listed["name"], listed["running"]) == ("again", False)

    assert stack.documents() == documents
    notes, others = len(documents) - len(issued), len(("mended", "hold"))
    assert fact_head(stack.connection)[0] == facts[0] + notes + others
    assert list_replays(stack.around) == []
    stack.close_the_books()


def newer(stack: RunningStack, customer: str, known: list[Draft]) -> list[Draft]:
    """The drafts of a customer, as soon as they were rated later than those."""
    last = max((each.position.offset for each in known), default=-1)
    found: list[Draft] = []

    def there() -> bool:
        found[:] = stack.drafts(customer)
        return any(each.position.offset > last for each in found)

    stack.until(there, "a newer draft")
    return found


def as_they_were(stack: RunningStack, drafts: list[Draft]) -> None:
    """Each draft that stood there once is in the log still, byte for byte."""
    log = KafkaLog(stack.around.kafka)
    assert len({each.position.offset for each in drafts}) > 2
    with stack.around.database.session("as it was") as session:
        for each in drafts:
            place = each.position.offset
            made = drafts_at(stack.around, log, session, each.payer, place, None, quiet)
            same = [one for one in made if one.id == each.id]
            assert [(one.text, one.position) for one in same] == [(each.text, each.position)]
    last = drafts[-1]
    ran = talea(stack, "draft", last.payer, "--as-of", str(last.position.offset), "--json")
    shown = {one["id"]: one["totals"] for one in json.loads(ran.stdout)}
    assert shown[last.id] == last.content["totals"]


def quiet(_done: int, _of: int) -> None: ...


def stopped_at_once(stack: RunningStack, name: str) -> None:
    """Whoever runs a replay stops when asked; it stands there, and may go on."""
    with ThreadPoolExecutor(1) as beside:
        ran = beside.submit(talea, stack, "replay", "run", name)
        stack.until(lambda: [e.running for e in list_replays(stack.around)] == [True], "it runs")
        with pytest.raises(BadInput, match="runs already"):
            run_replay(stack.around, name, Asked({}), 1, lambda _: None)
        assert stop_replay(stack.around, name) is True
        assert ran.result().returncode == 1
    assert stop_replay(stack.around, name) is False
    (standing,) = list_replays(stack.around)
    assert (standing.running, standing.shadow.outcome) == (False, None)


def priced_otherwise(stack: RunningStack, story: Story, file: Path) -> None:
    """The only thing that is dearer is named, to the cent, and corrected by notes, once."""
    file.write_text(story.catalog(story.load.end).replace(*DEAR))
    expected = more(story)
    assert expected > 0
    with replayed(stack, "dear", "--catalog", str(file)) as dear:
        assert dear["identical"] is None
        diff = told(stack, "diff", "dear")
        assert diff["total_difference_minor"] == {"EUR": expected}
        assert diff["waiting"] == 0
        assert diff["by_cause"] == {"price_revision": {"EUR": expected}}
        lines = [line for each in diff["invoices"] for line in each["lines"]]
        assert {line["meter"] for line in lines} == {"gigabytes"}
        assert diff["customers_touched"] == len(story.customers)
        (revenue,) = what_if_replay(stack.around, "dear").revenue
        assert revenue.before_minor == sum(stack.invoiced().values())
        assert revenue.difference_minor == expected

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
