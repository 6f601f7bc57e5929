"""Retention: which contents may go, what stays of one, and what holds that to account."""

from dataclasses import replace

import pytest

from builders import facts, log_of
from golden import stories
from pipeline.core.calendar import DAY, Instant, instant_text, parse_instant
from pipeline.invoice.planned import carried_by_all, carried_told, with_documents
from pipeline.ledger.checkpoint import Checkpoint, Head
from pipeline.ledger.retention import (
    Removal,
    kept_digest,
    kept_of,
    kept_text,
    last_to_go,
    oldest_kept,
    removal_faults,
    removals,
)
from pipeline.ledger.seal import Sealed, chain_faults, content_bytes
from rooms.test_checkpoints import Shelf

NOON = parse_instant("2026-03-01T12:00:00Z")
GONE = Removal("talea", 0, 4, "T-4", "00" * 32, "sha256:x")


@pytest.mark.parametrize(
    ("now", "years", "before"),
    [
        ("2033-03-01T12:00:00Z", 7, "2026-03-01T12:00:00Z"),
        ("2032-02-29T00:00:00Z", 7, "2025-02-28T00:00:00Z"),
    ],
)
def test_the_oldest_that_is_kept_is_some_calendar_years_old(
    now: str, years: int, before: str
) -> None:
    assert instant_text(oldest_kept(parse_instant(now), years)) == before


@pytest.mark.parametrize(
    ("signed", "gone", "goes"),
    [
        ([], 0, None),
        ([(4, 0)], 0, 4),
        ([(4, 0), (7, 1), (9, 2)], 0, 7),
        ([(4, 0), (7, 1)], 4, 7),
        ([(4, 0), (7, 3)], 4, None),
    ],
)
def test_no_more_goes_than_a_checkpoint_held_that_long_ago(
    signed: list[tuple[int, int]], gone: int, goes: int | None
) -> None:
    checkpoints = [checkpoint(place, NOON + day * DAY) for place, day in signed]
    known = [replace(GONE, place=gone)] if gone else []
    found = last_to_go(checkpoints, known, NOON + 2 * DAY)
    assert (found.head.place if found else None) == goes


def checkpoint(place: int, at: Instant) -> Checkpoint:
    return Checkpoint(Head("talea", place, bytes(32), at), b"", b"")


def test_of_a_content_its_totals_stay_and_what_it_billed_up_to() -> None:
    content = stories.TERMS.told()
    carried = carried_by_all([content])
    kept = kept_of(content, carried_told(carried))
    assert (kept["totals"], kept["lines"], kept["id"]) == (content["totals"], [], content["id"])
    assert with_documents({}, [kept]) == carried
    assert carried_by_all([kept]) == carried != {}
    assert "Exports" in content_bytes(content).decode()
    assert "Exports" not in kept_text({**kept, "carried": []})


def test_a_removal_is_read_as_it_was_told() -> None:
    told = GONE.told()
    written = facts(log_of(), (told.kind, told.subject, dict(told.body)))
    assert removals(written) == {"talea": [GONE]}


def emptied(chain: list[Sealed], *places: int) -> list[Sealed]:
    return [replace(each, content=b"") if each.place in places else each for each in chain]


@pytest.mark.parametrize(
    ("emptied_places", "removed_to", "found"),
    [
        ((), 0, []),
        ((1, 2), 2, []),
        ((1,), 2, []),
        ((1, 2, 3), 2, ["T-3"]),
        ((1,), 0, ["T-1"]),
    ],
)
def test_a_chain_holds_without_the_contents_that_were_told_as_removed(
    emptied_places: tuple[int, ...], removed_to: int, found: list[str]
) -> None:
    shelf = Shelf()
    shelf.issue(4)
    assert [*chain_faults(emptied(shelf.chain, *emptied_places), removed_to)] == found


def test_what_is_kept_is_held_against_the_fact() -> None:
    shelf = Shelf()
    shelf.issue(2)
    kept = {place: kept_text(kept_of({"id": f"inv_{place}"}, None)) for place in (1, 2)}
    seal, told = shelf.chain[1].seal.hex(), kept_digest(kept.values())
    removal = Removal("talea", 0, 2, "T-2", seal, told)

    assert removal_faults([removal], shelf.chain, kept) == {}
    for spoiled in ({1: kept[1]}, {**kept, 2: kept[1]}, {1: kept[2], 2: kept[1]}):
        assert "what is kept" in removal_faults([removal], shelf.chain, spoiled)["T-2"]
    other = replace(removal, seal="11" * 32)
    assert "another seal" in removal_faults([other], shelf.chain, kept)["T-2"]
