"""Feeds: the latest of every key, and what a record tells of it."""

from dataclasses import replace
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import T0, kept
from pipeline.agents.feed import Chains, DraftFeed, Latest, What
from pipeline.agents.following import Follower, Found
from pipeline.core.errors import CheckFailed, ServerFailed
from pipeline.core.identity import Json, digest
from pipeline.invoice.published import (
    DraftInvoice,
    DraftPosition,
    Issued,
    draft_value,
    issued_value,
    read_draft,
)
from pipeline.ledger.seal import FIRST_SEAL, Issue, issue_record, seal_of


def draft(offset: int, amount: int = 0) -> DraftInvoice:
    content: dict[str, Json] = {"id": "d", "customer": "acme", "lines": [], "total": amount}
    return DraftInvoice(DraftPosition(1, offset, T0 + offset), content)


@pytest.mark.parametrize(
    ("records", "what", "now"),
    [
        ([draft(5)], What.NEWS, draft(5)),
        ([draft(5), draft(6)], What.NEWS, draft(6)),
        ([draft(5), draft(5)], What.REPEAT, draft(5)),
        ([draft(5), draft(4)], What.OLDER, draft(5)),
        ([draft(5), draft(4), draft(5)], What.REPEAT, draft(5)),
        ([draft(5), draft(5, 7)], What.NEWS, draft(5, 7)),  # rated anew where it stood
        ([draft(5), None], What.GONE, None),
        ([None], What.REPEAT, None),
        ([draft(5), None, None], What.REPEAT, None),
        ([draft(5), None, draft(6)], What.NEWS, draft(6)),
    ],
    ids=[
        "new",
        "later",
        "the same",
        "older",
        "older, then the same",
        "the same position, other content",
        "gone",
        "gone before it was seen",
        "gone twice",
        "back again",
    ],
)
def test_what_the_last_record_tells(
    records: list[DraftInvoice | None], what: What, now: DraftInvoice | None
) -> None:
    latest = Latest(read_draft)
    changes = [latest.take("d", draft_value(kept(value)) if value else None) for value in records]

    assert (changes[-1].what, changes[-1].id, changes[-1].now) == (what, "d", now)
    assert latest.standing == ({"d": now} if now else {})


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.booleans(), st.integers(1, 3), st.integers(0, 3)),
        max_size=30,
    )
)
def test_whatever_is_repeated_the_last_commit_stands(
    commits: list[tuple[str, bool, int, int]],
) -> None:
    """A publisher sends what is committed, once or more often, and may skip what was overtaken."""
    committed: dict[str, DraftInvoice] = {}
    latest = Latest(read_draft)
    for offset, (key, gone, times, skipped) in enumerate(commits):
        if gone:
            committed.pop(key, None)
        else:
            committed[key] = draft(offset)
        if skipped:
            value = committed.get(key)
            for _ in range(times):
                latest.take(key, draft_value(kept(value)) if value else None)
    for key in "abc":
        value = committed.get(key)
        latest.take(key, draft_value(kept(value)) if value else None)

    assert latest.standing == committed


def issued(place: int, previous: str, issuer: str = "talea") -> Issued:
    content = f'{{"place":{place}}}'.encode()
    number = f"T-{place}"
    issue = Issue(number, issuer, T0, 14, 1, 1, 1, "2026a", {}, previous)
    record = issue_record(content, issue)
    return Issued(issuer, place, number, f"inv_{place}", "acme", content, record, seal_of(record))


def chain(length: int, issuer: str = "talea") -> list[Issued]:
    found: list[Issued] = []
    for place in range(1, length + 1):
        found.append(issued(place, found[-1].seal.hex() if found else FIRST_SEAL, issuer))
    return found


def take(chains: Chains, document: Issued) -> What:
    return chains.take(issued_value(document)).what


def test_documents_come_in_the_order_of_their_chains() -> None:
    chains, one, other = Chains(), chain(3), chain(2, "other")

    told = [take(chains, d) for d in (one[0], other[0], one[1], one[0], one[1], other[1], one[2])]

    assert told == [What.NEWS] * 3 + [What.REPEAT] * 2 + [What.NEWS] * 2
    assert chains.heads == {"talea": one[2], "other": other[1]}


def test_a_document_that_is_missing_or_changed_is_told() -> None:
    one, two, three = chain(3)
    forged = replace(two, content=two.content + b" ")
    stranger = issued(2, digest(b"another first"))
    for wrong, why in (
        (three, "place 3 .* where 2"),
        (forged, "content is not the one"),
        (stranger, "does not follow"),
    ):
        chains = Chains()
        take(chains, one)
        with pytest.raises(CheckFailed, match=why):
            take(chains, wrong)
        assert chains.heads == {"talea": one}


class Told(Follower):
    """A follower that has read all there is."""

    def __init__(self, *found: Found) -> None:
        self.found = list(found)

    def read(self, wait_s: float) -> list[Found]:
        return [self.found.pop(0)]


def test_a_feed_yields_changes_as_they_come() -> None:
    feed = DraftFeed(
        Told(
            Found(0, 0, b"d", draft_value(kept(draft(1)))),
            Found(0, 2, b"d", draft_value(kept(draft(1)))),
            Found(0, 4, b"d", None),
        ),
        "drafts",
    )

    told = [(change.what, len(feed.latest)) for change in islice(feed, 3)]

    assert told == [(What.NEWS, 1), (What.REPEAT, 1), (What.GONE, 0)]


def test_a_strangers_record_is_told_with_its_place() -> None:
    feed = DraftFeed(Told(Found(3, 17, b"d", b"hello")), "drafts")

    with pytest.raises(ServerFailed, match=r"drafts\[3\]: the record at offset 17 is none of ours"):
        feed.read()
